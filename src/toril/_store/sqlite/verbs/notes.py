"""The verbs note and notes. Never here: what a note says (`_model.notes`)."""

from toril._model.checks import MAX_WHOLE
from toril._model.notes import KEPT, Note, NoteKind
from toril._model.stored import whole
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import Unit

from .read import Reading


def note(
    unit: Unit, kind: NoteKind, id: str | None, body: str, instead_of: str | None, now: Millis
) -> str:
    """Carry out the verb note."""
    if instead_of is not None:
        replaced = unit.value("notes.replace", (kind, id, now, body, instead_of))
        return "" if replaced is None or id is None else id
    key = unit.value("notes.put", (kind, id, now, body))
    unit.run("notes.bound", (kind, KEPT[kind]))
    return str(key) if id is None else id


def notes(read: Reading, kind: NoteKind, before: str | None, limit: int) -> list[Note]:
    """Carry out the verb notes."""
    key = MAX_WHOLE if before is None else whole(before)
    rows = read.rows("notes.list", (kind, key, limit))
    return [Note(id=id, at_ms=at, body=body) for id, at, body in rows]
