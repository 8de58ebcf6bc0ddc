"""The verbs note and notes: streams of what is noted once, a hash of what is replaced.

Never here: what a note says (`_model.notes`).
"""

from toril._model.notes import KEPT, REPLACED, Note, NoteKind
from toril._model.stored import whole
from toril._model.times import Millis
from toril._store.redis.core import keys
from toril._store.redis.core.server import Server


async def note(
    server: Server,
    kind: NoteKind,
    id: str | None,
    body: str,
    instead_of: str | None,
    now: Millis | None,
) -> str:
    """Carry out the verb note."""
    was = "*" if instead_of is None else f"={instead_of}"
    found: str = await server.run(
        "note", [""], now=now, kind=kind, id=id, body=body, was=was, most=KEPT[kind]
    )
    return found


async def notes(server: Server, kind: NoteKind, before: str | None, limit: int) -> list[Note]:
    """Carry out the verb notes."""
    key = keys.own(server.prefix, f"toril:{kind}")
    if kind in REPLACED:
        return await _replaced(server, key, limit)
    newest = "+" if before is None else f"({before}"
    entries = await server.link.read("XREVRANGE", key, newest, "-", "COUNT", limit)
    return [
        Note(id=id, at_ms=whole(id.partition("-")[0]), body=fields[1])
        for id, fields in entries
        if len(fields) > 1
    ]


async def _replaced(server: Server, key: str, limit: int) -> list[Note]:
    flat: list[str] = await server.link.read("HGETALL", key)
    found: list[Note] = []
    for id, text in zip(flat[::2], flat[1::2], strict=True):
        at, _, body = text.partition(" ")
        found.append(Note(id=id, at_ms=whole(at), body=body))
    return sorted(found, key=lambda each: (each.at_ms, each.id), reverse=True)[:limit]
