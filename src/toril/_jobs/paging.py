"""Read lists that change while they are read: each item once, and none that stays is passed over.

Never here: what a list is of.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Hashable, Sequence
from dataclasses import replace
from typing import TypeVar

from toril._model.record import Record, Ref
from toril._model.report import Query
from toril._store.protocol import Store

T = TypeVar("T", bound=Hashable)

# How many ids are read at one moment, and how many jobs after that.
IDS = 10_000
PAGE = 100
# A list that grows without end is left at last.
PASSES = 20


async def walk(
    read: Callable[[int, int], Awaitable[Sequence[T]]], size: int
) -> AsyncIterator[list[T]]:
    """Read a list page by page, with an offset and a limit; items may come and go meanwhile.

    Each page begins with the last item of the one before. Where it does not, items before it
    have gone, and what moved into their places is looked for further in front. A list of several
    pages is read again until nothing new is found, for an item may move from behind to the front.
    """
    seen: set[T] = set()
    for _ in range(PASSES):
        before, offset = len(seen), 0
        while True:
            items = await read(offset, size)
            if offset and (not items or items[0] not in seen):
                offset = max(offset - size // 2, 0)
                continue
            fresh = [item for item in dict.fromkeys(items) if item not in seen]
            seen.update(fresh)
            if fresh:
                yield fresh
            if len(items) < size:
                break
            offset += size - 1
        if len(seen) == before or len(seen) < size:
            return


async def list_jobs(store: Store, query: Query, limit: int | None) -> AsyncIterator[Record]:
    """Read the jobs that a query asks for, at most `limit`; each as it is when its turn comes."""
    others: set[str] = set()
    given = 0

    async def read(offset: int, size: int) -> Sequence[str]:
        page = await store.find(replace(query, ids_only=True, offset=offset, limit=size))
        others.update(page.others)
        return page.ids

    size = IDS if limit is None or query.name is not None else min(max(2 * limit, PAGE), IDS)
    async for every in walk(read, size):
        ids = [id for id in every if id not in others]
        others.clear()
        for start in range(0, len(ids), PAGE):
            refs = [Ref(query.queue, id) for id in ids[start : start + PAGE]]
            for record in await store.get(refs):
                if limit is not None and given >= limit:
                    return
                if record is not None and (not query.states or record.state in query.states):
                    given += 1
                    yield record
