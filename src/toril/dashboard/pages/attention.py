"""What needs a person: queues that nobody serves, that fail, that wait; schedules that are late.

Judged from the last look at all queues; it costs the store nothing more. Never here: the words.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from toril.dashboard.board import PageCall
from toril.dashboard.rows import QueueSummary, now_ms
from toril.dashboard.sampler import Snapshot
from toril.types import ScheduleInfo

from .overview import Nothing

LATE_MS, OLD_MS = 60_000, 300_000
# In a queue of dead letters this many are many.
LETTERS = 100
FAILED, FAILED_SHARE = 10, 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionItem:
    """Something that needs attention.

    Attributes:
        kind: error_group, falling_behind, oldest, slow, no_worker, worker_gone, missed_schedule,
            broken_schedule, mixed_versions, memory, eviction, dead_letters, failing or paused.
        level: error, warning or info.
        values: Numbers and names for the sentence.
    """

    kind: str
    level: str
    queue: str | None = None
    task: str | None = None
    fingerprint: str | None = None
    count: int | None = None
    since_ms: int | None = None
    values: dict[str, str | int | float] = field(default_factory=dict[str, "str | int | float"])


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionAnswer:
    """What needs attention, the worst first."""

    items: list[AttentionItem]


_ORDER = {"error": 0, "warning": 1, "info": 2}


async def attention(call: PageCall, _: Nothing) -> AttentionAnswer:
    """Return what needs attention in the queues that the user may see."""
    board = call.board
    snapshot = await board.sampler.snapshot()
    rows = [row for row in board.rows(snapshot) if call.access.sees(row.name)]
    letters = {view.settings.dead_letter for view in snapshot.queues}
    found = [item for row in rows for item in _of_queue(row, letters, snapshot.at_ms)]
    found += _of_workers(call, snapshot)
    schedules = await board.sampler.schedules()
    found += [
        item for each in schedules if call.access.sees(each.queue) for item in _of_schedule(each)
    ]
    return AttentionAnswer(items=sorted(found, key=lambda item: (_ORDER[item.level], item.kind)))


def _of_queue(row: QueueSummary, letters: set[str | None], now: int) -> Iterator[AttentionItem]:
    waits = row.ready + row.counts.delayed
    if row.name in letters:
        if row.ready:
            level = "warning" if row.ready >= LETTERS else "info"
            yield AttentionItem(kind="dead_letters", level=level, queue=row.name, count=row.ready)
        return
    if row.paused is not None:
        if waits:
            yield AttentionItem(
                kind="paused", level="warning", queue=row.name, count=waits,
                since_ms=row.paused.since_ms,
                values={"by": row.paused.by, "reason": row.paused.reason},
            )  # fmt: skip
        return
    since = None if row.oldest_waiting_ms is None else now - row.oldest_waiting_ms
    if waits and not row.workers:
        level = "error" if row.ready else "warning"
        yield AttentionItem(
            kind="no_worker", level=level, queue=row.name, count=waits, since_ms=since
        )
    elif row.oldest_waiting_ms is not None and row.oldest_waiting_ms > OLD_MS:
        yield AttentionItem(
            kind="oldest", level="warning", queue=row.name, count=row.ready, since_ms=since
        )
    yield from _of_rates(row)


def _of_rates(row: QueueSummary) -> Iterator[AttentionItem]:
    finished = sum(row.spark)
    failed = row.failed_1h or 0
    if failed >= FAILED and failed >= FAILED_SHARE * max(finished, failed):
        yield AttentionItem(
            kind="failing", level="error", queue=row.name, count=failed,
            values={"finished": finished},
        )  # fmt: skip
    rates = row.in_per_s, row.out_per_s
    if rates[0] is None or rates[1] is None or row.ready < 100:
        return
    if rates[0] > 1.1 * rates[1]:
        yield AttentionItem(
            kind="falling_behind", level="warning", queue=row.name, count=row.ready,
            values={"in_per_s": rates[0], "out_per_s": rates[1]},
        )  # fmt: skip


def _of_workers(call: PageCall, snapshot: Snapshot) -> Iterator[AttentionItem]:
    seen = [each for each in snapshot.workers if any(map(call.access.sees, each.queues))]
    for each in seen:
        if not each.alive:
            yield AttentionItem(
                kind="worker_gone", level="warning", since_ms=each.seen_ms,
                values={"worker": each.name, "host": each.host, "pid": each.pid},
            )  # fmt: skip
    versions = {each.version for each in seen if each.alive and each.version}
    if len(versions) > 1:
        yield AttentionItem(
            kind="mixed_versions", level="info", count=len(versions),
            values={"versions": ", ".join(sorted(versions))},
        )  # fmt: skip


def _of_schedule(each: ScheduleInfo) -> Iterator[AttentionItem]:
    if each.fault is not None:
        yield AttentionItem(
            kind="broken_schedule", level="error", queue=each.queue,
            values={"schedule": each.id, "fault": each.fault},
        )  # fmt: skip
    elif each.next_ms is not None and now_ms() - each.next_ms > LATE_MS:
        yield AttentionItem(
            kind="missed_schedule", level="warning", queue=each.queue, since_ms=each.next_ms,
            values={"schedule": each.id},
        )  # fmt: skip
