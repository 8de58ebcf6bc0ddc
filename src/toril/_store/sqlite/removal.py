"""The verb remove with its four modes, and the deletion that other verbs need.

Never here: retention's rules (retention), which only uses `delete_text` and `let_go`.
"""

from collections.abc import Sequence
from typing import Any

from toril._model.report import Selected, Selection
from toril._model.states import State
from toril._model.stored import flag
from toril._model.times import Millis
from toril.errors import JobLocked, JobNotFound, ScheduleOwned, TorilError, WrongState

from . import family
from .unit import QueueRow, Unit, to_json

EVER = 2**53 - 1
_REMOVABLE = frozenset(State) - {State.ACTIVE}
_SWEPT = {"drain": frozenset((State.WAITING, State.PRIORITIZED, State.DELAYED))}


def missing(queue: str, id: str) -> JobNotFound:
    """Make the error for a job that does not exist."""
    return JobNotFound(f"job {id!r} of queue {queue!r} does not exist", queue=queue, job_id=id)


def delete_text(unit: Unit, keys: str) -> int:
    """Delete jobs by a JSON array of keys; give how many there were."""
    if keys == "[]":
        return 0
    unit.run("remove.delete", (keys,))
    return unit.db.changes()


def delete(unit: Unit, keys: Sequence[int]) -> None:
    """Delete jobs by key, silently."""
    delete_text(unit, to_json(list(keys)))


def let_go(unit: Unit, keys: str, now: Millis) -> int:
    """Delete finished jobs by a JSON array of keys; parents that one of them holds back go on."""
    if keys == "[]":
        return 0
    held = unit.rows("remove.holding", (keys,))
    gone = delete_text(unit, keys)
    family.detach(unit, held, now)
    return gone


def remove(unit: Unit, selection: Selection, now: Millis) -> Selected:
    """Carry out the verb remove."""
    queue = unit.find_queue(selection.queue)
    if queue is None:
        return Selected(refused={id: missing(selection.queue, id) for id in selection.ids})
    match selection.mode:
        case "obliterate":
            return _obliterate(unit, queue, selection, now)
        case "drain" | "clean":
            return _sweep(unit, queue, selection, now)
        case "move":
            return _let_move(unit, queue, selection)
        case _:
            return _remove(unit, queue, selection, now)


def _remove(unit: Unit, queue: QueueRow, selection: Selection, now: Millis) -> Selected:
    ids = list(selection.ids[: selection.limit])
    if not ids:
        rows = _in_states(unit, queue, selection)
        ids = [row[1] for row in rows]
    refused: dict[str, Exception] = {}
    done: list[str] = []
    for id in ids:
        refusal = _remove_tree(unit, queue, id, selection, now)
        if refusal is None:
            done.append(id)
        elif selection.ids or not isinstance(refusal, JobLocked):
            refused[id] = refusal
    more = len(selection.ids) > len(ids) if selection.ids else len(ids) >= selection.limit
    return Selected(ids=tuple(done), refused=refused, more=more and bool(done))


def _remove_tree(
    unit: Unit, queue: QueueRow, id: str, selection: Selection, now: Millis
) -> TorilError | None:
    tree = unit.rows("remove.tree", (queue.key, id, flag(selection.children)))
    if not tree:
        return missing(queue.name, id)
    refusal = _guard(tree, queue.name, id)
    if refusal is not None:
        return refusal
    root_parent = tree[0][4]
    _drop(unit, [(unit.queue(row[1]).key, row[5], row[2]) for row in tree], tree)
    family.detach(unit, [(root_parent, queue.name, id)], now)
    for _, name, gone, state, *_ in reversed(tree):
        unit.queue(name).emit(now, {"kind": "removed", "job_id": gone, "prev": state})
    return None


def schedule_owned(verb: str, queue: str, id: str) -> ScheduleOwned:
    """Make the error for a verb that must not touch the next run of a schedule."""
    return ScheduleOwned(
        f"cannot {verb} job {id!r} of queue {queue!r}: it is the next run of a schedule; drop the "
        "schedule instead",
        queue=queue,
        job_id=id,
    )


def _guard(tree: list[list[Any]], queue: str, id: str) -> TorilError | None:
    for _, name, found, state, _, _, scheduled in tree:
        if state == State.ACTIVE:
            which = "it" if (name, found) == (queue, id) else f"job {found!r} of queue {name!r}"
            return JobLocked(
                f"cannot remove job {id!r} of queue {queue!r}: {which} is active; nothing was "
                "removed",
                queue=name,
                job_id=found,
            )
        if scheduled:
            return schedule_owned("remove", name, found)
    return None


def _drop(unit: Unit, dedups: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> None:
    held = [dedup for dedup in dedups if dedup[1] is not None]
    if held:
        unit.run_each("remove.free_dedup", held)
    delete_text(unit, to_json([row[0] for row in rows]))


def _in_states(unit: Unit, queue: QueueRow, selection: Selection) -> list[list[Any]]:
    before = EVER if selection.before_ms is None else selection.before_ms
    found: list[list[Any]] = []
    for state in selection.states:
        if state in _SWEPT.get(selection.mode, _REMOVABLE):
            left = selection.limit - len(found)
            found += unit.rows("remove.in_state", (queue.key, state, before, left))
    return found


def _sweep(unit: Unit, queue: QueueRow, selection: Selection, now: Millis) -> Selected:
    """Drain or clean: silent but for one `cleaned`, and parents that lose children go on."""
    rows = _in_states(unit, queue, selection)
    _drop(unit, [(queue.key, row[3], row[1]) for row in rows], rows)
    family.detach(unit, [(row[2], queue.name, row[1]) for row in rows], now)
    if selection.mode == "clean" and rows:
        queue.emit(now, {"kind": "cleaned", "count": len(rows)})
    return Selected(ids=tuple(row[1] for row in rows), more=len(rows) >= selection.limit)


def _let_move(unit: Unit, queue: QueueRow, selection: Selection) -> Selected:
    """Let jobs go that another store has by now: no parent is released, nothing is announced."""
    ids = selection.ids[: selection.limit]
    before = EVER if selection.before_ms is None else selection.before_ms
    rows = unit.rows("move.standing", (queue.key, to_json(ids)))
    locked = [id for _, id, state, _, _ in rows if state == State.ACTIVE]
    gone = [row for row in rows if row[2] != State.ACTIVE and row[3] <= before]
    _drop(unit, [(queue.key, dedup, id) for _, id, _, _, dedup in gone], gone)
    return Selected(
        ids=tuple(row[1] for row in gone),
        refused={id: _running(queue.name, id) for id in locked},
        more=len(selection.ids) > len(ids),
    )


def _running(queue: str, id: str) -> JobLocked:
    return JobLocked(
        f"job {id!r} of queue {queue!r} cannot go: it is active", queue=queue, job_id=id
    )


def _obliterate(unit: Unit, queue: QueueRow, selection: Selection, now: Millis) -> Selected:
    if not queue.paused:
        raise WrongState(
            f"cannot obliterate queue {queue.name!r}: pause it first", queue=queue.name
        )
    active = unit.value("claim.active", (queue.key,))
    if active and not selection.force:
        raise JobLocked(
            f"cannot obliterate queue {queue.name!r}: {active} jobs are active (wait for them, "
            "or use force)",
            queue=queue.name,
        )
    rows = unit.rows("remove.any", (queue.key, selection.limit))
    delete(unit, [row[0] for row in rows])
    outside = [(parent, queue.name, id) for _, id, parent in rows]
    family.detach(unit, outside, now)
    if unit.value("remove.left", (queue.key,)):
        return Selected(more=True)
    unit.run("queue.outlive", (queue.events,))
    unit.run("queue.forget", (queue.key,))
    unit.forget(queue.name)
    return Selected()
