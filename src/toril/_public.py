"""The names of `toril`, which `toril/__init__.py` imports when one of them is used."""

from toril._app.app import Toril
from toril._app.blueprint import Blueprint
from toril._app.flow import Flow
from toril._app.queue import Queue
from toril._handlers.depends import Depends
from toril._handlers.processors import handles, listens
from toril._handlers.schedules import Schedule
from toril._handlers.task import Task
from toril._jobs.events import Events
from toril._jobs.job import Job, current_job
from toril._jobs.node import Node
from toril._model.backoff import Custom, Exponential, Fixed
from toril._model.options import Dedup, Keep
from toril._model.states import State
from toril._worker.worker import Worker
from toril.errors import (
    AwaitChildren,
    BadArguments,
    ConfigError,
    DurabilityNotConfirmed,
    Fail,
    JobError,
    JobFailed,
    JobLocked,
    JobNotFound,
    LockLost,
    PartlyAdded,
    QueueFull,
    RateLimited,
    Release,
    ResultTimeout,
    Signal,
    Snooze,
    SoftTimeout,
    StoreError,
    TaskError,
    TorilError,
    WrongState,
)
from toril.events import Event

__all__ = [
    "AwaitChildren",
    "BadArguments",
    "Blueprint",
    "ConfigError",
    "Custom",
    "Dedup",
    "Depends",
    "DurabilityNotConfirmed",
    "Event",
    "Events",
    "Exponential",
    "Fail",
    "Fixed",
    "Flow",
    "Job",
    "JobError",
    "JobFailed",
    "JobLocked",
    "JobNotFound",
    "Keep",
    "LockLost",
    "Node",
    "PartlyAdded",
    "Queue",
    "QueueFull",
    "RateLimited",
    "Release",
    "ResultTimeout",
    "Schedule",
    "Signal",
    "Snooze",
    "SoftTimeout",
    "State",
    "StoreError",
    "Task",
    "TaskError",
    "Toril",
    "TorilError",
    "Worker",
    "WrongState",
    "current_job",
    "handles",
    "listens",
]

# Where a name is imported from is what people see in tracebacks and documentation.
for _name in __all__:
    globals()[_name].__module__ = "toril"
