"""Threads for `def` handlers: as many as run at once, none of which can hold the process.

`concurrent.futures` has a fixed number of threads, so that each one that never ends would take
away a place for good, and it waits for all of them when the interpreter exits.
"""

import asyncio
import contextvars
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

from toril._jobs.background_loop import abandon

from .forks import leave_fork

A = TypeVar("A")
T = TypeVar("T")
Work = Callable[[], None]


class Threads:
    """Run calls in daemon threads; a thread that is done takes the next call."""

    __slots__ = ("_closed", "_count", "_idle", "_left", "_name", "_running")

    def __init__(self, name: str) -> None:
        self._name = name
        self._idle: deque[queue.SimpleQueue[Work | None]] = deque()
        self._count = 0
        self._closed = False
        # By the identity of what a call was given, the thread that makes it.
        self._running: dict[int, int] = {}
        self._left: set[int] = set()

    def run(self, call: Callable[[A], T], argument: A) -> asyncio.Future[T]:
        """Start a call in a thread, in the caller's context, and give what will hold its end.

        Cancelling that abandons the thread: it runs on, and nobody hears of its end.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        context = contextvars.copy_context()
        self._hand(lambda: _call(loop, future, lambda: self._noted(context, call, argument)))
        future.add_done_callback(lambda done: self._abandon(argument, done))
        return future

    def _abandon(self, argument: object, done: "asyncio.Future[Any]") -> None:
        thread = self._running.get(id(argument)) if done.cancelled() else None
        if thread is not None:
            # What it waits for has nobody left who wants it.
            abandon(thread)

    def thread_of(self, argument: object) -> int | None:
        """Return the id of the thread that runs a call with this argument."""
        return self._running.get(id(argument))

    @contextmanager
    def left(self, argument: object) -> Generator[None, None, None]:
        """Note that the call with this argument goes on outside its thread meanwhile."""
        self._left.add(id(argument))
        try:
            yield
        finally:
            self._left.discard(id(argument))

    def has_left(self, argument: object) -> bool:
        """Return whether the call with this argument goes on outside its thread."""
        return id(argument) in self._left

    def close(self) -> None:
        """Let idle threads end, and the others when they are done."""
        self._closed = True
        while self._idle:
            self._idle.pop().put(None)

    def _noted(self, context: contextvars.Context, call: Callable[[A], T], argument: A) -> T:
        self._running[id(argument)] = threading.get_ident()
        pid = os.getpid()
        try:
            value = context.run(call, argument)
        except BaseException as error:
            leave_fork(pid, error)
            raise
        else:
            leave_fork(pid, None)
            return value
        finally:
            self._running.pop(id(argument), None)

    def _hand(self, work: Work) -> None:
        try:
            inbox = self._idle.pop()
        except IndexError:
            inbox = self._start()
        inbox.put(work)

    def _start(self) -> "queue.SimpleQueue[Work | None]":
        self._count += 1
        inbox: queue.SimpleQueue[Work | None] = queue.SimpleQueue()
        name = f"{self._name}-{self._count}"
        threading.Thread(target=self._live, args=(inbox,), name=name, daemon=True).start()
        return inbox

    def _live(self, inbox: "queue.SimpleQueue[Work | None]") -> None:
        while (work := inbox.get()) is not None:
            work()
            # An idle thread must not keep alive what its last job used.
            del work
            if self._closed:
                return
            self._idle.append(inbox)


def _call(
    loop: asyncio.AbstractEventLoop, future: "asyncio.Future[T]", call: Callable[[], T]
) -> None:
    try:
        value = call()
    except StopIteration as error:
        # As in a coroutine: a future refuses this exception.
        stop = RuntimeError("the handler raised StopIteration")
        stop.__cause__ = error
        _post(loop, _set_error, future, stop)
    except BaseException as error:
        _post(loop, _set_error, future, error)
    else:
        _post(loop, _set_value, future, value)


def _post(loop: asyncio.AbstractEventLoop, call: Callable[..., None], *args: Any) -> None:
    # Once the loop is closed nobody is left to hear.
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(call, *args)


def _set_value(future: "asyncio.Future[T]", value: T) -> None:
    if not future.done():
        future.set_result(value)


def _set_error(future: "asyncio.Future[Any]", error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
