"""The state of all queues as Prometheus text: `toril metrics` and the dashboard's `/metrics` serve it.

Never here: serving it.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from toril._model.report import ScheduleInfo, WorkerInfo
from toril._model.series import Cells, Point, SeriesQuery, cell_bounds
from toril._model.times import Millis
from toril._store.protocol import Store

from .overview import QueueView, view_queues

DAY_MS = 86_400_000
BOUNDS_MS = tuple(4**step for step in range(12))
"""Histograms have these bounds: 1 ms, 4 ms, 16 ms, and so on, to 70 minutes."""

Sample = tuple[Mapping[str, str], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the text is made of."""

    now: Millis
    views: Sequence[QueueView]
    workers: Sequence[WorkerInfo]
    schedules: Sequence[ScheduleInfo]
    counted: Mapping[str, Point]
    took_s: float


async def metrics_text(store: Store, shown: Callable[[str], bool]) -> str:
    """Return the state of the queues that may be shown, their workers and schedules."""
    began = time.perf_counter()
    now = store.clock.now_ms()
    views = [view for view in await view_queues(store) if shown(view.name)]
    names = tuple(view.name for view in views)
    today = now // DAY_MS * DAY_MS
    query = SeriesQuery(queues=names, step="day", since_ms=today, until_ms=now + 1)
    series = await store.series(query) if names else []
    workers, schedules = await store.workers(), await store.schedules()
    seen = _Seen(
        now=now,
        views=views,
        workers=[each for each in workers if any(map(shown, each.queues))],
        schedules=[each for each in schedules if shown(each.queue)],
        counted={each.queue: each.points[-1] for each in series if each.points},
        took_s=time.perf_counter() - began,
    )
    return "\n".join([*_gauges(seen), *_counters(seen), *_histograms(seen)]) + "\n"


# Gauges.


def _gauges(seen: _Seen) -> Iterator[str]:
    living = [each for each in seen.workers if each.alive]
    letters = {view.settings.dead_letter for view in seen.views}
    late = _late(seen)
    yield from _family("toril_jobs", "gauge", "Jobs in each state.", _jobs(seen.views))
    for name, text, value in _QUEUE_GAUGES:
        samples = [({"queue": view.name}, value(view, seen.now)) for view in seen.views]
        known = [(labels, number) for labels, number in samples if number is not None]
        yield from _family(name, "gauge", text, known)
    yield from _family(
        "toril_queue_dead_letters",
        "gauge",
        "Dead letters in a queue of dead letters.",
        [({"queue": v.name}, v.counts.ready) for v in seen.views if v.name in letters],
    )
    yield from _family(
        "toril_queue_schedule_late_seconds",
        "gauge",
        "How late the run of a schedule of the queue is, at most.",
        [({"queue": queue}, ms / 1000) for queue, ms in late.items()],
    )
    for name, text, number in (
        ("toril_workers", "Live workers.", len(living)),
        ("toril_workers_lost", "Workers that ended without notice.", len(seen.workers) - len(living)),
        ("toril_worker_slots", "How many jobs live workers can run at once.",
         sum(each.concurrency for each in living)),
        ("toril_scrape_seconds", "How long this answer took.", round(seen.took_s, 6)),
        ("toril_time_seconds", "When it was taken.", seen.now / 1000),
    ):  # fmt: skip
        yield from _family(name, "gauge", text, [({}, number)])


def _jobs(views: Iterable[QueueView]) -> Iterator[Sample]:
    for view in views:
        for state, count in view.counts.by_state.items():
            yield {"queue": view.name, "state": state}, count


def _oldest(view: QueueView, now: Millis) -> float | None:
    oldest = view.counts.oldest_ms
    return None if oldest is None else max(now - oldest, 0) / 1000


_QUEUE_GAUGES: tuple[tuple[str, str, Callable[[QueueView, Millis], float | None]], ...] = (
    ("toril_queue_paused", "Whether the queue is paused.", lambda v, _: int(v.settings.paused)),
    ("toril_queue_workers", "Live workers of the queue.", lambda v, _: len(v.workers)),
    ("toril_queue_oldest_ready_seconds", "How long the next job has been waiting.", _oldest),
)


def _late(seen: _Seen) -> dict[str, Millis]:
    found: dict[str, Millis] = {}
    for each in seen.schedules:
        late = 0 if each.next_ms is None else max(seen.now - each.next_ms, 0)
        found[each.queue] = max(found.get(each.queue, 0), late)
    return found


# Counters and histograms.

_COUNTERS = (
    ("toril_jobs_added_total", "Jobs that were added.", "enqueued"),
    ("toril_jobs_completed_total", "Jobs that completed.", "completed"),
    ("toril_jobs_failed_total", "Jobs that failed permanently.", "failed"),
    ("toril_jobs_retried_total", "Attempts that failed and run again.", "retried"),
    ("toril_jobs_stalled_total", "Jobs that were taken back from dead workers.", "stalled"),
)


def _counters(seen: _Seen) -> Iterator[str]:
    for name, text, field in _COUNTERS:
        samples = [
            ({"queue": view.name}, _number(seen.counted.get(view.name), field))
            for view in seen.views
        ]
        yield from _family(name, "counter", text, samples)


def _histograms(seen: _Seen) -> Iterator[str]:
    for name, text, kind in (
        ("toril_job_run_seconds", "How long attempts took.", "run"),
        ("toril_job_wait_seconds", "How long jobs waited for their first start.", "wait"),
    ):
        yield f"# HELP {name} {text}"
        yield f"# TYPE {name} histogram"
        for view in seen.views:
            point = seen.counted.get(view.name)
            cells: Cells = {} if point is None else getattr(point, kind)
            yield from _buckets(name, view.name, cells)
            yield _line(f"{name}_sum", {"queue": view.name}, _number(point, f"{kind}_ms") / 1000)
            yield _line(f"{name}_count", {"queue": view.name}, sum(cells.values()))


def _number(point: Point | None, field: str) -> int:
    return 0 if point is None else int(getattr(point, field))


def _buckets(name: str, queue: str, cells: Cells) -> Iterator[str]:
    for bound in BOUNDS_MS:
        below = sum(count for cell, count in cells.items() if cell_bounds(cell)[1] <= bound * 1.001)
        yield _line(f"{name}_bucket", {"queue": queue, "le": f"{bound / 1000:g}"}, below)
    yield _line(f"{name}_bucket", {"queue": queue, "le": "+Inf"}, sum(cells.values()))


# The format.


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> Iterator[str]:
    yield f"# HELP {name} {text}"
    yield f"# TYPE {name} {kind}"
    for labels, value in samples:
        yield _line(name, labels, value)


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    shown = ",".join(f'{key}="{_quoted(text)}"' for key, text in labels.items())
    number = str(int(value)) if float(value).is_integer() else repr(float(value))
    return f"{name}{{{shown}}} {number}" if shown else f"{name} {number}"


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
