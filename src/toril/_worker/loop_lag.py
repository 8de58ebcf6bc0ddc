"""Noticing code that blocks the event loop, and naming its line.

A thread posts a ping to the loop and looks how long the answer takes. Never here: locks.
"""

import asyncio
import linecache
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

from toril._handlers.user_code import TORIL_FRAMES
from toril._model.urls import hide_line

from .hooks import LoopBlocked

# What lasts this many times the limit is told while it still lasts.
TELL_AT = 10

_STDLIB = sysconfig.get_paths()["stdlib"] + os.sep
_SITE = tuple({sysconfig.get_paths()[key] + os.sep for key in ("purelib", "platlib")})


class LoopWatch:
    """Watch one event loop from a thread.

    Units    limit, max_block in seconds: when to warn, and when to give the process up.
    """

    __slots__ = (
        "_asked", "_found", "_job_of", "_loop", "_max_block", "_tell", "_thread", "_told", "limit",
    )  # fmt: skip

    def __init__(
        self,
        tell: Callable[[LoopBlocked], None],
        job_of: Callable[[asyncio.Task[object] | None], str],
        *,
        limit: float,
        max_block: float,
    ) -> None:
        self.limit = limit
        self._max_block = max_block
        self._tell = tell
        self._job_of = job_of
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()
        self._asked: float | None = None
        self._found: LoopBlocked | None = None
        self._told = False

    def tick(self, busy: bool) -> bool:
        """Look once, from the watching thread; False says that the loop stood still too long."""
        asked = self._asked
        if asked is None:
            if busy:
                self._asked = time.monotonic()
                with suppress(RuntimeError):  # closed
                    self._loop.call_soon_threadsafe(self._answered)
            return True
        waited = time.monotonic() - asked
        if waited >= self.limit and self._found is None:
            self._found = self._look(waited)
        lasting = waited >= min(self.limit * TELL_AT, self._max_block)
        if lasting and self._found is not None and not self._told:
            self._told = True
            self._tell(_lasting(self._found, waited))
        return waited < self._max_block

    def _answered(self) -> None:
        """Take the answer, on the loop."""
        asked, found, told = self._asked, self._found, self._told
        self._found, self._told, self._asked = None, False, None
        if found is not None and asked is not None and not told:
            self._tell(_lasting(found, time.monotonic() - asked))

    def _look(self, waited: float) -> LoopBlocked:
        frame = sys._current_frames().get(self._thread)  # pyright: ignore[reportPrivateUsage]
        where, source = _culprit(frame) if frame is not None else ("unknown", "")
        task = asyncio.current_task(self._loop)
        return LoopBlocked(seconds=waited, job=self._job_of(task), where=where, source=source)


def _lasting(found: LoopBlocked, seconds: float) -> LoopBlocked:
    return LoopBlocked(
        seconds=round(seconds, 1), job=found.job, where=found.where, source=found.source
    )


def line_of(thread: int) -> str | None:
    """Say at which line of the user's code a thread is: "path:line"."""
    frame = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    return None if frame is None else _culprit(frame)[0]


def _culprit(frame: FrameType) -> tuple[str, str]:
    """Find the innermost line that is the user's, else the innermost of all."""
    found: FrameType | None = frame
    while found is not None and not _is_users(found.f_code.co_filename):
        found = found.f_back
    shown = found or frame
    path, line = shown.f_code.co_filename, shown.f_lineno
    source = linecache.getline(path, line, shown.f_globals).strip()
    return f"{path}:{line}", hide_line(source)


def _is_users(path: str) -> bool:
    if path.startswith(("<frozen", TORIL_FRAMES)):
        return False
    return path.startswith(_SITE) or not path.startswith(_STDLIB)
