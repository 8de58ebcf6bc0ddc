"""Why a store refuses what was asked of it, as errors for people to read: the same on every store."""

from toril._model.decide import Decision
from toril._model.record import Ref
from toril._model.states import State
from toril._model.transfer import Shipment
from toril.errors import (
    FailedChildren,
    JobError,
    JobExists,
    JobLocked,
    JobNotFound,
    LockLost,
    ParentNotFound,
    PendingChildren,
    ScheduleOwned,
    WrongState,
)

# Why a decision is refused, by a word.
DECISIONS: dict[str, tuple[type[JobError], str]] = {
    "gone": (JobNotFound, "the job is gone"),
    "held": (LockLost, "another worker holds its lock"),
    "lost": (LockLost, "it was taken back or settled before"),
    "pending": (PendingChildren, "it still waits for children"),
    "failed-children": (FailedChildren, "a child of it has failed"),
}


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


def no_parent(parent: Ref) -> ParentNotFound:
    """Make the error for a job whose parent does not exist."""
    return ParentNotFound(
        f"job {parent.id!r} of queue {parent.queue!r}, named as parent, does not exist",
        queue=parent.queue,
        job_id=parent.id,
    )


def no_child(job: Ref, why: str) -> JobExists:
    """Make the error for a stored job that cannot become a child."""
    return JobExists(f"job {job.id!r} of queue {job.queue!r} {why}", queue=job.queue, job_id=job.id)


def pause_first(queue: str) -> WrongState:
    """Make the error for a queue that is obliterated while it is not paused."""
    return WrongState(f"cannot obliterate queue {queue!r}: pause it first", queue=queue)


def jobs_active(queue: str, count: int) -> JobLocked:
    """Make the error for a queue that is obliterated while jobs of it are active."""
    return JobLocked(
        f"cannot obliterate queue {queue!r}: {count} jobs are active (wait for them, or use force)",
        queue=queue,
    )


def decision_refused(decision: Decision, word: str, why: str | None = None) -> JobError:
    """Make the error for a decision that is refused with one of the words of `DECISIONS`."""
    kind, usual = DECISIONS[word]
    return kind(
        f"the decision to {decision.action} job {decision.id!r} of queue {decision.queue!r} "
        f"was refused: {why or usual}",
        queue=decision.queue,
        job_id=decision.id,
    )


def cannot_move(queue: str, id: str) -> JobLocked:
    """Make the error for a job that does not leave for another store because it is active."""
    return JobLocked(
        f"job {id!r} of queue {queue!r} cannot go: it is active", queue=queue, job_id=id
    )


def not_next(shipment: Shipment, last: int) -> WrongState:
    """Make the error for a shipment that does not follow the last one."""
    return WrongState(
        f"queue {shipment.queue!r} took shipment {last} of {shipment.origin} last, and not "
        f"{shipment.number - 1}: another move of it is under way",
        queue=shipment.queue,
    )


def check_idle(shipment: Shipment) -> None:
    """Refuse a shipment with a job that is active.

    Raises   WrongState: a job in it is active.
    """
    for parcel in shipment.jobs:
        if parcel.record.state is State.ACTIVE:
            raise WrongState(
                f"job {parcel.record.id!r} of queue {parcel.record.queue!r} cannot be restored: "
                "it is active",
                queue=parcel.record.queue,
                job_id=parcel.record.id,
            )


def taken(ref: Ref, origin: str) -> JobExists:
    """Make the error for a job of a shipment whose id another job has here."""
    return JobExists(
        f"queue {ref.queue!r} already has another job {ref.id!r}, which did not come from {origin}",
        queue=ref.queue,
        job_id=ref.id,
    )
