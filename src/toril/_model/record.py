"""A job as it is handed in, as it is stored, and as it is claimed.

`NewJob`, `Record`, `Try` and `Claim` are msgspec structs: cheap to make, and a record is decoded
from the store's JSON text in one step in C; each job passes here several times. Never here: what
a user does with a job (`Job` has that).
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from toril.errors import ConfigError

from .checks import check_text
from .crashes import STALLED_REASON
from .options import Durability, JobOptions
from .states import State
from .stored_options import from_text
from .times import Millis

# Names that BullMQ gives to keys of a queue: a job id or a queue segment must not be one.
RESERVED = frozenset(
    [
        "wait",
        "paused",
        "active",
        "prioritized",
        "delayed",
        "waiting-children",
        "completed",
        "failed",
        "marker",
        "events",
        "stalled",
        "stalled-check",
        "limiter",
        "repeat",
        "meta",
        "id",
        "pc",
        "priority",
        "delay",
        "metrics",
        "de",
        "dn",
    ]
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_queue_name(name: object, field: str = "queue") -> str:
    """Return the queue name if it can be one; `:` separates segments, none may be a key's name.

    Raises   ConfigError: not text, empty segment, digits only, a reserved word, a control
             character.
    """
    name = check_text(name, field, hint='use text such as "emails"')
    which = "queue name" if field == "queue" else f"{field}: queue name"
    for segment in name.split(":"):
        problem = _name_problem(segment)
        if problem:
            raise ConfigError(
                f"{which} {name!r} {problem}",
                field=field,
                value=name,
                hint='use words such as "emails" or "image:optimize"',
            )
    if len(name) > 128:
        raise ConfigError(f"{which} {name!r} is over 128 characters", field=field, value=name)
    return name


def leading_segments(name: str) -> list[str]:
    """Return the beginnings of a queue's name that end before a colon: none may be a queue."""
    parts = name.split(":")
    return [":".join(parts[:count]) for count in range(1, len(parts))]


def _name_problem(segment: str) -> str:
    if not segment:
        return "has an empty segment"
    if segment.isdigit():
        return f"has a segment of digits only, {segment!r}"
    if segment in RESERVED:
        return f"uses the reserved word {segment!r}"
    if _CONTROL.search(segment) or segment != segment.strip():
        return "has a control character or a blank at an end"
    return ""


def check_job_id(job_id: object) -> str:
    """Return the custom id if it can be one.

    Raises   ConfigError: not text, empty, digits only, with `:`, reserved, over 255 characters.
    """
    hint = 'use text with a letter, such as id=f"user-{n}" or id=str(uuid4())'
    job_id = check_text(job_id, "id", hint=hint)
    problem = ""
    if not job_id or len(job_id) > 255:
        problem = "must have 1 to 255 characters"
    elif ":" in job_id:
        problem = "must not contain ':'"
    else:
        problem = _name_problem(job_id)
    if problem:
        raise ConfigError(
            f"job id {job_id!r} {problem}",
            field="id",
            value=job_id,
            hint='use a word with a letter, such as "user-42"',
        )
    return job_id


def check_ref(queue: object, job_id: object) -> "Ref":
    """Return where a job would be found, if there can be such a job.

    Raises   ConfigError: the queue's name or the id is not text that a store can hold.
    """
    return Ref(check_text(queue, "queue"), check_text(job_id, "id"))


def cancel_reason(why: str) -> str:
    """Write why a cancelled job failed, as its reason says it."""
    return f"cancelled: {why}" if why else "cancelled"


@dataclass(frozen=True, slots=True)
class Ref:
    """Where a job is found: its queue and its id."""

    queue: str
    id: str


class NewJob(msgspec.Struct, frozen=True, kw_only=True):
    """A job to be stored.

    Shape    data is JSON text. id None: the queue's counter. parent: an existing job, or one
             of the same group before this one. expects_children: jobs of the same group name it
             as their parent, so it starts in waiting-children. schedule: the schedule that made
             it. fields: names and values by which it is found.
    """

    queue: str
    name: str
    data: str = "{}"
    options: JobOptions = JobOptions()
    id: str | None = None
    parent: Ref | None = None
    expects_children: bool = False
    schedule: str | None = None
    fields: tuple[tuple[str, str], ...] = ()


def is_durable(group: Iterable[NewJob]) -> bool:
    """Return whether `wishes` has anything to say; a loop, for every add asks this."""
    for job in group:  # noqa: SIM110
        if job.options.durable is not None:
            return True
    return False


def wishes(group: Iterable[NewJob]) -> set[Durability]:
    """Say who must have these jobs before they count as added."""
    return {wish for job in group if (wish := job.options.durable) is not None}


class Try(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One start of a job that did not complete it.

    Shape    end: failed, timeout, deadline, expired, cancelled, stalled, snoozed or released.
             slot: in which place of its worker it ran, from 1. fingerprint: of its cause.
    """

    run: int
    worker: str | None
    started_ms: Millis | None
    ended_ms: Millis
    end: str
    reason: str | None = None
    slot: int | None = None
    fingerprint: str | None = None


class Record(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """A job as it is in the store.

    Shape    data, opts, progress and result are JSON text; stack holds one text a failed try,
             newest last. deferred: it must be failed with this reason without being run.
             letter: "queue:id" of its dead letter. `get` and `find` fill it, only `get` tries.
             cancelled: why somebody wanted it to end, which may be empty; None: nobody did.
             slot: where the newest ended attempt ran. fingerprint: of the newest failed attempt. fields: by
             which it is found.
    Units    *_ms are times in ms since the epoch, delay_ms is a duration.
    """

    queue: str
    id: str
    name: str
    data: str
    opts: str
    state: State
    created_ms: Millis
    priority: int = 0
    delay_ms: Millis = 0
    due_ms: Millis | None = None
    started_ms: Millis | None = None
    finished_ms: Millis | None = None
    attempts_made: int = 0
    runs: int = 0
    stalls: int = 0
    unknown: int = 0
    progress: str | None = None
    result: str | None = None
    reason: str | None = None
    stack: tuple[str, ...] = ()
    worker: str | None = None
    parent_queue: str | None = None
    parent_id: str | None = None
    schedule: str | None = None
    dedup: str | None = None
    deferred: str | None = None
    origin: str | None = None
    letter: str | None = None
    cancelled: str | None = None
    tries: tuple[Try, ...] = ()
    slot: int | None = None
    fingerprint: str | None = None
    fields: tuple[tuple[str, str], ...] = ()

    @property
    def options(self) -> JobOptions:
        """The stored options as a value."""
        return from_text(self.opts)

    @property
    def end(self) -> str | None:
        """How a failed job ended, as `JobFailed.end` does; None: it has not failed.

        Only `get` brings what this needs.
        """
        if self.state is not State.FAILED:
            return None
        if self.cancelled is not None:
            return "cancelled"
        if self.reason is not None and self.reason.startswith(STALLED_REASON):
            return "stalled"
        return self.tries[-1].end if self.tries else "failed"

    @property
    def parent(self) -> Ref | None:
        """The job that waits for this one, if there is one."""
        if self.parent_queue is None or self.parent_id is None:
            return None
        return Ref(self.parent_queue, self.parent_id)

    @property
    def attempt(self) -> int:
        """Number the current or next try, from 1."""
        return self.attempts_made + 1


class Claim(msgspec.Struct, frozen=True):
    """A job in a worker's hand: its record, the token of its lock, and the store's own handle.

    Units    lock_until: ms since the epoch by the store's clock.
    """

    record: Record
    token: str
    lock_until: Millis
    handle: Any = None
