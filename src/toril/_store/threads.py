"""Threads of the operating system, and locks and answers between them.

Everywhere but under gevent these are the ones of `threading`. gevent replaces those by greenlets,
which all share one thread: an event loop in one of them would be the loop of all, and a call that
blocks would block all. Here its originals are used, and who waits for an answer lets other
greenlets run meanwhile. A greenlet must not wait for an answer while it holds one of these locks.
Never here: what the threads do.
"""

import asyncio
import contextlib
import importlib
import selectors
import sys
import threading

# From the C module: gevent replaces the name in `queue`.
from _queue import SimpleQueue
from collections.abc import Callable
from queue import Empty
from typing import Any, Generic, Protocol, TypeVar, cast

from toril.errors import ConfigError

from .forks import Forkable, follow_forks

__all__ = [
    "CallResult",
    "Empty",
    "ForkSafeLock",
    "SimpleQueue",
    "in_thread",
    "loop_stops_greenlets",
    "new_event_loop",
    "new_lock",
    "original",
    "refuse_eventlet",
    "start_thread",
    "uses_gevent",
]

T = TypeVar("T")
# The threads that were started here: no greenlets of others run in them.
_own: set[int] = set()


class Thread(Protocol):
    """What is needed of a thread."""

    def join(self, timeout: float | None = None) -> None:
        """Wait until it has ended, or until the time is over."""
        ...

    def is_alive(self) -> bool:
        """Return whether it runs."""
        ...


def refuse_eventlet() -> None:
    """Raise ConfigError if eventlet has replaced the threads of this process."""
    patcher = sys.modules.get("eventlet.patcher")
    if patcher is not None and patcher.is_monkey_patched("thread"):
        raise ConfigError(
            "eventlet has replaced the threads of this process, and toril needs real ones",
            field="threads",
            hint="use threads (gunicorn -k gthread) or gevent (gunicorn -k gevent)",
        )


def uses_gevent() -> bool:
    """Return whether gevent has replaced the threads of this process."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


def loop_stops_greenlets() -> bool:
    """Return whether the running event loop keeps gevent's greenlets from running."""
    if not uses_gevent():
        return False
    # gevent replaced this name by its own selector, which runs greenlets while the loop waits.
    selector = getattr(asyncio.get_running_loop(), "_selector", None)
    return not isinstance(selector, selectors.DefaultSelector)


def original(module: str, name: str) -> Any:
    """Return what a module of Python has under this name, or had before gevent replaced it."""
    if "gevent.monkey" in sys.modules:
        return sys.modules["gevent.monkey"].get_original(module, name)
    return getattr(importlib.import_module(module), name)


def new_lock() -> threading.Lock:
    """Return a lock between threads of the system."""
    made: threading.Lock = original("_thread", "allocate_lock")()
    return made


def new_event_loop() -> asyncio.AbstractEventLoop:
    """Return an event loop for a thread that `start_thread` starts."""
    if uses_gevent():
        # gevent's own selector would run greenlets.
        return asyncio.SelectorEventLoop(original("selectors", "DefaultSelector")())
    return asyncio.new_event_loop()


class _NativeThread:
    """A thread of the system in a process where `threading` starts greenlets."""

    def __init__(self, target: Callable[[], None]) -> None:
        self._target = target
        self._running = new_lock()
        self._running.acquire()
        original("_thread", "start_new_thread")(self._main, ())

    def _main(self) -> None:
        try:
            _work(self._target)
        finally:
            self._running.release()

    def join(self, timeout: float | None = None) -> None:
        if self._running.acquire(timeout=-1 if timeout is None else timeout):
            self._running.release()

    def is_alive(self) -> bool:
        return bool(self._running.locked())


def _work(target: Callable[[], None]) -> None:
    ident = _thread_id()
    _own.add(ident)
    try:
        target()
    finally:
        _own.discard(ident)


def _thread_id() -> int:
    return int(original("_thread", "get_ident")())


def start_thread(target: Callable[[], None], name: str) -> Thread:
    """Start a thread that does not keep the process alive.

    Raises   ConfigError: eventlet has replaced the threads of this process.
    """
    refuse_eventlet()
    if uses_gevent():
        return _NativeThread(target)
    thread = threading.Thread(target=_work, args=(target,), name=name, daemon=True)
    thread.start()
    return thread


class CallResult(Generic[T]):
    """The result or the error of something that another thread does; one thread waits for it."""

    __slots__ = ("_changing", "_done", "_error", "_pending", "_result", "_wake")

    def __init__(self) -> None:
        self._pending = new_lock()
        self._pending.acquire()
        self._changing = new_lock()
        self._wake: Callable[[], None] | None = None
        self._done = False
        self._result: T | None = None
        self._error: BaseException | None = None

    def done(self) -> bool:
        """Return whether there is a result or an error."""
        return self._done

    def set_result(self, result: T) -> None:
        """End with a result."""
        self._result = result
        self._settle()

    def set_exception(self, error: BaseException) -> None:
        """End with an error, which `result` raises."""
        self._error = error
        self._settle()

    def _settle(self) -> None:
        with self._changing:
            self._done = True
            self._pending.release()
            if self._wake is not None:
                self._wake()

    def result(self, timeout: float | None = None) -> T:
        """Block until there is a result, and return it; under gevent only the greenlet blocks.

        Raises   TimeoutError. The error that was set.
        """
        if not self._done and not self._wait(timeout):
            raise TimeoutError
        error = self._error
        if error is None:
            return cast("T", self._result)
        try:
            raise error
        finally:
            del error  # its traceback refers to this frame

    def _wait(self, timeout: float | None) -> bool:
        if uses_gevent() and _thread_id() not in _own:
            return self._wait_in_greenlet(timeout)
        if not self._pending.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            return False
        self._pending.release()
        return True

    def _wait_in_greenlet(self, timeout: float | None) -> bool:
        gevent = importlib.import_module("gevent")
        told = importlib.import_module("gevent.event").Event()
        # The one thing of gevent's that another thread may touch.
        waker = gevent.get_hub().loop.async_()
        waker.start(told.set)
        with self._changing:
            self._wake = waker.send
        try:
            if not self._done:
                told.wait(timeout)
        finally:
            with self._changing:
                self._wake = None
            waker.stop()
            waker.close()
        return self._done


async def in_thread(call: Callable[[], T]) -> T:
    """Run a call that blocks in a thread of its own, and wait for it.

    Unlike `asyncio.to_thread` it works when the main thread has ended, too. When the caller is
    cancelled, the call goes on.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(result: T | None, error: BaseException | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)  # type: ignore[arg-type]
        else:
            future.set_exception(error)

    def work() -> None:
        result: T | None = None
        failed: BaseException | None = None
        try:
            result = call()
        except BaseException as error:
            failed = error
        # Nobody waits any more if the loop was closed.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(settle, result, failed)

    start_thread(work, "toril-call")
    return await future


class ForkSafeLock(Forkable):
    """A lock that is free in a forked child, whoever held it in the parent."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = new_lock()
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Replace the lock: the thread that held it does not exist here."""
        self._lock = new_lock()

    def acquire(self, timeout: float = -1) -> bool:
        """Take the lock; return False if that took too long."""
        return bool(self._lock.acquire(timeout=timeout))

    def release(self) -> None:
        """Release the lock."""
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()
