"""Failures by cause, and the audit log. Never here: acting on them (act)."""

from dataclasses import dataclass, field, replace
from typing import Any

from toril.dashboard.board import AuditRow, PageCall
from toril.dashboard.problems import RefusedError, not_found
from toril.dashboard.rows import JobRow, RowPage, now_ms
from toril.dashboard.values import clean, show_text
from toril.types import ErrorGroup

from .job import JobPlace, find
from .series import range_of

BUCKET_MS = 300_000
SPARK = 12
NEW_MS = 86_400_000
SAMPLE = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorsQuery:
    """Which error groups: of a queue or all, seen within 15m, 1h, 6h, 24h, 7d or 30d."""

    queue: str = ""
    range: str = "24h"
    limit: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorQuery:
    """Which error group; in which queue, if several have it."""

    fp: str
    queue: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroupRow:
    """Failed attempts with one cause: the same type, place in the code and message.

    Attributes:
        where: The innermost function of the application's own code.
        count: Failed attempts, ever.
        open: Jobs that are failed now because of it.
        spark: Failed attempts in each five minutes of the last hour.
        state: "new" if it was first seen within a day, else "known".
    """

    fingerprint: str
    type: str
    message: str
    where: str
    tasks: list[str]
    queues: list[str]
    count: int
    open: int | None
    first_ms: int
    last_ms: int
    versions: list[str]
    spark: list[int]
    state: str
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRow:
    """A job of an error group, and the stack of its last failed attempt."""

    queue: str
    id: str
    stack: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroupDetail(ErrorGroupRow):
    """An error group, its newest job and its oldest that is known, and some of its jobs."""

    first: StackRow | None
    last: StackRow | None
    sample: list[JobRow] = field(default_factory=list[JobRow])
    points: list[list[int]] = field(default_factory=list[list[int]])


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditQuery:
    """Where a page of the audit log begins."""

    cursor: str = ""
    limit: int = 100


async def errors(call: PageCall, query: ErrorsQuery) -> RowPage[ErrorGroupRow]:
    """Return the error groups of the queues that the user may see, those seen last first."""
    since = now_ms() - range_of(query.range).span_ms
    rows = await groups(call, query.queue, since)
    limit = min(max(query.limit, 1), 500)
    return RowPage(items=rows[:limit], total=len(rows))


async def groups(call: PageCall, queue: str, since_ms: int) -> list[ErrorGroupRow]:
    """Return error groups, of a queue or of all; one that several queues have is one row."""
    names = [queue] if queue else await _names(call)
    if queue:
        call.queue(queue)
    if not names:
        return []
    found = await call.app.monitor.errors(*names, since_ms=since_ms)
    rows: dict[str, ErrorGroupRow] = {}
    for group in found:
        row = _row(group)
        known = rows.get(group.fingerprint)
        rows[group.fingerprint] = row if known is None else _merged(known, row)
    return sorted(rows.values(), key=lambda row: -row.last_ms)


async def _names(call: PageCall) -> list[str]:
    snapshot = await call.board.sampler.snapshot()
    return call.visible([view.name for view in snapshot.queues])


def _row(group: ErrorGroup) -> ErrorGroupRow:
    now = now_ms()
    last = now // BUCKET_MS
    counts = {at_ms // BUCKET_MS: count for at_ms, count in group.points}
    is_new = now - group.first_ms < NEW_MS
    return ErrorGroupRow(
        fingerprint=group.fingerprint,
        type=clean(group.kind),
        message=show_text(group.message, most=500).text,
        where=clean(group.place),
        tasks=[clean(name) for name in group.tasks],
        queues=[group.queue],
        count=group.count,
        open=None,
        first_ms=group.first_ms,
        last_ms=group.last_ms,
        versions=[clean(name) for name in group.versions],
        spark=[counts.get(at, 0) for at in range(last - SPARK + 1, last + 1)],
        state="new" if is_new else "known",
        is_new=is_new,
    )


def _merged(one: ErrorGroupRow, other: ErrorGroupRow) -> ErrorGroupRow:
    return replace(
        one,
        queues=sorted({*one.queues, *other.queues}),
        tasks=[*dict.fromkeys((*one.tasks, *other.tasks))],
        versions=[*dict.fromkeys((*one.versions, *other.versions))],
        count=one.count + other.count,
        first_ms=min(one.first_ms, other.first_ms),
        last_ms=max(one.last_ms, other.last_ms),
        spark=[a + b for a, b in zip(one.spark, other.spark, strict=True)],
        is_new=one.is_new and other.is_new,
        state="new" if one.is_new and other.is_new else "known",
    )


async def error(call: PageCall, query: ErrorQuery) -> ErrorGroupDetail:
    """Return one error group, with some of its jobs."""
    names = [query.queue] if query.queue else await _names(call)
    if query.queue:
        call.queue(query.queue)
    every = await call.app.monitor.errors(*names) if names else []
    found = [group for group in every if group.fingerprint == query.fp]
    if not found:
        raise not_found(f"there is no error group {query.fp[:80]!r}")
    row = _row(found[0])
    for other in found[1:]:
        row = _merged(row, _row(other))
    jobs = [
        job
        for group in found
        for job in await call.app.monitor.error_jobs(group.queue, query.fp, limit=SAMPLE)
    ]
    samples = [JobPlace(queue=group.queue, id=each) for group in found for each in group.sample_ids]
    kept: dict[str, Any] = {name: getattr(row, name) for name in ErrorGroupRow.__slots__}
    kept["open"] = len(jobs) if len(jobs) < SAMPLE else None
    points: dict[int, int] = {}
    for group in found:
        for at_ms, count in group.points:
            points[at_ms] = points.get(at_ms, 0) + count
    return ErrorGroupDetail(
        **kept,
        first=await _stack(call, samples[-1:]),
        last=await _stack(call, samples[:1]),
        sample=[call.board.row(job.record) for job in jobs[:SAMPLE]],
        points=[[at, points[at]] for at in sorted(points)],
    )


async def _stack(call: PageCall, places: list[JobPlace]) -> StackRow | None:
    for place in places:
        try:
            record = (await find(call, place.queue, place.id)).record
        except RefusedError:
            continue
        if record.stack:
            shown = show_text(record.stack[-1], call.board.secrets(record))
            return StackRow(queue=place.queue, id=clean(place.id), stack=shown.text)
    return None


async def audit(call: PageCall, query: AuditQuery) -> RowPage[AuditRow]:
    """Return who did what, the newest first; a user who sees only some queues sees their own."""
    call.need("audit")
    limit = min(max(query.limit, 1), 500)
    found = await call.app.monitor.audit_log(before=query.cursor or None, limit=limit)
    rows = [
        AuditRow(
            at_ms=each.at_ms,
            user=clean(each.user),
            address=each.address,
            action=each.action,
            selector=clean(each.selector),
            count=each.count,
            result=each.result,
            reason=clean(each.reason),
            before=each.before,
            after=each.after,
        )
        for each in found
        if call.queues is None or each.user == call.access.user
    ]
    return RowPage(items=rows, next=found[-1].id if len(found) == limit else None)
