"""A second Ctrl-C while workers stop in somebody's program: what runs is put back at once.

asyncio answers the first SIGINT by cancelling the program's main task, and the second by raising
KeyboardInterrupt wherever the loop is. Raised in the loop's own bookkeeping it loses a wake-up,
and the program hangs instead of ending. Never here: the command line's signals (stopping).
"""

import asyncio
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType
from typing import Any

Hurry = Callable[[], object]


class _Interrupts:
    """The workers of this process that stop, and who answered SIGINT before them."""

    def __init__(self) -> None:
        self._stopping: list[tuple[asyncio.AbstractEventLoop, Hurry]] = []
        self._hurried = False
        self._before: Callable[[int, FrameType | None], Any] = signal.default_int_handler

    def enter(self, hurry: Hurry) -> tuple[asyncio.AbstractEventLoop, Hurry]:
        place = asyncio.get_running_loop(), hurry
        self._stopping.append(place)
        before = signal.getsignal(signal.SIGINT)
        # With the default one, the program decides for itself what interrupts its loop.
        if callable(before) and before not in (self.interrupted, signal.default_int_handler):
            # The same one answers as long as the program runs its main task: every worker that
            # stops after the second interrupt hurries too.
            self._hurried &= before is self._before
            self._before = before
            signal.signal(signal.SIGINT, self.interrupted)
        if self._hurried:
            hurry()
        return place

    def leave(self, place: tuple[asyncio.AbstractEventLoop, Hurry]) -> None:
        self._stopping.remove(place)
        if not self._stopping and signal.getsignal(signal.SIGINT) == self.interrupted:
            signal.signal(signal.SIGINT, self._before)

    def interrupted(self, number: int, frame: FrameType | None) -> None:
        try:
            self._before(number, frame)
        except KeyboardInterrupt:
            # Once: whoever presses it again wants out, come what may.
            if self._hurried:
                raise
            self._hurried = True
            for loop, hurry in self._stopping:
                loop.call_soon_threadsafe(hurry)


_INTERRUPTS = _Interrupts()


@contextmanager
def hurried_by_interrupt(hurry: Hurry) -> Generator[None, None, None]:
    """Call `hurry` in the loop, once, where a SIGINT would otherwise raise KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    place = _INTERRUPTS.enter(hurry)
    try:
        yield
    finally:
        _INTERRUPTS.leave(place)
