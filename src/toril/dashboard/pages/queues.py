"""One queue: its settings and its workers. Never here: its jobs (jobs)."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field, fields

from toril.dashboard.board import PageCall, no_queue
from toril.dashboard.hub import visible_workers
from toril.dashboard.rows import QueueSummary, RowPage, WorkerRow


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueQuery:
    """Which queue."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuesQuery:
    """Which queues, in which order: need, name, waiting, failed or oldest."""

    sort: str = "need"
    q: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepRow:
    """How many finished jobs are kept, and for how long; None: no limit."""

    count: int | None = None
    age_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDetail(QueueSummary):
    """A queue, what holds for it, and who works on it."""

    keep_completed: KeepRow | None = None
    keep_failed: KeepRow | None = None
    dead_letter: str | None = None
    events_limit: int | None = None
    consumers: list[WorkerRow] = field(default_factory=list[WorkerRow])


async def queues(call: PageCall, query: QueuesQuery) -> RowPage[QueueSummary]:
    """Return all queues as a table."""
    snapshot = await call.board.sampler.snapshot()
    wanted = query.q.lower()
    rows = [
        row
        for row in call.board.rows(snapshot)
        if call.access.sees(row.name) and wanted in row.name.lower()
    ]
    rows.sort(key=_ORDERS.get(query.sort, need))
    return RowPage(items=rows, total=len(rows))


def need(row: QueueSummary) -> tuple[float, str]:
    """Order queues by how much they need a person: unserved, failing, behind."""
    waits = row.ready + row.counts.delayed
    score = 0.0
    if waits and not row.workers:
        score += 1_000_000
    score += 10_000 * (row.failed_1h or 0) + (row.oldest_waiting_ms or 0) / 1000 + row.ready / 10
    return -score, row.name


_ORDERS: dict[str, Callable[[QueueSummary], tuple[float, str]]] = {
    "name": lambda row: (0, row.name),
    "waiting": lambda row: (-row.ready, row.name),
    "failed": lambda row: (-row.counts.failed, row.name),
    "oldest": lambda row: (-(row.oldest_waiting_ms or 0), row.name),
}


async def queue(call: PageCall, query: QueueQuery) -> QueueDetail:
    """Return one queue.

    Raises   RefusedError: there is no such queue, or it may not be seen.
    """
    snapshot = await call.board.sampler.snapshot()
    rows = {row.name: row for row in call.board.rows(snapshot)}
    view = next((view for view in snapshot.queues if view.name == query.name), None)
    if view is None or not call.access.sees(query.name):
        raise no_queue(query.name)
    row = {each.name: getattr(rows[query.name], each.name) for each in fields(QueueSummary)}
    settings = view.settings
    consumers = visible_workers(snapshot, call.queues)
    return QueueDetail(
        **row,
        keep_completed=None
        if settings.keep_completed is None
        else KeepRow(**asdict(settings.keep_completed)),
        keep_failed=None
        if settings.keep_failed is None
        else KeepRow(**asdict(settings.keep_failed)),
        dead_letter=settings.dead_letter,
        events_limit=settings.events_limit,
        consumers=[each for each in consumers if query.name in each.queues],
    )
