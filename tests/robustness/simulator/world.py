"""Several simulated processes of real workers over one store, and what befalls them.

Only what reaches outside the event loop is replaced: clocks, chance, the threads of the store's
writer, of the heartbeat and of blocking handlers. Everything else is the code that ships.
"""

import asyncio
import logging
import math
import random
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from types import SimpleNamespace
from typing import Any, TypeVar
from zlib import crc32

import pytest

from tests.robustness.simulator.adapter import Line, VirtualLane, Watcher, Weather
from tests.robustness.simulator.loop import STRAND, Stuck, VirtualLoop
from tests.robustness.simulator.oracle import MAX_STALLS, Oracle, Violation
from tests.robustness.simulator.plan import Entry, Plan, Spec
from toril import Toril
from toril._app import where
from toril._handlers.handlers import make_handler
from toril._isolation import threads
from toril._model.backoff import Fixed
from toril._model.options import JobOptions
from toril._model.record import NewJob, Ref
from toril._model.report import JobPatch, Selection, SettingsPatch
from toril._model.schedule import Rule
from toril._store.sqlite import engine, store
from toril._store.sqlite.store import SQLiteStore
from toril._store.sqlite.verbs.read import Reading
from toril._store.values import ScheduleDraft
from toril._worker import heartbeat, options, running
from toril._worker.claims import ClaimSources
from toril._worker.heartbeat import ASK_S, LONGEST_TICK_S, PRESENCE_S, Heartbeat
from toril._worker.worker import Worker
from toril.errors import AwaitChildren, Fail, RateLimited, Release, Snooze, StoreError

T = TypeVar("T")
LOCK_S = 2.0
LOOK_S = 0.5
# When all faults have ended everything must end within this.
DRAIN_S = 400.0
STOP_S = 60.0
EPOCH_MS = 1_800_000_000_000


class Process:
    """One process: an app with a worker, a strand for its loop and one for its heartbeat."""

    def __init__(self, world: "World", number: int, life: int) -> None:
        self.world = world
        self.name = f"p{number}.{life}"
        self.number = number
        self.alive = True
        loop = world.loop
        self.main = loop.strand(self.name)
        self.pulse = loop.strand(f"{self.name} pulse")
        self.pulse.home = self.main
        self.main.owner = self.pulse.owner = self
        self.line = Line(world.store, loop, world.plan.trips, world.watcher)
        self.worker: Worker | None = None
        self.stopping = False

    def freeze(self, until: float) -> None:
        self.main.freeze(until)
        self.pulse.freeze(until)


@dataclass(frozen=True, slots=True)
class End:
    """How a world ended: what was broken, if anything, and what happened until then."""

    fault: str | None
    trace: tuple[str, ...]


def simulate(plan: Plan) -> End:
    """Run a world to its end."""
    with _virtual(VirtualLoop(plan.seed)) as (loop, clock):
        world = World(plan, loop, clock)
        fault: str | None = None
        try:
            loop.run_until_complete(world.live())
        except (Violation, Stuck) as error:
            fault = str(error)
        finally:
            world.end()
        return End(fault, tuple(world.oracle.trace))


class World:
    def __init__(self, plan: Plan, loop: VirtualLoop, clock: "Clock") -> None:
        self.plan = plan
        self.loop = loop
        self.clock = clock
        self.store = SQLiteStore(":memory:")
        self.oracle = Oracle(plan, loop.time)
        self.fault: Exception | None = None
        self.watcher = Watcher(loop, self.complain)
        self.processes: dict[int, Process] = {}
        self._every: list[Process] = []
        self._schedules: list[tuple[str, str]] = []
        self._lives = 0
        self._marks = 0
        self._shut = False

    def complain(self, text: str) -> None:
        """Note the first broken promise: whoever breaks it may swallow what is raised."""
        try:
            self.oracle.complain(text)
        except Violation as error:
            self.fault = self.fault or error
            raise

    def _check(self) -> None:
        for fault in self.loop.faults:
            error = fault.get("exception")
            if not isinstance(error, Violation):
                self.fault = self.fault or Violation(f"unhandled: {fault.get('message')} {error!r}")
        if self.fault is not None:
            raise self.fault
        self.oracle.look()

    # The life of a world.

    async def live(self) -> None:
        await self.store.open()
        opened = self.store._open_engine()
        self.oracle.reading = Reading(opened._work.db)
        for number in range(self.plan.processes):
            self._start(number)
        began = self.loop.time()
        for step in self.plan.steps:
            await self._until(began + step.at)
            self.oracle.say(f"STEP {step}")
            await getattr(self, f"_do_{step.what}")(*step.args)
            self._check()
        await self._heal()
        await self._drain()
        await self._stop_all()
        self._check()
        self.oracle.judge()

    async def _until(self, when: float) -> None:
        while (left := when - self.loop.time()) > 0:
            await asyncio.sleep(min(left, LOOK_S))
            self._check()

    async def _heal(self) -> None:
        """End all faults, and let there be as many processes as in the beginning."""
        self.oracle.say("HEAL")
        await self._until(self.loop.time() + 0.5)
        for process in self._every:
            process.line.weather.clear()
            if process.alive:
                process.main.until = process.pulse.until = 0.0
        for queue in ("work", "side"):
            await self.store.configure(queue, SettingsPatch(paused=False))
        for queue, schedule in self._schedules:
            await self.store.drop_schedule(queue, schedule)
        for number in range(self.plan.processes):
            if not self.processes[number].alive or self.processes[number].stopping:
                self._start(number)

    async def _drain(self) -> None:
        until = self.loop.time() + DRAIN_S
        while not self.oracle.settled():
            if self.loop.time() > until:
                left = {id: at for id, at in self.oracle.places.items() if at not in _ENDS}
                self.complain(f"after {DRAIN_S:.0f} s without faults these have not ended: {left}")
            await self._until(self.loop.time() + LOOK_S)

    async def _stop_all(self) -> None:
        # What was lost may still be cleaning up; nothing new is to come.
        await self._until(self.loop.time() + 10)
        for process in self.processes.values():
            worker = process.worker
            if worker is None or worker._loops is None:
                self.complain(f"{process.name} does not work")
                return
            taken = await self._places_taken(worker._loops._sources)
            if worker.running or taken:
                self.complain(f"{process.name} is idle, and has places taken: {taken}")
            stop = self.loop.spawn(process.main, worker.stop(grace=1))
            await asyncio.wait([stop], timeout=STOP_S)
            if not stop.done() or not stop.result():
                self.complain(f"{process.name} does not stop: {stop}")

    async def _places_taken(self, sources: ClaimSources) -> dict[str, tuple[int, int]]:
        """Look several times: an idle worker asks now and then, and has its answer soon."""
        taken: dict[str, tuple[int, int]] = {}
        for _ in range(10):
            taken = {
                source.queue: (source.busy, source.asked)
                for source in sources._sources
                if source.busy or source.asked
            }
            if not taken:
                break
            await asyncio.sleep(0.11)
        return taken

    def end(self) -> None:
        self._shut = True
        for process in self._every:
            process.line.over = True
        self.loop.faults.clear()
        with suppress(RuntimeError):
            self.loop.clear_away()

    # Processes.

    def _start(self, number: int) -> None:
        self._lives += 1
        process = Process(self, number, self._lives)
        self.processes[number] = process
        self._every.append(process)
        self.loop.spawn(process.main, self._work(process))

    async def _work(self, process: Process) -> None:
        _NEXT.append(process.line)
        app = Toril("redis://simulated", warn_unserved=False)
        run = partial(self._handle, process)
        run_in_thread = partial(self._handle_blocking, process)
        for queue, _ in self.plan.places:
            add = app.registry.add
            add(make_handler(_named(run), queue=queue, name=None, options={}))
            add(make_handler(_named(run), queue=queue, name="capped", options={"concurrency": 1}))
            add(make_handler(_blocking(run_in_thread), queue=queue, name="thread", options={}))
        process.worker = worker = app.worker(
            dict(self.plan.places),
            total=self.plan.total,
            name=process.name,
            lock=LOCK_S,
            stalled_interval=1,
            max_stalls=MAX_STALLS,
            grace=1,
        )
        worker.given_up = lambda reason: self.complain(f"{process.name} gives up: {reason}")
        while True:
            try:
                await worker.start()
                return
            except StoreError as error:
                self.oracle.say(f"{process.name} cannot start: {error}")
                await asyncio.sleep(0.5)

    # Handlers.

    def _script(self, job: Any) -> Entry:
        script = job.data["script"]
        what, seconds = script[min(self.oracle.starts[job.id], len(script)) - 1]
        return what, seconds

    async def _handle(self, process: Process, job: Any) -> Any:
        self._marks += 1
        mark = self._marks
        self._begin(process, job, mark)
        what, seconds = self._script(job)
        how = "interrupted"
        try:
            answer = await self._perform(process, job, what, seconds)
            how = "ok"
            return answer
        except (Fail, Snooze, Release, RateLimited, RuntimeError):
            how = what
            raise
        except AwaitChildren:
            how = "await"
            raise
        finally:
            if not self._shut:
                self.oracle.ended(process.name, job, mark, how)

    def _begin(self, process: Process, job: Any, mark: int) -> None:
        try:
            self.oracle.begins(process.name, job, mark)
            self.watcher.beginning(job)
        except Violation as error:
            self.fault = self.fault or error
            raise

    async def _perform(self, process: Process, job: Any, what: str, seconds: float) -> Any:
        match what:
            case "hang":
                await asyncio.get_running_loop().create_future()
            case "block":
                process.main.freeze(self.loop.time() + seconds)
                await asyncio.sleep(0)
            case "stubborn":
                with suppress(asyncio.CancelledError):
                    await asyncio.sleep(seconds)
                await asyncio.sleep(seconds / 2)
            case "progress":
                job.progress(1)
                job.log("half of it")
                await asyncio.sleep(seconds)
            case _:
                await asyncio.sleep(seconds)
        return _outcome(job, what)

    def _handle_blocking(self, process: Process, job: Any) -> Any:
        what, _ = self._script(job)
        mark = 0
        try:
            answer = _outcome(job, what)
        except Exception:
            self.oracle.ended(process.name, job, mark, what)
            raise
        self.oracle.ended(process.name, job, mark, "ok")
        return answer

    def thread(self, process: Process, call: Callable[[Any], T], job: Any) -> "asyncio.Future[T]":
        """Run a blocking handler: it ends, whatever is wanted of it, when its time is over."""
        self._begin(process, job, 0)
        _, seconds = self._script(job)
        future: asyncio.Future[T] = self.loop.create_future()
        self.loop.call_later(seconds, threads._call, self.loop, future, lambda: call(job))
        return future

    # What happens.

    async def _do_add(self, *specs: Spec) -> None:
        groups = [list(_jobs(spec, None)) for spec in specs]
        for spec in specs:
            self.oracle.expect(spec)
        self.oracle.look()
        for answer in await self.store.add(groups):
            assert not isinstance(answer, Exception), answer
            if answer[0].word == "deduplicated":
                self.oracle.forget(specs[0], answer[0].id)

    async def _do_schedule(self, id: str, queue: str, every_ms: int, data: int = 1) -> None:
        """Store a schedule, as often as it is deployed; its runs stay in step."""
        now = self.clock.now_ms()
        draft = ScheduleDraft(
            queue=queue,
            id=id,
            name="plain",
            rule=Rule(every_ms=every_ms),
            data=f'{{"script":[["ok",0.05]],"version":{data}}}',
            next_ms=now,
        )
        self._schedules.append((queue, id))
        self.oracle.steps.setdefault(id, (now, every_ms))
        await self.store.put_schedule(draft)

    async def _do_kill(self, number: int, seconds: float) -> None:
        process = self.processes[number]
        process.alive = False
        process.freeze(math.inf)
        self.loop.call_later(seconds, self._again, process)

    def _again(self, dead: Process) -> None:
        if self.processes[dead.number] is dead:
            self.oracle.say(f"{dead.name} is followed by another")
            self._start(dead.number)

    async def _do_pause(self, number: int, seconds: float) -> None:
        self.processes[number].freeze(self.loop.time() + seconds)

    async def _do_freeze(self, number: int, seconds: float) -> None:
        self.processes[number].main.freeze(self.loop.time() + seconds)

    async def _do_stop(self, number: int, grace: float) -> None:
        process = self.processes[number]
        if process.worker is None or not process.alive or process.stopping:
            return
        process.stopping = True
        self.loop.spawn(process.main, process.worker.stop(grace=grace))
        self.loop.call_later(grace + 1, self._again, process)

    async def _do_jump(self, ms: int) -> None:
        self.clock.offset_ms += ms

    async def _do_calls(
        self, number: int, how: str, chance: float, lasts: float, seconds: float
    ) -> None:
        weather = Weather(how, chance, self.loop.time() + lasts, seconds)
        self.processes[number].line.weather.append(weather)

    def _selection(self, id: str) -> Selection | None:
        spec = self.oracle.specs.get(id)
        return None if spec is None else Selection(queue=spec.queue, ids=(id,))

    async def _do_cancel(self, id: str) -> None:
        spec = self.oracle.specs.get(id)
        if spec is None:
            return
        for each in (spec, *spec.children):
            patch = JobPatch(queue=each.queue, id=each.id, cancel="unwanted")
            self.oracle.wished[each.id].add("cancelled")
            await self.store.update([patch])

    async def _do_retry(self, id: str) -> None:
        if selection := self._selection(id):
            self.oracle.wished[id].add("retry")
            await self.store.retry(selection)

    async def _do_promote(self, id: str) -> None:
        if selection := self._selection(id):
            await self.store.promote(selection)

    async def _do_remove(self, id: str) -> None:
        if selection := self._selection(id):
            self.oracle.wished[id].add("remove")
            await self.store.remove(selection)

    async def _do_hold(self, queue: str, seconds: float) -> None:
        await self.store.configure(queue, SettingsPatch(paused=True))
        self.loop.call_later(seconds, self._let_go, queue)

    def _let_go(self, queue: str) -> None:
        task = self.store.configure(queue, SettingsPatch(paused=False))
        self.loop.spawn(self.loop.world, task)

    async def _do_cap(self, queue: str, what: str, most: Any, seconds: float) -> None:
        await self.store.configure(queue, SettingsPatch(**{what: most}))
        self.loop.call_later(seconds, self._uncap, queue, what)

    def _uncap(self, queue: str, what: str) -> None:
        task = self.store.configure(queue, SettingsPatch(**{what: None}))
        self.loop.spawn(self.loop.world, task)

    async def _do_limit(self, queue: str, seconds: float) -> None:
        await self.store.configure(queue, SettingsPatch(limit_for_ms=round(seconds * 1000)))


_ENDS = ("completed", "failed", "gone")
# The line of the process whose app is made next.
_NEXT: list[Line] = []


def _named(run: Callable[..., Any]) -> Callable[..., Any]:
    async def handle(job: Any) -> Any:
        return await run(job)

    return handle


def _blocking(run: Callable[..., Any]) -> Callable[..., Any]:
    def handle(job: Any) -> Any:
        return run(job)

    return handle


def _outcome(job: Any, what: str) -> Any:
    match what:
        case "raise":
            raise RuntimeError("boom")
        case "fail":
            raise Fail("fail")
        case "snooze":
            raise Snooze("700ms")
        case "release":
            raise Release()
        case "limit":
            raise RateLimited("300ms")
        case "await":
            raise AwaitChildren()
    return {"run": job.run}


def _jobs(spec: Spec, parent: Ref | None) -> Generator[NewJob]:
    script = ",".join(f'["{what}",{seconds}]' for what, seconds in spec.script)
    options = JobOptions(backoff=Fixed("200ms", jitter=0.5), **spec.options)
    yield NewJob(
        queue=spec.queue,
        name=spec.name,
        data=f'{{"script":[{script}]}}',
        options=options,
        id=spec.id,
        parent=parent,
        expects_children=bool(spec.children),
    )
    for child in spec.children:
        yield from _jobs(child, Ref(spec.queue, spec.id))


# What is replaced.


class Clock:
    """Stands where a module has `time`: steady clocks run with the loop, that of the day jumps."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self.offset_ms = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(time, name)

    def monotonic(self) -> float:
        return self._loop.time()

    def now_ms(self) -> int:
        return EPOCH_MS + round(self._loop.time() * 1000) + self.offset_ms

    def time_ns(self) -> int:
        return self.now_ms() * 1_000_000


def _start_beating(self: Any) -> None:
    """Let the heartbeat's thread be a timer on a strand of its own."""
    loop, here = self._loop, STRAND.get().owner.pulse
    self._thread = SimpleNamespace(is_alive=lambda: not self._stopped.is_set())
    tick = min(LONGEST_TICK_S, self._lock_s / 6, self._watch.limit / 4)

    def once() -> None:
        if self._stopped.is_set():
            self._disconnect()
            return
        _beat_once(self, loop.time())
        loop.call_later(tick, once, context=here.context)

    loop.call_later(tick, once, context=here.context)


def _beat_once(self: Any, now: float) -> None:
    """Do what one turn of the heartbeat's thread does."""
    held = self._reports.held()
    if not self._watch.tick(bool(held)):
        self._reports.hung()
    if now - self._last >= (self._lock_s / 3 if held else PRESENCE_S):
        self.beat(held)
    if held and now - self._asked >= ASK_S:
        self.ask(held)


async def _stop_beating(self: Any) -> None:
    self._stopped.set()


@contextmanager
def _virtual(loop: VirtualLoop) -> Generator[tuple[VirtualLoop, Clock]]:
    clock = Clock(loop)
    chance = random.Random(f"chance {loop.random.random()}")
    names = iter(range(1, 1_000_000))
    with pytest.MonkeyPatch.context() as patch:
        for name, module in list(sys.modules.items()):
            if name.startswith("toril.") and getattr(module, "time", None) is time:
                patch.setattr(module, "time", clock)
        patch.setattr(heartbeat, "_read_clock", loop.time)
        patch.setattr(running, "random", chance)
        patch.setattr(options, "secrets", SimpleNamespace(token_hex=lambda _: f"{next(names):06}"))
        patch.setattr(running.RunningJob, "__hash__", _job_hash, raising=False)
        patch.setattr(engine, "CallRunner", VirtualLane)
        patch.setattr(where, "connect", lambda url, prefix: _NEXT.pop())
        patch.setattr(Heartbeat, "start", _start_beating)
        patch.setattr(Heartbeat, "stop", _stop_beating)
        patch.setattr(threads.Threads, "run", _run_thread)
        for module in (store, heartbeat):
            patch.setattr(module, "in_thread", _run_at_once)
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        interval = sys.getswitchinterval()
        try:
            yield loop, clock
        finally:
            sys.setswitchinterval(interval)
            logging.disable(before)


def _job_hash(running: Any) -> int:
    # Sets of slots are walked through: their order must not depend on addresses.
    record = running.claim.record
    return crc32(f"{record.queue} {record.id} {running.claim.token}".encode())


def _run_thread(self: Any, call: Any, job: Any) -> Any:
    process: Process = STRAND.get().owner
    return process.world.thread(process, call, job)


async def _run_at_once(call: Callable[[], T]) -> T:
    """There are no threads: it is done by the time anybody looks."""
    return call()


def shrink(plan: Plan, seconds: float = 10.0) -> Plan:
    """Leave out what is not needed for a world to go wrong."""
    until = time.monotonic() + seconds
    for step in plan.steps:
        if time.monotonic() > until:
            break
        shorter = plan.without(step)
        if simulate(shorter).fault is not None:
            plan = shorter
    return plan
