"""The stored schedules, and when they run. Never here: changing them (act)."""

from dataclasses import dataclass, field
from functools import lru_cache

from toril import TorilError
from toril.dashboard.board import PageCall
from toril.dashboard.problems import not_found
from toril.dashboard.rows import PauseRow, RowPage, now_ms, pause_row
from toril.dashboard.values import clean, show
from toril.types import Rule, ScheduleInfo

COMING = 5
# From when on a schedule is late.
LATE_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesQuery:
    """Which schedules: those of one queue, or all; at most this many."""

    queue: str = ""
    limit: int = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleQuery:
    """Which schedule."""

    queue: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A run of a schedule, and how it ended."""

    at_ms: int
    outcome: str
    queue: str
    job_id: str
    run_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRow:
    """A stored schedule.

    Attributes:
        rule: The rule in plain English words.
        pattern: The cron text; None: it runs at an interval.
        next_ms: The coming runs, at most five.
        runs: The newest runs that are kept, newest first.
        missed: Runs that should have begun over a minute ago and have not.
        declared: An app declares it in code; it is edited there.
        fault: Why it cannot be followed.
    """

    queue: str
    id: str
    name: str
    rule: str
    every_ms: int | None
    pattern: str | None
    zone: str | None
    start_ms: int | None
    end_ms: int | None
    limit: int | None
    count: int
    next_ms: list[int]
    job_id: str | None
    missed: int
    paused: PauseRow | None
    declared: bool
    owner: str | None
    data_json: str
    fault: str | None
    last: RunRow | None = None
    runs: list[RunRow] = field(default_factory=list[RunRow])


async def schedules(call: PageCall, query: SchedulesQuery) -> RowPage[ScheduleRow]:
    """Return the schedules that the user may see, by their next run."""
    if query.queue:
        call.queue(query.queue)
    found = [
        each
        for each in await call.board.sampler.schedules()
        if call.access.sees(each.queue) and query.queue in ("", each.queue)
    ]
    limit = min(max(query.limit, 1), 2_000)
    return RowPage(items=[schedule_row(call, each) for each in found[:limit]], total=len(found))


async def schedule(call: PageCall, query: ScheduleQuery) -> ScheduleRow:
    """Return one schedule."""
    return schedule_row(call, await find_schedule(call, query.queue, query.id))


async def find_schedule(call: PageCall, queue: str, schedule_id: str) -> ScheduleInfo:
    """Return a stored schedule.

    Raises   RefusedError: there is none, or the user may not see it.
    """
    call.queue(queue)
    found = await call.app.schedules.get(queue, schedule_id)
    if found is None:
        raise not_found(f"there is no schedule {schedule_id!r} in queue {queue!r}")
    return found


def schedule_row(call: PageCall, each: ScheduleInfo) -> ScheduleRow:
    """Return a schedule as its page shows it."""
    now = now_ms()
    rule = None if each.fault is not None else each.rule
    late = each.next_ms is not None and each.next_ms < now - LATE_MS
    data = show(each.data, call.board.redactor, each.name)
    return ScheduleRow(
        queue=each.queue,
        id=clean(each.id),
        name=clean(each.name),
        rule="" if rule is None else words_of(rule),
        every_ms=None if rule is None else rule.every_ms,
        pattern=None if rule is None else rule.cron,
        zone=None if rule is None else rule.tz,
        start_ms=None if rule is None else rule.start_ms,
        end_ms=None if rule is None else rule.end_ms,
        limit=None if rule is None else rule.limit,
        count=each.count,
        next_ms=[] if rule is None else coming(each),
        job_id=each.job_id,
        missed=int(late),
        paused=pause_row(each.pause),
        declared=each.owner is not None,
        owner=each.owner,
        data_json="{}" if data is None else data.text,
        fault=each.fault,
    )


@lru_cache(maxsize=4_096)
def words_of(rule: Rule) -> str:
    """Return a rule in plain words."""
    try:
        return rule.words()
    except (TorilError, ValueError):
        return rule.cron or ""


def coming(each: ScheduleInfo) -> list[int]:
    """Return the next runs: the one that is armed, and those that follow by the rule."""
    if each.next_ms is None:
        return []
    return [each.next_ms, *_following(each.rule, each.next_ms, each.count)]


@lru_cache(maxsize=4_096)
def _following(rule: Rule, at: int, count: int) -> list[int]:
    return rule.after(at, COMING - 1, count=count)
