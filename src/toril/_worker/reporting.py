"""What a worker says of its jobs, to its listeners and in its log.

Never here: deciding anything.
"""

import asyncio
from collections.abc import Awaitable
from typing import Any

from toril._isolation.executor import Ended
from toril._jobs.job import Job
from toril._jobs.listeners import Listeners
from toril._jobs.session import Session
from toril._model.decide import Decision, End
from toril._model.record import Claim, Record
from toril._model.suggest import did_you_mean
from toril._store.values import Claimed, ClaimRequest, Recovered
from toril.errors import BadArguments, UnknownTask

from .hooks import (
    ArgumentsUnfit,
    AttemptFailed,
    ClaimLapsed,
    CodeUnstoppable,
    JobCancelled,
    JobCompleted,
    JobDeadLettered,
    JobFailed,
    JobPutBack,
    JobStalled,
    JobStarted,
    LockGone,
    LoopBlocked,
    NameUnknown,
    RatesDiffer,
    Records,
    Trouble,
    TryEnded,
    WorkerClosed,
    WorkerClosing,
    WorkerHappening,
    WorkerReady,
)

_FAILURES = frozenset(
    {End.RAISED, End.TIMED_OUT, End.DEADLINE, End.EXPIRED, End.FAILED, End.MAX_RUNS}
)
_KINDS: dict[str, type[TryEnded]] = {"completed": JobCompleted, "failed": JobFailed}
_STATES: dict[str, type[WorkerHappening]] = {
    "ready": WorkerReady,
    "closing": WorkerClosing,
    "closed": WorkerClosed,
}


class Reporter:
    """Call the listeners of one worker, and make records for those that want them."""

    __slots__ = ("_listeners", "_records", "_unfits", "_unknown")

    def __init__(self, listeners: Listeners) -> None:
        self._listeners = listeners
        self._records = Records(listeners)
        self._unknown: set[tuple[str, str]] = set()
        self._unfits: set[tuple[str, str, str | None]] = set()

    @property
    def calling(self) -> str | None:
        """The event whose sync listener runs right now."""
        return self._listeners.calling

    def job(self, context: Session, claim: Claim) -> Job[Any]:
        """Make the handle that the handler gets; it tells of progress if anybody listens."""
        if self._listeners.heard("progress"):
            return _ToldJob(context, claim, self._listeners)
        return Job(context, claim.record, claim)

    def started(self, job: Job[Any]) -> None:
        """A handler is about to run."""
        self._listeners.tell("active", job)
        if self._records.wants(JobStarted):
            record = job.record
            self._records.tell(
                JobStarted(**_named(record), attempt=record.attempt, run=record.runs)
            )

    def settled(
        self, job: Job[Any], decision: Decision, word: str, ended: Ended, seconds: float | None
    ) -> None:
        """The store has settled a try; seconds None: it was settled without being run."""
        listeners = self._listeners
        if decision.end is End.UNKNOWN and seconds is not None:
            self._unfit(job.record, decision.reason)
        if word == "completed":
            listeners.tell("completed", job, ended.value)
        else:
            if seconds is not None and decision.end in _FAILURES:
                listeners.tell("attempt_failed", job, ended.error)
            if decision.end is End.CANCELLED:
                listeners.tell("cancelled", job, ended.error)
            if decision.stalls is not None:
                self._crashed(job, decision.stalls)
            if word == "failed":
                listeners.tell("failed", job, ended.error)
        kind = _KINDS.get(word) or (AttemptFailed if decision.end in _FAILURES else JobPutBack)
        if decision.end is End.CANCELLED:
            kind = JobCancelled
        if self._records.wants(kind):
            self._records.tell(_ended(kind, job.record, decision, word, seconds or 0.0))

    def _crashed(self, job: Job[Any], stalls: int) -> None:
        self._listeners.tell("stalled", job.id)
        self._records.tell(JobStalled(queue=job.queue, job_id=job.id, stalls=stalls))

    def dead_lettered(self, job: Job[Any], letters: str) -> None:
        """The job failed for good and left a letter in the queue `letters`; records only."""
        self._records.tell(JobDeadLettered(**_named(job.record), letters=letters))

    def unknown(self, record: Record, known: tuple[str, ...]) -> None:
        """No handler has this name; said once a name."""
        key = (record.queue, record.name)
        if key in self._unknown:
            return
        self._unknown.add(key)
        names = ", ".join(known) or "none"
        hint = did_you_mean(record.name, known) or f"names with a handler: {names}"
        self._records.tell(NameUnknown(**_named(record), hint=hint))
        self._listeners.tell("error", UnknownTask(f"{no_handler(record)}; {hint}"))

    def _unfit(self, record: Record, reason: str | None) -> None:
        """The handler does not take the arguments of a job; said once a name and reason."""
        key = (record.queue, record.name, reason)
        if key in self._unfits:
            return
        self._unfits.add(key)
        self._records.tell(ArgumentsUnfit(**_named(record), reason=reason))
        self._listeners.tell("error", BadArguments(reason or ""))

    def lock_lost(self, job: Job[Any]) -> None:
        """The job belongs to somebody else now."""
        self._listeners.tell("lock_lost", job)
        self._records.tell(LockGone(**_named(job.record)))

    def claim_lapsed(self, request: ClaimRequest, claimed: Claimed) -> None:
        """A claim was answered after its locks had lapsed: none of its jobs is run; records only."""
        jobs, lock_s = len(claimed.jobs), request.lock_ms / 1000
        self._records.tell(ClaimLapsed(queue=request.queue, jobs=jobs, lock_seconds=lock_s))

    def unstoppable(self, job: Job[Any], why: str, where: str | None = None) -> None:
        """The job's code goes on, at this line, though it was told to stop."""
        self._records.tell(CodeUnstoppable(**_named(job.record), why=why, where=where))

    def stalled(self, recovered: Recovered) -> None:
        """A job was taken back from a worker that died."""
        self._listeners.tell("stalled", recovered.id)
        self._records.tell(
            JobStalled(queue=recovered.queue, job_id=recovered.id, stalls=recovered.stalls)
        )

    def rates_differ(self, found: RatesDiffer) -> None:
        """The worker's own limit stands against another one; records only."""
        self._records.tell(found)

    def drained(self) -> None:
        """The worker has nothing left to do."""
        self._listeners.tell("drained")

    def trouble(self, what: str, error: BaseException) -> None:
        """Something of the worker's own did not work."""
        self._records.tell(Trouble(what=what, error=error))
        self._listeners.tell("error", error)

    def blocked(self, found: LoopBlocked) -> None:
        """The event loop was blocked; records only, and perhaps from another thread."""
        self._records.tell(found)

    def state(self, state: str, worker: str, queues: tuple[str, ...]) -> None:
        """The worker is ready, closing or closed."""
        self._records.tell(_STATES[state](worker=worker, queues=queues))
        self._listeners.tell(state)


def no_handler(record: Record) -> str:
    """Say that a job's name is unknown, as its failure says it."""
    return f'No handler for job "{record.name}" in queue "{record.queue}"'


def _named(record: Record) -> dict[str, Any]:
    return {"queue": record.queue, "job_id": record.id, "job_name": record.name}


def _ended(
    kind: type[TryEnded], record: Record, decision: Decision, word: str, seconds: float
) -> TryEnded:
    return kind(
        **_named(record),
        attempt=record.attempt,
        word=word,
        end=decision.end.value,
        seconds=round(seconds, 6),
        reason=decision.reason,
        stack=decision.stack,
    )


class _ToldJob(Job[Any]):
    """A job whose progress is told to local listeners as it is reported."""

    __slots__ = ("_listeners",)

    def __init__(self, context: Session, claim: Claim, listeners: Listeners) -> None:
        super().__init__(context, claim.record, claim)
        self._listeners = listeners

    def progress(self, value: object) -> Awaitable[None]:
        sent = super().progress(value)
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            if self._context.loop is not None:
                self._context.loop.call_soon_threadsafe(
                    self._listeners.tell, "progress", self, value
                )
        else:
            self._listeners.tell("progress", self, value)
        return sent
