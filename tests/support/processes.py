"""What tests ask of a process by its id."""

import os
from pathlib import Path

_STATES = Path("/proc")


def lives(pid: int) -> bool:
    """Say whether a process is there and has not ended; one that its parent has not noticed has."""
    try:
        os.kill(pid, 0)
        state = (_STATES / str(pid) / "stat").read_text()
    except ProcessLookupError:
        return False
    except FileNotFoundError:
        # It has gone since, unless this system tells no states.
        return not (_STATES / "self" / "stat").exists()
    return state.rpartition(")")[2].split()[0] != "Z"
