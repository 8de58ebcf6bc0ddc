"""What is wrong with the queues, workers and schedules of a store, for alerts.

Never here: whether somebody knows already (alerts).
"""

from collections.abc import Iterator, Sequence

from toril._model.alert import Alert, Watched
from toril._model.report import ScheduleInfo, WorkerInfo
from toril._model.times import Millis, describe
from toril._store.protocol import Store

from .overview import QueueView, view_queues

WINDOW_MS = 600_000
"""The failure rate is that of the last ten minutes."""
LEAST_FAILED = 5
"""Fewer failed jobs than this are no failure rate."""


async def find_alerts(store: Store, watched: Watched) -> list[Alert]:
    """Return what is wrong now."""
    now = store.clock.now_ms()
    every = await view_queues(store)
    views = [view for view in every if not watched.queues or view.name in watched.queues]
    letters = {view.settings.dead_letter for view in every}
    found: list[Alert] = []
    for view in views:
        if view.name in letters:
            found += _letters(view, watched)
            continue
        found += _oldest(view, watched, now)
        found += _unserved(view, watched)
        found += await _failures(store, view, watched, now)
    if watched.workers_gone_ms is not None:
        found += _lost(await store.workers(), watched, now)
    if watched.missed_schedules_ms is not None:
        found += _missed(await store.schedules(), watched, now)
    return found


def _letters(view: QueueView, watched: Watched) -> Iterator[Alert]:
    most, count = watched.dead_letters, view.counts.ready
    if most is not None and count >= most:
        text = "1 dead letter" if count == 1 else f"{count:,} dead letters"
        yield Alert(
            kind="dead_letters",
            subject=view.name,
            message=f"queue {view.name!r} has {text}",
            value=count,
            limit=most,
        )


def _oldest(view: QueueView, watched: Watched, now: Millis) -> Iterator[Alert]:
    most, oldest = watched.oldest_waiting_ms, view.counts.oldest_ms
    if most is None or oldest is None or now - oldest < most:
        return
    paused = "; the queue is paused" if view.settings.paused else ""
    yield Alert(
        kind="oldest_waiting",
        subject=view.name,
        message=f"the next job of queue {view.name!r} has been waiting for "
        f"{_seconds(now - oldest)}{paused}",
        value=(now - oldest) / 1000,
        limit=most / 1000,
    )


def _unserved(view: QueueView, watched: Watched) -> Iterator[Alert]:
    waiting = view.counts.ready + view.counts.delayed + view.counts.active
    if watched.workers_gone_ms is None or view.workers or not waiting:
        return
    jobs = "1 job waits" if waiting == 1 else f"{waiting:,} jobs wait"
    yield Alert(
        kind="workers_gone",
        subject=view.name,
        message=f"queue {view.name!r} has no live worker, and {jobs}",
        value=waiting,
        limit=watched.workers_gone_ms / 1000,
    )


async def _failures(store: Store, view: QueueView, watched: Watched, now: Millis) -> list[Alert]:
    most = watched.failure_rate
    if most is None or not view.counts.failed + view.counts.completed:
        return []
    failed = await _ended(store, view.name, "failed", now - WINDOW_MS)
    if failed < LEAST_FAILED:
        return []
    share = failed / (failed + await _ended(store, view.name, "completed", now - WINDOW_MS))
    if share < most:
        return []
    return [
        Alert(
            kind="failure_rate",
            subject=view.name,
            message=f"{share:.0%} of the jobs of queue {view.name!r} that ended in the last "
            f"{describe(WINDOW_MS)} failed ({failed:,})",
            value=round(share, 4),
            limit=most,
        )
    ]


async def _ended(store: Store, queue: str, kind: str, since_ms: Millis) -> int:
    metrics = await store.metrics(queue, kind, since_ms=since_ms)
    return sum(count for _, count in metrics.points)


def _lost(workers: Sequence[WorkerInfo], watched: Watched, now: Millis) -> Iterator[Alert]:
    limit = watched.workers_gone_ms or 0
    lost = [
        each
        for each in workers
        if not each.alive
        and now - each.seen_ms >= limit
        and (not watched.queues or set(watched.queues).intersection(each.queues))
    ]
    if lost:
        names = ", ".join(f"{each.name!r} on {each.host}" for each in lost[:5])
        count = "1 worker" if len(lost) == 1 else f"{len(lost)} workers"
        yield Alert(
            kind="workers_gone",
            message=f"{count} ended without notice: {names}",
            value=len(lost),
            limit=limit / 1000,
        )


def _missed(schedules: Sequence[ScheduleInfo], watched: Watched, now: Millis) -> Iterator[Alert]:
    limit = watched.missed_schedules_ms or 0
    for each in schedules:
        if watched.queues and each.queue not in watched.queues:
            continue
        late = 0 if each.next_ms is None else now - each.next_ms
        if each.fault is None and late < max(limit, 1):
            continue
        name = f"schedule {each.id!r} of queue {each.queue!r}"
        what = "cannot be followed" if each.fault else f"is {_seconds(late)} late"
        yield Alert(
            kind="missed_schedules",
            subject=f"{each.queue}:{each.id}",
            message=f"{name} {what}",
            value=late / 1000,
            limit=limit / 1000,
        )


def _seconds(ms: Millis) -> str:
    return describe(ms // 1000 * 1000) if ms >= 1000 else describe(ms)
