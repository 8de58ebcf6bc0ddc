"""Where the command line begins."""

import sys
from importlib.metadata import version

from .streams import open_standard_streams


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    open_standard_streams()
    if sys.argv[1:] == ["--version"] and _show_version():
        return
    # Only here: all commands together take longer to import than the version to show.
    from .root import run_command

    run_command()


def _show_version() -> bool:
    """Write the version; return False if that failed, so that the error is reported as any other."""
    try:
        print(f"toril {version('toril')}", flush=True)  # noqa: T201
    except OSError:
        return False
    return True
