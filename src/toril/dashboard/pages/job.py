"""One job: why it failed, what happened to it, its data, its log.

Never here: its flow (flow), and changing it (act).
"""

import json
from dataclasses import dataclass, field
from typing import Any

from toril import Job
from toril.dashboard.board import Board, PageCall
from toril.dashboard.problems import bad_request, not_found
from toril.dashboard.redact import fields_of, items_of
from toril.dashboard.rows import JobRow, secrets_of
from toril.dashboard.values import SHOWN, WHOLE, Shown, clean, parse, show, show_text
from toril.types import Record, Ref

STACKS = 20
LINES = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobQuery:
    """Which job."""

    queue: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueQuery(JobQuery):
    """Which value of a job: data, result, progress, reason, or stack.N of its attempts."""

    part: str = "data"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogQuery(JobQuery):
    """Which lines of a job's log: those after this many."""

    after: int = 0
    limit: int = LINES


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPlace:
    """Where a job is."""

    queue: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One start of a job that did not complete it.

    Attributes:
        end: failed, timeout, deadline, expired, cancelled, stalled, snoozed or released.
    """

    run: int
    worker: str | None
    slot: int | None
    started_ms: int | None
    ended_ms: int
    end: str
    reason: str | None
    fingerprint: str | None = None
    version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCounts:
    """How the children of a job stand."""

    pending: int = 0
    completed: int = 0
    failed: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class LikeRow:
    """Other failures with the same cause."""

    fingerprint: str
    count: int
    first_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobLinkRow:
    """A page of the application about a job."""

    url: str
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDetail(JobRow):
    """All that is kept of a job, without secrets.

    Attributes:
        data_json: Its data as JSON text; secrets are `{"$hidden": type, "length": class}`, what
            is omitted is `{"$cut": …, "size": …}`.
        data_size: How many characters all of it has.
        hidden: How many values are hidden.
        end: How it failed, as `JobFailed.end`.
        stack: The stack of each failed attempt, newest last.
        deadline_ms: When it fails at the latest.
        call: A call in Python that adds the job again, without its secrets.
        like: The error group of its newest failed attempt.
        same_key: The other job that holds its dedup key now.
    """

    data_json: str
    data_size: int
    data_cut: bool
    result_json: str | None
    result_size: int
    result_cut: bool
    progress_json: str | None
    hidden: int
    reason: str | None
    end: str | None
    cancelled: str | None
    stack: list[str]
    attempts_list: list[AttemptRow]
    options_json: str
    runs: int
    stalls: int
    parent: JobPlace | None
    children: ChildCounts
    flow_root: JobPlace | None
    schedule: str | None
    dedup: str | None
    letter: str | None
    origin: str | None
    deadline_ms: int | None
    timeout_ms: int | None
    delay_ms: int
    call: str
    logs: int
    like: LikeRow | None = None
    same_key: list[JobRow] = field(default_factory=list[JobRow])
    link: JobLinkRow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogAnswer:
    """Lines of a job's log; `total` is how many lines it has."""

    lines: list[str]
    total: int


async def find(call: PageCall, queue: str, job_id: str) -> Job[Any]:
    """Return a job that the user may see.

    Raises   RefusedError: there is none.
    """
    found = await call.queue(queue).job(job_id)
    if found is None:
        raise not_found(
            f"there is no job {job_id!r} in queue {queue!r}: it was removed, or expired"
        )
    return found


async def job(call: PageCall, query: JobQuery) -> JobDetail:
    """Return all that is kept of a job."""
    found = await find(call, query.queue, query.id)
    children = await found.dependencies()
    logs = await found.logs(limit=0)
    root = await _root(call, found.record)
    more = {
        "children": ChildCounts(
            pending=children.pending,
            completed=children.completed,
            failed=children.failed,
            ignored=children.ignored,
        ),
        "logs": logs.total,
        "flow_root": root,
        "like": await _like(call, found.record),
        "same_key": await _same_key(call, found.record),
    }
    return detail(call.board, found.record, more)


async def _like(call: PageCall, record: Record) -> LikeRow | None:
    """Return how often attempts failed as the newest failed one of this job did."""
    if record.fingerprint is None:
        return None
    groups = await call.app.monitor.errors(record.queue)
    found = next((each for each in groups if each.fingerprint == record.fingerprint), None)
    if found is None:
        return None
    return LikeRow(fingerprint=record.fingerprint, count=found.count, first_ms=found.first_ms)


async def _same_key(call: PageCall, record: Record) -> list[JobRow]:
    """Return the other job that holds the dedup key of this one, if there is one."""
    if not record.dedup:
        return []
    holder = await call.queue(record.queue).dedup_job(record.dedup)
    return [] if holder is None or holder.id == record.id else [call.board.row(holder.record)]


async def _root(call: PageCall, record: Record) -> JobPlace | None:
    """Find the top of a job's flow; of a very deep one, what is above it by fifty levels."""
    top = record
    for _ in range(50):
        parent = top.parent
        if parent is None:
            break
        (found,) = await call.app.monitor.jobs([parent])
        if found is None:
            break
        top = found.record
    return None if top is record else JobPlace(queue=top.queue, id=top.id)


def detail(board: Board, record: Record, more: dict[str, Any]) -> JobDetail:
    """Return a job as its page shows it."""
    row = board.row(record)
    secrets = secrets_of(record, board.redactor)
    data = show(record.data, board.redactor, record.name) or Shown("null", 0)
    result = show(record.result, board.redactor, record.name)
    progress = show(record.progress, board.redactor, record.name)
    options = show(record.opts, board.redactor, record.name) or Shown("{}", 0)
    kept = {name: getattr(row, name) for name in JobRow.__slots__}
    return JobDetail(
        **kept,
        **more,
        data_json=data.text,
        data_size=data.size,
        data_cut=data.cut,
        result_json=None if result is None else result.text,
        result_size=0 if result is None else result.size,
        result_cut=result is not None and result.cut,
        progress_json=None if progress is None else progress.text,
        hidden=data.hidden + (0 if result is None else result.hidden),
        reason=None if record.reason is None else show_text(record.reason, secrets).text,
        end=record.end,
        cancelled=None if record.cancelled is None else show_text(record.cancelled, secrets).text,
        stack=[show_text(each, secrets).text for each in record.stack[-STACKS:]],
        attempts_list=_attempts(record, secrets),
        options_json=options.text,
        runs=record.runs,
        stalls=record.stalls,
        parent=_place(record.parent),
        schedule=record.schedule,
        dedup=record.dedup,
        letter=record.letter,
        origin=record.origin,
        deadline_ms=_deadline(record),
        timeout_ms=_option(record, "timeout_ms"),
        delay_ms=record.delay_ms,
        call=python_call(board, record),
        link=_link(board, record),
    )


def _place(ref: Ref | None) -> JobPlace | None:
    return None if ref is None else JobPlace(queue=ref.queue, id=ref.id)


def _attempts(record: Record, secrets: list[str] | None) -> list[AttemptRow]:
    return [
        AttemptRow(
            run=each.run,
            worker=None if each.worker is None else clean(each.worker),
            slot=each.slot,
            started_ms=each.started_ms,
            ended_ms=each.ended_ms,
            end=each.end,
            reason=None if each.reason is None else show_text(each.reason, secrets).text,
            fingerprint=each.fingerprint,
        )
        for each in record.tries
    ]


def _option(record: Record, name: str) -> int | None:
    try:
        found: int | None = getattr(record.options, name)
    except (ValueError, TypeError):
        return None
    return found


def _deadline(record: Record) -> int | None:
    ms = _option(record, "deadline_ms")
    return None if ms is None else record.created_ms + ms


def _link(board: Board, record: Record) -> JobLinkRow | None:
    found = None if board.job_link is None else board.job_link(record)
    if found is None or not found[0].startswith(("http://", "https://", "/")):
        return None
    return JobLinkRow(url=found[0], label=clean(found[1]))


def python_call(board: Board, record: Record) -> str:
    """Return a call in Python that adds this job again; hidden values are omitted."""
    try:
        data = parse(record.data)
    except ValueError:
        data = None
    shown = show(record.data, board.redactor, record.name, most=SHOWN)
    if shown is None or shown.cut or len(record.data) > SHOWN:
        return (
            f"# its data is too long: read it with app.queue({record.queue!r}).job({record.id!r})"
        )
    value = _masked(json.loads(shown.text))
    task = board.task(record.queue, record.name)
    fields = fields_of(data)
    if task is not None and fields is not None and all(key.isidentifier() for key in fields):
        given = ", ".join(f"{key}={each!r}" for key, each in value.items())
        return f"await {clean(task.name)}.enqueue({given})"
    return f"await app.queue({record.queue!r}).add({clean(record.name)!r}, {value!r})"


class _Ellipsis:
    def __repr__(self) -> str:
        return "..."


def _masked(value: Any) -> Any:
    """Replace what is hidden by three dots."""
    fields, items = fields_of(value), items_of(value)
    if fields is not None:
        if "$hidden" in fields:
            return _Ellipsis()
        return {key: _masked(each) for key, each in fields.items()}
    return value if items is None else [_masked(each) for each in items]


async def value(call: PageCall, query: ValueQuery) -> str:
    """Return one value of a job whole, without secrets."""
    record = (await find(call, query.queue, query.id)).record
    kind, _, number = query.part.partition(".")
    secrets = secrets_of(record, call.board.redactor)
    if kind == "stack" and number.isdigit() and int(number) < len(record.stack):
        return show_text(record.stack[int(number)], secrets, most=WHOLE).text
    if query.part == "reason":
        return show_text(record.reason or "", secrets, most=WHOLE).text
    texts = {"data": record.data, "result": record.result, "progress": record.progress}
    if query.part not in texts:
        raise bad_request(
            f"part={query.part[:50]!r} is not a value of a job", "part",
            "data, result, progress, reason, or stack.0 and so on",
        )  # fmt: skip
    shown = show(texts[query.part], call.board.redactor, record.name, most=WHOLE)
    return "null" if shown is None else shown.text


async def log(call: PageCall, query: LogQuery) -> LogAnswer:
    """Return lines of a job's log, oldest first."""
    found = await find(call, query.queue, query.id)
    limit = min(max(query.limit, 0), LINES)
    page = await found.logs(offset=max(query.after, 0), limit=limit)
    secrets = secrets_of(found.record, call.board.redactor)
    return LogAnswer(lines=[show_text(line, secrets).text for line in page.lines], total=page.total)
