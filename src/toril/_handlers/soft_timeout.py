"""Soft time limits: a handler is told that its time is nearly over, and may still end in its way.

Never here: when it is told, or what becomes of a handler that does not listen.
"""

import asyncio
import functools
import inspect
import sys
from collections.abc import Callable, Coroutine, Generator
from dataclasses import replace
from types import TracebackType, coroutine
from typing import Any, cast

from toril._jobs.job import Job
from toril._model.times import Millis, describe
from toril.errors import SoftTimeout

from .handlers import Handler


def is_soft_timeout(error: BaseException | None) -> bool:
    """Whether an error is a `SoftTimeout`, or an exception group of nothing else."""
    if isinstance(error, BaseExceptionGroup):
        inside = cast("BaseExceptionGroup[BaseException]", error).exceptions
        return all(map(is_soft_timeout, inside))
    return isinstance(error, SoftTimeout)


def _teach_task_groups() -> None:
    """Let a task group take a `SoftTimeout` in its body for the cancellation that it is.

    Before Python 3.13 it compares the type with `CancelledError`, and puts anything else into an
    exception group, which `except SoftTimeout` does not catch.
    """
    leave = asyncio.TaskGroup.__aexit__

    @functools.wraps(leave)
    async def leave_softly(
        group: asyncio.TaskGroup,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        seen = asyncio.CancelledError if kind is SoftTimeout else kind
        await leave(group, seen, error, trace)

    setattr(asyncio.TaskGroup, "__aexit__", leave_softly)  # noqa: B010  # mypy knows no other way


if sys.version_info < (3, 13):
    _teach_task_groups()


class SoftLimit:
    """Tells one try of a handler once; code on the loop gets `SoftTimeout` where it awaits."""

    __slots__ = ("_due", "_handler", "_on_loop", "_told", "ms")

    def __init__(self, handler: Handler, ms: Millis) -> None:
        self._handler = handler
        self._due = False
        self._told = False
        # Of a plain function only what it hands back to be awaited, if anything.
        self._on_loop = handler.is_async
        self.ms = ms

    @property
    def handler(self) -> Handler:
        """What is run in the handler's place, so that it can be told."""
        call = self._handler.call

        def steered(job: Job[Any]) -> Any:
            value = call(job)
            return self._steer(value) if inspect.iscoroutine(value) else value

        return replace(self._handler, call=steered)

    def tell(self, task: asyncio.Task[Any], job: Job[Any]) -> None:
        """Tell the handler that runs in this task."""
        job.cancelled.set()
        self._told = True
        if self._on_loop:
            self._cancel(task)

    def _cancel(self, task: asyncio.Task[Any]) -> None:
        self._due = True
        task.cancel()

    def spare(self) -> None:
        """Let the next cancellation be one: there is no time left."""
        self._due = False

    @coroutine
    def _steer(self, inner: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
        """Run a coroutine as `await` does; the cancellation that tells it is a `SoftTimeout`."""
        task = asyncio.current_task()
        if self._told and not self._on_loop and task is not None:
            # The time passed while a plain function made this coroutine.
            self._cancel(task)
        self._on_loop = True
        step: Callable[[Any], Any] = inner.send
        value: Any = None
        while True:
            try:
                awaited = step(value)
            except StopIteration as done:
                return done.value
            step = inner.send
            try:
                value = yield awaited
            except GeneratorExit:
                inner.close()
                raise
            except BaseException as error:
                step, value = inner.throw, self._read(error)

    def _read(self, error: BaseException) -> BaseException:
        if not self._due or not isinstance(error, asyncio.CancelledError):
            return error
        self._due = False
        task = asyncio.current_task()
        if task is not None:
            # It was told, not cancelled: time limits within the handler must not count this.
            task.uncancel()
        return SoftTimeout(f"its soft timeout of {describe(self.ms)} has passed")
