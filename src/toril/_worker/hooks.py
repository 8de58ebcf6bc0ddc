"""The records of what happens in a worker, and the log that is written of them.

A listener of a class of records gets the record itself: `app.on(JobCompleted)`. Records cost
nothing where nobody wants them.
"""

import logging
from dataclasses import dataclass, fields

from toril._jobs import guard
from toril._jobs.listeners import Listeners
from toril._model.printable import safe_lines
from toril.errors import TorilError

# How much of one fact a line of the log shows; `extra` has it whole.
MAX_SHOWN = 500
# The longest line of a stack that is shown.
MAX_LINE = 2_000

log = logging.getLogger("toril.worker")


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """Base class of all records."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobHappening(Happening):
    """Something that happened to one job in this worker."""

    queue: str
    job_id: str
    job_name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStarted(JobHappening):
    """An attempt of a job began; `run` numbers all starts, `attempt` those that count."""

    attempt: int
    run: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TryEnded(JobHappening):
    """An attempt of a job ended, and the result is stored.

    Shape    word: what became of the job: completed · failed · delayed · waiting · …
             end: how the try itself ended.
    """

    attempt: int
    word: str
    end: str
    seconds: float
    reason: str | None = None
    stack: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCompleted(TryEnded):
    """The job completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFailed(TryEnded):
    """The job failed permanently."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobCancelled(JobFailed):
    """The job failed permanently because it was cancelled."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptFailed(TryEnded):
    """The attempt failed, and the job runs again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPutBack(TryEnded):
    """The job runs again, without a failure: snoozed, released, waiting for children."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDeadLettered(JobHappening):
    """The job failed permanently, and its dead letter is in the queue `letters`."""

    letters: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LockGone(JobHappening):
    """The job's lock was lost: results of this worker are refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimLapsed(Happening):
    """The store answered too late, so that the locks had expired: the jobs are left to others."""

    queue: str
    jobs: int
    lock_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NameUnknown(JobHappening):
    """No handler of the queue has the name of the job."""

    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentsUnfit(JobHappening):
    """A job has arguments that its handler does not take, or lacks some; it is requeued."""

    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeUnstoppable(JobHappening):
    """A job should have stopped, but its code continues."""

    why: str
    where: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStalled(Happening):
    """A job was taken back from a worker that died."""

    queue: str
    job_id: str
    stalls: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LoopBlocked(Happening):
    """The event loop was blocked; `where` is the file and line, `source` its text."""

    seconds: float
    job: str
    where: str
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble(Happening):
    """The worker could not do something; it continues."""

    what: str
    error: BaseException


@dataclass(frozen=True, slots=True, kw_only=True)
class RatesDiffer(Happening):
    """The rate of this worker differs from that of another worker, or of the queue.

    Shape    rate: its own. other: the different one, `of` a worker's id or the queue.
    """

    queue: str
    rate: str
    other: str
    of: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHappening(Happening):
    """Something that happened to the worker as a whole."""

    worker: str
    queues: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerReady(WorkerHappening):
    """The worker starts jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerClosing(WorkerHappening):
    """The worker starts no more jobs; running jobs have their grace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerClosed(WorkerHappening):
    """The worker has ended."""


class Records:
    """Hand records to the log, and to the listeners of their classes."""

    __slots__ = ("_listeners", "_log")

    def __init__(self, listeners: Listeners) -> None:
        self._log = RecordLog()
        self._listeners = listeners

    def wants(self, kind: type[Happening]) -> bool:
        """Return whether anybody wants this kind; ask before making a record on a hot path."""
        return self._log.wants(kind) or self._listeners.wants(kind)

    def tell(self, what: Happening) -> None:
        """Hand a record to everyone who wants it."""
        if self._log.wants(type(what)):
            self._log(what)
        self._listeners.tell_record(what)


# Each kind of record, the name of its line in the log, and how loud it is.
_LINES: dict[type[Happening], tuple[str, int]] = {
    JobStarted: ("job.started", logging.DEBUG),
    JobCompleted: ("job.completed", logging.INFO),
    JobFailed: ("job.failed", logging.ERROR),
    JobCancelled: ("job.cancelled", logging.WARNING),
    AttemptFailed: ("job.attempt_failed", logging.WARNING),
    JobPutBack: ("job.put_back", logging.INFO),
    JobDeadLettered: ("job.dead_lettered", logging.WARNING),
    LockGone: ("job.lock_lost", logging.WARNING),
    ClaimLapsed: ("claim.lapsed", logging.INFO),
    NameUnknown: ("job.unknown_name", logging.WARNING),
    ArgumentsUnfit: ("job.arguments_unfit", logging.WARNING),
    CodeUnstoppable: ("job.unstoppable", logging.WARNING),
    JobStalled: ("job.stalled", logging.WARNING),
    LoopBlocked: ("loop.blocked", logging.WARNING),
    Trouble: ("worker.trouble", logging.ERROR),
    RatesDiffer: ("worker.rates_differ", logging.WARNING),
    WorkerReady: ("worker.ready", logging.INFO),
    WorkerClosing: ("worker.closing", logging.INFO),
    WorkerClosed: ("worker.closed", logging.INFO),
}


class RecordLog:
    """Write what happens to the log `toril.worker`: a constant name a line, facts in `extra`.

    The facts also be in the message, so that a plain format shows them.
    """

    __slots__ = ()

    def wants(self, kind: type[Happening]) -> bool:
        """Return whether a line of this kind would be written."""
        return kind in _LINES and log.isEnabledFor(_LINES[kind][1])

    def __call__(self, what: Happening) -> None:
        """Write the line."""
        name, level = _LINES[type(what)]
        facts = {each.name: getattr(what, each.name) for each in fields(what)}
        error = facts.pop("error", None)
        stack = facts.pop("stack", None)
        if error is not None:
            facts["reason"] = guard.text_of(error) or type(error).__name__
        text = " ".join(
            f"{key}={_short(value)}" for key, value in facts.items() if value is not None
        )
        if stack and level >= logging.ERROR:
            # A child process tells it, which has text of others in it.
            text = "\n".join((text, *safe_lines(stack.rstrip().expandtabs(), MAX_LINE)))
        # What toril raises says in its message what to do; the rest needs its traceback.
        trace = None if isinstance(error, TorilError) else error
        guard.write_log(log, level, f"{name} %s", text, extra=facts, exc_info=trace)


def _short(value: object) -> str:
    text = guard.repr_of(value)
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}…"
