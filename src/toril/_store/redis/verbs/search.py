"""Jobs by their fields, from the sorted set that scripts keep.

Never here: which fields a job has (`_model.search`).
"""

from toril._model.record import Record, Ref
from toril._model.report import Page, Query
from toril._model.search import LOOKED_AT
from toril._store.redis.core.server import Server

from .read import get

_STEP = 250
_MOST_NAMES = 100


async def find(server: Server, query: Query) -> Page:
    """List the jobs with these fields, the newest first.

    An entry may be of a job that BullMQ has removed since, or that has the id of one: it is passed
    over.
    """
    if query.fields_only:
        return Page(ids=await _fields(server, query.queue))
    key = f"{server.base(query.queue)}toril:index"
    field, value = query.where[0]
    low, high = f"[{field}\x00{value}\x00", f"({field}\x00{value}\x01"
    cursor = high if query.before is None else f"({field}\x00{value}\x00{query.before}"
    found: list[Record] = []
    for _ in range(LOOKED_AT // _STEP):
        texts: list[str] = await server.link.read(
            "ZREVRANGEBYLEX", key, cursor, low, "LIMIT", 0, _STEP
        )
        ids = [text.rpartition("\x00")[2] for text in texts]
        records = await get(server, [Ref(query.queue, id) for id in ids])
        for text, record in zip(texts, records, strict=True):
            if len(found) == query.limit:
                return Page(jobs=tuple(found), more=True, next=_place(cursor))
            cursor = f"({text}"
            if record is not None and _fits(record, query):
                found.append(record)
        if len(texts) < _STEP:
            return Page(jobs=tuple(found))
    return Page(jobs=tuple(found), more=True, next=_place(cursor))


def _place(cursor: str) -> str:
    """Return when the job of an entry was added, and its id: where the next page begins."""
    return "\x00".join(cursor.rsplit("\x00", 2)[1:])


def _fits(record: Record, query: Query) -> bool:
    in_state = not query.states or record.state in query.states
    return in_state and set(query.where) <= set(record.fields)


async def _fields(server: Server, queue: str) -> tuple[str, ...]:
    """Return the names of the fields by which jobs of a queue are found."""
    key, names = f"{server.base(queue)}toril:index", list[str]()
    after = "-"
    while len(names) < _MOST_NAMES:
        texts = await server.link.read("ZRANGEBYLEX", key, after, "+", "LIMIT", 0, 1)
        if not texts:
            break
        names.append(texts[0].partition("\x00")[0])
        after = f"({names[-1]}\x01"
    return tuple(names)
