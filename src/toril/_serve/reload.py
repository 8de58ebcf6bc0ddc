"""`--reload`: notices that files were changed. Never here: what is done about it."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import suppress
from pathlib import Path

from toril._handlers.user_code import is_own

LOOK_S = 0.5
MOST_FILES = 5_000
_PASSED_OVER = ("__pycache__", "node_modules", "site-packages")

Stamps = dict[str, tuple[int, int]]


def own_files() -> list[str]:
    """Return the names of the files of the modules that are loaded and that nobody installed."""
    files = (getattr(module, "__file__", None) for module in tuple(sys.modules.values()))
    return sorted({file for file in files if file and is_own(file)})


def files_below(folder: Path) -> list[str]:
    """Return the Python files in a folder and below, without what others put there."""
    found: list[str] = []
    for place, folders, files in os.walk(folder):
        folders[:] = [
            name
            for name in folders
            if not name.startswith(".")
            and name not in _PASSED_OVER
            and not Path(place, name, "pyvenv.cfg").exists()
        ]
        found += [str(Path(place, name)) for name in files if name.endswith(".py")]
        if len(found) >= MOST_FILES:
            break
    return found[:MOST_FILES]


async def changes(watched: Callable[[], Iterable[str]]) -> AsyncGenerator[list[str]]:
    """Return the files that were changed, made or removed since the last time, whenever some were."""
    before, since = await asyncio.to_thread(_look, watched), time.time_ns()
    while True:
        await asyncio.sleep(LOOK_S)
        at = time.time_ns()
        now = await asyncio.to_thread(_look, watched)
        # One that is watched from now on has not changed for that.
        new = {name for name in now.keys() - before.keys() if now[name][0] >= since}
        gone = before.keys() - now.keys()
        other = {name for name in now.keys() & before.keys() if now[name] != before[name]}
        if changed := new | gone | other:
            yield sorted(changed)
        before, since = now, at


def _look(watched: Callable[[], Iterable[str]]) -> Stamps:
    stamps: Stamps = {}
    for name in watched():
        # A file that an editor is just replacing is there at the next look. A name with a NUL
        # is no name of a file.
        with suppress(OSError, ValueError):
            found = os.stat(name)
            stamps[name] = (found.st_mtime_ns, found.st_size)
    return stamps
