"""The tasks that the app defines: their parameters and options."""

import asyncio
import inspect
from dataclasses import dataclass, field, replace
from typing import Any

from toril import Task
from toril.dashboard.board import PageCall
from toril.dashboard.rows import RowPage, now_ms
from toril.dashboard.values import clean
from toril.types import quantile

from .overview import Nothing
from .series import rounded, together

HOUR_MS, STEP_MS = 3_600_000, 300_000
# How many tasks have numbers; each is a read of its counters.
MEASURED = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class ParameterRow:
    """A parameter of a task.

    Attributes:
        kind: text, integer, number, boolean, list, object or any.
        default_json: Its default as JSON text.
    """

    name: str
    type: str
    kind: str
    required: bool
    default_json: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskRow:
    """A task.

    Attributes:
        where: The file and line of its function.
        options: Its options in code, as text.
        declared: It is defined in the app that the dashboard runs in; others are known by their
            jobs only.
    """

    name: str
    queue: str
    declared: bool
    where: str | None = None
    doc: str | None = None
    options: dict[str, str] = field(default_factory=dict[str, str])
    parameters: list[ParameterRow] = field(default_factory=list[ParameterRow])
    per_s: float | None = None
    failed_share: float | None = None
    run_p50_ms: float | None = None
    run_p95_ms: float | None = None
    wait_p95_ms: float | None = None
    spark: list[int] = field(default_factory=list[int])


async def tasks(call: PageCall, _: Nothing) -> RowPage[TaskRow]:
    """Return the tasks of the queues that the user may see: those in code, and those that ran."""
    key = ("tasks", call.queues)
    rows: list[TaskRow] = await call.board.kept.get(key, lambda: _tasks(call))
    return RowPage(items=rows, total=len(rows))


async def _tasks(call: PageCall) -> list[TaskRow]:
    rows = {
        (task.queue, task.name): task_row(call, task)
        for task in call.app.tasks()
        if call.access.sees(task.queue)
    }
    snapshot = await call.board.sampler.snapshot()
    names = call.visible([view.name for view in snapshot.queues])
    counted = await call.app.monitor.tasks(*names) if names else {}
    for queue, some in counted.items():
        for name in some:
            rows.setdefault((queue, name), TaskRow(name=clean(name), queue=queue, declared=False))
    measured = [key for key in rows if key[1] in counted.get(key[0], ())][:MEASURED]
    found = await asyncio.gather(*(_numbers(call, *key) for key in measured))
    for key, numbers in zip(measured, found, strict=True):
        rows[key] = replace(rows[key], **numbers)
    return [*rows.values()]


async def _numbers(call: PageCall, queue: str, name: str) -> dict[str, Any]:
    """Return how a task did in the last hour."""
    since = now_ms() - HOUR_MS
    (found,) = await call.app.monitor.series(queue, task=name, since_ms=since, step="5min")
    points = found.points
    completed, failed = (sum(getattr(p, kind) for p in points) for kind in ("completed", "failed"))
    finished = completed + failed
    run, wait = together(points, "run"), together(points, "wait")
    counts = {point.at_ms // STEP_MS: point.completed + point.failed for point in points}
    last = now_ms() // STEP_MS
    return {
        "per_s": round(finished / 3600, 3),
        "failed_share": round(failed / finished, 4) if finished else None,
        "run_p50_ms": rounded(quantile(run, 0.5)),
        "run_p95_ms": rounded(quantile(run, 0.95)),
        "wait_p95_ms": rounded(quantile(wait, 0.95)),
        "spark": [counts.get(last - back, 0) for back in range(11, -1, -1)],
    }


def task_row(call: PageCall, task: Task[..., Any]) -> TaskRow:
    """Return a task as a row."""
    redactor = call.board.redactor
    return TaskRow(
        name=clean(task.name),
        queue=task.queue,
        declared=True,
        where=where(task),
        doc=inspect.getdoc(task.function),
        options={name: str(each) for name, each in task.options.items()},
        parameters=[
            ParameterRow(
                name=each.name,
                type=each.type,
                kind=each.kind,
                required=each.required,
                default_json=None if redactor.hides_key(each.name) else each.default,
            )
            for each in task.parameters()
        ],
    )


def where(task: Task[..., Any]) -> str | None:
    """Return the file and line of a task's function."""
    code = getattr(inspect.unwrap(task.function), "__code__", None)
    return None if code is None else f"{code.co_filename}:{code.co_firstlineno}"
