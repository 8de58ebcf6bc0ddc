"""The verbs update, log, retry and promote. Never here: jobs that go away (remove)."""

from collections.abc import Sequence
from typing import Any

import msgspec

from toril._model.decide import cancelled
from toril._model.record import cancel_reason
from toril._model.report import JobPatch, Selected, Selection, Unset
from toril._model.states import FINISHED, State
from toril._model.stored import flag, whole
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.refusals import missing, owned, wrong_state
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json
from toril._store.values import LogLine
from toril.errors import LockLost, TorilError

from . import expire, family, finish
from .positions import delay_job, make_ready, move, ready_state

EVER = 2**53 - 1


class Edited:
    """A job that is being changed."""

    def __init__(self, queue: QueueRow, id: str, row: Sequence[Any]) -> None:
        self.queue = queue
        self.id = id
        self.key, self.state, self.token, self.priority, self.parent, _, self.dedup = row


def _load(unit: Unit, queue: str, id: str, token: str | None) -> Edited | TorilError:
    row = unit.find_queue(queue)
    found = None if row is None else unit.value("edit.load", (row.key, id))
    if row is None or found is None:
        return missing(queue, id)
    job = Edited(row, id, found)
    if token is not None and job.token != token:
        return LockLost(
            f"job {id!r} of queue {queue!r} is not held by this worker any more",
            queue=queue,
            job_id=id,
        )
    return job


def update(unit: Unit, patches: Sequence[JobPatch], now: Millis) -> list[TorilError | None]:
    """Carry out the verb update."""
    return [_update(unit, patch, now) for patch in patches]


def _update(unit: Unit, patch: JobPatch, now: Millis) -> TorilError | None:
    job = _load(unit, patch.queue, patch.id, patch.token)
    if isinstance(job, TorilError):
        return job
    refusal = _refuse(unit, job, patch)
    if refusal is not None:
        return refusal
    if not isinstance(patch.data, Unset):
        unit.run("edit.data", (job.key, patch.data))
    if not isinstance(patch.progress, Unset):
        unit.run("edit.progress", (job.key, patch.progress))
        job.queue.emit(now, {"kind": "progress", "job_id": job.id, "data": _raw(patch.progress)})
    if not isinstance(patch.alone, Unset):
        unit.run("edit.alone", (job.key, flag(patch.alone)))
    if not isinstance(patch.priority, Unset):
        _prioritize(unit, job, patch.priority, lifo=patch.lifo)
    if not isinstance(patch.delay_ms, Unset):
        due = now + patch.delay_ms
        place = (job.key, job.id, patch.delay_ms)
        delay_job(unit, job.queue, place, due, prev=State.DELAYED)
        job.queue.emit(now, {"kind": "delayed", "job_id": job.id, "due_ms": due})
    if not isinstance(patch.parent, Unset) and job.parent is not None:
        unit.run("edit.orphan", (job.key,))
        family.detach(unit, [(job.parent, job.queue.name, job.id)], now)
    if not isinstance(patch.dedup, Unset) and job.dedup is not None:
        finish.free_dedup(unit, job.queue, job.dedup, job.id, now, early=True)
        unit.run("edit.forget_dedup", (job.key,))
    if not isinstance(patch.cancel, Unset):
        _cancel(unit, job, patch.cancel, now)
    if patch.overdue:
        expire.end_one(unit, job.key, now)
    return None


def _refuse(unit: Unit, job: Edited, patch: JobPatch) -> TorilError | None:
    if not isinstance(patch.delay_ms, Unset) and job.state != State.DELAYED:
        return wrong_state("change the delay of", patch.queue, patch.id, job.state, State.DELAYED)
    if isinstance(patch.cancel, Unset) or job.state == State.ACTIVE:
        return None
    if job.state in FINISHED:
        return wrong_state("cancel", patch.queue, patch.id, job.state, "waiting or running")
    if unit.value("edit.scheduled", (job.queue.key, job.id)):
        return owned(job.queue.name, job.id, "cancel")
    return None


def _cancel(unit: Unit, job: Edited, why: str, now: Millis) -> None:
    unit.run("edit.cancel", (job.key, why, cancel_reason(why)))
    if job.state != State.ACTIVE:
        finish.end_waiting(unit, job.queue, (job.key, job.id), cancelled(why), now)


def _raw(text: str) -> Any:
    return msgspec.Raw(text.encode())


def _prioritize(unit: Unit, job: Edited, priority: int, *, lifo: bool) -> None:
    unit.run("edit.priority", (job.key, priority))
    if job.state in (State.WAITING, State.PRIORITIZED):
        position = job.queue.front() if lifo else job.queue.take_positions(1)
        state = ready_state(priority)
        job.queue.count(job.state, state)
        move(unit, [[job.key, state, priority, position]])


def log(unit: Unit, lines: Sequence[LogLine]) -> list[int | TorilError]:
    """Carry out the verb log."""
    return [_log(unit, line) for line in lines]


def _log(unit: Unit, line: LogLine) -> int | TorilError:
    job = _load(unit, line.queue, line.id, line.token)
    if isinstance(job, TorilError):
        return job
    last, count = unit.value("edit.lines", (job.key,))
    unit.run_each("edit.log", [[last + 1, line.text]], job.key)
    count += 1
    if line.keep is not None and count > line.keep:
        unit.run("edit.cut_log", (job.key, last + 1 - line.keep))
        return line.keep
    return whole(count)


def _select(unit: Unit, queue: QueueRow, selection: Selection) -> list[list[Any]]:
    if selection.ids:
        ids = to_json(list(selection.ids[: selection.limit]))
        return unit.rows("edit.select", (queue.key, ids))
    before = EVER if selection.before_ms is None else selection.before_ms
    found: list[list[Any]] = []
    for state in selection.states:
        left = selection.limit - len(found)
        if state is State.DELAYED:
            found += unit.rows("edit.delayed", (queue.key, before, left))
        else:
            found += unit.rows("edit.finished", (queue.key, before, left, state))
    return found


def _chosen(
    unit: Unit, selection: Selection, verb: str, states: tuple[State, ...]
) -> tuple[QueueRow | None, list[list[Any]], dict[str, Exception], bool]:
    """Return the jobs to act on, and why others are refused."""
    queue = unit.find_queue(selection.queue)
    if queue is None:
        return None, [], {id: missing(selection.queue, id) for id in selection.ids}, False
    refused: dict[str, Exception] = {}
    chosen: list[list[Any]] = []
    found = _select(unit, queue, selection)
    for row in found:
        id, key, state = row[:3]
        if key is None:
            refused[id] = missing(queue.name, id)
        elif state not in states:
            refused[id] = wrong_state(verb, queue.name, id, state, " or ".join(states))
        else:
            chosen.append(row)
    whole = len(selection.ids) > selection.limit if selection.ids else False
    return queue, chosen, refused, whole or (not selection.ids and len(found) >= selection.limit)


def retry(unit: Unit, selection: Selection, now: Millis) -> Selected:
    """Carry out the verb retry."""
    finished = (State.COMPLETED, State.FAILED)
    queue, chosen, refused, more = _chosen(unit, selection, "retry", finished)
    if queue is None or not chosen:
        return Selected(refused=refused, more=more)
    keys = [row[1] for row in chosen]
    unit.run("edit.again", (to_json(keys), flag(selection.reset_attempts)))
    for id, key, state, priority, parent, opts in chosen:
        front = from_text(opts).lifo and not priority
        make_ready(unit, queue, [(key, id, priority)], now, prev=state, front=front)
        if parent is not None:
            family.link_again(unit, [(parent, queue.name, id)])
    return Selected(ids=tuple(row[0] for row in chosen), refused=refused, more=more)


def promote(unit: Unit, selection: Selection, now: Millis) -> Selected:
    """Carry out the verb promote."""
    queue, chosen, refused, more = _chosen(unit, selection, "promote", (State.DELAYED,))
    if queue is None or not chosen:
        return Selected(refused=refused, more=more)
    jobs = [(key, id, priority) for id, key, _, priority, _, _ in chosen]
    make_ready(unit, queue, jobs, now, prev=State.DELAYED)
    return Selected(ids=tuple(row[0] for row in chosen), refused=refused, more=more)
