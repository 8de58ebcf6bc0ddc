"""Where a job goes: the same few steps for every verb that moves jobs.

Never here: which jobs a verb may move.
"""

from collections.abc import Sequence
from typing import Any

from toril._model.states import State
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import QueueRow, Unit


def ready_state(priority: int) -> State:
    """Say in which state a job of this priority waits."""
    return State.PRIORITIZED if priority else State.WAITING


def make_ready(
    unit: Unit,
    queue: QueueRow,
    jobs: Sequence[tuple[int, str, int]],
    now: Millis,
    *,
    prev: str,
    front: bool = False,
) -> None:
    """Put jobs (key, id, priority) to waiting or prioritized, at the end or in front, in order.

    Emits    waiting, with the state that they come from.
    """
    rows: list[list[Any]] = []
    for key, _, priority in jobs:
        position = queue.front() if front else queue.take_positions(1)
        state = ready_state(priority)
        queue.count(prev, state)
        rows.append([key, state, priority, position])
    move(unit, rows)
    queue.emit(now, *({"kind": "waiting", "job_id": id, "prev": prev} for _, id, _ in jobs))
    if rows:
        unit.ready.add(queue.name)


def move(unit: Unit, rows: list[list[Any]]) -> None:
    """Write new places: rows of (key, state, lane, position); delays and locks end.

    Whoever calls this has counted the jobs.
    """
    if rows:
        unit.run_each("edit.place", rows)


def delay_job(
    unit: Unit, queue: QueueRow, row: tuple[int, str, Millis], due_ms: Millis, *, prev: str
) -> None:
    """Put a job (key, id, delay) to delayed until `due_ms`, behind others that are due then."""
    key, _, delay = row
    queue.count(prev, State.DELAYED)
    unit.run("edit.delay", (key, due_ms, delay, queue.take_positions(1)))
    queue.next_due = due_ms if queue.next_due is None else min(queue.next_due, due_ms)
    unit.look.add(queue.name)
