"""Parents and children: settle a child with its parent, release or fail the parent, detach.

Never here: what becomes of the child itself.
"""

from collections.abc import Sequence
from typing import Any

from toril._model.states import State
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import Unit

from .positions import delay_job, make_ready


def complete_children(unit: Unit, rows: Sequence[Sequence[Any]], now: Millis) -> None:
    """Hand results to parents: rows of (parent, queue, id, result); release who waits for none."""
    unit.run_each("finish.child_completed", rows)
    release_settled(unit, sorted({row[0] for row in rows}), now)


def release_settled(unit: Unit, parents: Sequence[int], now: Millis) -> None:
    """Release those of these parents that wait for children and have none pending."""
    found = unit.rows("finish.settled_parents", (str(list(parents)), now))
    for key, name, id, priority, delay in found:
        release(unit, (key, name, id, priority, delay), now)


def release(unit: Unit, parent: tuple[int, str, str, int, Millis], now: Millis) -> None:
    """Put a parent (key, queue, id, priority, delay) where its options say: it may run."""
    key, name, id, priority, delay = parent
    queue = unit.queue(name)
    if delay:
        delay_job(unit, queue, (key, id, delay), now + delay, prev=State.WAITING_CHILDREN)
        queue.emit(now, {"kind": "delayed", "job_id": id, "due_ms": now + delay})
    else:
        prev = State.WAITING_CHILDREN.value
        make_ready(unit, queue, [(key, id, priority)], now, prev=prev, front=not priority)


def fail_child(unit: Unit, child: Sequence[Any], now: Millis) -> None:
    """Tell the parent of (parent, queue, id, reason, policy) that its child failed for good."""
    parent, queue, id, reason, policy = child
    mine = (parent, queue, id)
    match policy:
        case "fail":
            if _settle(unit, mine, "failed", reason):
                _fail_parent(unit, parent, queue, id, reason, now)
        case "continue":
            if _settle(unit, mine, "ignored", reason):
                _release_now(unit, parent, now)
        case "ignore":
            if _settle(unit, mine, "ignored", reason):
                release_settled(unit, [parent], now)
        case "remove":
            unit.run("finish.child_dropped", mine)
            release_settled(unit, [parent], now)
        case _:
            # No policy: it stays pending, with the reason: blocked by its failed child.
            _settle(unit, mine, "pending", reason)


def _settle(unit: Unit, child: tuple[int, str, str], outcome: str, value: str) -> bool:
    unit.run("finish.child_settled", (*child, outcome, value))
    return unit.db.changes() == 1


def _fail_parent(unit: Unit, parent: int, queue: str, id: str, reason: str, now: Millis) -> None:
    """Let the parent fail at its next claim, which comes at once when it was waiting."""
    text = f"child {queue}:{id} failed: {reason}"
    unit.run("finish.defer_failure", (parent, text))
    row = unit.value("finish.parent", (parent, now))
    if row is None:
        return
    key, name, own_id, priority, _, state = row
    if state == State.WAITING_CHILDREN:
        release(unit, (key, name, own_id, priority, 0), now)
    elif state == State.DELAYED:
        make_ready(unit, unit.queue(name), [(key, own_id, priority)], now, prev="delayed")


def _release_now(unit: Unit, parent: int, now: Millis) -> None:
    row = unit.value("finish.parent", (parent, now))
    if row is not None and row[5] == State.WAITING_CHILDREN:
        release(unit, tuple(row[:5]), now)


def detach(unit: Unit, children: Sequence[Sequence[Any]], now: Millis) -> None:
    """Unlink children (parent, queue, id) that go away; their parents may then run."""
    linked = [child for child in children if child[0] is not None]
    if linked:
        unit.run_each("finish.child_unlinked", linked)
        release_settled(unit, sorted({child[0] for child in linked}), now)


def link_again(unit: Unit, children: Sequence[Sequence[Any]]) -> None:
    """Let parents wait again for children (parent, queue, id) that are tried again."""
    linked = [child for child in children if child[0] is not None]
    if linked:
        unit.run_each("finish.child_pending", linked)
