"""Who works: the workers of all processes. Never here: what they ran (spans)."""

from dataclasses import dataclass, field

from toril.dashboard.board import PageCall
from toril.dashboard.hub import visible_workers
from toril.dashboard.rows import WorkerRow, now_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersQuery:
    """Which workers, and since when what they ran is wanted."""

    queue: str = ""
    since_ms: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSpan:
    """A job in a slot of a worker; without an end it still runs."""

    worker: str
    slot: int
    queue: str
    id: str
    name: str
    start_ms: int
    end_ms: int | None
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersAnswer:
    """The workers, and what they run and ran.

    Attributes:
        merged: Spans are omitted because there are too many.
    """

    items: list[WorkerRow]
    spans: list[RunSpan] = field(default_factory=list[RunSpan])
    from_ms: int = 0
    merged: bool = False


async def workers(call: PageCall, query: WorkersQuery) -> WorkersAnswer:
    """Return the workers, of one queue or of all that the user may see."""
    if query.queue:
        call.queue(query.queue)
    snapshot = await call.board.sampler.snapshot()
    rows = visible_workers(snapshot, call.queues)
    items = [row for row in rows if not query.queue or query.queue in row.queues]
    since = query.since_ms if query.since_ms is not None else now_ms() - 300_000
    return WorkersAnswer(items=items, spans=_running(items), from_ms=since)


def _running(items: list[WorkerRow]) -> list[RunSpan]:
    return [
        RunSpan(
            worker=row.name,
            slot=slot.number,
            queue=slot.queue,
            id=slot.id,
            name=slot.name,
            start_ms=slot.started_ms or row.seen_ms,
            end_ms=None,
            outcome="active",
        )
        for row in items
        for slot in row.running
    ]
