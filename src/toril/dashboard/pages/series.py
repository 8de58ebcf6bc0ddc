"""Curves over time: how many jobs, and how long they waited and ran.

Never here: recording them (the store does, in the step that ends a job).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from toril.dashboard.board import PageCall
from toril.dashboard.problems import bad_request
from toril.dashboard.rows import now_ms
from toril.dashboard.values import clean
from toril.types import Point, Series, quantile

MINUTE, HOUR = 60_000, 3_600_000
Step = Literal["minute", "5min", "hour", "day"]


@dataclass(frozen=True, slots=True)
class CurveRange:
    """A stretch of time, and the steps of counts and of durations in it."""

    span_ms: int
    step: Step
    step_ms: int
    cells: Step


RANGES = {
    "15m": CurveRange(15 * MINUTE, "minute", MINUTE, "5min"),
    "1h": CurveRange(HOUR, "minute", MINUTE, "5min"),
    "6h": CurveRange(6 * HOUR, "5min", 5 * MINUTE, "5min"),
    "24h": CurveRange(24 * HOUR, "hour", HOUR, "hour"),
    "7d": CurveRange(168 * HOUR, "hour", HOUR, "hour"),
    "30d": CurveRange(720 * HOUR, "day", 24 * HOUR, "day"),
}
_COUNTS = ("enqueued", "completed", "failed", "retried", "stalled")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurveQuery:
    """Which curves: of a queue, of a task, or of everything; over 15m, 1h, 6h, 24h, 7d or 30d."""

    queue: str = ""
    task: str = ""
    range: str = "1h"


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatQuery(CurveQuery):
    """Which heat map: of how long jobs ran ("run"), or waited ("wait")."""

    kind: str = "run"


@dataclass(frozen=True, slots=True, kw_only=True)
class MarkRow:
    """A moment that curves show, such as a deployment."""

    at_ms: int
    text: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class PreviousRow:
    """The stretch of time before, of the same length."""

    completed: int
    failed: int
    run_p95_ms: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SeriesAnswer:
    """Curves: one number for each step from `start_ms` on; durations are null where none is known.

    Attributes:
        missing: What is not recorded: "node" for jobs that BullMQ's workers ran.
    """

    start_ms: int
    step_ms: int
    added: list[int]
    completed: list[int]
    failed: list[int]
    retried: list[int]
    stalled: list[int]
    run_p50_ms: list[float | None]
    run_p95_ms: list[float | None]
    run_p99_ms: list[float | None]
    wait_p50_ms: list[float | None]
    wait_p95_ms: list[float | None]
    wait_p99_ms: list[float | None]
    marks: list[MarkRow]
    previous: PreviousRow | None
    missing: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class HeatAnswer:
    """How many jobs took how long: for each step a list of counts, the shortest durations first.

    Attributes:
        floor_ms: Where the first cell begins.
        per_doubling: How many cells there are until the duration has doubled.
    """

    start_ms: int
    step_ms: int
    floor_ms: float
    per_doubling: int
    columns: list[list[int]]


def range_of(name: str) -> CurveRange:
    """Return a stretch of time by its name.

    Raises   RefusedError: there is none.
    """
    if name not in RANGES:
        raise bad_request(f"range={name[:20]!r} is none of {', '.join(RANGES)}", "range")
    return RANGES[name]


async def series(call: PageCall, query: CurveQuery) -> SeriesAnswer:
    """Return how many jobs were added and ended, and how long they took, over time."""
    key = ("series", query, call.queues)
    answer: SeriesAnswer = await call.board.kept.get(key, lambda: _series(call, query))
    return answer


async def _series(call: PageCall, query: CurveQuery) -> SeriesAnswer:
    chosen = range_of(query.range)
    start = (now_ms() - chosen.span_ms) // chosen.step_ms * chosen.step_ms + chosen.step_ms
    counted, timed, marks = await asyncio.gather(
        read(call, query, chosen.step, start),
        read(call, query, chosen.cells, start - chosen.span_ms),
        call.app.monitor.marks(since_ms=start),
    )
    size = chosen.span_ms // chosen.step_ms
    counts = {name: [0] * size for name in _COUNTS}
    for point in counted.points:
        at = (point.at_ms - start) // chosen.step_ms
        if 0 <= at < size:
            for name in _COUNTS:
                counts[name][at] += getattr(point, name)
    missing = await _node_counts(call, query, counts, (start, chosen.step_ms))
    durations: dict[str, Any] = _quantiles(timed, start, chosen.step_ms, size)
    return SeriesAnswer(
        start_ms=start,
        step_ms=chosen.step_ms,
        added=counts["enqueued"],
        completed=counts["completed"],
        failed=counts["failed"],
        retried=counts["retried"],
        stalled=counts["stalled"],
        **durations,
        marks=[
            MarkRow(at_ms=m.at_ms, text=clean(m.label), by=clean(m.by)) for m in reversed(marks)
        ],
        previous=_previous(timed, start, chosen.span_ms),
        missing=missing,
    )


async def read(call: PageCall, query: CurveQuery, step: Step, since_ms: int) -> Series:
    """Return the recorded points that a query is about, as one series."""
    names = [query.queue] if query.queue else await _names(call)
    if query.queue:
        call.queue(query.queue)
    if not names:
        return Series(queue="*", task=None, step_ms=MINUTE)
    found = await call.app.monitor.series(
        *names, task=query.task or None, since_ms=max(since_ms, 0), step=step
    )
    return Series.sum(found)


async def _names(call: PageCall) -> list[str]:
    snapshot = await call.board.sampler.snapshot()
    return call.visible([view.name for view in snapshot.queues])


async def _node_counts(
    call: PageCall, query: CurveQuery, counts: dict[str, list[int]], place: tuple[int, int]
) -> list[str]:
    """Add what BullMQ's workers counted, of a queue of which nothing else is known."""
    if not query.queue or query.task or any(map(any, counts.values())):
        return []
    start, step = place
    missing: list[str] = []
    for kind in ("completed", "failed"):
        found = await call.app.queue(query.queue).metrics(kind)
        for at_ms, count in found.points:
            at = (at_ms - start) // step
            if 0 <= at < len(counts[kind]):
                counts[kind][at] += count
                missing = ["node"]
    return missing


def _quantiles(timed: Series, start: int, step: int, size: int) -> dict[str, list[float | None]]:
    """Return the percentiles for each step; a step within a longer one has that one's."""
    found: dict[str, list[float | None]] = {}
    for kind in ("run", "wait"):
        for share in (50, 95, 99):
            found[f"{kind}_p{share}_ms"] = [None] * size
    for point in timed.points:
        first = (point.at_ms - start) // step
        for kind in ("run", "wait"):
            cells = getattr(point, kind)
            for share in (50, 95, 99):
                value = rounded(quantile(cells, share / 100))
                row = found[f"{kind}_p{share}_ms"]
                for at in range(max(first, 0), min(first + max(timed.step_ms // step, 1), size)):
                    row[at] = value
    return found


def rounded(value: float | None) -> float | None:
    """Return a duration with one digit after the point."""
    return None if value is None else round(value, 1)


def _previous(timed: Series, start: int, span: int) -> PreviousRow | None:
    points = [point for point in timed.points if start - span <= point.at_ms < start]
    if not points:
        return None
    return PreviousRow(
        completed=sum(point.completed for point in points),
        failed=sum(point.failed for point in points),
        run_p95_ms=rounded(quantile(together(points, "run"), 0.95)),
    )


def together(points: Sequence[Point], kind: str) -> dict[int, int]:
    """Return the histograms of several points as one."""
    found: dict[int, int] = {}
    for point in points:
        for cell, count in getattr(point, kind).items():
            found[cell] = found.get(cell, 0) + count
    return found


async def heat(call: PageCall, query: HeatQuery) -> HeatAnswer:
    """Return how many jobs took how long, over time."""
    if query.kind not in ("run", "wait"):
        raise bad_request(f"kind={query.kind[:20]!r} is neither run nor wait", "kind")
    chosen = range_of(query.range)
    step = {"5min": 5 * MINUTE, "hour": HOUR, "day": 24 * HOUR}[chosen.cells]
    start = (now_ms() - chosen.span_ms) // step * step + step
    found = await read(call, query, chosen.cells, start)
    cells = {
        (point.at_ms - start) // step: getattr(point, query.kind)
        for point in found.points
        if point.at_ms >= start
    }
    used = [cell for column in cells.values() for cell in column]
    low, high = (min(used), max(used)) if used else (0, -1)
    return HeatAnswer(
        start_ms=start,
        step_ms=step,
        floor_ms=0.0 if low <= 0 else round(2 ** (low / 4), 3),
        per_doubling=4,
        columns=[
            [cells.get(at, {}).get(cell, 0) for cell in range(low, high + 1)]
            for at in range(max(chosen.span_ms // step, 1))
        ],
    )
