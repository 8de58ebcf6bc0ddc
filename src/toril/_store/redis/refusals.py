"""Why a job cannot do what was asked of it, as errors for people to read.

Never here: finding out.
"""

from toril.errors import JobLocked, JobNotFound, LockLost, ScheduleOwned, WrongState


def missing(queue: str, id: str) -> JobNotFound:
    """Make the error for a job that does not exist."""
    return JobNotFound(f"job {id!r} of queue {queue!r} does not exist", queue=queue, job_id=id)


def lock_lost(queue: str, id: str) -> LockLost:
    """Make the error for a change by somebody who no longer has the job."""
    return LockLost(
        f"job {id!r} of queue {queue!r} is not held by this worker any more",
        queue=queue,
        job_id=id,
    )


def wrong_state(verb: str, queue: str, id: str, state: str, wanted: str) -> WrongState:
    """Make the error for a verb that does not apply."""
    return WrongState(
        f"cannot {verb} job {id!r} of queue {queue!r}: it is {state}, not {wanted}",
        queue=queue,
        job_id=id,
    )


def locked(queue: str, id: str, of: str, who: str) -> JobLocked:
    """Make the error for a job that is not removed because `who` in the queue `of` runs."""
    which = "it" if (of, who) == (queue, id) else f"job {who!r} of queue {of!r}"
    return JobLocked(
        f"cannot remove job {id!r} of queue {queue!r}: {which} is active; nothing was removed",
        queue=of,
        job_id=who,
    )


def owned(queue: str, id: str, verb: str = "remove") -> ScheduleOwned:
    """Make the error for a job that is the next run of a schedule."""
    return ScheduleOwned(
        f"cannot {verb} job {id!r} of queue {queue!r}: it is the next run of a schedule; drop the "
        "schedule instead",
        queue=queue,
        job_id=id,
    )
