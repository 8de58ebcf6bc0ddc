"""`Toril`, the app: a store, defaults, and the registry of what runs jobs.

Never here: what any of its parts does; it only puts them together.
"""

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload
from weakref import WeakSet

from toril._model.checks import check_flag, check_kind, check_text, check_whole
from toril._model.finding import Finding
from toril._model.options import NAMES, JobOptions, Keep, Options, merge, unknown_option
from toril._model.record import check_queue_name
from toril._model.report import SettingsPatch, WorkerInfo
from toril._model.times import Duration, parse_rate
from toril._store.connect import backup, check_url, connect, is_kept, is_there
from toril.errors import ConfigError

from .adding import Adder
from .callables import title_of
from .closing import GRACE, stop_workers
from .context import Context
from .declared import Declared
from .dependencies import Container, Lifetime
from .draft import NO_DATA, EnqueueOptions, Node
from .events import Events
from .examine import examine
from .flow import Childlike, Flow, Tree, add_flows, make_node, read_tree
from .handlers import HandlerOptions, Registry, make_distant, make_handler
from .job import Job, listen
from .limits import DEFAULT_PAYLOAD, Limits, Size, parse_size
from .overview import QueueView, view_queues
from .places import Place, calling, place_of, replaces
from .processors import Processor
from .queue import Queue
from .schedule import Schedule, ScheduleOptions, Schedules
from .settings import DEFAULT_URL, announce, choose, move
from .shift import Shift
from .task import AsyncTask, BlockingTask, Task, TaskMaker, TaskOptions
from .worker import Worker
from .worker_options import Queues, WorkerOptions, queue_names

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])

DEFAULT_QUEUE = "default"
_KINDS = {True: AsyncTask, False: BlockingTask}
_SCHEDULE = ("cron", "every", "tz")
_TASK = NAMES | set(TaskOptions.__annotations__)
_KEEPS = ("keep", "keep_completed", "keep_failed")
_SETTINGS = ("rate", "concurrency", "dead_letter", "events_limit", "max_waiting")


class QueueOptions(Options, total=False):
    """What a queue may be declared with: defaults of its jobs, and settings for all its workers.

    Shape    rate: such as "200/60s". dead_letter: the queue that final failures go to.
             events_limit: about how many events are kept; a queue in use keeps its newest 1,000,
             from which `result()` knows how unkept jobs ended.
             max_waiting: how many jobs may wait to run before new ones are refused, or wait for
             room (see `on_full`). max_payload: of data, results and progress, such as "5MB"; not stored.
    """

    rate: str | None
    concurrency: int | None
    dead_letter: str | None
    events_limit: int
    max_waiting: int | None
    max_payload: Size


class DistantOptions(HandlerOptions, total=False):
    """What may be said of a processor that is given by its import path.

    Shape    name: of the jobs that it handles; left out, every name not taken.
    """

    name: str | None


class Toril:
    """An app: where its jobs live, what they default to, and what runs them.

    Making one costs nothing and touches nothing; the store is opened when it is first needed.
    `async with app:` closes it, and so does `await app.close()`.

    Shape    url: see `toril._store.connect`; None: $TORIL_URL, else toril.db in the current
             directory. prefix None: $TORIL_PREFIX, else "bull". `toril worker --url` and --prefix
             overrule both. warn_unserved: log a warning, once a queue, when jobs are added to one
             that no live worker serves. owner: names whose the declared schedules are: when a
             worker starts, it drops those of its queues that have this owner and that no live
             worker's code declares any more. Apps that share a queue need different owners. None:
             drop nothing. max_payload: how large the data, the result or the progress of a
             job may be, in bytes or as text such as "5MB". defaults are options of every job.
    Raises   ConfigError: the URL names no store, or a default is no option.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        warn_unserved: bool = True,
        owner: str | None = "",
        max_payload: Size = DEFAULT_PAYLOAD,
        **defaults: Unpack[Options],
    ) -> None:
        settings = choose(
            check_url(url) if url else None, check_text(prefix, "prefix") if prefix else None
        )
        self.url, self.prefix = settings.url, settings.prefix
        limits = Limits(parse_size(max_payload))
        self.context = Context(connect(self.url, self.prefix), limits)
        if url is None and self.url == DEFAULT_URL:
            announce(self.context.store.url)
        self.container = Container()
        self.registry = Registry(self.container)
        self.processors: list[Processor] = []
        base = merge(JobOptions(), defaults)
        self._adder = Adder(self.context, base, warn_unserved=warn_unserved)
        self.schedules = Schedules(self._adder)
        self.declared = Declared(self._adder, self.schedules, owner)
        self._queues: dict[str, Queue] = {}
        self._declared: dict[str, tuple[QueueOptions, Place | None]] = {}
        self._workers: WeakSet[Worker] = WeakSet()
        self.task = TaskMaker(self._make_task)

    def __repr__(self) -> str:
        # The store's URL is without its password, unlike `url`.
        return f"<Toril {self.context.store.url} prefix={self.prefix!r}>"

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def open(self) -> None:
        """Open the store now, which otherwise happens when it is first needed.

        Raises   StoreUnavailable · StoreMismatch · StoreCorrupt · ConfigError: it cannot be used.
        """
        await self.context.ready()

    async def close(self, *, grace: Duration = GRACE) -> None:
        """Close the store; what was acknowledged stays, and the next use opens it again.

        Workers of this app that still run are stopped first, with this grace. Within a handler
        of such a worker it does nothing but log a warning.
        """
        if not await stop_workers(tuple(self._workers), grace):
            return
        # A store in memory goes now, with what waits in it.
        if is_kept(self.context.store):
            await self._adder.audience.settle()
        await self.context.close()

    def move_to(self, url: str | None = None, prefix: str | None = None) -> None:
        """Keep jobs elsewhere than the code says, here and in child processes.

        For the command line, before the app is used.

        Raises   ConfigError: the URL names no store.
        """
        old = (self.url, self.prefix)
        self.url, self.prefix = url or self.url, prefix or self.prefix
        self.context.use(connect(self.url, self.prefix))
        move(old, (self.url, self.prefix))

    # What jobs are, and where they go.

    def queue(self, name: str, **options: Unpack[QueueOptions]) -> Queue:
        """Give the queue of this name, and declare its options when some are given.

        Settings that hold for all workers (rate, concurrency, dead_letter, events_limit,
        max_waiting, and how long finished jobs are kept) are stored at the first use; the others are defaults of
        the jobs that this app adds to it.

        Raises   ConfigError: the name cannot be one, or an option cannot hold.
        """
        name = check_queue_name(name)
        queue = self._queues.get(name)
        if queue is None or options:
            self._declare(name, options)
        if queue is None:
            queue = Queue(name, self._adder, self.registry, self.schedules)
            self._queues[name] = queue
        return queue

    def _declare(self, name: str, options: QueueOptions) -> None:
        place = calling()
        earlier, before = self._declared.get(name, (options, place))
        changed = bool(earlier) and earlier != options
        if changed and not replaces(f"queue {name!r}", place, before):
            raise ConfigError(
                f"queue {name!r} was declared before, with {earlier!r}",
                field="queue",
                value=options,
                hint="declare its options in one place, and use app.queue(name) elsewhere",
            )
        self._adder.declare(name, _defaults(options), _settings(name, options))
        size = options.get("max_payload")
        self.context.limits.declare(name, None if size is None else parse_size(size))
        self._declared[name] = (options, place)

    def flow(
        self,
        queue: str | Node,
        name: str = "",
        data: object = NO_DATA,
        *,
        children: Sequence[Childlike] = (),
        **options: Unpack[EnqueueOptions],
    ) -> Flow:
        """Describe a job that waits for its children; `await flow.add()` stores them all.

        A child is another flow, `task.node(...)`, or ("queue", "name", data[, options]). The
        first argument may be a node itself: `app.flow(upload.node(7), children=[...])`.
        """
        if isinstance(queue, Node):
            more = make_node(queue.queue, queue.name, NO_DATA, children, {}).children
            return Flow(self._adder, queue.after(*more))
        return Flow(self._adder, make_node(queue, name, data, children, options))

    async def add_flows(self, flows: Sequence[Flow]) -> list[Tree]:
        """Store several flows in one step, all of them or none.

        Raises   as `Flow.add`.
        """
        return await add_flows(self._adder, flows)

    async def tree(self, root: Job[Any], *, depth: int | None = None) -> Tree:
        """Read a job and its children, theirs too, down to `depth` levels; as they stand now.

        Raises   JobNotFound: the job is gone.
        """
        check_kind(root, Job, "root")
        if depth is not None:
            check_whole(depth, "depth", 0)
        return await read_tree(self.context, await root.refresh(), depth)

    def schedule(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Declare a schedule; it is stored, by its id, when a worker for its queue starts.

        One declared while that runs is stored soon, and so are all if the store loses them. It is
        dropped when a worker starts whose code does not declare it any more (see `owner`).
        `await app.schedules.put(...)` stores one at once.

        Raises   ConfigError: the rule or an option cannot hold, or the id is declared twice.
        """
        return self.schedules.declare(schedule_id, **options)

    # What runs them.

    @overload
    def processor(self, queue: str, /, **options: Unpack[HandlerOptions]) -> Callable[[C], C]: ...
    @overload
    def processor(self, queue: str, path: str, /, **options: Unpack[DistantOptions]) -> None: ...

    def processor(self, queue: str, path: str | None = None, /, **options: Any) -> Any:
        """Let a class handle a queue: methods marked with `@handles`, or one `process` method.

        With `isolation="process"` each child process makes an instance of its own. Given by a
        path instead, "package.module:function" of a job or "package.module:Class", the handler
        runs in child processes and is imported only there.

        `concurrency` is how many jobs of the queue run at once within a worker that does not say
        otherwise; the other options hold for each method that does not say otherwise. Its
        instance is made when a worker starts, with what `provide` and `Depends` give for its
        parameters.

        Raises   ConfigError: the class handles nothing; the path is none; no child process could
                 import it.
        """
        if path is not None:
            name = options.pop("name", None)
            given = cast("HandlerOptions", options)
            self.registry.add(make_distant(path, queue=queue, name=name, options=given))
            return None

        def register(kind: C) -> C:
            given = cast("HandlerOptions", options)
            processor = Processor(queue, kind, given, self.container)
            self._forget(processor)
            if processor.concurrency is not None:
                self.registry.declare(queue, processor.concurrency)
            for handler in processor.handlers():
                self.registry.add(handler)
            self.processors.append(processor)
            return kind

        return register

    def _forget(self, new: Processor) -> None:
        """Forget the processor whose class has been defined again."""
        title = title_of(new.kind)
        for earlier in self.processors:
            same = earlier.queue == new.queue and title_of(earlier.kind) == title
            if same and replaces(f"processor {title}", new.place, earlier.place):
                self.processors.remove(earlier)
                self.registry.drop(earlier.handlers())
                self.registry.declare(new.queue, -(earlier.concurrency or 0))
                return

    def provide(
        self, kind: type[T], value: T | Callable[..., Any], *, scope: Lifetime | None = None
    ) -> None:
        """Let parameters annotated `kind` have this value, or what this function makes.

        It holds for handlers, for tasks that are defined after it, for constructors of processors
        and for dependencies. `scope` is that of `Depends`.

        Raises   ConfigError: the type is provided already, or a task takes it as an argument.
        """
        self.container.provide(kind, value, scope=scope)

    def worker(
        self,
        on: Queues | None = None,
        handler: Callable[[Job[Any]], object] | str | None = None,
        /,
        **options: Unpack[WorkerOptions],
    ) -> Worker:
        """Make a worker for these queues, or for all that have a handler.

        With `handler`, that function runs every job of these queues that no other handler does:
        `app.worker("emails", deliver, concurrency=5)`. `await worker.run()` works. Given by its
        import path, "package.module:function", it runs in child processes.

        Raises   ConfigError: a bad option, no queue, or a name with two handlers.
        """
        if on is not None:
            options["queues"] = on
        shift = Shift(self, self._alone(handler, options.get("queues") or ()))
        worker = Worker(shift, **options)
        self._workers.add(worker)
        return worker

    def _alone(
        self, handler: Callable[[Job[Any]], object] | str | None, queues: Queues
    ) -> Registry:
        """Give the handlers of a worker: all there are, or this one for each of its queues."""
        if handler is None:
            return self.registry
        registry = Registry(self.container)
        for queue in queue_names(queues):
            make: Any = make_distant if isinstance(handler, str) else make_handler
            registry.add(make(handler, queue=queue, name=None, options={}))
        return registry

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, and store what was declared for these queues: settings and schedules."""
        self._adder.audience.serves(queues)
        await self.context.ready()
        await self.declared.store(queues)

    # What is there.

    def events(self, *queues: str, after: Mapping[str, str] | None = None) -> Events:
        """Iterate over what happens in these queues, or in all that this app knows."""
        known = dict.fromkeys((*self._queues, *self.registry.queues()))
        return listen(self.context, queues or tuple(known), after)

    async def queues(self) -> list[str]:
        """Name the queues that are stored."""
        store = await self.context.ready()
        return await store.queues()

    async def overview(self, *queues: str) -> list[QueueView]:
        """Look at these queues, or at all that are stored or served: jobs, settings, workers."""
        names = [check_queue_name(queue) for queue in queues]
        return await view_queues(await self.context.ready(), names)

    def is_there(self) -> bool:
        """Say whether opening the store would find something; of a server only asking it tells."""
        return is_kept(self.context.store) and is_there(self.context.store)

    async def examine(self) -> list[Finding]:
        """Look at what endangers jobs, or keeps them from running; nothing is changed."""
        return await examine(self.context)

    async def backup(self, path: str | Path, *, force: bool = False) -> int:
        """Copy a SQLite store to a file while everything runs; return how many bytes that are.

        The copy is one moment of the store, is checked, and appears under its name when it is
        complete. `force` replaces a file that exists.

        Raises   ConfigError: the store is not a file, or the path cannot be used. StoreError.
        """
        if not hasattr(path, "__fspath__") and type(path) is not str:
            raise ConfigError(f"path={path!r} must be a path", field="path", value=path)
        check_flag(force, "force")
        return await backup(await self.context.ready(), Path(path), force=force)

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """List the workers of a queue, or of all, in every process."""
        if queue is not None:
            check_queue_name(queue)
        store = await self.context.ready()
        return await store.workers(queue)

    def _make_task(self, function: Callable[..., Any], options: TaskOptions) -> Task[..., Any]:
        for name in options:
            if name not in _TASK:
                raise unknown_option(name, _TASK, where="a task")
        kind = cast("type[Task[..., Any]]", _KINDS[inspect.iscoroutinefunction(function)])
        task = kind(
            function,
            queue=options.get("queue", DEFAULT_QUEUE),
            name=_task_name(function, options),
            add=self._adder.add,
            options=_only(options, NAMES),
            container=self.container,
        )
        self.queue(task.queue)
        self._adder.options(Node(queue=task.queue, name=task.name, options=task.options))
        self.registry.add(task.handler(_handling(options)))
        rule = {name: value for name, value in options.items() if name in _SCHEDULE}
        given = cast("ScheduleOptions", {**rule, "task": task})
        self.schedules.of_task(task, given if rule else None, place_of(function))
        return task


def _task_name(function: Callable[..., Any], options: TaskOptions) -> str:
    given: object = options.get("name") or getattr(function, "__name__", None)
    if given is None:
        raise ConfigError(
            f"{function!r} has no name of its own, so its jobs have none",
            field="name",
            value=None,
            hint='give it one: app.task(function, name="resize") or @app.task(name="resize")',
        )
    return check_text(given, "name")


def _only(options: Mapping[str, object], names: Collection[str]) -> Options:
    return cast("Options", {name: value for name, value in options.items() if name in names})


def _handling(options: TaskOptions) -> HandlerOptions:
    backoff = options.get("backoff")
    return HandlerOptions(
        concurrency=options.get("concurrency"),
        timeout=options.get("timeout"),
        soft_timeout=options.get("soft_timeout"),
        on_crash=options.get("on_crash", "retry"),
        backoff=backoff if callable(backoff) else None,
        isolation=options.get("isolation"),
        init=options.get("init"),
        max_rss=options.get("max_rss"),
        recycle_after=options.get("recycle_after"),
    )


def _defaults(options: QueueOptions) -> Options:
    own = (*_KEEPS, *_SETTINGS, "max_payload")
    return _only(options, {name for name in options if name not in own})


def _settings(queue: str, options: QueueOptions) -> SettingsPatch | None:
    given: dict[str, Any] = {**options}
    made = {name: given[name] for name in _SETTINGS if name in given}
    if made.get("rate") is not None:
        made["rate"] = parse_rate(made["rate"])
    if made.get("dead_letter") == queue:
        raise ConfigError(
            f"dead_letter={queue!r} is the queue itself: its letters would fail into it again",
            field="dead_letter",
            value=queue,
            hint=f'name another queue, such as "{queue}-dead"',
        )
    if "keep" in given:
        made["keep_completed"] = made["keep_failed"] = Keep.of(given["keep"])
    for name in ("keep_completed", "keep_failed"):
        if name in given:
            made[name] = Keep.of(given[name], field=name)
    return SettingsPatch(**made) if made else None
