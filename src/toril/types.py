"""The types that the methods of toril's classes take and return, for annotations.

What is made by hand is in `toril`, events are in `toril.events`, records of hooks in `toril.hooks`,
errors in `toril.errors`.
"""

from toril._model.backoff import Backoff
from toril._model.finding import Finding
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
    Counts,
    Logs,
    Metrics,
    QueueSettings,
    ScheduleInfo,
    Unset,
    WorkerInfo,
)
from toril._model.schedule import Rule
from toril._model.times import Duration, Millis
from toril._run.app import DistantOptions, QueueOptions
from toril._run.bulk import StateName, States
from toril._run.children import ChildrenView, Dependencies
from toril._run.dependencies import Lifetime
from toril._run.draft import EnqueueOptions
from toril._run.flow import Childlike, Tree
from toril._run.handlers import HandlerOptions
from toril._run.health import Health
from toril._run.overview import QueueView
from toril._run.queue import AddOptions, NewJobs
from toril._run.schedule import RuleOptions, ScheduleOptions, Schedules
from toril._run.sweep import How, Steered, Wanted
from toril._run.task import AsyncTask, BlockingTask, TaskMaker, TaskOptions
from toril._run.worker_options import Queues, WorkerOptions, WorkerSettings

__all__ = [
    "AddOptions",
    "AsyncTask",
    "Backoff",
    "BackoffFunction",
    "BlockingTask",
    "Childlike",
    "ChildrenView",
    "Claim",
    "Counts",
    "CrashPolicy",
    "Dependencies",
    "DistantOptions",
    "Durability",
    "Duration",
    "EnqueueOptions",
    "Finding",
    "HandlerOptions",
    "Health",
    "How",
    "JobOptions",
    "KeepLike",
    "Lifetime",
    "Logs",
    "Metrics",
    "Millis",
    "NewJobs",
    "Options",
    "ParentPolicy",
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
    "StateName",
    "States",
    "Steered",
    "TaskMaker",
    "TaskOptions",
    "Tree",
    "Try",
    "Unset",
    "Wanted",
    "WorkerInfo",
    "WorkerOptions",
    "WorkerSettings",
]
