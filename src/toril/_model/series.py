"""Counters over time: what each call counted, added up by queue, task and span of time.

A call leaves a *sample*: per task, short keys and numbers. Samples are added up in *buckets* of five
minutes, an hour and a day. A bucket of five minutes has its counters by minute. Times to run and to
wait are histograms with four cells per doubling: histograms add up, percentiles do not.
Never here: where samples and buckets are stored.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from math import floor, log
from typing import Literal

from .options import JobOptions
from .times import Millis

StepName = Literal["minute", "5min", "hour", "day"]
Cells = Mapping[int, int]
# What a sample holds of one task, and what a bucket holds: keys and numbers.
Numbers = dict[str, int]
Sample = dict[str, Numbers]


@dataclass(frozen=True, slots=True)
class Span:
    """A size of buckets: its letter in a store, how long a bucket is, and how many are kept."""

    letter: str
    ms: Millis
    kept: int


MINUTE_MS: Millis = 60_000
SPANS = (Span("5", 300_000, 576), Span("h", 3_600_000, 720), Span("d", 86_400_000, 400))
STEPS: dict[StepName, Span] = {
    "minute": SPANS[0],
    "5min": SPANS[0],
    "hour": SPANS[1],
    "day": SPANS[2],
}
MOST_TASKS = 50
"""How many names of jobs a queue is counted by; jobs of any other name count as `OTHERS`."""
LONGEST_NAME = 100
OTHERS = "(other)"
SAMPLES_A_FOLD = 256
"""How many samples lie beside the buckets before they are added up."""

COUNTERS = {
    "e": "enqueued",
    "c": "completed",
    "f": "failed",
    "r": "retried",
    "s": "stalled",
    "t": "run_ms",
    "w": "wait_ms",
}
"""The keys of counters in samples; a key and a number is a cell of a histogram: t12, w3."""
_LOG2 = log(2)


def cell(ms: Millis) -> int:
    """Return the cell of a histogram that a duration is in."""
    return floor(4 * log(ms) / _LOG2 + 1e-9) if ms > 1 else 0


@lru_cache(maxsize=4096)
def _keys(ms: Millis) -> tuple[str, str]:
    """Return the keys of the cells that a time to run, and to wait, is in."""
    number = cell(ms)
    return f"t{number}", f"w{number}"


def cell_bounds(number: int) -> tuple[float, float]:
    """Return where a cell of a histogram begins and ends, in ms.

    Example:
        ```python
        cell_bounds(8)  # (4.0, 4.756828460010884)
        ```
    """
    return (0.0 if number <= 0 else 2 ** (number / 4)), 2 ** ((max(number, 0) + 1) / 4)


def quantile(cells: Cells, q: float) -> float | None:
    """Return the duration in ms that a share `q` of a histogram does not exceed; None: it is empty.

    Within a cell the values are taken to be spread evenly, so the error is below 19 %.
    """
    left = q * sum(cells.values())
    found: float | None = None
    for number in sorted(cells):
        low, high = cell_bounds(number)
        count = cells[number]
        found = low + (high - low) * min(left / count, 1.0) if count else found
        left -= count
        if left <= 0:
            break
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """What happened to the jobs of a queue or a task within one span of time.

    Shape    failed: jobs that failed permanently. retried: attempts that failed and run again.
             run and wait are histograms, {cell: count}; see `cell_bounds`. They are empty for spans
             of a minute.
    Units    at_ms: the start of the span, ms since the epoch. run_ms and wait_ms are sums.
    """

    at_ms: Millis
    enqueued: int = 0
    completed: int = 0
    failed: int = 0
    retried: int = 0
    stalled: int = 0
    run_ms: int = 0
    wait_ms: int = 0
    run: Cells = field(default_factory=dict[int, int])
    wait: Cells = field(default_factory=dict[int, int])


_ADDED = tuple(each.name for each in fields(Point))[1:-2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """The points of a queue, or of one task of it, oldest first; spans without any are omitted.

    Shape    tasks: the names of jobs that the queue is counted by.
    """

    queue: str
    task: str | None
    step_ms: Millis
    points: tuple[Point, ...] = ()
    tasks: tuple[str, ...] = ()

    @staticmethod
    def sum(series: "Iterable[Series]") -> "Series":
        """Return several series of one step as one, of the queue "*"."""
        every = list(series)
        points: dict[Millis, list[Point]] = {}
        for each in every:
            for point in each.points:
                points.setdefault(point.at_ms, []).append(point)
        tasks = dict.fromkeys(name for each in every for name in each.tasks)
        return Series(
            queue="*",
            task=every[0].task if every else None,
            step_ms=every[0].step_ms if every else STEPS["5min"].ms,
            points=tuple(add_points(points[at]) for at in sorted(points)),
            tasks=tuple(tasks),
        )


def add_points(points: Sequence[Point]) -> Point:
    """Return several points as one, which begins where the first does."""
    run: dict[int, int] = {}
    wait: dict[int, int] = {}
    for point in points:
        for into, cells in ((run, point.run), (wait, point.wait)):
            for number, count in cells.items():
                into[number] = into.get(number, 0) + count
    sums = {name: sum(getattr(point, name) for point in points) for name in _ADDED}
    return Point(at_ms=points[0].at_ms, run=run, wait=wait, **sums)


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesQuery:
    """Which counters to read: of these queues, of one task or of all jobs, from a time on.

    Shape    until_ms is not included.
    """

    queues: tuple[str, ...]
    task: str | None = None
    step: StepName = "5min"
    since_ms: Millis = 0
    until_ms: Millis = 0

    @property
    def span(self) -> Span:
        """The buckets that hold this."""
        return STEPS[self.step]

    def buckets(self) -> range:
        """Return the numbers of the buckets that are asked for, no more than are kept."""
        span = self.span
        last = max(self.until_ms - 1, 0) // span.ms
        first = max(self.since_ms // span.ms, last - span.kept + 1)
        return range(first, last + 1)


# Counting.


def count_job(
    sample: Sample,
    task: str,
    what: str,
    run_ms: Millis | None = None,
    wait_ms: Millis | None = None,
) -> None:
    """Count one job of a task in a sample: a key of `COUNTERS`, and how long it ran and waited."""
    task = task if len(task) <= LONGEST_NAME else OTHERS
    mine = sample.get(task)
    if mine is None:
        mine = sample[task] = {}
    mine[what] = mine.get(what, 0) + 1
    if run_ms is not None:
        run_ms = max(run_ms, 0)
        mine["t"] = mine.get("t", 0) + run_ms
        key, _ = _keys(run_ms)
        mine[key] = mine.get(key, 0) + 1
    if wait_ms is not None:
        wait_ms = max(wait_ms, 0)
        mine["w"] = mine.get("w", 0) + wait_ms
        _, key = _keys(wait_ms)
        mine[key] = mine.get(key, 0) + 1


def waited(
    runs: int | None, started: Millis | None, created: Millis, options: JobOptions
) -> Millis | None:
    """Return how long a job waited from when it could start until it did; None after its first start."""
    if runs != 1 or started is None:
        return None
    ready = options.at_ms if options.at_ms is not None else created + options.delay_ms
    return max(started - max(ready, created), 0)


class Folding:
    """Samples of one queue, added up by bucket: (span, number of the bucket, task) and numbers.

    Shape    task "" is the whole queue. tasks: the names that are known, to which new ones are
             added while there is room.
    """

    def __init__(self, tasks: Iterable[str] = ()) -> None:
        self.tasks = list(tasks)
        self.sums: dict[tuple[str, int, str], Numbers] = {}

    def add(self, at_ms: Millis, sample: Mapping[str, Mapping[str, int]]) -> None:
        """Add a sample that was taken at this time."""
        minute = f"{at_ms // MINUTE_MS % 5}"
        for task, numbers in sample.items():
            for name in ("", self._known(task)):
                for span in SPANS:
                    into = self.sums.setdefault((span.letter, at_ms // span.ms, name), {})
                    by_minute = span is SPANS[0]
                    for key, number in numbers.items():
                        full = minute + key if by_minute and key in COUNTERS else key
                        into[full] = into.get(full, 0) + number

    def _known(self, task: str) -> str:
        if task not in self.tasks:
            if task == OTHERS or len(self.tasks) >= MOST_TASKS:
                return OTHERS
            self.tasks.append(task)
        return task


def add_numbers(into: Numbers, numbers: Mapping[str, int]) -> Numbers:
    """Add the numbers of a bucket to others; return these."""
    for key, number in numbers.items():
        into[key] = into.get(key, 0) + number
    return into


def points_of(query: SeriesQuery, bucket: int, numbers: Mapping[str, int]) -> list[Point]:
    """Return what a bucket holds as points: one, or one for each of its minutes."""
    at_ms = bucket * query.span.ms
    by_minute = query.span is SPANS[0]
    minutes = range(5) if query.step == "minute" else (None,)
    made: list[Point] = []
    for minute in minutes:
        counts: dict[str, int] = {}
        cells: dict[str, dict[int, int]] = {"t": {}, "w": {}}
        for full, number in numbers.items():
            own = full[:1] if by_minute and full[:1].isdigit() else ""
            key = full[len(own) :]
            if key in COUNTERS:
                if minute is None or own == f"{minute}":
                    counts[COUNTERS[key]] = counts.get(COUNTERS[key], 0) + number
            elif minute is None and key[:1] in cells and key[1:].isdigit():
                cells[key[:1]][int(key[1:4])] = number
        if counts:
            at = at_ms + (minute or 0) * MINUTE_MS
            made.append(Point(at_ms=at, run=cells["t"], wait=cells["w"], **counts))
    return [each for each in made if query.since_ms - _length(query) < each.at_ms < query.until_ms]


def _length(query: SeriesQuery) -> Millis:
    return MINUTE_MS if query.step == "minute" else query.span.ms


def series_of(
    query: SeriesQuery, queue: str, stored: Mapping[int, Mapping[str, int]], beside: Folding
) -> Series:
    """Return the series of a queue: its buckets by number, and the samples that lie beside them."""
    name = query.task or ""
    buckets = {number: dict(numbers) for number, numbers in stored.items()}
    for (letter, number, task), numbers in beside.sums.items():
        if letter == query.span.letter and task == name:
            add_numbers(buckets.setdefault(number, {}), numbers)
    points = [p for number in sorted(buckets) for p in points_of(query, number, buckets[number])]
    return Series(
        queue=queue,
        task=query.task,
        step_ms=_length(query),
        points=tuple(points),
        tasks=tuple(name for name in beside.tasks if name),
    )
