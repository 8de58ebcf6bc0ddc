"""`Toril`, the app: a store, defaults, and the registry of what runs jobs.

Never here: what any of its parts does; it only puts them together.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack, cast, overload

from toril._handlers.bindings import WorkerBindings
from toril._handlers.callables import title_of
from toril._handlers.declared import Declared
from toril._handlers.definitions import Definition, calling, place_of, replaces
from toril._handlers.dependencies import Container
from toril._handlers.depends import Lifetime
from toril._handlers.handlers import HandlerOptions, Registry, make_distant, make_handler
from toril._handlers.processors import Processor
from toril._handlers.schedules import Schedule, ScheduleOptions, Schedules
from toril._handlers.task import Task, TaskMaker, TaskOptions
from toril._jobs.enqueue import Enqueuer
from toril._jobs.environment import DEFAULT_URL, announce, move
from toril._jobs.events import Events
from toril._jobs.job import Job, listen
from toril._jobs.limits import DEFAULT_PAYLOAD, Limits, Size, parse_size
from toril._jobs.node import NO_DATA, EnqueueOptions, Node
from toril._jobs.redis_settings import read_settings_object
from toril._jobs.session import Session
from toril._model.checks import check_flag, check_kind, check_text, check_whole
from toril._model.diagnosis import Finding
from toril._model.options import JobOptions, Options, merge
from toril._model.record import check_queue_name
from toril._model.report import WorkerInfo
from toril._model.times import Duration
from toril._store.connect import connect, is_kept, is_there
from toril._worker.options import Queues, WorkerOptions, queue_names
from toril._worker.worker import LISTENERS_S, Worker
from toril.errors import ConfigError

from .blueprint import Blueprint
from .closing import GRACE, stop_workers
from .diagnostics import examine
from .discover import import_matching
from .flow import Childlike, Flow, Tree, add_flows, make_node, read_tree
from .hooked import HookedApp
from .monitor import Monitor
from .options import (
    DEFAULT_QUEUE,
    DistantOptions,
    QueueOptions,
    handling,
    make_task,
    queue_defaults,
    queue_settings,
    redacted,
)
from .overview import QueueView, view_queues
from .queue import Queue
from .where import Where, read_where

T = TypeVar("T")
C = TypeVar("C", bound=type[Any])

_SCHEDULE = ("cron", "every", "tz")


class Toril(HookedApp):
    """An app: where its jobs live, what they default to, and what runs them.

    Making one costs nothing and touches nothing; the store is opened when it is first needed.
    `async with app:` closes it, and so does `await app.close()`.

    Args:
        url: The store, such as "sqlite:///jobs.db", ":memory:" or "redis://localhost:6379/0".
            Or a function, sync or async, that returns it at the first use; or a client of
            redis-py, whose server is used. None: $TORIL_URL, else $REDIS_HOST and $REDIS_PORT, else
            toril.db in the current directory.
        prefix: The prefix of all names in the store. None: $TORIL_PREFIX, else "bull".
        warn_unserved: Log a warning, once per queue, when jobs are added to a queue that no live
            worker serves.
        owner: When a worker starts, it drops the declared schedules of this owner that no live
            worker's code declares any more. Apps that share a queue need different owners. None:
            drop nothing.
        max_payload: The largest data, result and progress of a job, in bytes or text such as "5MB".
        **defaults: Options of jobs, as defaults of every job of this app.

    Raises:
        ConfigError: The URL is not valid, or a default is not an option.

    Example:
        ```python
        app = Toril("sqlite:///jobs.db", attempts=3)
        ```
    """

    def __init__(
        self,
        url: Where | None = None,
        *,
        prefix: str | None = None,
        warn_unserved: bool = True,
        owner: str | None = "",
        max_payload: Size = DEFAULT_PAYLOAD,
        **defaults: Unpack[Options],
    ) -> None:
        where = read_where(url, check_text(prefix, "prefix") if prefix else None)
        self.url, self.prefix = where.url, where.prefix
        self.context = Session(where.store, Limits(parse_size(max_payload)))
        if url is None and self.url == DEFAULT_URL:
            announce(self.store_url)
        self.monitor = Monitor(self.context)
        self.container = Container()
        self.registry = Registry(self.container)
        self.processors: list[Processor] = []
        base = merge(JobOptions(), defaults)
        self._adder = Enqueuer(self.context, base, warn_unserved=warn_unserved)
        self.schedules = Schedules(self._adder)
        self.declared = Declared(self._adder, self.schedules, owner)
        super().__init__(self._adder, self.container)
        self.container.provide(Toril, self)
        self._queues: dict[str, Queue] = {}
        self._tasks: dict[tuple[str, str], Task[..., Any]] = {}
        self._declared: dict[str, tuple[QueueOptions, Definition | None]] = {}
        self.task = TaskMaker(self._make_task)

    @classmethod
    def from_settings(cls, settings: object, **defaults: Unpack[Options]) -> Self:
        """Make an app from an object or a mapping, such as one of pydantic-settings.

        It is asked for `toril_url` or `redis_url`, or for `redis_host`, `redis_port`, `redis_db`,
        `redis_username` and `redis_password`, and for `toril_prefix`, in small or capital letters.

        Raises:
            ConfigError: It names no store.
        """
        url, prefix = read_settings_object(settings)
        return cls(url, prefix=prefix, **defaults)

    def __repr__(self) -> str:
        return f"<Toril {self.store_url} prefix={self.prefix!r}>"

    @property
    def store_url(self) -> str:
        """Where the jobs are, for people to read: unlike `url` without its password."""
        return self.context.store.url

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
        """Open the store now, instead of at its first use.

        Raises:
            StoreUnavailable: It cannot be reached or opened.
            StoreMismatch: A newer version of toril wrote it.
            StoreCorrupt: It is damaged.
            ConfigError: Its settings cannot be used together.
        """
        await self.context.ready()

    async def close(self, *, grace: Duration = GRACE) -> None:
        """Close the store; what was acknowledged stays, and the next use opens it again.

        Workers of this app that still run are stopped first, with this grace. Within a handler
        of such a worker it does nothing but log a warning.
        """
        if not await stop_workers(tuple(self._workers), grace):
            return
        await self._adder.listeners.ended(LISTENERS_S)
        # A store in memory goes now, with what waits in it.
        if is_kept(self.context.store):
            await self._adder.unserved.settle()
        await self.context.close()

    def move_to(self, url: str | None = None, prefix: str | None = None) -> None:
        """Use another store than the code says, here and in child processes.

        For the command line, before the app is used.

        Raises:
            ConfigError: The URL names no store.
        """
        old = (self.url, self.prefix)
        self.url, self.prefix = url or self.url, prefix or self.prefix
        self.context.use(connect(self.url, self.prefix))
        move(old, (self.url, self.prefix))

    # What jobs are, and where they go.

    def queue(self, name: str, **options: Unpack[QueueOptions]) -> Queue:
        """Return the queue with this name, and declare its options if any are given.

        Settings that hold for all workers (rate, concurrency, dead_letter, events_limit,
        max_waiting, and how long finished jobs are kept) are stored at the first use; the others are defaults of
        the jobs that this app adds to it.

        Raises:
            ConfigError: The name cannot be one, or an option cannot hold.
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
        self._adder.declare(name, queue_defaults(options), queue_settings(name, options))
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

        Raises the errors of `Flow.add`.
        """
        return await add_flows(self._adder, flows)

    async def tree(self, root: Job[Any], *, depth: int | None = None) -> Tree:
        """Read a job and its tree of children, down to `depth` levels, as they are now.

        Raises:
            JobNotFound: The job is gone.
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

        Raises:
            ConfigError: The rule or an option cannot hold, or the id is declared twice.
        """
        return self.schedules.declare(schedule_id, **options)

    def include(self, *blueprints: Blueprint) -> None:
        """Take the tasks, processors, schedules and hooks of blueprints.

        Raises:
            ConfigError: Another app includes one of them, or a name is taken.
        """
        for blueprint in blueprints:
            check_kind(blueprint, Blueprint, "blueprints")
            blueprint.bind(self, self._adder.add)

    def autodiscover(self, *patterns: str) -> list[str]:
        """Import modules by their names, and include the blueprints in them; return the names.

        Raises:
            ConfigError: No module matches a pattern.

        Example:
            ```python
            app.autodiscover("shop.*.jobs")
            ```
        """
        modules = [module for pattern in patterns for module in import_matching(pattern)]
        for module in modules:
            found = (each for each in vars(module).values() if isinstance(each, Blueprint))
            self.include(*(each for each in found if each.app is None))
        return [module.__name__ for module in modules]

    # What runs them.

    @overload
    def processor(self, queue: str, /, **options: Unpack[HandlerOptions]) -> Callable[[C], C]: ...
    @overload
    def processor(self, queue: str, path: str, /, **options: Unpack[DistantOptions]) -> None: ...

    def processor(self, queue: str, path: str | None = None, /, **options: Any) -> Any:
        """Decorate a class that handles a queue, with `@handles` methods or one `process` method.

        With `isolation="process"` each child process makes an instance of its own. Given by a
        path instead, "package.module:function" of a job or "package.module:Class", the handler
        runs in child processes and is imported only there.

        `concurrency` is how many jobs of the queue run at once within a worker that does not say
        otherwise; the other options hold for each method that does not say otherwise. Its
        instance is made when a worker starts, with what `provide` and `Depends` give for its
        parameters.

        Raises:
            ConfigError: The class handles nothing; the path is none; no child process could
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
        """Provide the value of parameters annotated `kind`: this value, or what this function returns.

        It holds for handlers, for tasks that are defined after it, for constructors of processors
        and for dependencies. `scope` is that of `Depends`.

        Raises:
            ConfigError: The type is provided already, or a task takes it as an argument.
        """
        self.container.provide(kind, value, scope=scope)

    def worker(
        self,
        on: Queues | None = None,
        handler: Callable[[Job[Any]], object] | str | None = None,
        /,
        **options: Unpack[WorkerOptions],
    ) -> Worker:
        """Return a worker for these queues, or for all that have a handler.

        With `handler`, that function runs every job of these queues that no other handler does:
        `app.worker("emails", deliver, concurrency=5)`. `await worker.run()` works. Given by its
        import path, "package.module:function", it runs in child processes.

        Raises:
            ConfigError: A bad option, no queue, or a name with two handlers.
        """
        if on is not None:
            options["queues"] = on
        bindings = WorkerBindings(self, self._alone(handler, options.get("queues") or ()))
        worker = Worker(bindings, **options)
        self._attach(worker)
        return worker

    def _alone(
        self, handler: Callable[[Job[Any]], object] | str | None, queues: Queues
    ) -> Registry:
        """Return the handlers of a worker: all there are, or this one for each of its queues."""
        if handler is None:
            return self.registry
        registry = Registry(self.container)
        for queue in queue_names(queues):
            make: Any = make_distant if isinstance(handler, str) else make_handler
            registry.add(make(handler, queue=queue, name=None, options={}))
        return registry

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, and store what was declared for these queues: settings and schedules."""
        self._adder.unserved.serves(queues)
        await self.context.ready()
        await self.declared.store(queues)

    # What is there.

    def events(self, *queues: str, after: Mapping[str, str] | None = None) -> Events:
        """Return an iterator over the events of these queues, or of all that this app knows."""
        known = dict.fromkeys((*self._queues, *self.registry.queues()))
        return listen(self.context, queues or tuple(known), after)

    def tasks(self) -> list[Task[..., Any]]:
        """Return the tasks of this app, in the order in which they were defined."""
        return [*self._tasks.values()]

    async def queues(self) -> list[str]:
        """Return the names of the queues that are stored."""
        return await (await self.context.ready()).queues()

    async def overview(self, *queues: str) -> list[QueueView]:
        """Return jobs, settings and workers of these queues, or of all that are stored or served."""
        names = [check_queue_name(queue) for queue in queues]
        return await view_queues(await self.context.ready(), names)

    async def ping(self) -> float:
        """Return how many seconds the store takes to answer; raise StoreError when it does not."""
        store = await self.context.ready()
        began = time.perf_counter()
        await store.last_event(DEFAULT_QUEUE)
        return time.perf_counter() - began

    def is_there(self) -> bool:
        """Return whether the store exists; always True for a server."""
        return is_kept(self.context.store) and is_there(self.context.store)

    async def examine(self) -> list[Finding]:
        """Examine the store, queues, workers and schedules for problems.

        Nothing is changed, except that wrong numbers of jobs in a SQLite file are corrected.
        """
        return await examine(self.context)

    async def backup(self, path: str | Path, *, force: bool = False) -> int:
        """Copy a SQLite store to a file while everything runs; return its size in bytes.

        The copy is one moment of the store, is checked, and appears under its name when it is
        complete. `force` replaces a file that exists.

        Raises:
            ConfigError: The store is not a file, or the path cannot be used.
            StoreError: The copy failed.
        """
        if not hasattr(path, "__fspath__") and type(path) is not str:
            raise ConfigError(f"path={path!r} must be a path", field="path", value=path)
        check_flag(force, "force")
        return await (await self.context.ready()).backup(Path(path), force=force)

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """Return the workers of a queue, or of all queues, in every process."""
        if queue is not None:
            check_queue_name(queue)
        store = await self.context.ready()
        return await store.workers(queue)

    def _make_task(self, function: Callable[..., Any], options: TaskOptions) -> Task[..., Any]:
        task = make_task(function, options, self._adder.add, self.container)
        self.adopt(task, options)
        return task

    def adopt(self, task: Task[..., Any], options: TaskOptions) -> None:
        """Take a task that was made without an app, or by this one, with its options.

        Raises:
            ConfigError: Its name is taken, or an option cannot hold.
        """
        task.settle(self._adder.add, self.container)
        task.redact = redacted(options)
        self._tasks[task.queue, task.name] = task
        self.queue(task.queue)
        self._adder.options(Node(queue=task.queue, name=task.name, options=task.options))
        self.registry.add(task.handler(handling(options)))
        rule = {name: value for name, value in options.items() if name in _SCHEDULE}
        given = cast("ScheduleOptions", {**rule, "task": task})
        self.schedules.of_task(task, given if rule else None, place_of(task.function))
