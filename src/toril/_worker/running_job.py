"""One job of a worker: what is known of it, its time limits, and how its try ended.

Never here: running it, or carrying what was decided to the store.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from heapq import heappop, heappush
from typing import Any

from msgspec.structs import force_setattr
from msgspec.structs import replace as replace_in

from toril._handlers.handlers import Handler
from toril._handlers.soft_timeout import SoftLimit, is_soft_timeout
from toril._isolation.executor import NOT_RUN, Ended, Threads, raised
from toril._isolation.outcome import out_of_time, reason_of
from toril._jobs.job import Job
from toril._jobs.limits import Limits
from toril._model.decide import Action, Decision, End, Outcome, begins, cancelled, deadline_passed
from toril._model.record import Claim, Record
from toril._model.times import Millis
from toril._store.clock import Clock
from toril.errors import ConfigError, JobFailed, TorilError

from .claims import ClaimSource
from .phase import Phase, check_step


class Why(Enum):
    """Why a running job is interrupted."""

    TIMED_OUT = "its time was over"
    DEADLINE = "its deadline has passed"
    CANCELLED = "it was cancelled"
    LOCK_LOST = "its lock was lost"
    STOPPING = "the worker stops"


# After one of these the job never runs again, whatever its code goes on doing.
FOR_GOOD = frozenset({Why.DEADLINE, Why.CANCELLED})


Interrupt = Callable[["RunningJob", Why], None]


class Slots:
    """The places of a worker in which code runs, numbered from 1; the lowest free one is next."""

    def __init__(self) -> None:
        self._free: list[int] = []
        self._most = 0

    def take(self) -> int:
        """Take the lowest free place."""
        if self._free:
            return heappop(self._free)
        self._most += 1
        return self._most

    def free(self, slot: int | None) -> None:
        """Free a place."""
        if slot is not None:
            heappush(self._free, slot)


class RunningJob:
    """One job in hand; `now_ms` is what the store's clock said when it was claimed."""

    __slots__ = (
        "_clock",
        "_taken",
        "claim",
        "ended",
        "handler",
        "insists",
        "job",
        "lease_until",
        "limit_ms",
        "now_ms",
        "phase",
        "placed",
        "refusals",
        "reruns",
        "seconds",
        "slot",
        "soft",
        "source",
        "started",
        "task",
        "timers",
        "why",
    )  # fmt: skip

    def __init__(
        self,
        claim: Claim,
        job: Job[Any],
        source: ClaimSource,
        lease_until: float,
        now_ms: Millis,
        clock: Clock,
    ) -> None:
        self.claim = claim
        self.job = job
        self.source = source
        self.lease_until = lease_until
        self.now_ms = now_ms
        self._clock = clock
        self._taken = clock.passed()
        self.phase = Phase.CLAIMED
        self.handler: Handler | None = None
        self.task: asyncio.Task[Ended] | None = None
        self.timers: dict[str, asyncio.TimerHandle] = {}
        self.limit_ms: Millis | None = None
        self.soft: SoftLimit | None = None
        self.why: Why | None = None
        self.ended = NOT_RUN
        self.started = 0.0
        self.seconds: float | None = None
        self.slot: int | None = None
        self.insists = 0
        self.reruns = 0
        self.refusals = 0
        self.placed = False

    def advance(self, phase: Phase) -> None:
        """Go on to another phase."""
        check_step(self.phase, phase)
        self.phase = phase

    def enter(self) -> None:
        """Take a place of its source, unless it has one."""
        if not self.placed:
            self.placed = True
            self.source.enter(self.claim.record.name)

    def leave(self) -> bool:
        """Free its place; say whether it had one."""
        had, self.placed = self.placed, False
        if had:
            self.source.leave(self.claim.record.name)
        return had

    @property
    def busy_slot(self) -> int | None:
        """The slot in which its code runs; None: it does not."""
        return self.slot if self.phase.runs else None

    @property
    def in_thread(self) -> bool:
        """Whether its code can only be asked to stop."""
        return self.handler is not None and self.handler.in_thread

    def runs_in(self, threads: Threads) -> bool:
        """Return whether its code is in a thread now; what that handed back to await is not."""
        return self.in_thread and not threads.has_left(self.job)

    @property
    def in_process(self) -> bool:
        """Whether its code runs in a child process, which can be killed."""
        return self.handler is not None and self.handler.isolation is not None

    def now(self) -> Millis:
        """Return what the store's clock shows by now."""
        return self.now_ms + round((self._clock.passed() - self._taken) * 1000)

    def bound(self, handler: Handler) -> Handler:
        """Learn how long a try may take, and give what runs it, so that it can be told."""
        options = self.claim.record.options
        self.limit_ms = options.timeout_ms or handler.timeout_ms
        soft_ms = options.soft_timeout_ms or handler.soft_timeout_ms
        if soft_ms is not None and self.limit_ms is not None and soft_ms >= self.limit_ms:
            soft_ms = None
        if handler.isolation is not None:
            # Its child tells it.
            known = soft_ms == handler.soft_timeout_ms
            return handler if known else replace(handler, soft_timeout_ms=soft_ms)
        if soft_ms is None:
            return handler
        self.soft = SoftLimit(handler, soft_ms)
        return self.soft.handler

    def wind(self, interrupt: Interrupt) -> None:
        """Start the clock that runs whether a try has begun or not."""
        record = self.claim.record
        deadline_ms = record.options.deadline_ms
        if deadline_ms is not None:
            left_ms = begins(record) + deadline_ms - self.now()
            self._ring("deadline", left_ms, interrupt, self, Why.DEADLINE)

    def begin(self, interrupt: Interrupt) -> None:
        """Start the clocks of a try that begins; called again, they start again."""
        if self.limit_ms is not None:
            self._ring("limit", self.limit_ms, interrupt, self, Why.TIMED_OUT)
        if self.soft is not None:
            self._ring("soft", self.soft.ms, self._tell, self.soft)

    def _ring(self, clock: str, ms: Millis, call: Callable[..., None], *args: object) -> None:
        if clock in self.timers:
            self.timers[clock].cancel()
        self.timers[clock] = asyncio.get_running_loop().call_later(ms / 1000, call, *args)

    def stop_clocks(self) -> None:
        """Stop the clocks of a try."""
        for timer in self.timers.values():
            timer.cancel()
        self.timers.clear()

    def _tell(self, soft: SoftLimit) -> None:
        if self.task is not None and self.why is None:
            soft.tell(self.task, self.job)

    def signed(self, decision: Decision, version: str | None) -> Decision:
        """Return a decision with where its attempt ran, and by which version of the code it failed."""
        # It was made a moment ago, and nobody else has it.
        force_setattr(decision, "slot", self.slot)
        if decision.fault is not None and version is not None:
            force_setattr(decision, "fault", replace_in(decision.fault, version=version))
        return decision

    def failure(self, outcome: Outcome) -> Ended:
        """Return the end of a job that fails without an error of its own."""
        record = self.claim.record
        reason, end = outcome.reason or "failed", outcome.end.word
        error = JobFailed(reason, end=end, queue=record.queue, job_id=record.id)
        return Ended(outcome, error=error)

    def read(self, task: asyncio.Task[Ended] | None) -> Ended:
        """Return the end of a try, as it was interrupted or not; None: its code runs on."""
        ended = _result(task)
        match self.why:
            case None if self.soft is not None and is_soft_timeout(ended.error):
                return out_of_time(ended, "soft timeout", self.soft.ms)
            case Why.TIMED_OUT:
                return out_of_time(ended, "timeout", self.limit_ms or 0)
            case Why.DEADLINE:
                outcome = deadline_passed(self.claim.record)
                return self.failure(replace_in(outcome, stack=ended.outcome.stack))
            case Why.CANCELLED:
                return self.failure(cancelled(self.job.cancelled_reason or ""))
            case Why.STOPPING if ended.outcome.end is End.RAISED:
                return NOT_RUN
            case _:
                return ended


def within_limit(limits: Limits, record: Record, ended: Ended) -> Ended:
    """Return the end of an attempt; one whose result is too large fails its job, once."""
    result = ended.outcome.result
    if result is None or len(result) * 4 <= limits.of(record.queue):
        return ended
    try:
        limits.check(result, record.queue, f"the result of job {record.id!r}")
    except ConfigError as error:
        return Ended(Outcome(end=End.FAILED, reason=str(error)), error=error)
    return ended


def unstorable(decision: Decision, error: TorilError) -> Outcome:
    """Return how a job ends whose decision the store can never take: it fails, once."""
    what = "its result" if decision.action is Action.COMPLETE else "its end"
    why = f" (it ended so: {decision.reason})" if decision.reason else ""
    return Outcome(end=End.FAILED, reason=f"{what} cannot be stored: {reason_of(error)}{why}")


def _result(task: asyncio.Task[Ended] | None) -> Ended:
    if task is None or task.cancelled():
        return raised(asyncio.CancelledError())
    error = task.exception()
    return task.result() if error is None else raised(error)
