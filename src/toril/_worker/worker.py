"""`Worker`: claims the jobs of some queues and runs them.

Never here: how. The parts of a worker that works are a `WorkerLoops`, made again at each start.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, Self, TypeVar, Unpack, overload

from toril._handlers.declared import Declared
from toril._handlers.handlers import Registry
from toril._jobs.job import Job
from toril._jobs.limits import Limits
from toril._jobs.listeners import Listener, Listeners, LocalEvent
from toril._jobs.process_role import HERE
from toril._model.times import Duration, to_ms
from toril._store.forks import Forkable, follow_forks, keep
from toril._store.protocol import Store
from toril._store.threads import loop_stops_greenlets
from toril.errors import ConfigError

from .health import Health
from .hooks import Happening
from .idle import Idle
from .interrupts import hurried_by_signals
from .loops import Parts, WorkerLoops, only_say
from .maintenance import bury
from .options import WorkerOptions, read_options, renamed, share
from .reporting import Reporter

L = TypeVar("L", bound=Listener)
H = TypeVar("H", bound=Happening)

# How long async listeners may run in any case when the worker stops, however short its grace.
LISTENERS_S = 1.0


class Host(Protocol):
    """What a worker needs of an app."""

    @property
    def store(self) -> Store:
        """The store, open or not."""
        ...

    @property
    def limits(self) -> Limits:
        """How large the payloads of its jobs may be."""
        ...

    @property
    def registry(self) -> Registry:
        """The handlers; those of processors are ready to run after `prepare`."""
        ...

    @property
    def declared(self) -> Declared:
        """What the app declares."""
        ...

    @property
    def listeners(self) -> Sequence[tuple[str, Listener, str | None]]:
        """The listeners of processors, once they are made: event, method, and queue."""
        ...

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, store what was declared for these queues, make what handles them."""
        ...

    async def release(self) -> None:
        """End what the handlers depended on."""
        ...


class Worker(Forkable):
    """Runs the jobs of some queues; made by `app.worker(...)`.

    `await worker.run()` works until it is stopped; `async with worker:` works during the block.

    Raises:
        ConfigError: An option is unknown or not valid.

    Example:
        ```python
        async with app.worker({"mail": 20}):
            print(await job.result(timeout=10))
        ```
    """

    def __init__(self, app: Host, **options: Unpack[WorkerOptions]) -> None:
        self._app = app
        self._options = options
        self.settings = read_options(options)
        self._listeners = Listeners()
        self._reporter = Reporter(self._listeners)
        self._loops: WorkerLoops | None = None
        self._stopping: asyncio.Task[bool] | None = None
        self._closed: asyncio.Event | None = None
        self._paused = False
        # Listeners of processors, whose instances live as long as the worker works.
        self._bound: list[tuple[str, Listener, str | None]] = []
        # For the command line, whose process ends with its workers: threads are left behind, and
        # what to do when nothing else helps.
        self.leaving = False
        self.given_up: Callable[[str], None] = only_say
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Do not work here: loop, threads and jobs are the parent's. It can be started again."""
        keep(self._loops, self._stopping, self._closed)
        if self._loops is not None:
            self._loops.leave()
        self._loops = self._stopping = self._closed = None
        self._listeners.forget()
        self.settings = renamed(self.settings, self._options)

    def __repr__(self) -> str:
        return f"<Worker {self.id} {self.shares}>"

    @property
    def id(self) -> str:
        """The id under which the worker holds its jobs."""
        return self.settings.id

    @property
    def name(self) -> str:
        """The name, made of host and process unless given."""
        return self.settings.name

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues of the worker."""
        return tuple(self.shares)

    @property
    def shares(self) -> dict[str, int]:
        """How many jobs of each queue run at once."""
        return share(self._options, self._app.registry.places())

    @property
    def running(self) -> int:
        """The number of running jobs."""
        return len(self._loops.running_jobs.held) if self._loops is not None else 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of the worker; None if it is not running."""
        return self._loops.loop if self._loops is not None else None

    def holds(self, job: Job[Any]) -> bool:
        """Whether it runs this job."""
        held = self._loops.running_jobs.held if self._loops is not None else ()
        return any(running.job is job for running in held)

    def health(self) -> Health:
        """Return whether the worker is live and ready, and why not."""
        if self._loops is None:
            return Health(ready=False, reason="it does not work yet, or no more")
        return self._loops.health()

    @overload
    def on(self, event: LocalEvent, *, queue: str | None = None) -> Callable[[L], L]: ...
    @overload
    def on(
        self, event: type[H], *, queue: str | None = None
    ) -> Callable[[Callable[[H], object]], Callable[[H], object]]: ...

    def on(self, event: Any, *, queue: str | None = None) -> Any:
        """Decorate a listener, sync or async, of an event of this worker.

        `app.on` does the same for every worker of the app, `toril worker` included. An event is
        a name, or a class of records of `toril.hooks`. With `queue`, only jobs of that queue count.

        Note:
            - Shape: active(job) · completed(job, result) · failed(job, error), final ·
              cancelled(job, error) · attempt_failed(job, error), every attempt · progress(job,
              value) · stalled(job_id) · lock_lost(job) · drained() · error(error) · ready() ·
              closing() · closed().

        Raises:
            ConfigError: There is no such event.
        """
        return self._listeners.on(event, queue=queue)

    def listen(self, event: object, listener: Listener, queue: str | None) -> None:
        """Add a listener of the app."""
        self._listeners.add(event, listener, queue)

    def off(self, event: LocalEvent | type[Happening], listener: Listener) -> None:
        """Remove a listener."""
        self._listeners.remove(event, listener)

    # Working.

    async def run(self) -> None:
        """Run jobs until `stop` is called or this is cancelled; running jobs get their grace.

        Raises:
            StoreUnavailable: The store cannot be used.
            StoreMismatch: The store cannot be used.
            StoreCorrupt: The store cannot be used.
        """
        await self.start()
        try:
            await self._until_closed()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Start to run jobs, and return; does nothing if the worker is running.

        Raises:
            StoreUnavailable: The store cannot be used.
            StoreMismatch: The store cannot be used.
            StoreCorrupt: The store cannot be used.
            ConfigError: No queue has a handler, a processor cannot be made, or gevent has
                replaced the threads and this loop stops them.
        """
        if self._loops is not None:
            return
        HERE.refuse_to_work()
        if loop_stops_greenlets():
            raise ConfigError(
                "gevent has replaced the threads of this process, and this event loop would stop "
                "them: a worker cannot run on it",
                field="threads",
                hint="let `toril worker` import a module that does not call monkey.patch_all(), or "
                "call it first and then asyncio.run(worker.run())",
            )
        HERE.side_effect("starts a worker")
        sources = self.shares
        if not sources:
            raise ConfigError(
                "the worker has no queue: no task, processor or handler is registered",
                field="queues",
                hint="register one with @app.task, or give queues=[...]",
            )
        await self._app.prepare(sources)
        self._bound = [*self._app.listeners]
        for event, listener, queue in self._bound:
            self._listeners.add(event, listener, queue)
        self._listeners.loop = asyncio.get_running_loop()
        self._closed = asyncio.Event()
        self._stopping = None
        app = self._app
        parts = Parts(
            store=app.store,
            limits=app.limits,
            settings=self.settings,
            registry=app.registry,
            reporter=self._reporter,
            declared=app.declared,
            release=app.release,
        )
        self._loops = WorkerLoops(parts, sources)
        self._loops.start(self.given_up)
        if self._paused:
            self._loops.claim(False)
        self._reporter.state("ready", self.id, self.queues)

    async def stop(self, *, grace: Duration | None = None) -> bool:
        """Start no more jobs, wait up to `grace` for running ones, requeue the others, and close.

        The job of a thread that outlasts the grace stays locked until the thread ends. Called
        again it shares the first call's end; a shorter grace holds from then on. It returns
        within 20 s after the grace, whatever handlers, listeners or the store do: async
        listeners that outlast the grace are cancelled. In a main thread with signal handlers,
        a signal that comes meanwhile ends the grace.
        Returns True when every job ended in time.
        """
        seconds = self.settings.grace_s if grace is None else to_ms(grace, field="grace") / 1000
        loops = self._loops
        if loops is None:
            return True
        loops.hurry_in(seconds)
        self._listeners.excuse(asyncio.current_task())
        if self._stopping is None or self._stopping.cancelled():
            self._stopping = asyncio.create_task(self._stop(loops))
        # Whoever waits may be cancelled; the jobs in hand must not be.
        return await asyncio.shield(self._stopping)

    async def _stop(self, loops: "WorkerLoops") -> bool:
        hurry = partial(loops.hurry_in, 0)
        # The command line has handlers of its own.
        with nullcontext() if self.leaving else hurried_by_signals(hurry):
            self._reporter.state("closing", self.id, self.queues)
            in_time = await loops.stop(leaving=self.leaving)
            self._loops = None
            self._reporter.state("closed", self.id, self.queues)
            for event, listener, _ in self._bound:
                self._listeners.remove(event, listener)
            await self._listeners.settle(loops.hurry, LISTENERS_S)
        if self._closed is not None:
            self._closed.set()
        return in_time

    async def _until_closed(self) -> None:
        if self._closed is not None:
            await self._closed.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def pause(self) -> None:
        """Start no more jobs in this worker until `resume`; running jobs continue."""
        self._paused = True
        if self._loops is not None:
            self._loops.claim(False)

    def resume(self) -> None:
        """Start jobs again after `pause`."""
        self._paused = False
        if self._loops is not None:
            self._loops.claim(True)

    @property
    def paused(self) -> bool:
        """Whether this worker was paused."""
        return self._paused

    async def bury(self, dead: Mapping[str, str], queues: Sequence[str]) -> None:
        """Take back the jobs of workers that died, whatever their locks say.

        Note:
            - Shape: dead: ids of workers that somebody saw die, and how they did. queues:
              theirs.

        Raises:
            StoreUnavailable: Nothing is known; try again.
        """
        most = self.settings.max_stalls
        again = await bury(self._app.store, queues, self._reporter, most, dead)
        if self._loops is not None:
            self._loops.claim_again(again)

    # For tests, scripts and benchmarks.

    async def drained(self, *, delayed: bool = False) -> None:
        """Wait until no job waits or runs in its queues, in any worker.

        With `delayed`, jobs that are to start later are waited for too. What it waits for is
        logged every 10 s.

        Raises:
            TorilError: Jobs are left, and nothing will start them: this worker or their queue
                is paused, or all of them have names that no handler has.
        """
        idle = Idle(self._app.store, self._app.registry, self, delayed=delayed)
        while self._loops is not None:
            running_jobs = self._loops.running_jobs
            while running_jobs.held:
                await running_jobs.empty.wait()
            if await idle.reached():
                return

    async def run_until_idle(self, *, delayed: bool = False) -> None:
        """Run all jobs that are there, and stop.

        Note:
            - Raises: as `drained`.
        """
        async with self:
            await self.drained(delayed=delayed)
