"""The verbs put_schedule, advance and drop_schedule: one armed run a schedule, never two.

The times come from the caller (`_model.schedule.next_run`). Never here: cron.
"""

from dataclasses import replace
from typing import Any

from toril._model.record import NewJob, Ref
from toril._model.report import UNSET, ScheduleInfo, Unset
from toril._model.schedule import keeps_step, within
from toril._model.states import State
from toril._model.stored import flag
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json
from toril._store.values import ScheduleDraft

from . import add, remove
from .read import schedule_info

_ARMED = (State.DELAYED, State.WAITING, State.PRIORITIZED)


def run_id(schedule: str, at_ms: Millis) -> str:
    """Name the job of a schedule's run at a time."""
    return f"repeat:{schedule}:{at_ms}"


def put(unit: Unit, draft: ScheduleDraft, now: Millis) -> ScheduleInfo:
    """Carry out the verb put_schedule."""
    queue = unit.queue(draft.queue)
    old = _get(unit, queue, draft.id)
    if old is not None and old.fault is not None:
        # Nothing of it can be kept.
        unit.run("schedule.drop", (queue.key, draft.id))
        old = None
    info = ScheduleInfo(
        queue=draft.queue,
        id=draft.id,
        name=draft.name,
        rule=draft.rule,
        data=draft.data,
        opts=draft.opts,
        next_ms=draft.next_ms,
        owner=draft.owner,
        pause=None if isinstance(draft.pause, Unset) else draft.pause,
    )
    if info.pause is not None or (old is not None and old.pause and draft.pause is UNSET):
        return _hold(unit, queue, old, info, now)
    return _arm(unit, queue, info, now) if old is None else _change(unit, queue, old, info, now)


def _hold(
    unit: Unit, queue: QueueRow, old: ScheduleInfo | None, new: ScheduleInfo, now: Millis
) -> ScheduleInfo:
    """Store a schedule that is paused: it has no run, and the one that waits is removed."""
    pause = new.pause or (old.pause if old is not None else None)
    if pause is not None and pause.since_ms is None:
        pause = replace(pause, since_ms=now)
    count = 0
    if old is not None:
        count = old.count - flag(_disarm(unit, queue, old, now))
    return _keep(unit, queue, replace(new, pause=pause, count=count, next_ms=None))


def _change(
    unit: Unit, queue: QueueRow, old: ScheduleInfo, new: ScheduleInfo, now: Millis
) -> ScheduleInfo:
    """Store a schedule that exists; unless its times change, its runs stay in step."""
    new = replace(new, count=old.count)
    if replace(new, next_ms=old.next_ms, job_id=old.job_id, owner=old.owner) == old:
        return old if new.owner == old.owner else _keep(unit, queue, replace(old, owner=new.owner))
    if old.job_id is not None and keeps_step(old.rule, new.rule):
        new = replace(new, next_ms=old.next_ms)
        armed = _armed(unit, queue, old)
        if armed is None or armed[2]:
            # The run has started: who goes on from it arms the next one, from what stands here.
            over = within(new.rule, new.next_ms, new.count) is None
            return _keep(unit, queue, replace(new, next_ms=None) if over else new)
    if _disarm(unit, queue, old, now):
        new = replace(new, count=old.count - 1)
    return _arm(unit, queue, new, now)


def advance(
    unit: Unit, job: Ref, schedule: str, next_ms: Millis | None, now: Millis
) -> ScheduleInfo | None:
    """Carry out the verb advance."""
    queue = unit.find_queue(job.queue)
    info = None if queue is None else _get(unit, queue, schedule)
    if queue is None or info is None or info.job_id != job.id:
        return None
    return _arm(unit, queue, replace(info, next_ms=next_ms), now)


def restore(unit: Unit, info: ScheduleInfo, now: Millis) -> None:
    """Store a schedule as it stood elsewhere and arm its run, unless its id is there."""
    queue = unit.queue(info.queue)
    if _get(unit, queue, info.id) is None:
        armed = flag(info.next_ms is not None)
        _arm(unit, queue, replace(info, count=info.count - armed), now)


def drop(unit: Unit, name: str, schedule: str, now: Millis) -> bool:
    """Carry out the verb drop_schedule."""
    queue = unit.find_queue(name)
    info = None if queue is None else _get(unit, queue, schedule)
    if queue is None or info is None:
        return False
    unit.run("schedule.drop", (queue.key, schedule))
    _disarm(unit, queue, info, now)
    return True


def _get(unit: Unit, queue: QueueRow, id: str) -> ScheduleInfo | None:
    row = unit.value("schedule.get", (queue.name, id))
    return None if row is None else schedule_info(row)


def _armed(unit: Unit, queue: QueueRow, info: ScheduleInfo) -> tuple[int, str, int] | None:
    if info.job_id is None:
        return None
    row: Any = unit.value("schedule.armed", (queue.key, info.job_id))
    return row if row is not None and row[1] in _ARMED else None


def _disarm(unit: Unit, queue: QueueRow, info: ScheduleInfo, now: Millis) -> bool:
    armed = _armed(unit, queue, info)
    if armed is None:
        return False
    key, state, _ = armed
    remove.delete(unit, queue, state, [key])
    queue.emit(now, {"kind": "removed", "job_id": info.job_id, "prev": state})
    return True


def _arm(unit: Unit, queue: QueueRow, info: ScheduleInfo, now: Millis) -> ScheduleInfo:
    """Store a schedule with the job of its next run, unless that job has run before."""
    at = within(info.rule, info.next_ms, info.count)
    if at is None:
        return _keep(unit, queue, replace(info, next_ms=None))
    options = replace(
        from_text(info.opts), at_ms=None, delay_ms=max(at - now, 0), created_ms=now, dedup=None
    )
    job = NewJob(
        queue=info.queue,
        name=info.name,
        data=info.data,
        options=options,
        id=run_id(info.id, at),
        schedule=info.id,
    )
    add.put(unit, job, now)
    return _keep(unit, queue, replace(info, next_ms=at, count=info.count + 1))


def _keep(unit: Unit, queue: QueueRow, info: ScheduleInfo) -> ScheduleInfo:
    """Store a schedule whose next run is the job of its time."""
    job_id = None if info.next_ms is None else run_id(info.id, info.next_ms)
    info = replace(info, job_id=job_id)
    rule = to_json(info.rule)
    values = (info.name, rule, info.data, info.opts, info.count, info.next_ms, info.job_id)
    pause = (None, None) if info.pause is None else (info.pause.text, info.pause.since_ms)
    unit.run("schedule.put", (queue.key, info.id, *values, info.owner, *pause))
    return info
