"""What endangers jobs or keeps them from running: the store, then its queues and schedules.

Never here: how a store looks at itself, and telling it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from toril._jobs.session import Session
from toril._model.diagnosis import ERROR, OK, WARN, Finding
from toril._model.record import Ref
from toril._model.report import Query, ScheduleInfo, WorkerInfo
from toril._model.states import State
from toril._model.suggest import nearest
from toril._model.times import Millis, describe
from toril._store.protocol import Store
from toril.errors import StoreUnavailable, TorilError

from .overview import QueueView, view_queues

HOUR_MS = 3_600_000
# A schedule that is late for so long is no accident of a busy moment.
LATE_MS = (60_000, 600_000)
MANY_LETTERS = 100
MANY_FAILED, FAILED_SHARE = 10, 0.1
LOOKED_AT = 1_000


async def examine(context: Session) -> list[Finding]:
    """Look at a store and all that is in it; a store that cannot be opened is a finding."""
    try:
        store = await context.ready()
        found = [
            Finding(name="store", level=OK, message=f"{store.url} answers"),
            *await store.examine(),
        ]
        return found + await _queues(store)
    except TorilError as error:
        return [_unusable(context.store.url, error)]


def _unusable(url: str, error: TorilError) -> Finding:
    hint = "look whether it runs and can be reached from here, and at the URL, user and password"
    away = isinstance(error, StoreUnavailable)
    return Finding(
        name="store",
        level=ERROR,
        message=f"{url} cannot be used: {error}",
        hint=hint if away else "see the message: nothing else was looked at",
    )


async def _queues(store: Store) -> list[Finding]:
    views = await view_queues(store)
    workers = await store.workers()
    letters = {view.settings.dead_letter for view in views}
    found = list(_workers(workers, store.clock.now_ms()))
    for view in views:
        found += _letters(view) if view.name in letters else _served(view, workers)
        found += await _unknown(store, view)
        found += await _failed(store, view)
    schedules = await store.schedules()
    found += await _schedules(store, schedules, {view.name: view for view in views})
    return found or [Finding(name="queue", level=OK, message="no queue is stored yet")]


# Workers.


def _workers(workers: Sequence[WorkerInfo], now: Millis) -> Iterator[Finding]:
    living = [each for each in workers if each.alive]
    for each in workers:
        if not each.alive:
            ago = describe(max(now - each.seen_ms, 0) // 1000 * 1000)
            yield Finding(
                name="worker.gone",
                level=WARN,
                message=f"worker {each.name!r} (process {each.pid} on {each.host}) went without a "
                f"word: it was last seen {ago} ago",
                hint="look into its log, and for the kernel's out-of-memory killer",
            )
    if living:
        count = "1 worker lives" if len(living) == 1 else f"{len(living)} workers live"
        yield Finding(name="worker", level=OK, message=count)


def _served(view: QueueView, workers: Sequence[WorkerInfo]) -> Iterator[Finding]:
    waiting = view.counts.ready + view.counts.delayed
    if view.settings.paused:
        level = WARN if waiting else OK
        yield Finding(
            name="queue.paused",
            level=level,
            queue=view.name,
            message=f"it is paused, and {_jobs(waiting, 'wait', 'waits')}",
            hint=f"toril resume {view.name}" if waiting else "",
        )
    if view.workers:
        yield Finding(name="queue.served", level=OK, queue=view.name, message=_state_of(view))
    elif waiting:
        yield Finding(
            name="queue.unserved",
            level=ERROR if view.counts.ready else WARN,
            queue=view.name,
            message=f"no living worker serves it, and {_jobs(waiting, 'wait', 'waits')}",
            hint=_start_one(view.name, workers),
        )


def _state_of(view: QueueView) -> str:
    count = len(view.workers)
    who = "1 worker serves it" if count == 1 else f"{count} workers serve it"
    return f"{who}; {view.counts.ready:,} ready, {view.counts.active:,} active"


def _start_one(queue: str, workers: Sequence[WorkerInfo]) -> str:
    served = sorted({name for each in workers if each.alive for name in each.queues})
    near = nearest(queue, served, cutoff=0.75)
    if near:
        return f"workers serve {near!r}: is one of the two names misspelt?"
    others = f" (workers serve: {', '.join(served)})" if served else ""
    return f"start a worker that has a handler for it: toril worker app.py{others}"


def _letters(view: QueueView) -> Iterator[Finding]:
    count = view.counts.ready
    many = count >= MANY_LETTERS
    yield Finding(
        name="queue.letters",
        level=WARN if many else OK,
        queue=view.name,
        message=f"{count:,} dead letters lie in it: each is a job that failed for good",
        hint=f"read them with toril jobs {view.name}, run them again with queue.replay(), or "
        "remove them"
        if many
        else "",
    )


# Jobs.


async def _unknown(store: Store, view: QueueView) -> list[Finding]:
    """Tell of names for which a worker looked without result; as far as the first thousand jobs say."""
    if not view.counts.delayed:
        return []
    page = await store.find(Query(queue=view.name, states=(State.DELAYED,), limit=LOOKED_AT))
    names = Counter(job.name for job in page.jobs if job.unknown)
    return [
        Finding(
            name="job.unknown",
            level=ERROR,
            queue=view.name,
            message=f"no worker that looked has a handler for {name!r}: "
            f"{_jobs(count, 'wait', 'waits')}, to fail 24 hours after the first look",
            hint="deploy a worker that has it, or correct the name where it is added",
        )
        for name, count in names.items()
    ]


async def _failed(store: Store, view: QueueView) -> list[Finding]:
    since = store.clock.now_ms() - HOUR_MS
    if not view.counts.failed:
        return []
    failed = await _lately(store, view.name, "failed", since)
    completed = await _lately(store, view.name, "completed", since)
    many = failed >= MANY_FAILED and failed >= FAILED_SHARE * (failed + completed)
    message = f"{_jobs(view.counts.failed, 'are kept that failed', 'is kept that failed')}"
    if failed:
        message += f", and {failed:,} of {failed + completed:,} failed within the last hour"
    return [
        Finding(
            name="queue.failed",
            level=WARN if many else OK,
            queue=view.name,
            message=message,
            hint=f"toril jobs {view.name} --state failed --newest" if many else "",
        )
    ]


async def _lately(store: Store, queue: str, kind: str, since_ms: Millis) -> int:
    metrics = await store.metrics(queue, kind, since_ms=since_ms)
    return sum(count for _, count in metrics.points)


# Schedules.


async def _schedules(
    store: Store, schedules: Sequence[ScheduleInfo], views: dict[str, QueueView]
) -> list[Finding]:
    now = store.clock.now_ms()
    unreadable = [_unreadable(each) for each in schedules if each.fault is not None]
    late = [(each, now - each.next_ms) for each in schedules if each.next_ms is not None]
    stuck = [(each, by) for each, by in late if by > LATE_MS[0]]
    refs = [Ref(each.queue, each.job_id or "") for each, _ in stuck]
    jobs = await store.get(refs) if refs else []
    found = [
        _late(each, by, views.get(each.queue), there=job is not None)
        for (each, by), job in zip(stuck, jobs, strict=True)
    ]
    count = len(schedules) - len(unreadable)
    if count and not found:
        text = "1 schedule is" if count == 1 else f"{count} schedules are"
        found.append(Finding(name="schedule", level=OK, message=f"{text} on time"))
    return unreadable + found


def _unreadable(each: ScheduleInfo) -> Finding:
    return Finding(
        name="schedule.unreadable",
        level=ERROR,
        queue=each.queue,
        message=f"schedule {each.id!r} cannot be followed and makes no jobs: {each.fault}",
        hint="store it again (restart a worker that declares it, or app.schedules.put), or drop it "
        "with app.schedules.drop",
    )


def _late(each: ScheduleInfo, by: Millis, view: QueueView | None, *, there: bool) -> Finding:
    message = f"schedule {each.id!r} was to run {describe(by // 1000 * 1000)} ago and has not"
    level = ERROR if by > LATE_MS[1] else WARN
    if not there:
        level, hint = ERROR, "its next run is gone: store the schedule again (restart a worker)"
    elif view is not None and view.settings.paused:
        hint = f"its queue is paused: toril resume {each.queue}"
    elif view is not None and not view.workers:
        hint = "no living worker serves its queue: start one"
    else:
        hint = "its queue is behind: add workers, or raise their concurrency"
    return Finding(name="schedule.late", level=level, queue=each.queue, message=message, hint=hint)


def _jobs(count: int, many: str, one: str) -> str:
    return f"1 job {one}" if count == 1 else f"{count:,} jobs {many}"
