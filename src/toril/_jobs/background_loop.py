"""A loop in a background thread, for code that blocks: one a process, made when first needed.

Never here: what runs on it.
"""

import asyncio
import concurrent.futures
import contextlib
import inspect
import logging
import threading
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Iterator
from typing import Any, Generic, TypeVar

from toril._model.times import Duration, to_ms
from toril._store.forks import Forkable, follow_forks, keep
from toril._store.threads import (
    CallResult,
    ForkSafeLock,
    Thread,
    new_event_loop,
    start_thread,
    uses_gevent,
)
from toril.errors import ConfigError, TorilError

T = TypeVar("T")

log = logging.getLogger("toril.sync")


def run(what: Awaitable[T], timeout: Duration | None = None) -> T:
    """Run a coroutine on the background loop, and block until it is done.

    It is cancelled when nobody waits for it any more: after the timeout, on Ctrl-C, and when the
    job whose handler called this is over.

    Raises   TorilError: this thread runs a loop of its own, which would stand still: await
             instead. ConfigError: it is no coroutine, or a bad timeout. TimeoutError. Whatever
             the coroutine raises.
    """
    try:
        _check(what)
        seconds = None if timeout is None else to_ms(timeout, field="timeout") / 1000
    except TorilError:
        if asyncio.iscoroutine(what):
            what.close()
        raise
    return _PORTAL.run(_Call(what), seconds)


def iterate(items: AsyncIterable[T], timeout: Duration | None = None) -> Iterator[T]:
    """Iterate over what an asynchronous iterator yields, and block until each is there.

    It is closed when the loop over it ends.

    Args:
        items: Such as `queue.jobs("failed")` or `job.events()`.
        timeout: How long to wait for each.

    Raises   as `run`.
    """
    source = aiter(items)
    try:
        while True:
            found = run(_next_of(source), timeout)
            if not found:
                return
            yield found[0]
    finally:
        close = getattr(source, "aclose", None)
        if close is not None:
            run(close())


async def _next_of(source: AsyncIterator[T]) -> tuple[T, ...]:
    """Return the next item alone, or nothing at the end."""
    async for item in source:
        return (item,)
    return ()


def _check(what: object) -> None:
    if not inspect.isawaitable(what):
        raise ConfigError(
            f"sync.run({what!r:.80}) needs a coroutine",
            field="what",
            value=what,
            hint="write sync.run(task.enqueue(...)), with the call",
        )
    if _runs_loop():
        raise TorilError(
            "this thread runs an event loop, which a blocking call would stop: "
            "await the async form (such as `await task.enqueue(...)`) instead"
        )


def _runs_loop() -> bool:
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return False
    # Under gevent it may be the loop of another greenlet in this thread, which goes on meanwhile.
    return not uses_gevent() or getattr(loop, "_thread_id", None) == threading.get_ident()


def abandon(thread: int) -> None:
    """Cancel what this thread waits for in `run`, if it does."""
    _PORTAL.abandon(thread)


class _Call(Generic[T]):
    """A coroutine on its way to the loop, and the outcome that a thread waits for."""

    def __init__(self, what: Awaitable[T]) -> None:
        self._what = what
        self._task: asyncio.Task[None] | None = None
        self.outcome = CallResult[T]()

    def start(self) -> None:
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._task.add_done_callback(self._over)

    def _over(self, task: asyncio.Task[None]) -> None:
        # A task that is cancelled before its first step runs nothing at all.
        self.drop()
        if not self.outcome.done():
            self.outcome.set_exception(concurrent.futures.CancelledError())

    def drop(self) -> None:
        """Never start."""
        if asyncio.iscoroutine(self._what):
            self._what.close()

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        # Nothing is raised here: a SystemExit would end the loop that all calls share.
        try:
            self.outcome.set_result(await self._what)
        except asyncio.CancelledError:
            self.outcome.set_exception(concurrent.futures.CancelledError())
        except BaseException as error:
            self.outcome.set_exception(error)


class _Portal(Forkable):
    """The background loop of this process, and who waits for what on it."""

    def __init__(self) -> None:
        self._starting = ForkSafeLock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: Thread | None = None
        self._waiting: dict[int, _Call[Any]] = {}
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Leave the loop to the parent: its thread does not exist here."""
        keep(self._loop, self._thread, self._waiting)
        self._loop = self._thread = None
        self._waiting = {}

    def run(self, call: "_Call[T]", timeout: float | None) -> T:
        try:
            loop = self._running_loop()
        except BaseException:
            call.drop()
            raise
        thread = threading.get_ident()
        self._waiting[thread] = call
        try:
            loop.call_soon_threadsafe(call.start)
            return call.outcome.result(timeout)
        finally:
            self._waiting.pop(thread, None)
            if not call.outcome.done():
                self._cancel(call)

    def abandon(self, thread: int) -> None:
        call = self._waiting.get(thread)
        if call is not None:
            self._cancel(call)

    def _cancel(self, call: "_Call[Any]") -> None:
        if self._loop is not None:
            self._loop.call_soon_threadsafe(call.cancel)

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        with self._starting:
            if self._loop is None or self._thread is None or not self._thread.is_alive():
                self._loop, self._thread = _start_loop()
            return self._loop


def _start_loop() -> tuple[asyncio.AbstractEventLoop, Thread]:
    loop = new_event_loop()

    def serve() -> None:
        with contextlib.closing(loop):
            while True:
                try:
                    return loop.run_forever()
                except (SystemExit, KeyboardInterrupt):
                    # A task that the coroutine of somebody started raised it: it is not for the
                    # threads that wait for others.
                    log.exception("sync.task_failed: the background loop goes on")

    try:
        return loop, start_thread(serve, "toril-sync")
    except BaseException:
        loop.close()
        raise


_PORTAL = _Portal()
