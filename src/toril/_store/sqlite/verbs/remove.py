"""The verb remove with its four modes, and the deletion that other verbs need.

Never here: retention's rules (retention), which only uses `delete_text` and `let_go`.
"""

from collections.abc import Sequence
from typing import Any

from toril._model.report import Selected, Selection
from toril._model.states import State
from toril._model.stored import flag
from toril._model.times import Millis
from toril._store.refusals import cannot_move, jobs_active, locked, missing, owned, pause_first
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json
from toril.errors import JobLocked, TorilError

from . import family

EVER = 2**53 - 1
_REMOVABLE = frozenset(State) - {State.ACTIVE}
_SWEPT = {"drain": frozenset((State.WAITING, State.PRIORITIZED, State.DELAYED))}


def delete_text(unit: Unit, queue: QueueRow, state: str, keys: str) -> int:
    """Delete jobs of a queue in a state by a JSON array of keys; return how many there were."""
    if keys == "[]":
        return 0
    unit.run("remove.delete", (keys,))
    gone = unit.db.changes()
    queue.count(state, None, gone)
    return gone


def delete(unit: Unit, queue: QueueRow, state: str, keys: Sequence[int]) -> None:
    """Delete jobs of a queue in a state by key, silently."""
    delete_text(unit, queue, state, to_json(list(keys)))


def _delete_any(unit: Unit, keys: str) -> int:
    """Delete jobs by a JSON array of keys, of whatever queues and states they are."""
    for name, state, jobs in unit.rows("remove.states", (keys,)):
        unit.queue(name).count(state, None, jobs)
    unit.run("remove.delete", (keys,))
    return unit.db.changes()


def let_go(unit: Unit, keys: str, now: Millis) -> int:
    """Delete finished jobs by a JSON array of keys; parents that one of them holds back go on."""
    if keys == "[]":
        return 0
    held = unit.rows("remove.holding", (keys,))
    gone = _delete_any(unit, keys)
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


def _guard(tree: list[list[Any]], queue: str, id: str) -> TorilError | None:
    for _, name, found, state, _, _, scheduled in tree:
        if state == State.ACTIVE:
            return locked(queue, id, name, found)
        if scheduled:
            return owned(name, found)
    return None


def _drop(unit: Unit, dedups: Sequence[Sequence[Any]], rows: Sequence[Sequence[Any]]) -> None:
    held = [dedup for dedup in dedups if dedup[1] is not None]
    if held:
        unit.run_each("remove.free_dedup", held)
    _delete_any(unit, to_json([row[0] for row in rows]))


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
        refused={id: cannot_move(queue.name, id) for id in locked},
        more=len(selection.ids) > len(ids),
    )


def _obliterate(unit: Unit, queue: QueueRow, selection: Selection, now: Millis) -> Selected:
    if not queue.paused:
        raise pause_first(queue.name)
    active = queue.jobs[State.ACTIVE]
    if active and not selection.force:
        raise jobs_active(queue.name, active)
    rows = unit.rows("remove.any", (queue.key, selection.limit))
    _delete_any(unit, to_json([row[0] for row in rows]))
    outside = [(parent, queue.name, id) for _, id, parent in rows]
    family.detach(unit, outside, now)
    if unit.value("remove.left", (queue.key,)):
        return Selected(more=True)
    unit.run("queue.outlive", (queue.events,))
    unit.run("queue.forget", (queue.key,))
    unit.forget(queue.name)
    return Selected()
