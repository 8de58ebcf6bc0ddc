"""Counters over time: samples are kept with what they count, and added up in buckets later.

Never here: adding up what is stored (`_model.series`).
"""

from collections.abc import Iterable
from typing import Any

from toril._model.series import (
    SPANS,
    Folding,
    Numbers,
    Sample,
    Series,
    SeriesQuery,
    add_numbers,
    series_of,
)
from toril._model.stored import or_else, reader
from toril._store.sqlite.connection.transaction import Unit, to_json

from .read import Reading

_numbers = reader(dict[str, int])
_sample = reader(Sample)
_names = reader(list[str])
_rows = reader(list[tuple[int, int, str]])


def fold(unit: Unit) -> None:
    """Add the samples of all queues up in their buckets, and delete buckets that are too old."""
    samples = or_else(_rows, unit.value("series.samples"), list[tuple[int, int, str]]())
    by_queue: dict[int, list[Any]] = {}
    for queue, at, body in samples:
        by_queue.setdefault(queue, []).append((at, body))
    for queue, mine in by_queue.items():
        folding = _folded(_tasks(unit.value("series.tasks", (queue,))), mine)
        known = len(folding.tasks)
        rows = [
            (
                queue,
                letter,
                number,
                task,
                to_json(_merged(unit, (queue, letter, number, task), sums)),
            )
            for (letter, number, task), sums in folding.sums.items()
        ]
        unit.run_each("series.put", rows)
        if known:
            unit.run("series.put_tasks", (queue, to_json(folding.tasks)))
        newest = max(at for at, _ in mine)
        for span in SPANS:
            unit.run("series.forget", (queue, span.letter, newest // span.ms - span.kept))
    unit.run("series.folded")


def _merged(unit: Unit, place: tuple[int, str, int, str], sums: Numbers) -> Numbers:
    return add_numbers(or_else(_numbers, unit.value("series.bucket", place), Numbers()), sums)


def _tasks(text: str | None) -> list[str]:
    return or_else(_names, text, list[str]())


def _folded(tasks: Iterable[str], samples: Iterable[tuple[int, str]]) -> Folding:
    folding = Folding(tasks)
    for at, body in samples:
        folding.add(at, or_else(_sample, body, Sample()))
    return folding


def series(read: Reading, query: SeriesQuery) -> list[Series]:
    """Carry out the verb series."""
    beside: dict[str, list[Any]] = {}
    for queue, at, body in read.rows("series.beside"):
        beside.setdefault(queue, []).append((at, body))
    return [_series_of(read, query, queue, beside.get(queue, [])) for queue in query.queues]


def _series_of(read: Reading, query: SeriesQuery, queue: str, samples: list[Any]) -> Series:
    wanted = query.buckets()
    bindings = (queue, query.span.letter, wanted.start, wanted.stop, query.task or "")
    stored = {
        number: or_else(_numbers, body, Numbers())
        for number, body in read.rows("series.buckets", bindings)
    }
    tasks = _tasks(read.value("series.tasks_of", (queue,)))
    return series_of(query, queue, stored, _folded(tasks, samples))
