"""Every error that toril raises, and the signals that a handler raises to steer.

TorilError
├── ConfigError             an option, URL, name or file that cannot work; raised before any I/O
├── StoreError              the store could not do it
│   ├── StoreUnavailable    cannot be reached or opened; trying again later may help
│   ├── StoreFull           no room left; nothing was stored
│   ├── StoreRefused        this value can never be stored; sending it again does not help
│   ├── StoreCorrupt        the file is damaged; it is left as it is
│   ├── StoreMismatch       the data was written by a newer toril
│   ├── PartlyAdded         some chunks of many jobs were stored, the rest was not
│   └── Unconfirmed         no answer came: the change may or may not have happened
│       └── DurabilityNotConfirmed  stored, and maybe only where it was stored
├── QueueFull               `max_waiting` jobs wait to run in the queue already
├── JobError                this job cannot do that
│   ├── JobNotFound
│   ├── JobExists           the id is taken and another job was asked for
│   ├── WrongState          the verb does not apply in the job's state
│   ├── LockLost            somebody else owns the job now
│   ├── JobLocked           it is running (or one of its children is)
│   ├── ParentNotFound
│   ├── PendingChildren     it still waits for children
│   ├── FailedChildren      one of its children failed for good
│   ├── ScheduleOwned       it is the next run of a schedule
│   ├── JobFailed           raised where a result was awaited
│   └── ResultTimeout       the result did not come in time
└── TaskError
    ├── UnknownTask         no handler has this name
    └── BadArguments        the arguments do not fit the task

Signal                      not errors: raised by a handler to say what shall become of its job
├── Fail                    stop for good
├── Snooze                  later, without counting the attempt
├── Release                 back to the front of the queue, without counting the attempt
├── AwaitChildren           again when its children have settled, without counting the attempt
└── RateLimited             as Release, and nobody starts a job of this queue for a while

SoftTimeout                 a CancelledError: raised in a coroutine handler whose time is nearly over
"""

import asyncio
from typing import Any


class TorilError(Exception):
    """Base of all errors that toril raises."""


class ConfigError(TorilError, ValueError):
    """An option, name, URL or file that cannot work; raised before anything is stored."""

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
    """The store could not carry out what was asked."""


class StoreUnavailable(StoreError):
    """The store cannot be reached or opened; trying again later may help."""


class StoreFull(StoreError):
    """The store has no room left; nothing was stored."""


class StoreRefused(StoreError):
    """The store can never take this value: it is too large, or is not valid UTF-8 text.

    Nothing of it was stored, and sending it again does not help.
    """


class StoreCorrupt(StoreError):
    """The store's file is damaged; it is left exactly as it was found."""


class StoreMismatch(StoreError):
    """The store was written by a newer version of toril."""


class PartlyAdded(StoreError):
    """Some chunks of many jobs were stored, as `ids` in their order, and the rest was not."""

    def __init__(self, message: str, *, ids: tuple[str, ...]) -> None:
        super().__init__(message)
        self.ids = ids


class Unconfirmed(StoreError):
    """No answer came: what was asked may or may not have been stored."""


class DurabilityNotConfirmed(Unconfirmed):
    """Jobs were stored, and nobody confirmed in time that `durable=` holds for them.

    They exist, and run, unless the server is lost before others have what it has. `ids` are all
    jobs of the call; `replicas` says how many replicas have confirmed.
    """

    def __init__(self, reason: str, *, ids: tuple[str, ...], replicas: int = 0) -> None:
        which = f"job {ids[0]!r}" if len(ids) == 1 else f"{len(ids)} jobs from {ids[0]!r} on"
        super().__init__(
            f"{which}: stored, and lost if the server is lost now: {reason}. Add again with the "
            "same id= what had one (it is confirmed then, and nothing is added twice), and see "
            "whether the rest is there before adding that again"
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
    """A queue has no room for new jobs: as many wait to run as its `max_waiting` allows.

    Nothing was stored. The same add succeeds when workers have started enough of what waits.

    Shape    count: how many jobs wait to run. jobs: how many more were to be added in one step.
             limit: the `max_waiting` of the queue.
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
    """A job cannot do what was asked of it."""

    def __init__(
        self, message: str, *, queue: str | None = None, job_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.queue = queue
        self.job_id = job_id


class JobNotFound(JobError):
    """No job has this id in this queue."""


class JobExists(JobError):
    """The id belongs to a job that cannot be shared with what was asked."""


class WrongState(JobError):
    """The verb does not apply to a job in this state."""


class LockLost(JobError):
    """The job's lock is gone or is held by somebody else: the write was refused."""


class JobLocked(JobError):
    """The job, or one of its children, is running and cannot be taken away."""


class ParentNotFound(JobError):
    """The parent that the job was to be attached to does not exist."""


class PendingChildren(JobError):
    """The job still waits for some of its children."""


class FailedChildren(JobError):
    """The job cannot complete because a child of it failed for good."""


class ScheduleOwned(JobError):
    """The job is the next run of a schedule: drop or change the schedule instead."""


class JobFailed(JobError):
    """The awaited job failed for good; `reason` and `stack` say why, `end` says how.

    Shape    end: failed, timeout, deadline, expired, cancelled, stalled, max-runs
             or unknown-name. Of a
             job that is not kept only the reason is known, and its end is "failed".
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
    """The awaited job did not finish in time; it goes on all the same."""


class TaskError(TorilError):
    """A task was used in a way that it does not allow."""


class UnknownTask(TaskError):
    """No handler of this name is registered."""


class BadArguments(TaskError, TypeError):
    """The arguments do not fit the task's parameters; nothing was stored."""


class SoftTimeout(asyncio.CancelledError):
    """The handler's soft time limit has passed: it may clean up, and still return or raise.

    A cancellation to everything that it awaits and to `except Exception`, and only itself to who
    asks for it. Let through, it fails the try as a time-out does.
    """


class Signal(Exception):
    """Base of what a handler raises to steer its own job; let it through."""


class Fail(Signal):
    """Stop this job for good, whatever attempts are left.

    The reason is stored as text: of an error its message, None for none.
    """

    def __init__(self, reason: object = "failed on request") -> None:
        super().__init__(reason)
        self.reason: Any = reason


class Snooze(Signal):
    """Run this job again after `delay`, without counting the attempt."""

    def __init__(self, delay: object, reason: object = None) -> None:
        super().__init__(f"snoozed for {delay}" if reason is None else reason)
        self.delay = delay
        self.reason: Any = reason


class Release(Signal):
    """Put this job back to the front of its queue, without counting the attempt."""


class AwaitChildren(Signal):
    """Run this job again when the children that it added have settled, without counting it.

    Children may have settled before this is raised: the job then runs again at once, as the same
    run. Look at `await job.children()` before adding, not at `job.run`.
    """


class RateLimited(Signal):
    """Put this job back and let nobody start a job of its queue for `delay`."""

    def __init__(self, delay: object) -> None:
        super().__init__(f"rate limited for {delay}")
        self.delay = delay
