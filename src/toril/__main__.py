"""`python -m toril` is the command line."""

from toril.cli.main import run

if __name__ == "__main__":
    run()
