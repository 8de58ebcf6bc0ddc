"""Every error that toril raises, and the signals that a handler raises to decide about its job.

TorilError
├── ConfigError             an option, URL, name or file that cannot work; raised before any I/O
├── StoreError              the store could not do it
│   ├── StoreUnavailable    cannot be reached or opened; a later call may work
│   ├── StoreFull           no room left; nothing was stored
│   ├── StoreRefused        this value can never be stored; sending it again does not help
│   ├── StoreCorrupt        the file is damaged; it is left as it is
│   ├── StoreMismatch       the data was written by a newer toril
│   ├── PartlyAdded         some chunks of many jobs were stored, the rest was not
│   └── Unconfirmed         no answer came: the change may or may not have happened
│       └── DurabilityNotConfirmed  stored, but `durable=` was not confirmed in time
├── QueueFull               `max_waiting` jobs wait to run in the queue
├── JobError                this job cannot do that
│   ├── JobNotFound
│   ├── JobExists           the id is taken and another job was asked for
│   ├── WrongState          the verb does not apply in the job's state
│   ├── LockLost            another worker has the job now
│   ├── JobLocked           it is running (or one of its children is)
│   ├── ParentNotFound
│   ├── PendingChildren     it still waits for children
│   ├── FailedChildren      one of its children failed permanently
│   ├── ScheduleOwned       it is the next run of a schedule
│   ├── JobFailed           raised where a result was awaited
│   └── ResultTimeout       the result did not come in time
└── TaskError
    ├── UnknownTask         no handler has this name
    └── BadArguments        the arguments do not fit the task

Signal                      not errors: raised by a handler to decide about its job
├── Fail                    fail permanently, whatever attempts are left
├── Snooze                  run again later; the attempt does not count
├── Release                 requeue at the front; the attempt does not count
├── AwaitChildren           run again when its children have ended; the attempt does not count
└── RateLimited             as Release, and no job of this queue starts for a while

SoftTimeout                 a CancelledError, raised in a coroutine handler at its soft timeout
"""

import asyncio
from typing import Any


class TorilError(Exception):
    """Base class of all errors that toril raises."""


class ConfigError(TorilError, ValueError):
    """An option, name, URL or file is not valid; raised before anything is stored.

    Attributes:
        field: The option or argument that is wrong, if it is one.
        value: Its value.
        hint: What to do instead.
    """

    def __init__(
        self,
        message: str,
        *,
        field: str | None = None,
        value: object = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(f"{message} ({hint})" if hint else message)
        self.field = field
        self.value = value
        self.hint = hint


class StoreError(TorilError):
    """Base class of errors of the store."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or opened; a later call may work."""


class StoreFull(StoreError):
    """The store has no room left; nothing was stored."""


class StoreRefused(StoreError):
    """The store can never take this value: it is too large, or is not valid UTF-8 text.

    Nothing was stored. Do not retry: the same call fails again.
    """


class StoreCorrupt(StoreError):
    """The store's file is damaged; it was not changed."""


class StoreMismatch(StoreError):
    """The store was written by a newer version of toril."""


class PartlyAdded(StoreError):
    """Some chunks of `add_many` were stored, the rest was not.

    Attributes:
        ids: The ids of the jobs that were stored, in order.
    """

    def __init__(self, message: str, *, ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.ids = ids


class Unconfirmed(StoreError):
    """No answer came: the change may or may not have happened.

    Retry with the same `id=`: a job that was stored is then not added twice.
    """


class DurabilityNotConfirmed(Unconfirmed):
    """Jobs were stored, but `durable=` was not confirmed in time.

    The jobs exist and will run, unless the server is lost before a replica or its disk has them.
    Retry with the same `id=`: a job that was stored is then confirmed, not added twice.

    Attributes:
        ids: The ids of all jobs of the call.
        replicas: How many replicas have confirmed.
        reason: Why it was not confirmed.
    """

    def __init__(self, reason: str, *, ids: tuple[str, ...], replicas: int = 0) -> None:
        which = f"job {ids[0]!r}" if len(ids) == 1 else f"{len(ids)} jobs from {ids[0]!r} on"
        super().__init__(
            f"{which}: stored, but lost if the server is lost now: {reason}. Jobs with an id of "
            "your own: add them again with the same id= (confirms them, adds nothing twice). "
            "Others: look whether they exist before you add them again"
        )
        self.reason = reason
        self.ids = ids
        self.replicas = replicas


def is_final(error: BaseException) -> bool:
    """Return whether the same call would fail again, however often it is made.

    The one place that tells "this never works" from "try again later". Somebody has to change
    the value (StoreRefused), or a setting or a right (ConfigError), before it can succeed.
    """
    return isinstance(error, StoreRefused | ConfigError)


class QueueFull(TorilError):
    """The queue is full: `max_waiting` jobs wait to run. Nothing was stored.

    The same add succeeds when workers have started enough of the waiting jobs.

    Attributes:
        queue: The name of the queue.
        limit: The `max_waiting` of the queue.
        count: How many jobs wait to run.
        jobs: How many jobs were to be added in one step.
    """

    def __init__(
        self, *, queue: str, limit: int, count: int, jobs: int = 1, waited: bool = False
    ) -> None:
        what = "the new job was" if jobs == 1 else f"{jobs:,} new jobs were"
        fix = 'add again later, pass on_full="wait", run more workers, or raise max_waiting'
        if waited:
            fix = "run more workers, or raise full_timeout or max_waiting"
        when = " after waiting for room" if waited else ""
        if jobs > limit:
            fix = f"add at most {limit:,} jobs in one step, or raise max_waiting"
        super().__init__(
            f"queue {queue!r} is full: {count:,} jobs wait to run and its max_waiting is "
            f"{limit:,}, so {what} refused{when} ({fix})"
        )
        self.queue = queue
        self.limit = limit
        self.count = count
        self.jobs = jobs


class JobError(TorilError):
    """Base class of errors about one job.

    Attributes:
        queue: The queue of the job.
        job_id: The id of the job.
    """

    def __init__(
        self, message: str, *, queue: str | None = None, job_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.queue = queue
        self.job_id = job_id


class JobNotFound(JobError):
    """No job has this id in this queue."""


class JobExists(JobError):
    """A job with this id already exists and cannot be reused here."""


class WrongState(JobError):
    """The call does not apply to a job in this state."""


class LockLost(JobError):
    """Another worker has the job now; the change was refused."""


class JobLocked(JobError):
    """The job, or one of its children, is running and cannot be removed."""


class ParentNotFound(JobError):
    """The parent of the new job does not exist."""


class PendingChildren(JobError):
    """The job still waits for some of its children."""


class FailedChildren(JobError):
    """The job cannot complete because one of its children failed permanently."""


class ScheduleOwned(JobError):
    """The job is the next run of a schedule: drop or change the schedule instead."""


class JobFailed(JobError):
    """The awaited job failed permanently.

    Attributes:
        reason: Why, such as the message of the exception.
        stack: The stack of each failed attempt, newest last.
        end: How: "failed", "timeout", "deadline", "expired", "cancelled", "stalled", "max-runs" or
            "unknown-name". For a job that is not kept only the reason is known; its end is "failed".
    """

    def __init__(
        self,
        reason: str,
        *,
        stack: tuple[str, ...] = (),
        end: str = "failed",
        queue: str,
        job_id: str,
    ) -> None:
        super().__init__(reason, queue=queue, job_id=job_id)
        self.reason = reason
        self.stack = stack
        self.end = end


class ResultTimeout(JobError, TimeoutError):
    """The awaited job did not end in time; it continues to run."""


class TaskError(TorilError):
    """A task was used in a wrong way."""


class UnknownTask(TaskError):
    """No handler of this name is registered."""


class BadArguments(TaskError, TypeError):
    """The arguments do not fit the task's parameters; nothing was stored."""


class SoftTimeout(asyncio.CancelledError):
    """The soft timeout of a coroutine handler has passed: clean up, then return or raise.

    It is an `asyncio.CancelledError`, so that `except Exception` does not catch it. If it
    propagates, the attempt fails as a timeout.
    """


class Signal(Exception):
    """Base class of exceptions that a handler raises to decide about its job. Do not catch it."""


class Fail(Signal):
    """Fail this job permanently, whatever attempts are left.

    Args:
        reason: Stored as text; of an exception its message. None: no reason.

    Example:
        ```python
        raise Fail("not an address")
        ```
    """

    def __init__(self, reason: object = "failed on request") -> None:
        super().__init__(reason)
        self.reason: Any = reason


class Snooze(Signal):
    """Run this job again after a delay; the attempt does not count.

    Args:
        delay: A duration: seconds, a `timedelta`, or text such as "5m".
        reason: Kept with the attempt.

    Example:
        ```python
        raise Snooze("5m", "the shop is closed")
        ```
    """

    def __init__(self, delay: object, reason: object = None) -> None:
        super().__init__(f"snoozed for {delay}" if reason is None else reason)
        self.delay = delay
        self.reason: Any = reason


class Release(Signal):
    """Requeue this job at the front of its queue; the attempt does not count."""


class AwaitChildren(Signal):
    """Run this job again when the children that it added have ended; the attempt does not count.

    If the children have ended before this is raised, the job runs again at once, as the same run.
    Look at `await job.children()`, not at `job.run`, to decide whether to add children.
    """


class RateLimited(Signal):
    """Requeue this job, and start no job of its queue for a while.

    Args:
        delay: A duration: seconds, a `timedelta`, or text such as "30s".

    Example:
        ```python
        raise RateLimited("30s")  # the service answered 429
        ```
    """

    def __init__(self, delay: object) -> None:
        super().__init__(f"rate limited for {delay}")
        self.delay = delay
