"""The verb series: buckets of counters, and the samples that lie beside them, as values.

Never here: adding up what is stored (`_model.series`).
"""

from collections.abc import Iterator

from toril._model.series import Folding, Numbers, Sample, Series, SeriesQuery, series_of
from toril._model.stored import or_else, reader, whole
from toril._store.redis.core.server import Server

# Queues of one call: what it reads grows with their number.
_QUEUES = 50
_numbers = reader(dict[str, int])
_sample = reader(Sample)
_names = reader(list[str])


async def series(server: Server, query: SeriesQuery) -> list[Series]:
    """Carry out the verb series."""
    queues = list(dict.fromkeys(query.queues))
    found: dict[str, Series] = {}
    for start in range(0, len(queues), _QUEUES):
        some = queues[start : start + _QUEUES]
        for one in await _read(server, query, some):
            found[one.queue] = one
    return [found[queue] for queue in query.queues]


async def _read(server: Server, query: SeriesQuery, queues: list[str]) -> Iterator[Series]:
    wanted = query.buckets()
    answers = await server.run(
        "series",
        queues,
        span=query.span.letter,
        first=wanted.start,
        last=wanted.stop - 1,
        task=query.task or "",
    )
    return (
        _series(query, queue, wanted.start, *answer)
        for queue, answer in zip(queues, answers, strict=True)
    )


def _series(
    query: SeriesQuery,
    queue: str,
    first: int,
    texts: list[str | None],
    tasks: str | None,
    samples: list[str],
) -> Series:
    beside = Folding(or_else(_names, tasks, list[str]()))
    for text in samples:
        at, _, body = text.partition(" ")
        beside.add(whole(at), or_else(_sample, body, Sample()))
    stored = {
        number: or_else(_numbers, text, Numbers())
        for number, text in enumerate(texts, first)
        if text is not None
    }
    return series_of(query, queue, stored, beside)
