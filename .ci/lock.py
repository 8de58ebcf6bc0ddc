"""Write `.ci/requirements.txt`: what CI installs, each version with the hashes of its files.

It takes the ranges of pyproject.toml, and the newest versions that the configured index has. Names
of servers are left out, so that any index that has the same files will do.
"""

import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LOCK = ROOT / ".ci" / "requirements.txt"
EXTRAS = ("dashboard", "demo", "fast", "redis")
# What an editable install builds with, and pip itself.
ALSO = ("editables>=0.5,<1", "pip>=25.1,<27")
# Only for the pictures in its wheel: what it needs itself is not installed.
ALONE = "scikit-image>=0.25,<0.27"
HEAD = """\
# What CI installs on CPython 3.11, Linux, x86_64 and glibc. Written by: make lock
"""


def ranges() -> list[str]:
    """Return what pyproject.toml asks for, where the tests run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    optional = project["project"]["optional-dependencies"]
    return [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(each for extra in EXTRAS for each in optional[extra]),
        *project["dependency-groups"]["dev"],
        *ALSO,
    ]


def compiled(compiler: str, wanted: list[str]) -> str:
    """Resolve these, and return the lines of a lock."""
    with tempfile.TemporaryDirectory() as folder:
        given, made = Path(folder, "wanted.txt"), Path(folder, "lock.txt")
        given.write_text("\n".join(wanted) + "\n")
        silent = [f"--no-{each}" for each in ("header", "annotate", "emit-options")]
        subprocess.run(
            [compiler, "--quiet", "--generate-hashes", "--allow-unsafe", "--strip-extras", *silent,
             "--output-file", str(made), str(given)],
            check=True,
        )  # fmt: skip
        return made.read_text()


def blocks(lock: str) -> dict[str, str]:
    """Return the lines of each package, by its name."""
    found: dict[str, str] = {}
    name = ""
    for line in lock.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        if not line.startswith(" "):
            name = line.partition("==")[0]
        found[name] = found.get(name, "") + line + "\n"
    return found


def main() -> None:
    """Write the lock."""
    found = blocks(compiled(sys.argv[1], ranges()))
    alone = ALONE.partition(">")[0]
    found[alone] = blocks(compiled(sys.argv[1], [ALONE]))[alone]
    LOCK.write_text(HEAD + "".join(found[name] for name in sorted(found)))


if __name__ == "__main__":
    main()
