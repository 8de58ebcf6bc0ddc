"""Ending a process of workers: signals, exit codes, and a way out that nothing can block.

For the command line only: a worker inside somebody else's process is stopped by `Worker.stop`.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager, suppress
from types import FrameType
from typing import Any, NoReturn

from toril._store.forks import Forkable, follow_forks
from toril._worker.worker import Worker

SIGNALS = (signal.SIGTERM, signal.SIGINT)
# A terminal that is closed; what was started with nohup goes on.
HANG_UP = getattr(signal, "SIGHUP", None)
# After a second signal, and after the grace, what has not ended by itself is ended so much later:
# time for cancelled code to end and for the last decisions to be written.
LAST_RESORT_S = 12.0

log = logging.getLogger("toril.worker")

Attend = Callable[["Ending"], AbstractAsyncContextManager[object]]


async def serve(workers: Sequence[Worker], attend: Attend | None = None) -> int:
    """Run workers until a signal comes, and give the exit code.

    The first SIGTERM, SIGINT or SIGHUP lets running jobs end within their grace, a second one puts
    them back at once. 0: every job ended in time. 1: some were put back.

    Shape    attend: what goes on beside them from before their start until they have ended; it
             may ask for the end too.
    Raises   what starting a worker raises; those that had started are stopped.
    """
    ending = Ending(workers)
    for worker in workers:
        worker.leaving = True
        worker.given_up = _give_up
    async with AsyncExitStack() as beside:
        beside.enter_context(_handled(ending))
        if attend is not None:
            await beside.enter_async_context(attend(ending))
        try:
            for worker in workers:
                await worker.start()
            await ending.asked.wait()
        finally:
            in_time = await asyncio.gather(*(worker.stop() for worker in workers))
    ending.called_off()
    return 0 if all(in_time) else 1


def leave(code: int) -> NoReturn:
    """End the process now, whatever threads still run."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        # A closed pipe must not turn the exit code into another one.
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


class Ending:
    """What the signals of one process, or whoever supervises it, have asked for."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self._workers = workers
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._timer: threading.Timer | None = None
        self._stops: list[asyncio.Task[bool]] = []
        self.asked = asyncio.Event()

    def signalled(self, number: int, _: FrameType | None) -> None:
        """Act on a signal, in the main thread, perhaps in the middle of a handler's code."""
        self._count += 1
        if self._count == 1:
            self.ask()
        else:
            self.hurry()
        log.info(
            "worker.signal signal=%s", signal.Signals(number).name, extra={"times": self._count}
        )

    def ask(self) -> None:
        """End within the grace, from any thread; asked again it changes nothing."""
        if self._timer is None:
            grace = max(worker.settings.grace_s for worker in self._workers)
            self._end_after(grace + LAST_RESORT_S)
        self._tell(self.asked.set)

    def hurry(self) -> None:
        """End now, from any thread: what runs is put back."""
        self._end_after(LAST_RESORT_S)
        self._tell(self._hurry)

    def _tell(self, call: Callable[[], object]) -> None:
        # A closed loop has ended already.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call)

    def called_off(self) -> None:
        """Everything has ended on its own."""
        if self._timer is not None:
            self._timer.cancel()

    def _hurry(self) -> None:
        self.asked.set()
        self._stops = [asyncio.ensure_future(worker.stop(grace=0)) for worker in self._workers]

    def _end_after(self, seconds: float) -> None:
        # A thread, for the loop itself may be what does not end.
        self.called_off()
        self._timer = threading.Timer(seconds, leave, (1,))
        self._timer.daemon = True
        self._timer.start()


@contextmanager
def _handled(ending: Ending) -> Generator[None, None, None]:
    numbers = [*SIGNALS]
    if HANG_UP is not None and signal.getsignal(HANG_UP) is not signal.SIG_IGN:
        numbers.append(HANG_UP)
    handled = _Handled({number: signal.signal(number, ending.signalled) for number in numbers})
    try:
        yield
    finally:
        handled.restore()


class _Handled(Forkable):
    """The signals that end the workers of this process, and who answered them before.

    A process that a handler forks has no worker: signals end it as they would end any other.
    """

    def __init__(self, before: dict[signal.Signals, Any]) -> None:
        self._before = before
        self._mask: set[Any] = set()
        follow_forks(self)

    def restore(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def before_fork(self) -> None:
        """Hold signals back: one for the child must not come before it has its own handlers."""
        self._mask = signal.pthread_sigmask(signal.SIG_BLOCK, self._before)

    def after_fork_in_parent(self) -> None:
        """Let signals through."""
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)

    def after_fork_in_child(self) -> None:
        """Answer signals as before there was a worker."""
        self.restore()
        signal.pthread_sigmask(signal.SIG_SETMASK, self._mask)


def _give_up(reason: str) -> None:
    """End the process that cannot go on, after showing what every thread does."""
    log.critical("worker.given_up reason=%r", reason, extra={"reason": reason})
    faulthandler.dump_traceback(all_threads=True)
    leave(1)
