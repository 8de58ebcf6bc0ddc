"""A second signal while workers stop in somebody's program: what runs is put back at once.

The program, or the web server in it, answers the first signal, and stops its workers in the end.
Most servers do nothing about a second one while they wait for that, and asyncio raises
KeyboardInterrupt wherever the loop is: raised in the loop's own bookkeeping it loses a wake-up,
and the program hangs. So as long as a worker stops, the signals go through here, and then to who
answered them before. Never here: the command line's signals (shutdown).
"""

import asyncio
import signal
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from types import FrameType
from typing import Any, NamedTuple

# A supervisor's SIGTERM may follow a terminal's SIGINT: one wish to stop, sent twice.
SAME_WISH_S = 1.0
_SIGNALS = (signal.SIGINT, signal.SIGTERM)

Hurry = Callable[[], object]
Answer = Callable[[int, FrameType | None], Any]


class _Stop(NamedTuple):
    loop: asyncio.AbstractEventLoop
    hurry: Hurry
    began: float


class _Interrupts:
    """The workers of this process that stop, and who answered each signal before them."""

    def __init__(self) -> None:
        self._stopping: list[_Stop] = []
        self._hurried = False
        self._before: dict[int, Answer] = {}

    def enter(self, hurry: Hurry) -> _Stop:
        place = _Stop(asyncio.get_running_loop(), hurry, time.monotonic())
        self._stopping.append(place)
        for number in _SIGNALS:
            self._take_over(number)
        if self._hurried:
            hurry()
        return place

    def _take_over(self, number: int) -> None:
        before = signal.getsignal(number)
        # With the default one, the program decides for itself what interrupts its loop.
        if callable(before) and before not in (self.interrupted, signal.default_int_handler):
            if number == signal.SIGINT:
                # The same one answers as long as the program runs its main task: every worker
                # that stops after the second interrupt hurries too.
                self._hurried &= before is self._before.get(number)
            self._before[number] = before
            signal.signal(number, self.interrupted)

    def leave(self, place: _Stop) -> None:
        self._stopping.remove(place)
        if self._stopping:
            return
        for number, before in self._before.items():
            if signal.getsignal(number) == self.interrupted:
                signal.signal(number, before)

    def interrupted(self, number: int, frame: FrameType | None) -> None:
        before = self._before[number]
        try:
            before(number, frame)
        except KeyboardInterrupt:
            # Once: whoever presses it again wants out, come what may.
            if self._hurried:
                raise
        else:
            if _cancels_main_task(before) or self._repeats(number):
                return
        self._hurried = True
        for loop, hurry, _ in self._stopping:
            loop.call_soon_threadsafe(hurry)

    def _repeats(self, number: int) -> bool:
        first = min((stop.began for stop in self._stopping), default=0.0)
        return number == signal.SIGTERM and time.monotonic() - first < SAME_WISH_S


def _cancels_main_task(answer: Answer) -> bool:
    """Whether asyncio answers: the first time by cancelling the program, and not by raising."""
    inner: Any = answer.func if isinstance(answer, partial) else answer
    return getattr(inner, "__func__", None) is vars(asyncio.Runner)["_on_sigint"]


_INTERRUPTS = _Interrupts()


@contextmanager
def hurried_by_signals(hurry: Hurry) -> Generator[None, None, None]:
    """Call `hurry` in the loop when a signal comes that is not the first wish to stop."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    place = _INTERRUPTS.enter(hurry)
    try:
        yield
    finally:
        _INTERRUPTS.leave(place)
