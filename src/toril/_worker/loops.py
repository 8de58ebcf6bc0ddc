"""The parts of a worker that works: put together, kept going, and stopped in order.

Never here: what any of them does.
"""

import asyncio
import os
import sys
import time
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, cast

from toril._handlers.declared import Declared
from toril._handlers.handlers import Registry
from toril._isolation.child_handle import ChildHost as ChildMeans
from toril._isolation.executor import Executors, Processes, Threads
from toril._isolation.output import say
from toril._isolation.verbs import Answers
from toril._jobs.limits import Limits
from toril._jobs.session import Session
from toril._model.record import Claim
from toril._model.report import JobPatch, WorkerInfo
from toril._model.times import rate_text
from toril._store.protocol import Store
from toril.errors import TorilError

from . import maintenance
from .claims import ClaimSource, ClaimSources, Terms
from .exchange import Exchange
from .health import Health, cut_off
from .heartbeat import Heartbeat, Held, Reports
from .host import WorkerHost
from .keeper import Keeper
from .loop_lag import LoopWatch
from .options import WorkerSettings
from .reporting import Reporter
from .running import RunningJobs
from .running_job import RunningJob, Why
from .watchdog import Watchdog

# How often somebody looks whether locks are renewed at all.
PULSE_S = 5.0
# How long stopping waits for code that was cancelled, and for the last decisions to be written.
CANCELLED_S = 3.0
WRITTEN_S = 5.0
CARRYING = "exchanging jobs with the store"


class Parts(NamedTuple):
    """What a worker is made of."""

    store: Store
    limits: Limits
    settings: WorkerSettings
    registry: Registry
    reporter: Reporter
    declared: Declared
    release: Callable[[], Awaitable[None]]


class WorkerLoops:
    """The parts of one worker, from its start to its end."""

    def __init__(self, parts: Parts, queues: Mapping[str, int]) -> None:
        self._store, limits, self._settings, registry, self._reporter = parts[:5]
        self._declared, self._release = parts.declared, parts.release
        self._queues = tuple(queues)
        self.loop = asyncio.get_running_loop()
        self._context = Session(self._store, limits, loop=self.loop)
        self._executors = _executors(self._settings, self._context)
        self._rearming = maintenance.Rearming(self._store, self._queues, self._reporter)
        self._sources = _sources(self._settings, registry, queues)
        self.running_jobs = RunningJobs(self._host(registry), self._executors)
        self._exchange = Exchange(self._store, self._sources, self.running_jobs, self._reporter)
        self.hurry = asyncio.Event()
        self._gone = asyncio.Event()
        self._over = False
        self._carriers = Keeper(self._reporter.trouble)
        self._maintenance = Keeper(self._reporter.trouble)
        self._given_up: Callable[[str], None] = only_say
        self._interval = sys.getswitchinterval()
        self._heartbeat: Heartbeat | None = None
        self._watchdog: Watchdog | None = None
        self._lingering: asyncio.Task[None] | None = None

    def _host(self, registry: Registry) -> WorkerHost:
        return WorkerHost(
            context=self._context,
            registry=registry,
            reporter=self._reporter,
            prepare=self._rearming.advance,
            alone=self._note_alone,
            wake=self._wake,
            unknown_limit_ms=self._settings.unknown_limit_ms,
            max_stalls=self._settings.max_stalls,
            backoff=self._settings.backoff,
            version=self._settings.version,
        )

    def _wake(self) -> None:
        self._exchange.bell.ring()

    async def _note_alone(self, claim: Claim) -> None:
        record = claim.record
        patch = JobPatch(queue=record.queue, id=record.id, token=claim.token, alone=True)
        (error,) = await self._store.update([patch])
        if error is not None:
            raise error

    def start(self, given_up: Callable[[str], None]) -> None:
        self._given_up = given_up
        wanted = self._store.switch_interval
        if wanted is not None:
            sys.setswitchinterval(min(wanted, self._interval))
        self._beat()
        self._store.on_taken_back.add(self._taken_back)
        self._exchange.bell.ring()
        for _ in range(self._store.trips):
            self._carriers.start(CARRYING, self._carry)
        self._carriers.start(CARRYING, self._carry_large)
        for what, do_round in self._rounds():
            self._maintenance.start(what, partial(_repeat, do_round))

    def _beat(self) -> None:
        self._heartbeat = self._make_heartbeat()
        self._heartbeat.start()

    async def _keep_beating(self) -> float:
        """Replace the heartbeat's thread if it has died of a fault of its own."""
        if self._heartbeat is not None and not self._heartbeat.alive:
            self._reporter.trouble("renewing locks", TorilError("the thread that does it died"))
            self._beat()
        return min(self._settings.lock_ms / 1000 / 3, PULSE_S)

    def _make_heartbeat(self) -> Heartbeat:
        settings = self._settings
        watch = LoopWatch(
            self._reporter.blocked,
            self._runs,
            limit=settings.block_warning_s,
            max_block=settings.max_block_s,
        )
        reports = Reports(
            held=self._held,
            calling=lambda: self._reporter.calling is not None,
            lost=self._lost,
            asked=self._asked,
            trouble=self._troubled,
            hung=lambda: self._given_up(
                f"the event loop stood still for {settings.max_block_s:.0f} s"
            ),
        )
        rate = settings.rate
        info = WorkerInfo(
            id=settings.id,
            name=settings.name,
            host=settings.host,
            pid=os.getpid(),
            queues=self._queues,
            concurrency=self._sources.concurrency,
            started_ms=self._store.clock.now_ms(),
            seen_ms=self._store.clock.now_ms(),
            rate=None if rate is None else rate_text(rate.max, rate.window_ms),
            declares=self._declared.names(self._queues),
            version=settings.version,
        )
        return Heartbeat(self._store.renewer, info, settings.lock_ms, reports, watch)

    def _runs(self, task: asyncio.Task[object] | None) -> str:
        """Name what runs on the loop, for whoever looks from another thread."""
        event = self._reporter.calling
        if event is not None:
            return f"listener of {event!r}"
        busy = [running for running in tuple(self.running_jobs.held) if running.phase.runs]
        for running in busy:
            if running.task is task or len(busy) == 1:
                record = running.claim.record
                return f"{record.queue}:{record.id} ({record.name})"
        return "unknown"

    def _held(self) -> list[RunningJob]:
        return list(self.running_jobs.held)

    def _lost(self, held: Iterable[Held]) -> None:
        self.running_jobs.lost(cast("list[RunningJob]", held))

    def _asked(self, wishes: Sequence[tuple[Held, str]]) -> None:
        self.running_jobs.cancel(cast("Sequence[tuple[RunningJob, str]]", wishes))

    def _troubled(self, error: TorilError) -> None:
        self._reporter.trouble("renewing locks", error)

    def _rounds(self) -> list[tuple[str, Callable[[], Awaitable[float]]]]:
        settings, store, queues = self._settings, self._store, self._queues
        watchdog = self._watchdog = Watchdog(store, self._exchange, self._reporter, self._given_up)
        rates = maintenance.Rates(store, queues, settings.id, self._reporter)
        versions = maintenance.Versions(store, settings.version, settings.name)
        return [
            ("taking back stalled jobs", self._recover),
            ("removing old jobs", lambda: maintenance.trim(store, queues)),
            ("looking after schedules", self._rearming.repair),
            ("keeping what is declared", lambda: self._declared.look(queues, settings.id)),
            ("keeping the heartbeat", self._keep_beating),
            ("watching for claims", lambda: watchdog.look(self._sources, self.running_jobs)),
            *([("comparing rates", rates.compare)] if settings.rate is not None else []),
            *([("marking the version", versions.mark)] if settings.version is not None else []),
        ]

    async def _recover(self) -> float:
        """Take back stalled jobs, and wait for the next time, or until the store took some."""
        self._gone.clear()
        most = self._settings.max_stalls
        self.claim_again(
            await maintenance.recover(self._store, self._queues, self._reporter, max_stalls=most)
        )
        with suppress(TimeoutError):
            await asyncio.wait_for(self._gone.wait(), self._settings.stalled_s)
        return 0.0

    def claim_again(self, queues: Collection[str]) -> None:
        """Claim where jobs were taken back: who was informed of them may be who stands still."""
        if queues and self._exchange.claiming:
            self._sources.wake(queue for queue in self._queues if queue in queues)
            self._wake()

    def _taken_back(self) -> None:
        # From the store's thread; a closed loop has nobody left to tell.
        with suppress(RuntimeError):
            self.loop.call_soon_threadsafe(self._gone.set)

    async def _carry(self) -> None:
        """Make trips until the last decision has been carried."""
        while not self._over or self.running_jobs.outbox:
            await self._exchange.round()
        # The bell wakes one: the others have to end, too.
        self._wake()

    async def _carry_large(self) -> None:
        """Make trips for queues with large jobs until the last decision has been carried."""
        while not self._over or self.running_jobs.outbox:
            await self._exchange.large_round()

    def claim(self, on: bool) -> None:
        """Claim, or claim no more."""
        self._exchange.claiming = on
        if on:
            self._sources.wake(self._sources.queues)
            self._wake()
        else:
            self._exchange.deafen()

    def health(self) -> Health:
        """Return whether this worker does what it is there for."""
        count = len(self.running_jobs.held)
        if self.running_jobs.closing:
            return Health(ready=False, reason="it is stopping", running=count)
        concern = self._watchdog.concern if self._watchdog is not None else None
        concern = concern or self._store.broken
        if concern is not None:
            return Health(live=False, ready=False, reason=concern, running=count)
        down = self._carriers.down.get(CARRYING) or self._maintenance.mistake
        reason = down or self._cut_off()
        if reason is None and not self._exchange.claiming:
            reason = "it is paused"
        return Health(ready=reason is None, reason=reason, running=count)

    def _cut_off(self) -> str | None:
        answered = self._exchange.answered
        if answered is None:
            return "it has not claimed yet"
        fault: TorilError | None = self._exchange.fault
        # A worker that is full does not claim, but renews. One that cannot claim may still renew.
        if fault is None and self._heartbeat is not None:
            answered = max(answered, self._heartbeat.last)
            fault = self._heartbeat.fault
        return cut_off(time.monotonic() - answered, None if fault is None else str(fault))

    def leave(self) -> None:
        """Leave the work to the parent of this process, after a fork."""
        sys.setswitchinterval(self._interval)

    # Stopping.

    def hurry_in(self, seconds: float) -> None:
        """Let stopping wait no longer than this from now on."""
        if seconds <= 0:
            self.hurry.set()
        else:
            self.loop.call_later(seconds, self.hurry.set)

    async def stop(self, *, leaving: bool) -> bool:
        """Stop; say whether every job ended in time.

        Unless the process is `leaving`, the job of a thread that runs on stays locked until the
        thread ends, and what comes of it counts: put back, it would run twice at once.
        """
        self._maintenance.close()
        self.claim(False)
        self.running_jobs.close()
        in_time = await self._ended_in_time()
        if not in_time:
            await self._put_back(leaving)
        if self.running_jobs.held:
            # The thread of the heartbeat refers to this object, and so to this task.
            self._lingering = self.loop.create_task(self._linger())
        else:
            await self._shut()
        return in_time

    async def _linger(self) -> None:
        try:
            while not self.running_jobs.empty.is_set():
                await self._written()
                self.running_jobs.give_up()
        finally:
            await self._shut()

    async def _ended_in_time(self) -> bool:
        """Wait until nothing is in hand, or until it is time to hurry."""
        hurry = asyncio.create_task(self.hurry.wait())
        # More than once: a claim under way may bring jobs that have to be put back.
        while self.running_jobs.held and not hurry.done():
            empty = asyncio.create_task(self.running_jobs.empty.wait())
            await asyncio.wait((empty, hurry), return_when=asyncio.FIRST_COMPLETED)
            empty.cancel()
        hurry.cancel()
        return not self.running_jobs.held

    async def _put_back(self, leaving: bool) -> None:
        """Cancel what still runs, and put it back; threads last, for they cannot be stopped."""
        await self._interrupt(in_threads=False)
        self.running_jobs.abandon()
        if leaving:
            await self._interrupt(in_threads=True)
        for running in self.running_jobs.with_code(in_threads=True):
            self.running_jobs.ask(running, Why.STOPPING)
        if leaving or not self.running_jobs.with_code(in_threads=True):
            await self._written()
            self.running_jobs.give_up()

    async def _written(self) -> None:
        """Wait a while for the last decisions to be written."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self.running_jobs.empty.wait(), WRITTEN_S)

    async def _interrupt(self, *, in_threads: bool) -> None:
        busy = self.running_jobs.with_code(in_threads=in_threads)
        tasks = [running.task for running in busy if running.task is not None]
        for running in busy:
            self.running_jobs.interrupt(running, Why.STOPPING)
        if tasks:
            await asyncio.wait(tasks, timeout=CANCELLED_S)

    async def _shut(self) -> None:
        self._over = True
        self._store.on_taken_back.discard(self._taken_back)
        self._wake()
        self._exchange.large_bell.ring()
        # What is under way may have claimed: those jobs are put back before this ends.
        await self._carriers.finish(WRITTEN_S)
        await self._maintenance.finish(0)
        self._sources.stop()
        await self._executors.processes.close()
        self._executors.threads.close()
        await self._release()
        if self._heartbeat is not None:
            await self._heartbeat.stop()
        sys.setswitchinterval(self._interval)


def _executors(settings: WorkerSettings, context: Session) -> Executors:
    threads = Threads(f"toril-{settings.name}")
    host = ChildMeans(answers=Answers(context), threads=threads, say=say)
    return Executors(threads, Processes(host, settings.processes))


async def _repeat(do_round: Callable[[], Awaitable[float]]) -> None:
    while True:
        pause = await do_round()
        await asyncio.sleep(pause)


def _sources(
    settings: WorkerSettings, registry: Registry, queues: Mapping[str, int]
) -> ClaimSources:
    terms = Terms(lock_ms=settings.lock_ms, worker=settings.id, rate=settings.rate)
    sources: list[ClaimSource] = []
    for queue, most in queues.items():
        caps = {
            handler.name: handler.concurrency
            for handler in registry.handlers(queue)
            if handler.concurrency is not None
        }
        sources.append(ClaimSource(queue, most, caps))
    return ClaimSources(sources, terms, total=settings.total)


def only_say(_: str) -> None:
    """Leave it at what was logged: the process belongs to somebody else."""
