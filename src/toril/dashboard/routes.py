"""The table of what can be asked, from which everything else is made: dispatch, checks, OpenAPI.

Never here: HTTP (server).
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from .board import AuditRow, PageCall
from .operations import OperationRow
from .pages import act as acts
from .pages import (
    add,
    attention,
    control,
    errors,
    flow,
    job,
    jobs,
    overview,
    queues,
    schedules,
    series,
    system,
    tasks,
    workers,
)
from .pages.overview import Nothing
from .rows import QueueSummary, RowPage

PREFIX = "api/v1/"


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One thing that can be asked.

    Attributes:
        path: Below the address of the dashboard.
        asks: The dataclass of the words of the address, or of the body of a POST.
        answers: The dataclass of the answer; str: it is text.
        permission: What the user needs; of a POST each action needs its own beside.
    """

    method: str
    path: str
    asks: type[Any]
    answers: Any
    run: Callable[[PageCall, Any], Awaitable[Any]]
    permission: str = "view"


def _get(path: str, asks: type[Any], answers: Any, run: Callable[[PageCall, Any], Any]) -> Route:
    return Route(method="GET", path=PREFIX + path, asks=asks, answers=answers, run=run)


def _post(path: str, asks: type[Any], answers: Any, run: Callable[[PageCall, Any], Any]) -> Route:
    return Route(method="POST", path=PREFIX + path, asks=asks, answers=answers, run=run)


ROUTES = (
    _get("me", Nothing, overview.MeAnswer, overview.me),
    _get("overview", Nothing, overview.OverviewAnswer, overview.overview),
    _get("attention", Nothing, attention.AttentionAnswer, attention.attention),
    _get("suggest", overview.SuggestQuery, overview.SuggestAnswer, overview.suggest),
    _get("queues", queues.QueuesQuery, RowPage[QueueSummary], queues.queues),
    _get("queue", queues.QueueQuery, queues.QueueDetail, queues.queue),
    _get("jobs", jobs.JobsQuery, jobs.JobsAnswer, jobs.jobs),
    _get("job", job.JobQuery, job.JobDetail, job.job),
    _get("job/log", job.LogQuery, job.LogAnswer, job.log),
    _get("value", job.ValueQuery, str, job.value),
    _get("flow", flow.FlowQuery, flow.FlowAnswer, flow.flow),
    _get(
        "schedules", schedules.SchedulesQuery, RowPage[schedules.ScheduleRow], schedules.schedules
    ),
    _get("schedule", schedules.ScheduleQuery, schedules.ScheduleRow, schedules.schedule),
    _get("workers", workers.WorkersQuery, workers.WorkersAnswer, workers.workers),
    _get("tasks", Nothing, RowPage[tasks.TaskRow], tasks.tasks),
    _get("series", series.CurveQuery, series.SeriesAnswer, series.series),
    _get("heat", series.HeatQuery, series.HeatAnswer, series.heat),
    _get("errors", errors.ErrorsQuery, RowPage[errors.ErrorGroupRow], errors.errors),
    _get("error", errors.ErrorQuery, errors.ErrorGroupDetail, errors.error),
    _get("flows", flow.FlowsQuery, RowPage[flow.FlowRow], flow.flows),
    _get("audit", errors.AuditQuery, RowPage[AuditRow], errors.audit),
    _get("operations", Nothing, RowPage[OperationRow], control.operations),
    _get("store", Nothing, system.StoreAnswer, system.store),
    _post("act", acts.ActBody, acts.ActAnswer, control.act),
    _post("jobs", add.AddBody, add.AddedAnswer, add.add),
    _post("reveal", add.RevealBody, job.JobDetail, add.reveal),
    _post("operations/cancel", control.OperationBody, OperationRow, control.cancel_operation),
    Route(
        method="GET",
        path="scale",
        asks=system.ScaleQuery,
        answers=system.ScaleAnswer,
        run=system.scale,
    ),
    Route(method="GET", path="metrics", asks=Nothing, answers=str, run=system.metrics),
)
HEALTH = Route(
    method="GET", path="healthz", asks=Nothing, answers=system.HealthAnswer, run=system.health
)
BY_PLACE = {(route.method, route.path): route for route in (*ROUTES, HEALTH)}
PATHS = frozenset(route.path for route in (*ROUTES, HEALTH))
