"""Actions on jobs: what they would do, and doing it; on one, a selection, or all that match.

Never here: queues and schedules (control), adding and editing (add).
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

from toril.dashboard.actions import JobAction, JobWork, action_named
from toril.dashboard.board import PageCall
from toril.dashboard.operations import OperationRow
from toril.dashboard.problems import bad_request
from toril.dashboard.rows import JobRow, now_ms
from toril.dashboard.search import Search, matcher, read_search
from toril.types import How, Record, Ref

from .job import JobPlace
from .jobs import count_of

MOST_SELECTED = 1_000
# A dry run looks at so many jobs where they have to be looked at.
LOOKED_AT = 5_000
SAMPLE = 5
TYPED_FROM = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class ActTarget:
    """What to act on: exactly one of these."""

    jobs: list[JobPlace] | None = None
    query: str | None = None
    fingerprint: str | None = None
    queue: str | None = None
    schedule: JobPlace | None = None
    worker: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ActBody:
    """An action: on jobs retry, run_now, cancel, delete, edit, priority or reschedule; on a queue
    pause, resume, limits, empty or delete; on a schedule run_now, pause, resume or delete.

    Attributes:
        params: What the action needs, such as `reset_attempts`, `reason`, `rate` (jobs a second).
        dry_run: Only say what would be done.
        reason: Why, for the audit log.
    """

    action: str
    target: ActTarget
    params: dict[str, Any] = field(default_factory=dict[str, Any])
    dry_run: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A job that was not acted on."""

    queue: str
    id: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Untouched:
    """Jobs that would not be acted on, and why: the state that they are in, or "gone"."""

    why: str
    count: int


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoRow:
    """The action that undoes another."""

    action: str
    target: ActTarget
    params: dict[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class ActAnswer:
    """What an action would do, or has done.

    Attributes:
        exact: The count is exact; otherwise it is a lower bound.
        confirm: What must be typed before it is done.
        operation: The id of the operation that goes on in the server.
        added: The job that was added.
    """

    count: int | None = None
    exact: bool = True
    by_task: dict[str, int] = field(default_factory=dict[str, int])
    by_queue: dict[str, int] = field(default_factory=dict[str, int])
    sample: list[JobRow] = field(default_factory=list[JobRow])
    untouched: list[Untouched] = field(default_factory=list[Untouched])
    confirm: str | None = None
    done: int | None = None
    refused: list[Refusal] = field(default_factory=list[Refusal])
    operation: str | None = None
    undo: UndoRow | None = None
    added: JobPlace | None = None
    duplicate: bool = False


def how_of(body: ActBody) -> How:
    """Return how an action on jobs is carried out."""
    params = body.params
    return How(
        children=flag(params, "children", default=True),
        reset_attempts=flag(params, "reset_attempts", default=True),
        reason=body.reason[:500],
    )


def flag(params: dict[str, Any], name: str, *, default: bool) -> bool:
    """Return a parameter that is true or false."""
    found = params.get(name, default)
    if not isinstance(found, bool):
        raise bad_request(f"{name} must be true or false", f"params.{name}")
    return found


async def act_on_jobs(call: PageCall, body: ActBody) -> ActAnswer:
    """Act on jobs that were picked one by one."""
    action = action_named(body.action)
    places = body.target.jobs or []
    if not 0 < len(places) <= MOST_SELECTED:
        message = f"jobs: {len(places)} were given; from 1 to {MOST_SELECTED} can be"
        raise bad_request(message, "target.jobs", "use a query for more")
    for place in places:
        call.need(action.permission, place.queue)
    if body.dry_run:
        return await _preview_of(call, action, places)
    done = 0
    refused: list[Refusal] = []
    ids: dict[str, list[str]] = {}
    for place in places:
        ids.setdefault(place.queue, []).append(place.id)
    for queue, some in ids.items():
        steered = await call.app.queue(queue).steer(action.verb, *some, how=how_of(body))
        done += len(steered.done)
        refused += [
            Refusal(queue=queue, id=job_id, message=str(error))
            for job_id, error in steered.refused.items()
        ]
    selector = ", ".join(f"{place.queue}:{place.id}" for place in places[:5])
    more = f" and {len(places) - 5} more" if len(places) > 5 else ""
    await call.audit(body.action, selector + more, count=done, reason=body.reason)
    return ActAnswer(done=done, refused=refused)


async def _preview_of(call: PageCall, action: JobAction, places: list[JobPlace]) -> ActAnswer:
    found = await call.app.monitor.jobs([Ref(place.queue, place.id) for place in places])
    there = [job.record for job in found if job is not None]
    fit = [record for record in there if record.state.value in action.states]
    not_fit = Counter(record.state.value for record in there if record not in fit)
    not_fit["gone"] = len(places) - len(there)
    return _preview(call, fit, len(fit), not_fit)


def _preview(
    call: PageCall, looked: list[Record], count: int, not_fit: Counter[str], *, exact: bool = True
) -> ActAnswer:
    return ActAnswer(
        count=count,
        exact=exact,
        by_task=dict(Counter(record.name for record in looked).most_common(20)),
        by_queue=dict(Counter(record.queue for record in looked)),
        sample=[call.board.row(record) for record in looked[:SAMPLE]],
        untouched=[Untouched(why=why, count=n) for why, n in not_fit.items() if n],
    )


async def act_on_query(call: PageCall, body: ActBody) -> ActAnswer:
    """Act on all jobs that a search finds; the work goes on in the server."""
    action = action_named(body.action)
    search = read_search(body.target.query or "", now_ms())
    if search.problems:
        raise bad_request(search.problems[0].message, "target.query")
    if search.ids:
        raise bad_request("a query with ids: pass the jobs instead", "target.query", "target.jobs")
    work, counts, not_fit = await _work(call, body, action, search)
    if body.dry_run:
        return await _dry(call, body, (work, search), counts, not_fit)
    count = counts.total()
    rate = body.params.get("rate")
    if rate is not None and not (isinstance(rate, int | float) and 0 < rate <= 100_000):
        raise bad_request("rate must be a number of jobs a second above 0", "params.rate")
    row = OperationRow(
        id="", action=body.action, selector=body.target.query or "", by=call.access.user,
        started_ms=0, total=None if search.looks else count, rate=rate,
    )  # fmt: skip
    row = call.board.operations.start(row, work.steps())
    selector = body.target.query or "everything"
    await call.audit(body.action, selector, count=count, reason=body.reason, result=row.id)
    return ActAnswer(operation=row.id, count=count, exact=not search.looks)


async def _work(
    call: PageCall, body: ActBody, action: JobAction, search: Search
) -> tuple[JobWork, Counter[str], Counter[str]]:
    """Return the lists that a search is about, how many jobs of each queue, and which do not fit."""
    call.board.sampler.forget()
    snapshot = await call.board.sampler.snapshot()
    lists: list[tuple[Any, str]] = []
    counts, not_fit = Counter[str](), Counter[str]()
    states = search.states or action.states
    for view in snapshot.queues:
        if not call.access.sees(view.name) or (search.queues and view.name not in search.queues):
            continue
        call.need(action.permission, view.name)
        for state in states:
            there = count_of(view, state)
            if state not in action.states:
                not_fit[state] += there
            elif there:
                lists.append((call.app.queue(view.name), state))
                counts[view.name] += there
    call.need(action.permission)
    matches = matcher(search, call.board.redactor, now_ms())
    work = JobWork(
        action=action, lists=lists, matches=matches, before_ms=snapshot.at_ms + 1, how=how_of(body)
    )
    return work, counts, not_fit


async def _dry(
    call: PageCall,
    body: ActBody,
    found: tuple[JobWork, Search],
    counts: Counter[str],
    not_fit: Counter[str],
) -> ActAnswer:
    work, search = found
    looked: list[Record] = []
    seen = 0
    for queue, state in work.lists:
        offset, more = 0, True
        while more and seen < (LOOKED_AT if search.looks else SAMPLE * 20):
            page = await queue.page(state, offset=offset, limit=100)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            looked += [record for record in page.jobs if work.matches(record)]
            seen += len(page.jobs)
            offset += len(page.jobs)
            more = page.more
    total = len(looked) if search.looks else counts.total()
    exact = seen >= counts.total() or not search.looks
    answer = _preview(call, looked, total, not_fit, exact=exact)
    if not search.looks:
        answer = replace(answer, by_queue=dict(counts))
    if body.action == "delete" and total > TYPED_FROM:
        word = search.queues[0] if len(search.queues) == 1 else "delete"
        return replace(answer, confirm=word)
    return answer
