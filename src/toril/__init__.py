"""Background jobs for Python: BullMQ's model, with nothing to install beside it.

Three names are enough to start with: an app (`Toril`), a task (`@app.task`), and a worker
(`toril worker module:app`). The front door; everything lives in the modules behind it.
"""

from toril._model.backoff import Custom, Exponential, Fixed
from toril._model.options import Dedup, Keep
from toril._model.states import State
from toril._run.app import Toril
from toril._run.dependencies import Depends
from toril._run.draft import Node
from toril._run.events import Events
from toril._run.flow import Flow
from toril._run.job import Job, current_job
from toril._run.processors import handles
from toril._run.queue import Queue
from toril._run.schedule import Schedule
from toril._run.task import Task
from toril._run.worker import Worker
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
]

# Where a name is imported from is what people see in tracebacks and documentation.
for _name in __all__:
    globals()[_name].__module__ = "toril"
