"""Groups of failed attempts that have one cause, and their jobs, as values.

Never here: what the cause is (`_model.faults`).
"""

from collections.abc import Sequence

from toril._model.faults import ErrorGroup, StoredGroup
from toril._model.record import Record, Ref
from toril._model.report import Page, Query
from toril._model.stored import or_else, reader
from toril._store.redis.core.server import Server

from .read import get

_QUEUES = 50
# Ids of one call: jobs are read in as many calls as `get` needs.
_IDS = 250
_group = reader(StoredGroup)


async def errors(
    server: Server, queues: Sequence[str], since_ms: int, limit: int
) -> list[ErrorGroup]:
    """Carry out the verb errors."""
    groups: list[ErrorGroup] = []
    for start in range(0, len(queues), _QUEUES):
        some = queues[start : start + _QUEUES]
        for queue, flat in zip(
            some, await server.run("errors", some, since=since_ms, limit=limit), strict=True
        ):
            groups += [
                or_else(_group, text, StoredGroup()).group(queue, found)
                for found, text in zip(flat[::2], flat[1::2], strict=True)
            ]
    return groups


async def blamed(server: Server, query: Query) -> Page:
    """Carry out the verb find for the jobs of a group of errors.

    A job may be in a group although it is gone by now, or has failed for another reason since.
    """
    found: list[Record] = []
    offset = 0
    while len(found) <= query.offset + query.limit:
        ids = await server.run(
            "blamed", [query.queue], fingerprint=query.fingerprint, offset=offset, count=_IDS
        )
        records = await get(server, [Ref(query.queue, id) for id in ids])
        found += [each for each in records if each is not None and _belongs(each, query)]
        offset += _IDS
        if len(ids) < _IDS:
            break
    page = found[query.offset : query.offset + query.limit]
    return Page(jobs=tuple(page), more=len(found) > query.offset + query.limit)


def _belongs(record: Record, query: Query) -> bool:
    in_state = not query.states or record.state in query.states
    return in_state and record.fingerprint == query.fingerprint
