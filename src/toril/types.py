"""The types that the methods of toril's classes take and return, for annotations.

What is made by hand is in `toril`, events are in `toril.events`, records of hooks in `toril.hooks`,
errors in `toril.errors`.
"""

from toril._app.alerts import AlertOptions, AlertTarget
from toril._app.flow import Childlike, Tree
from toril._app.monitor import Monitor
from toril._app.options import DistantOptions, QueueOptions
from toril._app.overview import QueueView
from toril._app.queue import AddOptions, FoundJobs, NewJobs
from toril._handlers.depends import Lifetime
from toril._handlers.handlers import HandlerOptions
from toril._handlers.schedules import RuleOptions, ScheduleOptions, Schedules
from toril._handlers.signature import TaskParameter
from toril._handlers.task import AsyncTask, BlockingTask, TaskMaker, TaskOptions
from toril._jobs.bulk import How, Steered, Wanted
from toril._jobs.children import ChildrenView, Dependencies
from toril._jobs.chunks import StateName, States
from toril._jobs.events import JobEvents
from toril._jobs.node import EnqueueOptions
from toril._model.alert import Alert, AlertKind, AlertState
from toril._model.backoff import Backoff
from toril._model.diagnosis import Finding
from toril._model.faults import ErrorGroup
from toril._model.notes import AuditEntry, Mark, Operation, Pause
from toril._model.options import (
    BackoffFunction,
    CrashPolicy,
    Durability,
    JobOptions,
    KeepLike,
    Options,
    ParentPolicy,
    RateLimit,
)
from toril._model.record import Claim, Record, Ref, Try
from toril._model.report import (
    Child,
    Children,
    Counts,
    Logs,
    Metrics,
    Page,
    QueueSettings,
    ScheduleInfo,
    Slot,
    Unset,
    WorkerInfo,
)
from toril._model.schedule import Rule
from toril._model.series import Cells, Point, Series, StepName, cell_bounds, quantile
from toril._model.times import Duration, Millis
from toril._worker.health import Health
from toril._worker.options import Queues, WorkerOptions, WorkerSettings

__all__ = [
    "AddOptions",
    "Alert",
    "AlertKind",
    "AlertOptions",
    "AlertState",
    "AlertTarget",
    "AsyncTask",
    "AuditEntry",
    "Backoff",
    "BackoffFunction",
    "BlockingTask",
    "Cells",
    "Child",
    "Childlike",
    "Children",
    "ChildrenView",
    "Claim",
    "Counts",
    "CrashPolicy",
    "Dependencies",
    "DistantOptions",
    "Durability",
    "Duration",
    "EnqueueOptions",
    "ErrorGroup",
    "Finding",
    "FoundJobs",
    "HandlerOptions",
    "Health",
    "How",
    "JobEvents",
    "JobOptions",
    "KeepLike",
    "Lifetime",
    "Logs",
    "Mark",
    "Metrics",
    "Millis",
    "Monitor",
    "NewJobs",
    "Operation",
    "Options",
    "Page",
    "ParentPolicy",
    "Pause",
    "Point",
    "QueueOptions",
    "QueueSettings",
    "QueueView",
    "Queues",
    "RateLimit",
    "Record",
    "Ref",
    "Rule",
    "RuleOptions",
    "ScheduleInfo",
    "ScheduleOptions",
    "Schedules",
    "Series",
    "Slot",
    "StateName",
    "States",
    "Steered",
    "StepName",
    "TaskMaker",
    "TaskOptions",
    "TaskParameter",
    "Tree",
    "Try",
    "Unset",
    "Wanted",
    "WorkerInfo",
    "WorkerOptions",
    "WorkerSettings",
    "cell_bounds",
    "quantile",
]
