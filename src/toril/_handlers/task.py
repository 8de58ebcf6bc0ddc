"""`Task`: a named, typed function that jobs run.

It is handed what adds jobs; it does not know `Queue`. Never here: running it in a worker.
"""

import copy
import inspect
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import (
    Any,
    Concatenate,
    Generic,
    NoReturn,
    ParamSpec,
    Self,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from toril._jobs.background_loop import run
from toril._jobs.job import CURRENT, Job
from toril._jobs.node import Add, EnqueueOptions, Node, split_id
from toril._jobs.turns import in_turns
from toril._model.backoff import Exponential
from toril._model.options import NAMES, Options
from toril._model.other_systems import CALLS_ELSEWHERE, ELSEWHERE
from toril._model.times import Duration
from toril.errors import BadArguments, Signal, TaskError

from .callables import title_of
from .dependencies import Container, marked
from .handlers import Fill, Handler, HandlerOptions, make_handler
from .isolation_options import IsolationOptions, take_isolation
from .retry_rule import ErrorTypes
from .returns import Returns
from .signature import Signature, TaskParameter

P = ParamSpec("P")
C = ParamSpec("C")
R = TypeVar("R")

# An option that was given takes the place of those that exclude it.
_RIVALS = {
    "attempts": ("retries",),
    "retries": ("attempts",),
    "delay": ("at",),
    "at": ("delay",),
    "keep": ("keep_completed", "keep_failed"),
}
TASK_BACKOFF = Exponential("1s", jitter=0.5, maximum="10m")


class TaskOptions(Options, IsolationOptions, total=False):
    """The options of `@app.task(...)`: those of its jobs, and how and when it runs."""

    name: str
    """The name of its jobs. Default: the name of the function."""
    queue: str
    """The queue of its jobs. Default: "default"."""
    concurrency: int
    """How many of its jobs one worker runs at once. Default: no limit of its own."""
    retry_on: ErrorTypes | None
    """Try again after these errors only, such as `(ConnectionError, TimeoutError)`; any other fails
    the job at once, whatever attempts are left. None (the default): after every error."""
    never_retry: ErrorTypes | None
    """Fail the job at once after these errors, whatever `retry_on` says."""
    redact: Sequence[str]
    """Paths in its arguments and results that the dashboard hides, such as "card.number"."""
    cron: str
    """Run at these times, such as "0 6 * * 1-5", or "@daily"."""
    every: Duration
    """Run at this interval, such as "15m"."""
    tz: str
    """The time zone of `cron`, such as "Europe/Berlin". Default: "UTC"."""


class Task(Generic[P, R]):
    """A function that jobs run; called directly it is the plain function.

    `AsyncTask` and `BlockingTask` differ only in what a direct call gives.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        *,
        queue: str,
        name: str,
        add: Add,
        options: Options,
        container: Container | None = None,
    ) -> None:
        self.function = function
        # A direct call has nobody to fill these in.
        self._marked = marked(function)
        self.queue = queue
        self.name = name
        self.title = title_of(function)
        self.options = options
        self.redact: tuple[str, ...] = ()
        self.settle(add, container or Container())
        self._id: str | None = None
        # So that help() and inspect show the function.
        self.__wrapped__ = function
        self.__name__ = name
        self.__doc__ = function.__doc__

    def __repr__(self) -> str:
        return f"<Task {self.name!r} of {self.queue!r}>"

    def settle(self, add: Add, container: Container) -> None:
        """Belong to an app: with what adds its jobs, and what it provides."""
        self._add = add
        self.container = container
        injected = container.injected(self.function)
        self.signature = Signature(self.function, title=self.name, injected=injected)
        self.returns = Returns(self.signature, title=self.title)

    async def enqueue(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Add a job that calls the function with these arguments; return the job.

        Raises:
            BadArguments: They do not fit the function; nothing was stored.

        Example:
            ```python
            job = await send_receipt.enqueue(17, to="ada@example.com")
            ```
        """
        (job,) = await self._add([self._node(args, kwargs)])
        return job

    def enqueue_sync(self, *args: P.args, **kwargs: P.kwargs) -> Job[R]:
        """Add a job from blocking code; see `enqueue` and `toril.sync`."""
        return run(self.enqueue(*args, **kwargs))

    async def enqueue_many(
        self, calls: Iterable[tuple[Any, ...] | Mapping[str, Any]]
    ) -> list[Job[R]]:
        """Add many jobs in one call: a tuple of positional or a mapping of named arguments for each.

        Note:
            - Atomic: chunks of 250 jobs or 1 MB of data.

        Raises:
            BadArguments: Names the first call that does not fit; nothing was stored.
            PartlyAdded: An error came after some chunks were stored.
        """
        return await self._add(await in_turns(self._call, enumerate(calls)))

    async def enqueue_json(self, arguments: str) -> Job[R]:
        """Add a job whose arguments by name are a JSON object, as another program wrote it.

        Raises:
            BadArguments: They do not fit the function; nothing was stored.

        Example:
            ```python
            job = await send_receipt.enqueue_json('{"order": 17, "to": "ada@example.com"}')
            ```
        """
        self.signature.read(arguments)
        (job,) = await self._add([self._of(arguments)])
        return job

    def parameters(self) -> list[TaskParameter]:
        """Return the parameters whose values are the data of a job, for forms."""
        return self.signature.parameters()

    def node(self, *args: P.args, **kwargs: P.kwargs) -> Node:
        """Return a job of this task as a part of a flow; nothing is stored."""
        return self._node(args, kwargs)

    def using(self, **options: Unpack[EnqueueOptions]) -> Self:
        """Return this task with other options: `task.using(delay="5m").enqueue(...)`.

        Raises:
            ConfigError: When enqueued: an option is not valid.

        Example:
            ```python
            await send_receipt.using(delay="5m").enqueue(17, to="ada@example.com")
            ```
        """
        bound = copy.copy(self)
        job_id, given = split_id(options)
        bound._id = job_id or self._id
        replaced = {rival for name in given for rival in _RIVALS.get(name, ())}
        kept = {name: value for name, value in self.options.items() if name not in replaced}
        bound.options = cast("Options", kept | {**given})
        return bound

    def handler(self, options: HandlerOptions) -> Handler:
        """Return what runs the jobs of this task."""
        self.signature.settle()
        handler = make_handler(
            self.function,
            queue=self.queue,
            name=self.name,
            call=caller(self.function, self.signature),
            options=options,
            isolation=take_isolation(options, self.function, "task"),
        )
        fill = filler(self.function, self.signature)
        return replace(handler, fill=fill, encode=self.returns.write, decode=self.returns.read)

    def _is_option(self, name: str) -> bool:
        return (name in ELSEWHERE or name in NAMES) and not self.signature.takes(name)

    def _check_direct(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        """Check that a direct call gives the parameters that otherwise the worker fills in."""
        given = inspect.signature(self.function).bind_partial(*args, **kwargs).arguments
        missing = sorted(self._marked - given.keys())
        if missing:
            raise BadArguments(
                f"{self.name}: a direct call does not resolve Depends(...): pass {missing[0]}=..."
            )

    def _of_no_job(self, signal: Signal) -> TaskError:
        """Return what a direct call raises: a signal must not steer the job that makes the call."""
        kind = type(signal).__name__
        return TaskError(
            f"{self.name}, called directly, raised {kind}: {signal}; a signal is for the job of "
            "the task that raises it"
        )

    def _call(self, numbered: tuple[int, tuple[Any, ...] | Mapping[str, Any]]) -> Node:
        index, call = numbered
        try:
            return self._node((), call) if isinstance(call, Mapping) else self._node(call, {})
        except BadArguments as error:
            raise BadArguments(f"call {index}: {error}") from error

    def _node(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Node:
        try:
            data = self.signature.write(args, kwargs)
        except BadArguments as error:
            option = next((name for name in kwargs if self._is_option(name)), None)
            if option is None:
                raise
            meant = ELSEWHERE.get(option, f"use {option}=")
            raise BadArguments(f"{error}; {meant} in {self.name}.using(...)") from error
        return self._of(data)

    def _of(self, data: str) -> Node:
        return Node(
            queue=self.queue,
            name=self.name,
            data=data,
            options=self.options,
            id=self._id,
            task_backoff=TASK_BACKOFF,
            decode=self.returns.read,
        )


def _no_attribute(task: Task[..., Any], name: str) -> NoReturn:
    meant = CALLS_ELSEWHERE.get(name)
    hint = f": use {meant}" if meant else ""
    title = vars(task).get("name")
    raise AttributeError(f"task {title!r} has no attribute {name!r}{hint}", name=name, obj=task)


# Not written in the class, where it would make type checkers accept every attribute.
_MISSING = "__getattr__"
setattr(Task, _MISSING, _no_attribute)


def caller(function: Callable[..., Any], signature: Signature) -> Callable[[Job[Any]], Any]:
    """Return what calls a function with the arguments that are in a job's data."""
    read = signature.read

    def call(job: Job[Any]) -> Any:
        args, kwargs = read(job.record.data, job)
        return function(*args, **kwargs)

    return call


def filler(function: Callable[..., Any], signature: Signature) -> Fill:
    """Return what calls a function with a job's data and with what it depends on."""

    def fill(job: Job[Any], values: Mapping[str, object]) -> Any:
        args, kwargs = signature.read(job.record.data, job, values)
        return function(*args, **kwargs)

    return fill


class AsyncTask(Task[P, R], Generic[C, P, R]):
    """A task made from `async def`; C are the parameters of a direct call."""

    async def __call__(self, *args: C.args, **kwargs: C.kwargs) -> R:
        """Call the function itself, here and now; nothing is stored.

        Raises:
            BadArguments: A dependency was not given.
            TaskError: It raised a signal, and another job calls it.
        """
        if self._marked:
            self._check_direct(args, kwargs)
        try:
            result: R = await self.function(*args, **kwargs)
        except Signal as signal:
            if CURRENT.get() is None:
                raise
            raise self._of_no_job(signal) from signal
        return result


class BlockingTask(Task[P, R], Generic[C, P, R]):
    """A task made from `def`; C are the parameters of a direct call."""

    def __call__(self, *args: C.args, **kwargs: C.kwargs) -> R:
        """Call the function itself, here and now; nothing is stored.

        Raises:
            BadArguments: A dependency was not given.
            TaskError: It raised a signal, and another job calls it.
        """
        if self._marked:
            self._check_direct(args, kwargs)
        try:
            result: R = self.function(*args, **kwargs)
        except Signal as signal:
            if CURRENT.get() is None:
                raise
            raise self._of_no_job(signal) from signal
        return result


class _Anything:
    """A type that only a parameter takes that takes anything: without annotation, say."""


class TaskMaker:
    """Make tasks: `@app.task` over a function, or `@app.task(queue="images", attempts=4)`.

    `app.task(function, queue="images")` makes one of a function that is defined elsewhere.

    A parameter annotated `Job`, the first one, is filled in by the worker: callers leave it out.

    Raises:
        ConfigError: A bad option, a parameter that JSON cannot hold, a name that is taken.
    """

    def __init__(
        self,
        make: Callable[[Callable[..., Any], TaskOptions], Task[..., Any]],
        options: TaskOptions | None = None,
    ) -> None:
        self._make = make
        self._options = options or TaskOptions()

    # The order decides: what takes anything at all is no function of a job, and only then is
    # one whose first parameter takes a `Job`.
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self,
        function: Callable[Concatenate[_Anything, P], Coroutine[Any, Any, R]],
        /,
        **options: Unpack[TaskOptions],
    ) -> AsyncTask[Concatenate[Any, P], Concatenate[Any, P], R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self,
        function: Callable[Concatenate[Job[Any], P], Coroutine[Any, Any, R]],
        /,
        **options: Unpack[TaskOptions],
    ) -> AsyncTask[Concatenate[Job[Any], P], P, R]: ...
    @overload
    def __call__(  # type: ignore[overload-overlap]  # pyright: ignore[reportOverlappingOverload]
        self, function: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[TaskOptions]
    ) -> AsyncTask[P, P, R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[_Anything, P], R], /, **options: Unpack[TaskOptions]
    ) -> BlockingTask[Concatenate[Any, P], Concatenate[Any, P], R]: ...
    @overload
    def __call__(
        self, function: Callable[Concatenate[Job[Any], P], R], /, **options: Unpack[TaskOptions]
    ) -> BlockingTask[Concatenate[Job[Any], P], P, R]: ...
    @overload
    def __call__(
        self, function: Callable[P, R], /, **options: Unpack[TaskOptions]
    ) -> BlockingTask[P, P, R]: ...
    @overload
    def __call__(self, /, **options: Unpack[TaskOptions]) -> "TaskMaker": ...

    def __call__(
        self, function: Callable[..., Any] | None = None, /, **options: Unpack[TaskOptions]
    ) -> Any:
        """Make a task of a function, or take options for one."""
        every = cast("TaskOptions", {**self._options, **options})
        return TaskMaker(self._make, every) if function is None else self._make(function, every)
