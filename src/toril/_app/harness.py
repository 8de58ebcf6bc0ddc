"""An app under test: jobs in a store of its own in memory, and a clock that the test moves.

The engine is the real one: a job is stored as JSON, claimed by a worker, retried and scheduled as in
production. Only the place of the jobs and the time are the test's.
"""

import asyncio
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from types import TracebackType
from typing import Any, Literal, Self, Unpack, cast
from uuid import uuid4

import msgspec

from toril._handlers.task import Task
from toril._jobs.background_loop import run
from toril._jobs.job import CURRENT, Job
from toril._jobs.limits import Limits
from toril._jobs.node import NO_DATA, write_data
from toril._jobs.payload import encode
from toril._jobs.session import Session
from toril._model.checks import check_kind, check_whole
from toril._model.options import JobOptions, Options, merge
from toril._model.record import Record, check_queue_name
from toril._model.report import Query
from toril._model.states import FINISHED, State
from toril._model.stored_options import to_text
from toril._model.times import Duration, Millis, at_ms, moment, to_ms
from toril._model.transfer import Parcel, Shipment
from toril._store.clock import REAL, Clock
from toril._store.connect import in_memory
from toril._store.loop_local import PerLoop
from toril._store.protocol import Store
from toril._store.values import ClaimRequest
from toril._worker.worker import Worker
from toril.errors import ConfigError, TorilError

from .app import Toril
from .options import DEFAULT_QUEUE

PAUSE_S = 0.0005
LOOKS = 250
LOCK_MS = 24 * 3_600_000
Mode = Literal["manual", "inline"]


class TestClock(Clock):
    """A clock that a test moves."""

    __test__ = False
    __slots__ = ("_now",)

    def __init__(self, now: Millis) -> None:
        self._now = now

    def now_ms(self) -> Millis:
        """Return the time of day, in ms since the epoch."""
        return self._now

    def passed(self) -> float:
        """Return the same in seconds."""
        return self._now / 1000

    def move(self, now: Millis) -> None:
        """Set the time; it never goes back."""
        self._now = max(now, self._now)


class Harness:
    """An app whose jobs are in memory for the time of a `with` block.

    In the mode "manual" jobs are stored and nothing runs until `drain` or `advance`. In the mode
    "inline" an add returns when its job has run, retries included. The clock stands still until the
    test moves it.

    Args:
        app: The app of the code under test.
        mode: "manual" or "inline".
        now: The first time of the clock; needs a time zone. Default: the real time.

    Raises:
        ConfigError: A bad mode, or a time without a time zone.

    Example:
        ```python
        async with Harness(app) as jobs:
            await sign_up("ada@example.com")
            jobs.assert_enqueued(send_welcome, data={"to": "ada@example.com"})
            await jobs.drain()
        ```
    """

    def __init__(self, app: Toril, *, mode: Mode = "manual", now: datetime | None = None) -> None:
        check_kind(app, Toril, "app")
        if mode not in ("manual", "inline"):
            raise ConfigError(
                f"mode={mode!r} is unknown", field="mode", value=mode, hint='"manual" or "inline"'
            )
        self.app = app
        self.mode: Mode = mode
        self.clock = TestClock(REAL.now_ms() if now is None else at_ms(now, field="now"))
        self._store = in_memory(self.clock)
        self._made = [self._store]
        self._before: Any = None
        self._enqueued: list[Job[Any]] = []
        self._turns = PerLoop(asyncio.Lock)

    def __enter__(self) -> Self:
        context = self.app.context
        self._before = context.store, context.opened
        self._use(self._store)
        self.app.on("added")(self._note)
        self.app.context.inline = self._run_inline if self.mode == "inline" else None
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        self.app.context.inline = None
        self.app.off("added", self._note)
        self.app.container.restore()
        store, opened = self._before
        self._use(store, opened=opened)
        # Not on the loop of the test, which may be over or run this very code.
        closing = threading.Thread(target=lambda: asyncio.run(self._close()))
        closing.start()
        closing.join()

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(self, *_: object) -> None:
        self.__exit__()

    async def _close(self) -> None:
        while self._made:
            await self._made.pop().close()

    def _use(self, store: Store, *, opened: bool = False) -> None:
        self.app.context.use(store, opened=opened)
        self.app.declared.start_over()

    def _note(self, job: Job[Any]) -> None:
        self._enqueued.append(job)

    # What was added.

    @property
    def enqueued(self) -> list[Job[Any]]:
        """The jobs that were added, in order; those of schedules are not among them."""
        return list(self._enqueued)

    def find(
        self,
        what: Task[..., Any] | str | None = None,
        *,
        queue: str | None = None,
        data: object = NO_DATA,
        includes: Mapping[str, object] | None = None,
        **options: Unpack[Options],
    ) -> list[Job[Any]]:
        """Return the jobs that were added and that match.

        Args:
            what: A task, or the name of the jobs.
            queue: The name of their queue.
            data: All of their data. The data of a task has its arguments by name.
            includes: Part of their data.
            **options: Options that they have, their own or by default.
        """
        name = what.name if isinstance(what, Task) else what
        queue = what.queue if isinstance(what, Task) else queue
        wanted = NO_DATA if data is NO_DATA else encode(data, where="data")
        return [
            job
            for job in self._enqueued
            if (name is None or job.name == name)
            and (queue is None or job.queue == queue)
            and (wanted is NO_DATA or _same_data(job, cast("str", wanted)))
            and (includes is None or _includes(job.data, includes))
            and _has(job.record.options, options)
        ]

    def assert_enqueued(
        self, what: Task[..., Any] | str | None = None, *, count: int | None = None, **match: Any
    ) -> Job[Any]:
        """Check that jobs were added that match as in `find`, and return the last one.

        With `count`, exactly that many.

        Raises:
            AssertionError: It shows the jobs that were added.
        """
        found = self.find(what, **match)
        if (count is None and found) or (count is not None and len(found) == count > 0):
            return found[-1]
        number = f"{len(found)} jobs were added" if len(found) != 1 else "1 job was added"
        expected = "" if count is None else f", not {count},"
        title = what.name if isinstance(what, Task) else what
        asked = {"name": title, **match} if title is not None else match
        raise AssertionError(f"{number}{expected} with {asked}; {self._shown()}")

    def assert_not_enqueued(self, what: Task[..., Any] | str | None = None, **match: Any) -> None:
        """Check that no job was added that matches as in `find`.

        Raises:
            AssertionError: It shows the jobs that were added.
        """
        if self.find(what, **match):
            raise AssertionError(f"such jobs were added; {self._shown()}")

    def _shown(self) -> str:
        lines = [f"{job.queue}:{job.name} {job.record.data}" for job in self._enqueued]
        return "added: " + ("\n  ".join(["", *lines]) or "nothing") if lines else "added: nothing"

    # Running.

    @property
    def now(self) -> datetime:
        """The time of the clock, in UTC."""
        return moment(self.clock.now_ms())

    async def drain(self, *, delayed: bool = False) -> None:
        """Run every job that is due, and those that these add.

        With `delayed`, the clock goes on to what is due later, until no job is left but the next
        runs of schedules.
        """
        async with self._working() as worker:
            await self._run_until(worker, None if delayed else self.clock.now_ms())

    def drain_sync(self, *, delayed: bool = False) -> None:
        """Run jobs from blocking code; see `drain`."""
        run(self.drain(delayed=delayed))

    async def advance(self, duration: Duration) -> None:
        """Move the clock on, and run each job at its time: delays, retries, schedules."""
        target = self.clock.now_ms() + to_ms(duration, field="duration")
        async with self._working() as worker:
            await self._run_until(worker, target)
            self._move(worker, target)
            await self._settle(worker)
            await self._store.recover(worker.queues)

    def advance_sync(self, duration: Duration) -> None:
        """Move the clock on from blocking code; see `advance`."""
        run(self.advance(duration))

    def _working(self) -> Worker:
        return self.app.worker(block_warning="10s", unknown_limit=0)

    async def _run_inline(self) -> None:
        """Run what was added, unless a handler added it: then its worker runs it."""
        if CURRENT.get() is None:
            async with self._turns.here(), self._working() as worker:
                await self._run_until(worker, None, again=True)

    async def _run_until(
        self, worker: Worker, target: Millis | None, *, again: bool = False
    ) -> None:
        """Run jobs until nothing is due before the target; None: until nothing is left.

        Shape    again: of delayed jobs only those that have run before.
        """
        await self._settle(worker)
        while (due := await self._next(worker.queues, target, again=again)) is not None:
            self._move(worker, due)
            await self._settle(worker)

    async def _next(
        self, queues: Sequence[str], target: Millis | None, *, again: bool
    ) -> Millis | None:
        """Return the time at which the next delayed job starts."""
        now, found = self.clock.now_ms(), await self._limits(queues)
        for queue in queues:
            page = await self._store.find(Query(queue=queue, states=(State.DELAYED,), limit=LOOKS))
            for record in page.jobs:
                due = record.due_ms
                if due is None or due <= now or (target is None and record.schedule is not None):
                    continue
                if not again or record.runs:
                    found.append(due)
        due = min(found, default=None)
        return None if due is None or (target is not None and due > target) else due

    async def _limits(self, queues: Sequence[str]) -> list[Millis]:
        """Return when the rate limits end that hold jobs back."""
        now = self.clock.now_ms()
        ready = {
            queue
            for queue, each in zip(queues, await self._store.counts(queues), strict=True)
            if each.ready
        }
        found = await self._store.settings(queues) if ready else []
        return [
            each.limited_until
            for each in found
            if each.queue in ready and each.limited_until is not None and each.limited_until > now
        ]

    def _move(self, worker: Worker, now: Millis) -> None:
        self.clock.move(now)
        # A worker rests by real time where a rate limit holds it back.
        worker.resume()
        self._store.look_again()

    async def _settle(self, worker: Worker) -> None:
        """Wait until no job runs and none could start now."""
        queues, before = worker.queues, None
        while True:
            counts = await self._store.counts(queues)
            # Compared, for a job may have been claimed between two looks.
            if counts == before and not any(each.active for each in counts):
                return
            claimable = await self._store.wait(queues, timeout_ms=0)
            before = None if claimable else counts
            if claimable or any(each.active for each in counts):
                await asyncio.sleep(PAUSE_S)

    # Jobs made by hand.

    async def make_job(
        self,
        what: Task[..., Any] | str = "job",
        data: object = NO_DATA,
        *,
        queue: str = DEFAULT_QUEUE,
        attempt: int = 1,
        **options: Unpack[Options],
    ) -> Job[Any]:
        """Return a job as its handler gets it, to call the handler with it in a test.

        It is in a store of its own: its progress and logs can be read, and it does not run.

        Args:
            what: A task, or the name of the job.
            data: Its data; of a task the arguments by name.
            queue: The name of its queue, if `what` is not a task.
            attempt: The number of the attempt.
            **options: Options of a job.
        """
        check_whole(attempt, "attempt", 1)
        record = self._record(what, data, queue, merge(JobOptions(), options))
        record = _with(record, id="1", attempts_made=attempt - 1, runs=attempt - 1)
        store = in_memory(self.clock)
        self._made.append(store)
        await store.open()
        await store.restore(_shipment(record))
        request = ClaimRequest(queue=record.queue, limit=1, token="test", lock_ms=LOCK_MS)
        (claimed,) = await store.claim([request])
        (claim,) = claimed.jobs
        loop = asyncio.get_running_loop()
        return Job(Session(store, Limits(), loop=loop), claim.record, claim)

    def make_job_sync(
        self, what: Task[..., Any] | str = "job", data: object = NO_DATA, **how: Any
    ) -> Job[Any]:
        """Make a job from blocking code; see `make_job`."""
        return run(self.make_job(what, data, **how))

    async def store_job(
        self,
        what: Task[..., Any] | str,
        data: object = NO_DATA,
        *,
        id: str,
        queue: str = DEFAULT_QUEUE,
        **facts: Any,
    ) -> Job[Any]:
        """Store a job in the state that a test needs, such as one that has failed.

        Args:
            what: A task, or the name of the job.
            data: Its data; of a task the arguments by name.
            id: Its id; any text.
            queue: The name of its queue, if `what` is not a task.
            **facts: `state` (default: "waiting"), `result`, `progress`, `reason`, `attempts_made`.
        """
        unknown = facts.keys() - {"state", "result", "progress", "reason", "attempts_made"}
        if unknown:
            raise ConfigError(f"{min(unknown)!r} is no fact of a job", field=min(unknown))
        state = State(facts.pop("state", State.WAITING))
        record = self._record(what, data, queue, JobOptions())
        now = self.clock.now_ms()
        for name in ("result", "progress"):
            if name in facts:
                facts[name] = encode(facts[name], where=name)
        ended = {"started_ms": now, "finished_ms": now, "runs": 1} if state in FINISHED else {}
        await self.app.context.ready()
        await self._store.restore(_shipment(_with(record, id=id, state=state, **ended, **facts)))
        job = await self.app.queue(record.queue).job(id)
        if job is None:
            raise TorilError(f"the job {id!r} was not stored: its state {state!r} cannot be")
        return job

    def store_job_sync(
        self, what: Task[..., Any] | str, data: object = NO_DATA, *, id: str, **how: Any
    ) -> Job[Any]:
        """Store a job from blocking code; see `store_job`."""
        return run(self.store_job(what, data, id=id, **how))

    def override(self, what: Any, value: Any) -> None:
        """Let handlers get another value for a type of `app.provide`, or for a `Depends` function.

        Until the end of the test; workers that start from now on have it.

        Args:
            what: The type, or the function in `Depends(function)`.
            value: For a type a value or factory, for a function another one.
        """
        self.app.container.override(what, value)

    def _record(
        self, what: Task[..., Any] | str, data: object, queue: str, options: JobOptions
    ) -> Record:
        if isinstance(what, Task):
            given = cast("Mapping[str, Any]", {} if data is NO_DATA else data)
            node = what.node(**given)
            queue, name, text = node.queue, node.name, node.data
        else:
            name, text = what, write_data(what, data)
        return Record(
            queue=check_queue_name(queue),
            id="",
            name=name,
            data=text,
            opts=to_text(options),
            state=State.WAITING,
            created_ms=self.clock.now_ms(),
            priority=options.priority,
        )


def _with(record: Record, **changes: Any) -> Record:
    return msgspec.structs.replace(record, **changes)


def _shipment(record: Record) -> Shipment:
    return Shipment(
        queue=record.queue, origin=uuid4().hex, number=1, jobs=(Parcel(record=record),), last=True
    )


def _same_data(job: Job[Any], text: str) -> bool:
    return bool(msgspec.json.decode(text) == job.data)


def _includes(data: object, part: Mapping[str, object]) -> bool:
    known = msgspec.json.decode(encode(part, where="includes"))
    return isinstance(data, Mapping) and known.items() <= cast("Mapping[str, Any]", data).items()


def _has(options: JobOptions, wanted: Options) -> bool:
    """Return whether laying these options over those of a job changes nothing."""
    return merge(options, wanted) == options
