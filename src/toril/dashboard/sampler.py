"""One look at all queues for everybody who asks: requests and streams share it.

Never here: what a page makes of it.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toril import Toril
from toril.types import Point, QueueView, ScheduleInfo, WorkerInfo, quantile

from .rows import QueueSummary, now_ms, queue_row

# For how long a look serves those who ask; names of queues and workers change less often.
FRESH_S = 0.8
NAMES_S = 3.0
MEASURED_S = 10.0
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """All queues and workers at one moment.

    Attributes:
        at_ms: When it was taken.
        took_ms: How long the store took to answer.
        workers: Every worker that is known, also those that are gone.
        measured: Rates of the queues, by name: fields of `QueueSummary`.
    """

    at_ms: int
    took_ms: float
    queues: Sequence[QueueView]
    workers: Sequence[WorkerInfo]
    measured: Mapping[str, Mapping[str, Any]] = field(
        default_factory=dict[str, "Mapping[str, Any]"]
    )


class Sampler:
    """Looks at the store at most once at a time; those who ask meanwhile share the answer."""

    def __init__(self, app: Toril) -> None:
        self._app = app
        self.fresh_s, self.names_s = FRESH_S, NAMES_S
        self._last: Snapshot | None = None
        self._taken = float("-inf")
        self._lock = asyncio.Lock()
        self._names: list[str] = []
        self._workers: list[WorkerInfo] = []
        self._named = float("-inf")
        self.measured_s = MEASURED_S
        self._measured: dict[str, dict[str, Any]] = {}
        self._measured_at = float("-inf")
        self._schedules: Sequence[ScheduleInfo] = ()
        self._schedules_lock = asyncio.Lock()
        self._listed = float("-inf")

    async def snapshot(self) -> Snapshot:
        """Return the last look, or take a new one if that is too old.

        Raises   StoreError: the store does not answer.
        """
        asked = time.monotonic()
        async with self._lock:
            if self._last is None or asked - self._taken > self.fresh_s:
                self._last = await self._look()
                self._taken = time.monotonic()
            return self._last

    async def schedules(self) -> Sequence[ScheduleInfo]:
        """Return the stored schedules, as they were up to five seconds ago."""
        asked = time.monotonic()
        async with self._schedules_lock:
            if asked - self._listed > self.names_s:
                self._schedules = await self._app.schedules.list()
                self._listed = time.monotonic()
            return self._schedules

    def forget(self) -> None:
        """Let the next look read everything: something was changed here."""
        self._taken = self._named = self._listed = self._measured_at = float("-inf")

    async def _look(self) -> Snapshot:
        began = time.perf_counter()
        if time.monotonic() - self._named > self.names_s:
            self._workers, stored = await asyncio.gather(self._app.workers(), self._app.queues())
            served = {name for each in self._workers if each.alive for name in each.queues}
            self._names = sorted({*stored, *served})
            self._named = time.monotonic()
        views: Sequence[QueueView] = ()
        if self._names:
            views, _ = await asyncio.gather(self._app.overview(*self._names), self._measure())
        return Snapshot(
            at_ms=now_ms(),
            took_ms=round((time.perf_counter() - began) * 1000, 2),
            queues=views,
            workers=self._workers,
            measured=self._measured,
        )

    async def _measure(self) -> None:
        """Read the counters of the last hour, if those at hand are too old."""
        if time.monotonic() - self._measured_at < self.measured_s:
            return
        self._measured_at = time.monotonic()
        since = now_ms() - HOUR_MS
        counted, timed = await asyncio.gather(
            self._app.monitor.series(*self._names, since_ms=since, step="minute"),
            self._app.monitor.series(*self._names, since_ms=since, step="5min"),
        )
        self._measured = {
            each.queue: measures(each.points, other.points, now_ms())
            for each, other in zip(counted, timed, strict=True)
        }


def measures(counted: Sequence[Point], timed: Sequence[Point], now: int) -> dict[str, Any]:
    """Return the rates of a queue: of its last five minutes by the minute, and of its last hour."""
    if not counted and not timed:
        return {}
    minute = now // MINUTE_MS
    finished = {point.at_ms // MINUTE_MS: point.completed + point.failed for point in counted}
    lately = [point for point in counted if minute - 5 <= point.at_ms // MINUTE_MS < minute]
    cells: dict[int, int] = {}
    for point in timed:
        for cell, count in point.run.items():
            cells[cell] = cells.get(cell, 0) + count
    p95 = quantile(cells, 0.95)
    return {
        "in_per_s": round(sum(point.enqueued for point in lately) / 300, 3),
        "out_per_s": round(sum(point.completed + point.failed for point in lately) / 300, 3),
        "failed_1h": sum(point.failed for point in counted),
        "p95_ms": None if p95 is None else round(p95, 1),
        "spark": [finished.get(minute - back, 0) for back in range(59, -1, -1)],
    }


def snapshot_rows(snapshot: Snapshot) -> list[QueueSummary]:
    """Return the queues of a look as rows of a table."""
    rows: list[QueueSummary] = []
    for view in snapshot.queues:
        measured = dict(snapshot.measured.get(view.name, {}))
        out, ready = measured.get("out_per_s"), view.counts.ready
        if out and ready:
            measured["eta_s"] = round(ready / out, 1)
        rows.append(queue_row(view, snapshot.at_ms, **measured))
    return rows
