"""The rows that several pages show: jobs, queues, workers; and how they are made.

Times are milliseconds since 1970 (`…_ms` of a moment) or durations in milliseconds; None: not
known. Never here: reading them from the store.
"""

import re
import time
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from toril.types import Pause, QueueView, Record, WorkerInfo

from .redact import HIDDEN_TEXT, Redactor, hide_in
from .values import clean, parse, show_text

T = TypeVar("T")

LINE = 300
# Data that is longer is not searched for secrets to hide them in the error of a row.
SEARCHED = 262_144
_TYPE = re.compile(
    r"(?:[\w]+\.)*[A-Z_]\w*(?:Error|Exception|Timeout|Warning|Interrupt|Exit|[A-Z]\w*)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class StateCounts:
    """How many jobs are in each state."""

    waiting: int = 0
    prioritized: int = 0
    delayed: int = 0
    active: int = 0
    waiting_children: int = 0
    completed: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRow:
    """Who paused a queue or a schedule, why, since when and until when."""

    by: str = ""
    reason: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSummary:
    """A queue in a table.

    Attributes:
        oldest_waiting_ms: How long the next job has been waiting.
        slots: How many jobs its workers can run at once, where they say so.
        in_per_s: Jobs added a second, in the last five minutes.
        out_per_s: Jobs finished a second, in the last five minutes.
        eta_s: When its waiting jobs will have run, at this rate.
        spark: Jobs finished in each of the last 60 minutes.
    """

    name: str
    counts: StateCounts
    ready: int
    paused: PauseRow | None = None
    concurrency: int | None = None
    rate_max: int | None = None
    rate_ms: int | None = None
    limited_until_ms: int | None = None
    max_waiting: int | None = None
    workers: int = 0
    slots: int | None = None
    oldest_waiting_ms: int | None = None
    in_per_s: float | None = None
    out_per_s: float | None = None
    eta_s: float | None = None
    failed_1h: int | None = None
    p95_ms: float | None = None
    spark: list[int] = field(default_factory=list[int])


@dataclass(frozen=True, slots=True, kw_only=True)
class SlotRow:
    """What a slot of a worker runs now."""

    number: int
    queue: str
    id: str
    name: str
    started_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A worker, of toril or of BullMQ in Node.

    Attributes:
        node: It is a worker of Node's BullMQ, of which only the connection is known.
        rss: Memory in bytes.
        cpu_pct: Share of one core in percent.
    """

    id: str
    name: str
    host: str
    pid: int
    queues: list[str]
    slots: int
    active: int
    started_ms: int
    seen_ms: int
    alive: bool
    node: bool = False
    quiet: bool | None = None
    rss: int | None = None
    cpu_pct: float | None = None
    version: str | None = None
    running: list[SlotRow] = field(default_factory=list[SlotRow])


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job in a table.

    Attributes:
        run_ms: How long the last attempt took, or has taken so far.
        wait_ms: How long it waited from when it could start until its last start.
        attempts: How many attempts it has; None: its options cannot be read.
        error: The first line of the reason of its last failure, without secrets.
        fields: The values of its declared search fields.
    """

    queue: str
    id: str
    name: str
    state: str
    created_ms: int
    due_ms: int | None = None
    started_ms: int | None = None
    finished_ms: int | None = None
    run_ms: int | None = None
    wait_ms: int | None = None
    attempts_made: int = 0
    attempts: int | None = None
    error_type: str | None = None
    error: str | None = None
    fingerprint: str | None = None
    worker: str | None = None
    slot: int | None = None
    priority: int = 0
    progress: float | None = None
    tags: list[str] = field(default_factory=list[str])
    fields: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


@dataclass(frozen=True, slots=True, kw_only=True)
class RowPage(Generic[T]):
    """One page of a list; `next` is where the following one begins, None on the last."""

    items: list[T]
    next: str | None = None
    total: int | None = None


def now_ms() -> int:
    """Return the time."""
    return time.time_ns() // 1_000_000


def counts_row(view: QueueView) -> StateCounts:
    """Return the counts of a queue."""
    counts = view.counts
    return StateCounts(
        waiting=counts.waiting,
        prioritized=counts.prioritized,
        delayed=counts.delayed,
        active=counts.active,
        waiting_children=counts.waiting_children,
        completed=counts.completed,
        failed=counts.failed,
    )


def pause_row(note: Pause | None) -> PauseRow | None:
    """Return who paused a queue or a schedule, and why; None: it is not paused."""
    if note is None:
        return None
    return PauseRow(
        by=clean(hide_in(note.by)),
        reason=clean(hide_in(note.reason)),
        since_ms=note.since_ms,
        until_ms=note.until_ms,
    )


def queue_row(view: QueueView, now: int, **measured: Any) -> QueueSummary:
    """Return a queue as a row; `measured` are its rates."""
    settings = view.settings
    oldest = view.counts.oldest_ms
    slots = sum(each.concurrency for each in view.workers)
    return QueueSummary(
        name=view.name,
        counts=counts_row(view),
        ready=view.counts.ready,
        # BullMQ does not say who paused it.
        paused=pause_row(settings.pause or Pause()) if settings.paused else None,
        concurrency=settings.concurrency,
        rate_max=settings.rate_max,
        rate_ms=settings.rate_ms,
        limited_until_ms=settings.limited_until,
        max_waiting=settings.max_waiting,
        workers=len(view.workers),
        slots=slots or None,
        oldest_waiting_ms=None if oldest is None else max(now - oldest, 0),
        **measured,
    )


def worker_row(worker: WorkerInfo) -> WorkerRow:
    """Return a worker as a row."""
    return WorkerRow(
        id=clean(worker.id),
        name=clean(worker.name),
        host=clean(worker.host),
        pid=worker.pid,
        queues=[*worker.queues],
        slots=worker.concurrency,
        active=worker.active,
        started_ms=worker.started_ms,
        seen_ms=worker.seen_ms,
        alive=worker.alive,
        node=worker.pid == 0,
        rss=worker.rss,
        cpu_pct=None if worker.cpu is None else round(worker.cpu * 100, 1),
        version=worker.version,
        running=[
            SlotRow(
                number=each.number,
                queue=each.queue,
                id=each.id,
                name=clean(each.name),
                started_ms=each.started_ms,
            )
            for each in worker.slots
        ],
    )


def job_row(record: Record, redactor: Redactor, now: int) -> JobRow:
    """Return a job as a row."""
    error = None if record.reason is None else error_line(record, redactor)
    return JobRow(
        queue=record.queue,
        id=clean(record.id),
        name=clean(record.name),
        state=record.state.value,
        created_ms=record.created_ms,
        due_ms=record.due_ms,
        started_ms=record.started_ms,
        finished_ms=record.finished_ms,
        run_ms=run_ms(record, now),
        wait_ms=wait_ms(record),
        attempts_made=record.attempts_made,
        attempts=attempts_of(record),
        error_type=error_type(record),
        error=error,
        fingerprint=record.fingerprint,
        worker=None if record.worker is None else clean(record.worker),
        slot=record.slot,
        priority=record.priority,
        progress=progress_share(record.progress),
        tags=[clean(value) for name, value in record.fields if name == "tag"],
        fields=_fields(record, redactor),
    )


def _fields(record: Record, redactor: Redactor) -> dict[str, list[str]]:
    """Return the values of a job's search fields; those of secret keys are hidden."""
    found: dict[str, list[str]] = {}
    for name, value in record.fields:
        if name != "tag":
            hidden = not redactor.open and redactor.hides(record.name, (name,), value)
            found.setdefault(name, []).append(HIDDEN_TEXT if hidden else clean(value))
    return found


def run_ms(record: Record, now: int) -> int | None:
    """Return how long the last attempt took; one that runs has no end yet."""
    if record.started_ms is None:
        return None
    if record.state.value == "active":
        return max(now - record.started_ms, 0)
    if record.finished_ms is None:
        return None
    return max(record.finished_ms - record.started_ms, 0)


def wait_ms(record: Record) -> int | None:
    """Return how long a job waited for its start; never less than nothing, as after a snooze."""
    if record.started_ms is None:
        return None
    return max(record.started_ms - record.created_ms - record.delay_ms, 0)


def attempts_of(record: Record) -> int | None:
    """Return how many attempts a job has; None: its options cannot be read."""
    try:
        return record.options.attempts
    except (ValueError, TypeError):
        return None


def error_type(record: Record) -> str | None:
    """Return the type of the last error, as the last line of its stack says."""
    if not record.stack:
        return None
    lines = [line for line in record.stack[-1][-4_000:].splitlines() if line.strip()]
    # BullMQ's stacks begin with the error, Python's end with it.
    first = record.stack[-1][:300].partition("\n")[0]
    line = first if "\n    at " in record.stack[-1][:2_000] else (lines[-1] if lines else "")
    name = line.partition(":")[0].strip()
    return name.rpartition(".")[2][:100] if _TYPE.fullmatch(name) else None


def error_line(record: Record, redactor: Redactor) -> str:
    """Return the reason of a failure in one line, without the secrets of the job's data."""
    if len(record.data) > SEARCHED and redactor.may_hide(record.name, record.data):
        return HIDDEN_TEXT
    reason = (record.reason or "").strip().partition("\n")[0]
    return show_text(reason, secrets_of(record, redactor), most=LINE).text


def secrets_of(record: Record, redactor: Redactor) -> list[str] | None:
    """Return what is secret in a job's data and result; None: nothing is to be hidden."""
    if redactor.open:
        return None
    found: list[str] = []
    for text in (record.data, record.result):
        if text is None or not redactor.may_hide(record.name, text):
            continue
        try:
            found += redactor.secrets(record.name, parse(text))
        except ValueError:
            continue
    return sorted(set(found), key=len, reverse=True)


def progress_share(text: str | None) -> float | None:
    """Return progress as a share from 0 to 1, if it is a number of percent."""
    if text is None or len(text) > 20:
        return None
    try:
        value = float(text)
    except ValueError:
        return None
    return value / 100 if 0 <= value <= 100 else None
