"""Every event that a store emits, one frozen dataclass each; the names are BullMQ's.

What happened is in the class, the rest in its fields. Never here: reading, writing, waiting.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from .errors import JobError


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Say that something happened in `queue` at `at_ms` (ms since the epoch, store's clock)."""

    kind: ClassVar[str] = "event"

    id: str
    queue: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """Say that something happened to the job `job_id`."""

    job_id: str
    _find: "Callable[[JobEvent], Awaitable[Any]] | None" = field(
        default=None, compare=False, repr=False
    )

    async def job(self) -> Any:
        """Find the `Job` that this is about, as it stands now; None when it is not kept any more.

        Raises   JobError: the event was read from a bare store, which knows no jobs to hold.
        """
        if self._find is None:
            raise JobError(
                f"event {self.id!r} cannot find job {self.job_id!r}: it was read from the store "
                "itself; read events from app.events(), queue.events() or job.events()",
                queue=self.queue,
                job_id=self.job_id,
            )
        return await self._find(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Added(JobEvent):
    """A job was stored."""

    kind: ClassVar[str] = "added"
    name: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting(JobEvent):
    """A job may be claimed now; `prev` is the state it came from, empty when it was just added."""

    kind: ClassVar[str] = "waiting"
    prev: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed(JobEvent):
    """A job waits until `due_ms` (ms since the epoch)."""

    kind: ClassVar[str] = "delayed"
    due_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingChildren(JobEvent):
    """A job waits for its children."""

    kind: ClassVar[str] = "waiting-children"
    prev: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active(JobEvent):
    """A worker claimed a job; `prev` is always `waiting`."""

    kind: ClassVar[str] = "active"
    prev: str = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(JobEvent):
    """A job reported progress: any JSON value."""

    kind: ClassVar[str] = "progress"
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(JobEvent):
    """A job finished; `result` is the decoded JSON value that it returned."""

    kind: ClassVar[str] = "completed"
    result: Any = None
    prev: str = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(JobEvent):
    """A job failed for good."""

    kind: ClassVar[str] = "failed"
    reason: str = ""
    prev: str = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriesExhausted(JobEvent):
    """A job failed for good because no attempt was left."""

    kind: ClassVar[str] = "retries-exhausted"
    attempts_made: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled(JobEvent):
    """A job was taken back from a worker that is gone."""

    kind: ClassVar[str] = "stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicated(JobEvent):
    """A job with this id existed already; nothing was added."""

    kind: ClassVar[str] = "duplicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicated(JobEvent):
    """`job_id` stays; `dropped_id` was ignored (or, when replacing, removed) for `dedup_key`."""

    kind: ClassVar[str] = "deduplicated"
    dedup_key: str = ""
    dropped_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed(JobEvent):
    """A job was removed; `prev` is the state it was in."""

    kind: ClassVar[str] = "removed"
    prev: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cleaned(Event):
    """`count` jobs were cleaned away."""

    kind: ClassVar[str] = "cleaned"
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The queue was paused."""

    kind: ClassVar[str] = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """The queue goes on."""

    kind: ClassVar[str] = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """Nothing waits and nothing runs; delayed jobs do not count."""

    kind: ClassVar[str] = "drained"


@dataclass(frozen=True, slots=True, kw_only=True)
class Custom(Event):
    """An event of a kind that this version of toril does not know."""

    name: str = ""
    fields: dict[str, Any] = field(default_factory=dict[str, Any])


KINDS: dict[str, type[Event]] = {
    cls.kind: cls
    for cls in (
        Added,
        Waiting,
        Delayed,
        WaitingChildren,
        Active,
        Progress,
        Completed,
        Failed,
        RetriesExhausted,
        Stalled,
        Duplicated,
        Deduplicated,
        Removed,
        Cleaned,
        Paused,
        Resumed,
        Drained,
    )
}


def let_find(event: Event, find: Callable[[JobEvent], Awaitable[Any]]) -> Event:
    """Let an event that was just made find its job like this, and return it."""
    if isinstance(event, JobEvent):
        # Nobody else has it yet; a copy of every event would cost more than reading it.
        object.__setattr__(event, "_find", find)
    return event


def make(kind: str, *, id: str, queue: str, at_ms: int, fields: dict[str, Any]) -> Event:
    """Build the event of this kind; an unknown kind becomes `Custom` and loses nothing.

    Shape    fields has `job_id` for events about a job, and the fields of its class.
    """
    cls = KINDS.get(kind)
    if cls is None:
        return Custom(id=id, queue=queue, at_ms=at_ms, name=kind, fields=fields)
    return cls(id=id, queue=queue, at_ms=at_ms, **fields)
