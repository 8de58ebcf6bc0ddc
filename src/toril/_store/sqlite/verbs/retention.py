"""How long finished jobs, events and minutes stay, in small steps.

A job's own options come first, then its queue's setting, then the bounded default.
"""

from collections.abc import Sequence

from toril._model.bounds import JOBS_A_CALL
from toril._model.options import DEFAULT_KEEP_COMPLETED, DEFAULT_KEEP_FAILED, JobOptions, Keep
from toril._model.states import State
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import QueueRow, Unit, keep_from_text, to_json

from . import remove

FOREVER = 2**53 - 1
# A queue that is in use keeps as many, whatever its bound: results of unkept jobs are read there.
LEAST_EVENTS = 1_000
METRIC_MINUTES = 14 * 24 * 60


def _own(options: JobOptions, state: State) -> Keep | None:
    return options.keep_completed if state is State.COMPLETED else options.keep_failed


def queue_keep(queue: QueueRow, state: State) -> Keep:
    """Return what holds for jobs of this queue without an option of their own."""
    completed = state is State.COMPLETED
    stored = keep_from_text(queue.keep_completed if completed else queue.keep_failed)
    default = DEFAULT_KEEP_COMPLETED if completed else DEFAULT_KEEP_FAILED
    return default if stored is None else stored


def expiry(options: JobOptions, state: State, now: Millis) -> Millis | None:
    """Say until when a job that finishes now stays by its own options; None: by its queue's."""
    keep = _own(options, state)
    if keep is None:
        return None
    return FOREVER if keep.age_ms is None else now + keep.age_ms


def after_finish(
    unit: Unit,
    queue: QueueRow,
    state: State,
    finished: Sequence[tuple[int | None, JobOptions]],
    now: Millis,
) -> None:
    """Let go what the jobs that just finished push out: themselves, or the oldest ones."""
    default = queue_keep(queue, state)
    forget: list[int] = []
    counts: set[int] = set()
    for key, options in finished:
        keep = _own(options, state) or default
        if keep.count == 0 and key is not None:
            forget.append(key)
        elif keep.count is not None:
            counts.add(keep.count)
    if forget:
        _let_go(unit, queue, state, to_json(forget), now)
    if counts:
        over = min(queue.jobs[state] - min(counts), JOBS_A_CALL + len(finished))
        if over > 0:
            _let_oldest_go(unit, queue, state, over, now)


def _let_oldest_go(unit: Unit, queue: QueueRow, state: State, count: int, now: Millis) -> None:
    if state is State.FAILED:
        remove.let_go(unit, unit.value("finish.beyond", (queue.key, state, count, 0)), now)
        return
    unit.run("remove.oldest", (queue.key, state, count))
    queue.count(state, None, unit.db.changes())


def _let_go(unit: Unit, queue: QueueRow, state: State, keys: str, now: Millis) -> int:
    # A failed job may hold its parent back, a completed one never does.
    if state is State.FAILED:
        return remove.let_go(unit, keys, now)
    return remove.delete_text(unit, queue, state, keys)


def trim(unit: Unit, names: Sequence[str], now: Millis, spare_ms: Millis) -> int:
    """Carry out the verb trim for these queues, or for all."""
    gone = remove.let_go(unit, unit.value("finish.expired", (now, JOBS_A_CALL)), now)
    for name in names or unit.rows("queue.all"):
        queue = unit.find_queue(str(name))
        if queue is not None:
            gone += _trim_queue(unit, queue, now, spare_ms)
    return gone


def _trim_queue(unit: Unit, queue: QueueRow, now: Millis, spare_ms: Millis) -> int:
    gone = 0
    for state in (State.COMPLETED, State.FAILED):
        keep = queue_keep(queue, state)
        if keep.age_ms is not None:
            old = unit.value("finish.too_old", (queue.key, state, now - keep.age_ms, JOBS_A_CALL))
            gone += _let_go(unit, queue, state, old, now)
        if keep.count is not None:
            over = min(max(queue.jobs[state] - keep.count, 0), JOBS_A_CALL)
            old = unit.value("finish.beyond", (queue.key, state, over, 1))
            gone += _let_go(unit, queue, state, old, now)
        minute = now // 60_000 - METRIC_MINUTES
        unit.run("queue.trim_metrics", (queue.key, state, minute))
    newest = unit.value("queue.emitted", (queue.key,))
    busy = newest is not None and now - newest < spare_ms
    most = max(queue.events_limit, LEAST_EVENTS) if busy else queue.events_limit
    unit.run("queue.trim_events", (queue.key, queue.events - most, 1_000))
    return gone + unit.db.changes()
