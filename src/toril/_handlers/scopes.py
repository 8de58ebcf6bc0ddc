"""Making what handlers depend on, once per worker or once per attempt, and ending it.

A dependency runs where the code runs that needs it: on the loop for a coroutine function and for
everything that is made once per worker, in its thread for a plain function. Never here: which
dependencies a function has (`dependencies`).
"""

import asyncio
import concurrent.futures
import contextvars
import inspect
import logging
import os
import time
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    contextmanager,
    suppress,
)
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple, TypeVar, cast

from toril._jobs.guard import is_cancelled, text_of
from toril._jobs.job import Job
from toril.errors import Signal, TaskError, TorilError

from .callables import yields
from .dependencies import Dependency, Given, Parameter, Source, arrange
from .handlers import Handler

T = TypeVar("T")

# How long the start of a worker waits for all that it has to make.
MAKE_ALL_S = 60.0
# How long what lives as long as a worker has to end: each dependency, and all together.
CLOSE_S = 5.0
CLOSE_ALL_S = 8.0
# How often code in a thread that waits for the loop looks whether it was told to stop.
LOOK_S = 0.2
# How long it goes on waiting after that.
PATIENCE_S = 5.0

log = logging.getLogger("toril.worker")

Wait = Callable[[Awaitable[Any]], Awaitable[Any]]
Manager = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]


async def on_the_loop(awaitable: Awaitable[T]) -> T:
    """Await something where we are."""
    return await awaitable


class _Scope:
    """What was made for one worker or one attempt."""

    def __init__(self, wait: Wait, worker: "_Scope | None" = None, job: Job[Any] | None = None):
        self._wait = wait
        self._worker = worker
        self._job = job
        self.made: dict[object, object] = {}
        self._open: list[tuple[Dependency, Manager]] = []
        self._pid = os.getpid()

    async def values(self, parameters: tuple[Parameter, ...]) -> dict[str, object]:
        """Return the values of parameters, making what was not made yet."""
        return {each.name: await self.value(each.source) for each in parameters}

    async def value(self, source: Source) -> object:
        """Return one value."""
        if isinstance(source, Given):
            return source.value
        if not isinstance(source, Dependency):
            return self._job
        if source.scope == "worker" and self._worker is not None:
            # Made when the worker started.
            return self._worker.made[source.key]
        if source.key not in self.made:
            self.made[source.key] = await self._make(source)
        return self.made[source.key]

    async def _make(self, dependency: Dependency) -> object:
        values = await self.values(dependency.parameters)
        args, kwargs = arrange(dependency.parameters, values)
        try:
            value = dependency.call(*args, **kwargs)
            manager = _manager(value, dependency.call)
            if manager is not None:
                value = await self._entered(manager, dependency)
                self._open.append((dependency, manager))
            elif inspect.isawaitable(value):
                value = await self._wait(value)
        except Exception as error:
            error.add_note(f"raised by the {dependency.role} {dependency.title}")
            raise
        return value

    async def _entered(self, manager: Manager, dependency: Dependency) -> object:
        try:
            if isinstance(manager, AbstractAsyncContextManager):
                return await self._wait(manager.__aenter__())
            return manager.__enter__()
        except RuntimeError as error:
            if str(error) != "generator didn't yield":
                raise
            raise TaskError(
                f"the {dependency.role} {dependency.title} ended without a yield"
            ) from error

    async def run(self, attempt: "Attempt") -> Any:
        """Enter the middleware, and call a handler with the values of its parameters."""
        for each in attempt.around:
            await self.value(each)
        value = attempt.call(await self.values(attempt.parameters))
        return await self._wait(value) if inspect.isawaitable(value) else value

    async def close(self, error: BaseException | None) -> BaseException | None:
        """End what was made, last first, and give what the attempt raises after that.

        The handler's own error stays, unless a dependency raises a signal in its place. If there
        is none, an error of a dependency fails the attempt: what it should do is not done.
        """
        if os.getpid() != self._pid:
            return error  # a fork that comes out of the handler: these are its parent's
        while self._open:
            dependency, manager = self._open.pop()
            try:
                await self._exited(dependency, manager, error)
            except BaseException as fault:
                if error is None or (isinstance(fault, Signal) and not isinstance(error, Signal)):
                    error = fault
                elif not isinstance(fault, asyncio.CancelledError):
                    _report(dependency, fault)
        return error

    async def close_all(self) -> None:
        """End what was made, last first, each within its time; errors are logged."""
        while self._open:
            dependency, manager = self._open.pop()
            try:
                async with asyncio.timeout(CLOSE_S):
                    await self._exited(dependency, manager, None)
            except BaseException as fault:
                # SystemExit too: it must not end the loop.
                _report(dependency, fault)

    async def _exited(
        self, dependency: Dependency, manager: Manager, error: BaseException | None
    ) -> None:
        kind = None if error is None else type(error)
        trace = None if error is None else error.__traceback__
        try:
            if isinstance(manager, AbstractAsyncContextManager):
                await self._wait(manager.__aexit__(kind, error, trace))
            else:
                manager.__exit__(kind, error, trace)
        except RuntimeError as fault:
            if not str(fault).startswith("generator didn't stop"):
                raise
            raise TaskError(f"the {dependency.role} {dependency.title} yielded twice") from fault


def _report(dependency: Dependency, fault: BaseException) -> None:
    log.error(
        "dependency.not_ended %s=%r",
        dependency.role,
        dependency.title,
        extra={dependency.role: dependency.title},
        exc_info=fault,
    )


def _same(value: Any) -> Any:
    return value


def _manager(value: Any, call: Callable[..., Any]) -> Manager | None:
    """Return what begins and ends a value that was yielded; None: nothing has to be ended."""
    if inspect.isgenerator(value):
        return contextmanager(partial(_same, value))()
    if inspect.isasyncgen(value):
        return asynccontextmanager(partial(_same, value))()
    # A function under @contextmanager or @asynccontextmanager.
    if isinstance(value, AbstractContextManager | AbstractAsyncContextManager) and yields(call):
        return cast("Manager", value)
    return None


# As long as a worker.


class WorkerScope:
    """What one worker, or one child process, has made: all of it at its start.

    One task makes it and ends it, as cancel scopes and task groups in generators need.
    """

    def __init__(self) -> None:
        self._scope = _Scope(on_the_loop)
        self._task: asyncio.Task[None] | None = None
        self._making: Dependency | None = None
        self._end = asyncio.Event()

    async def start(self, wanted: Iterable[Source]) -> None:
        """Make everything in these sources that lives as long as the worker.

        Raises   TaskError: a dependency failed, or all of them took longer than a minute; what
                 was made before has been ended.
        """
        ready: asyncio.Future[BaseException | None] = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._live(list(_lasting(wanted)), ready))
        try:
            await asyncio.wait({ready}, timeout=MAKE_ALL_S)
        except asyncio.CancelledError:
            self._task.cancel()
            await self.close()
            raise
        error = ready.result() if ready.done() else self._too_slow()
        if error is not None:
            await self.close()
            raise error

    def _too_slow(self) -> TaskError:
        title = "" if self._making is None else f": {self._making.title} has not returned"
        if self._task is not None:
            self._task.cancel()
        return TaskError(
            f"the worker cannot start: its dependencies took longer than {MAKE_ALL_S:g} s{title}"
        )

    async def _live(
        self, wanted: list[Dependency], ready: "asyncio.Future[BaseException | None]"
    ) -> None:
        error: BaseException | None = None
        try:
            for self._making in wanted:
                try:
                    await self._scope.value(self._making)
                except BaseException as fault:
                    error = _unmade(self._making, fault)
                    break
            if not ready.done():
                ready.set_result(error)
            if error is None:
                await self._end.wait()
        finally:
            await self._scope.close_all()

    def made(self, dependency: Dependency) -> Any:
        """Return something that was made at the start."""
        return self._scope.made[dependency.key]

    async def close(self, within: float = CLOSE_ALL_S) -> None:
        """End what was made; what takes longer than its time is left behind, and logged."""
        task = self._task
        if task is None:
            return
        self._end.set()
        await asyncio.wait({task}, timeout=within)
        if not task.done():
            task.cancel()
            await asyncio.wait({task}, timeout=LOOK_S)
        if not task.done():
            log.error("dependency.stuck: the dependencies of a worker do not end")

    # For one attempt.

    def bind(
        self, handler: Handler, needs: "Needs", runner: asyncio.Runner | None = None
    ) -> Handler:
        """Return a handler that makes what it needs, runs, and ends what was made for it.

        Shape    runner: where plain code awaits something; if not given, that code runs in a thread,
                 and what it waits for runs on this loop.
        """
        parameters = needs.parameters
        fill = handler.fill or _filler(handler.function, parameters or ())

        def attempt(wait: Wait, job: Job[Any]) -> Coroutine[Any, Any, Any]:
            # A handler that needs nothing but the job gets it as it does without middleware.
            call = partial(_alone, handler.call, job) if parameters is None else partial(fill, job)
            scope = _Scope(wait, self._scope, job)
            return _attempt(scope, Attempt(needs.around, parameters or (), call))

        if handler.is_async:
            return replace(handler, call=partial(attempt, on_the_loop))
        wait_in: Callable[[Job[Any]], Wait]
        if runner is None:
            wait_in = partial(_FromThread, asyncio.get_running_loop())
        else:
            wait_in = partial(_OnRunner, runner)

        def call(job: Job[Any]) -> Any:
            return _driven(attempt(wait_in(job), job))

        return replace(handler, call=call)


class Needs(NamedTuple):
    """What surrounds a handler: its middleware, the outermost first, and what fills its parameters.

    Shape    parameters None: it gets its job, or the arguments of its job, and nothing else.
    """

    around: tuple[Dependency, ...] = ()
    parameters: tuple[Parameter, ...] | None = None

    @property
    def sources(self) -> list[Source]:
        """All that must be made for it, now or at the start of its worker."""
        found: list[Source] = list(self.around)
        found.extend(each.source for each in self.parameters or ())
        return found

    def __bool__(self) -> bool:
        return bool(self.around) or self.parameters is not None


class Attempt(NamedTuple):
    """One attempt of a handler, its call yet to be made."""

    around: tuple[Dependency, ...]
    parameters: tuple[Parameter, ...]
    call: Callable[[Mapping[str, object]], Any]


def _alone(call: Callable[[Job[Any]], Any], job: Job[Any], _: Mapping[str, object]) -> Any:
    return call(job)


def _lasting(sources: Iterable[Source]) -> Iterator[Dependency]:
    """Return all that lives as long as a worker, also what is needed only for what does not."""
    for source in sources:
        if isinstance(source, Dependency):
            yield from _lasting(each.source for each in source.parameters)
            if source.scope == "worker":
                yield source


def _unmade(dependency: Dependency, fault: BaseException) -> BaseException:
    if isinstance(fault, TorilError | KeyboardInterrupt):
        return fault
    if isinstance(fault, asyncio.CancelledError) and is_cancelled():
        return fault
    error = TaskError(
        f"the worker cannot start: the {dependency.role} {dependency.title} failed: "
        f"{type(fault).__name__}: {text_of(fault)}"
    )
    error.__cause__ = fault
    return error


def _filler(
    function: Callable[..., Any], parameters: tuple[Parameter, ...]
) -> Callable[[Job[Any], Mapping[str, object]], Any]:
    def fill(_: Job[Any], values: Mapping[str, object]) -> Any:
        args, kwargs = arrange(parameters, values)
        return function(*args, **kwargs)

    return fill


async def _attempt(scope: _Scope, attempt: Attempt) -> Any:
    error: BaseException | None = None
    value: Any = None
    try:
        value = await scope.run(attempt)
    except BaseException as raised:
        error = raised
    try:
        error = await scope.close(error)
        if error is not None:
            raise error
    finally:
        # The error's traceback refers to this frame.
        del error
    return value


# Code in a thread.


def _take_variables(context: contextvars.Context) -> None:
    """Set the context variables of another context here, too."""
    for variable, value in context.items():
        if variable.get(None) is not value:
            variable.set(value)


class _OnRunner:
    """Awaits things on the loop of a runner, which rests while plain code has the thread."""

    def __init__(self, runner: asyncio.Runner, _: Job[Any]) -> None:
        self._runner = runner
        self._context = contextvars.copy_context()

    async def __call__(self, awaitable: Awaitable[Any]) -> Any:
        self._context.run(_take_variables, contextvars.copy_context())
        value = self._runner.run(on_the_loop(awaitable), context=self._context)
        _take_variables(self._context)
        return value


def _driven(work: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine that never waits on its own: what it awaits, it has somebody else await."""
    try:
        work.send(None)
    except StopIteration as done:
        return cast("T", done.value)
    finally:
        work.close()
    raise RuntimeError("a dependency was awaited in a thread")


class _FromThread:
    """Awaits things on the loop while a thread waits for their ends."""

    def __init__(self, loop: asyncio.AbstractEventLoop, job: Job[Any]) -> None:
        self._loop = loop
        self._job = job
        # One for all, so that a generator may reset the context variables that it has set.
        self._context = contextvars.copy_context()

    async def __call__(self, awaitable: Awaitable[Any]) -> Any:
        self._context.run(_take_variables, contextvars.copy_context())
        work = on_the_loop(awaitable)
        end: concurrent.futures.Future[Any] = concurrent.futures.Future()
        tasks: list[asyncio.Task[None]] = []

        def begin() -> None:
            tasks.append(self._loop.create_task(_into(end, work), context=self._context))

        try:
            self._loop.call_soon_threadsafe(begin)
        except RuntimeError:
            work.close()
            raise
        patient_until: float | None = None
        while True:
            try:
                value = end.result(LOOK_S)
            except TimeoutError:
                if end.done():
                    raise
            else:
                _take_variables(self._context)
                return value
            if not self._job.cancelled.is_set():
                continue
            now = time.monotonic()
            patient_until = patient_until or now + PATIENCE_S
            if now > patient_until:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])


async def _into(end: "concurrent.futures.Future[Any]", work: Coroutine[Any, Any, Any]) -> None:
    try:
        value = await work
    except BaseException as error:
        end.set_exception(error)
    else:
        end.set_result(value)
