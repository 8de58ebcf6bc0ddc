"""Groups of failed attempts that have one cause. Never here: what the cause is (`_model.faults`)."""

from collections.abc import Sequence

from toril._model.faults import MOST_GROUPS, ErrorGroup, StoredGroup
from toril._model.stored import or_else, reader
from toril._store.sqlite.connection.transaction import Blamed, QueueRow, Unit, to_json

from .read import Reading

_group = reader(StoredGroup)


def keep(unit: Unit, blamed: Sequence[tuple[QueueRow, Sequence[Blamed]]]) -> None:
    """Add the failed attempts of a transaction to their groups."""
    for queue, attempts in blamed:
        groups: dict[str, StoredGroup] = {}
        for fault, job, task, at in attempts:
            found = fault.fingerprint
            if found not in groups:
                text = unit.value("errors.group", (queue.key, found))
                groups[found] = or_else(_group, text, StoredGroup())
            groups[found].add(fault, job, task, at)
        for found, group in groups.items():
            unit.run("errors.put", (queue.key, found, group.z, to_json(group)))
        unit.run("errors.bound", (queue.key, MOST_GROUPS))


def errors(read: Reading, queues: Sequence[str], since_ms: int, limit: int) -> list[ErrorGroup]:
    """Carry out the verb errors."""
    return [
        or_else(_group, body, StoredGroup()).group(queue, found)
        for queue in queues
        for found, body in read.rows("errors.list", (queue, since_ms, limit))
    ]
