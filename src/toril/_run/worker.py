"""`Worker`: claims the jobs of some queues and runs them.

Never here: how. The parts of a worker that works are a `Crew`, made anew at each start.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from functools import partial
from typing import Any, Protocol, Self, TypeVar, Unpack

from toril._model.times import Duration, to_ms
from toril._store.forks import Forkable, follow_forks, keep
from toril._store.protocol import Store
from toril._store.threads import loop_stops_greenlets
from toril.errors import ConfigError

from .declared import Declared
from .handlers import Registry
from .health import Health
from .hooks import Hooks, Listener, Listeners, LocalEvent, LogHook
from .idle import Idle
from .inside import HERE
from .interrupts import hurried_by_signals
from .job import Job
from .limits import Limits
from .telling import Telling
from .upkeep import bury
from .worker_crew import Crew, Parts, only_say
from .worker_options import WorkerOptions, read_options, renamed, share

L = TypeVar("L", bound=Listener)

# How long async listeners may run in any case when the worker stops, however short its grace.
LISTENERS_S = 1.0


class Host(Protocol):
    """What a worker needs of an app."""

    @property
    def store(self) -> Store:
        """Give the store, open or not."""
        ...

    @property
    def limits(self) -> Limits:
        """How large the payloads of its jobs may be."""
        ...

    @property
    def registry(self) -> Registry:
        """Give the handlers; those of processors are ready to run after `prepare`."""
        ...

    @property
    def declared(self) -> Declared:
        """Give what the app declares."""
        ...

    async def prepare(self, queues: Collection[str]) -> None:
        """Open the store, store what was declared for these queues, make what handles them."""
        ...

    async def release(self) -> None:
        """End what the handlers depended on."""
        ...


class Worker(Forkable):
    """Run the jobs of some queues, as many at once as each allows.

    `await worker.run()` works until it is stopped; `async with worker:` works meanwhile.

    Raises   ConfigError: an unknown option, or a value that cannot hold.
    """

    def __init__(self, app: Host, **options: Unpack[WorkerOptions]) -> None:
        self._app = app
        self._options = options
        self.settings = read_options(options)
        self._listeners = Listeners()
        self._telling = Telling(self._listeners, Hooks((LogHook(), *self.settings.hooks)))
        self._crew: Crew | None = None
        self._stopping: asyncio.Task[bool] | None = None
        self._closed: asyncio.Event | None = None
        self._paused = False
        # For the command line, whose process ends with its workers: threads are left behind, and
        # what to do when nothing else helps.
        self.leaving = False
        self.given_up: Callable[[str], None] = only_say
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Do not work here: loop, threads and jobs are the parent's. It can be started anew."""
        keep(self._crew, self._stopping, self._closed)
        if self._crew is not None:
            self._crew.leave()
        self._crew = self._stopping = self._closed = None
        self._listeners.forget()
        self.settings = renamed(self.settings, self._options)

    def __repr__(self) -> str:
        return f"<Worker {self.id} {self.shares}>"

    @property
    def id(self) -> str:
        """Give the id under which the worker holds its jobs."""
        return self.settings.id

    @property
    def name(self) -> str:
        """Give the name, made of host and process unless given."""
        return self.settings.name

    @property
    def queues(self) -> tuple[str, ...]:
        """Name the queues; as long as none were given, those that have a handler by now."""
        return tuple(self.shares)

    @property
    def shares(self) -> dict[str, int]:
        """Say how many jobs of each queue run at once."""
        return share(self._options, self._app.registry.places())

    @property
    def running(self) -> int:
        """Count the jobs in hand."""
        return len(self._crew.slots.held) if self._crew is not None else 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop on which it works; None: it does not."""
        return self._crew.loop if self._crew is not None else None

    def holds(self, job: Job[Any]) -> bool:
        """Whether it runs this job."""
        held = self._crew.slots.held if self._crew is not None else ()
        return any(slot.job is job for slot in held)

    def health(self) -> Health:
        """Say whether it claims jobs, and what is wrong if it does not."""
        if self._crew is None:
            return Health(ready=False, reason="it does not work yet, or no more")
        return self._crew.health()

    def on(self, event: LocalEvent) -> Callable[[L], L]:
        """Decorate a listener, sync or async, of what happens in this worker.

        Shape    active(job) · completed(job, result) · failed(job, error), final ·
                 cancelled(job, error) · attempt_failed(job, error), every try ·
                 progress(job, value) · stalled(job_id) · lock_lost(job) · drained() ·
                 error(error) · ready() · closing() · closed().
        Raises   ConfigError: there is no such event.
        """
        return self._listeners.on(event)

    def off(self, event: LocalEvent, listener: Listener) -> None:
        """Call this listener no more."""
        self._listeners.remove(event, listener)

    # Working.

    async def run(self) -> None:
        """Work until `stop` is called or this is cancelled; running jobs get their grace.

        Raises   StoreUnavailable · StoreMismatch · StoreCorrupt: the store cannot be used.
        """
        await self.start()
        try:
            await self._until_closed()
        finally:
            await self.stop()

    async def start(self) -> None:
        """Start working, and return; calling it again while it works does nothing.

        Raises   StoreUnavailable · StoreMismatch · StoreCorrupt: the store cannot be used.
                 ConfigError: no queue has a handler, a processor cannot be made, or gevent
                 has replaced the threads and this loop stops them.
        """
        if self._crew is not None:
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
        lanes = self.shares
        if not lanes:
            raise ConfigError(
                "the worker has no queue: no task, processor or handler is registered",
                field="queues",
                hint="register one with @app.task, or give queues=[...]",
            )
        await self._app.prepare(lanes)
        self._closed = asyncio.Event()
        self._stopping = None
        app = self._app
        parts = Parts(
            store=app.store,
            limits=app.limits,
            settings=self.settings,
            registry=app.registry,
            telling=self._telling,
            declared=app.declared,
            release=app.release,
        )
        self._crew = Crew(parts, lanes)
        self._crew.start(self.given_up)
        if self._paused:
            self._crew.claim(False)
        self._telling.state("ready", self.id, self.queues)

    async def stop(self, *, grace: Duration | None = None) -> bool:
        """Claim no more, let running jobs end within `grace`, put the others back, and close.

        The job of a thread that outlasts the grace stays locked until the thread ends. Called
        again it shares the first call's end; a shorter grace holds from then on. It returns
        within 20 s after the grace, whatever handlers, listeners or the store do: async
        listeners that outlast the grace are cancelled. In a main thread with signal handlers,
        a signal that comes meanwhile ends the grace.
        Returns True when every job ended in time.
        """
        seconds = self.settings.grace_s if grace is None else to_ms(grace, field="grace") / 1000
        crew = self._crew
        if crew is None:
            return True
        crew.hurry_in(seconds)
        self._listeners.excuse(asyncio.current_task())
        if self._stopping is None or self._stopping.cancelled():
            self._stopping = asyncio.create_task(self._stop(crew))
        # Whoever waits may be cancelled; the jobs in hand must not be.
        return await asyncio.shield(self._stopping)

    async def _stop(self, crew: "Crew") -> bool:
        hurry = partial(crew.hurry_in, 0)
        # The command line has handlers of its own.
        with nullcontext() if self.leaving else hurried_by_signals(hurry):
            self._telling.state("closing", self.id, self.queues)
            in_time = await crew.stop(leaving=self.leaving)
            self._crew = None
            self._telling.state("closed", self.id, self.queues)
            await self._listeners.settle(crew.hurry, LISTENERS_S)
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
        """Claim no more until `resume`; running jobs go on, and other workers do."""
        self._paused = True
        if self._crew is not None:
            self._crew.claim(False)

    def resume(self) -> None:
        """Claim again."""
        self._paused = False
        if self._crew is not None:
            self._crew.claim(True)

    @property
    def paused(self) -> bool:
        """Say whether this worker was paused."""
        return self._paused

    async def bury(self, dead: Mapping[str, str], queues: Sequence[str]) -> None:
        """Take back the jobs of workers that died, whatever their locks say.

        Shape    dead: ids of workers that somebody saw die, and how they did. queues: theirs.
        Raises   StoreUnavailable: nothing is known; try again.
        """
        most = self.settings.max_stalls
        again = await bury(self._app.store, queues, self._telling, most, dead)
        if self._crew is not None:
            self._crew.claim_again(again)

    # For tests, scripts and benchmarks.

    async def drained(self, *, delayed: bool = False) -> None:
        """Wait until nothing waits and nothing runs in its queues, whoever runs it.

        With `delayed`, jobs that are to start later are waited for too. What it waits for is
        logged every 10 s.

        Raises   TorilError: jobs are left, and nothing will start them: this worker or their
                 queue is paused, or all of them have names that no handler has.
        """
        idle = Idle(self._app.store, self._app.registry, self, delayed=delayed)
        while self._crew is not None:
            slots = self._crew.slots
            while slots.held:
                await slots.empty.wait()
            if await idle.reached():
                return

    async def run_until_idle(self, *, delayed: bool = False) -> None:
        """Start, work until everything is done, and stop.

        Raises   as `drained`.
        """
        async with self:
            await self.drained(delayed=delayed)
