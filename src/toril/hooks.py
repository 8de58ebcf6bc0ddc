"""The records of what happens in a worker, for `app.on(JobCompleted)` and `worker.on(...)`.

A listener of a class gets the records of that class and of its subclasses: `app.on(Happening)`
gets all of them.
"""

from toril._jobs.drafts import JobDraft
from toril._jobs.listeners import AppEvent, Listener, LocalEvent
from toril._worker.hooks import (
    AttemptFailed,
    ClaimLapsed,
    CodeUnstoppable,
    Happening,
    JobCancelled,
    JobCompleted,
    JobDeadLettered,
    JobFailed,
    JobHappening,
    JobPutBack,
    JobStalled,
    JobStarted,
    LockGone,
    LoopBlocked,
    NameUnknown,
    RatesDiffer,
    Trouble,
    TryEnded,
    WorkerClosed,
    WorkerClosing,
    WorkerHappening,
    WorkerReady,
)

__all__ = [
    "AppEvent",
    "AttemptFailed",
    "ClaimLapsed",
    "CodeUnstoppable",
    "Happening",
    "JobCancelled",
    "JobCompleted",
    "JobDeadLettered",
    "JobDraft",
    "JobFailed",
    "JobHappening",
    "JobPutBack",
    "JobStalled",
    "JobStarted",
    "Listener",
    "LocalEvent",
    "LockGone",
    "LoopBlocked",
    "NameUnknown",
    "RatesDiffer",
    "Trouble",
    "TryEnded",
    "WorkerClosed",
    "WorkerClosing",
    "WorkerHappening",
    "WorkerReady",
]
