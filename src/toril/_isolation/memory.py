"""How much memory a process uses, without a library for it.

Never here: what is done about it.
"""

import os
import sys
from contextlib import suppress
from functools import cache

if sys.platform != "win32":
    import resource

_PAGE = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 4096
MB = 1_000_000


def resident(pid: int) -> int | None:
    """Return the resident bytes of any process; None where the system does not show that."""
    with suppress(OSError, ValueError, IndexError), open(f"/proc/{pid}/statm", "rb") as file:
        return int(file.read().split()[1]) * _PAGE or None
    return None


def own() -> int | None:
    """Return the resident bytes of this process, or the most it ever had; None: nobody knows."""
    return _own_resident() or own_peak()


def _own_resident() -> int | None:
    # Kept open: a child asks after each job, and opening costs ten times as much as reading.
    with suppress(OSError, ValueError, IndexError):
        return int(os.pread(_own_pages(), 128, 0).split()[1]) * _PAGE
    return None


@cache
def _own_pages() -> int:
    return os.open("/proc/self/statm", os.O_RDONLY)


def own_peak() -> int | None:
    """Return the most resident bytes this process ever had."""
    if sys.platform == "win32":
        return None
    return peak_of(resource.getrusage(resource.RUSAGE_SELF))


def peak_of(usage: object) -> int | None:
    """Read the most resident bytes out of what a system tells of a process that ended."""
    most: int = getattr(usage, "ru_maxrss", 0)
    # Bytes on macOS, kilobytes elsewhere.
    return (most if sys.platform == "darwin" else most * 1024) or None


def shown(size: int) -> str:
    """Write a size for people."""
    return f"{size / MB:.0f} MB" if size >= 10 * MB else f"{size / MB:.1f} MB"
