"""Every event that a store emits, one frozen dataclass each; the names are BullMQ's."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

from toril.errors import JobError


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened in a queue.

    Attributes:
        kind: The name of the event, as BullMQ has it.
        id: The id of the event; later events of a queue have greater ids.
        queue: The name of the queue.
        at_ms: When it happened, in milliseconds since 1970, by the store's clock.
    """

    kind: ClassVar[str] = "event"

    id: str
    queue: str
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobEvent(Event):
    """Something that happened to one job.

    Attributes:
        job_id: The id of the job.
    """

    job_id: str
    _find: "Callable[[JobEvent], Awaitable[Any]] | None" = field(
        default=None, compare=False, repr=False
    )

    async def job(self) -> Any:
        """Return the job of this event as it is now, or None if it is gone.

        Raises:
            JobError: The event was not read by an app, a queue or a job.
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
    """A job may be started; `prev` is its state before, empty for a new job."""

    kind: ClassVar[str] = "waiting"
    prev: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delayed(JobEvent):
    """A job waits until `due_ms` (milliseconds since 1970)."""

    kind: ClassVar[str] = "delayed"
    due_ms: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingChildren(JobEvent):
    """A job waits for its children."""

    kind: ClassVar[str] = "waiting-children"
    prev: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Active(JobEvent):
    """A worker started a job; `prev` is always `waiting`."""

    kind: ClassVar[str] = "active"
    prev: str = "waiting"


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress(JobEvent):
    """A job reported progress; `data` is any JSON value."""

    kind: ClassVar[str] = "progress"
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed(JobEvent):
    """A job completed; `result` is the JSON value that it returned."""

    kind: ClassVar[str] = "completed"
    result: Any = None
    prev: str = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed(JobEvent):
    """A job failed permanently; `reason` says why."""

    kind: ClassVar[str] = "failed"
    reason: str = ""
    prev: str = "active"


@dataclass(frozen=True, slots=True, kw_only=True)
class RetriesExhausted(JobEvent):
    """A job failed permanently because no attempt was left."""

    kind: ClassVar[str] = "retries-exhausted"
    attempts_made: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stalled(JobEvent):
    """A job was taken back from a worker that died."""

    kind: ClassVar[str] = "stalled"


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicated(JobEvent):
    """A job with this id existed already; nothing was added."""

    kind: ClassVar[str] = "duplicated"


@dataclass(frozen=True, slots=True, kw_only=True)
class Deduplicated(JobEvent):
    """`job_id` holds `dedup_key`; `dropped_id` was ignored or, with `replace=True`, removed."""

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
    """`count` old jobs were removed."""

    kind: ClassVar[str] = "cleaned"
    count: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Paused(Event):
    """The queue was paused."""

    kind: ClassVar[str] = "paused"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resumed(Event):
    """The queue was resumed."""

    kind: ClassVar[str] = "resumed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained(Event):
    """No job waits or runs; delayed jobs do not count."""

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
    """Attach the function by which an event finds its job, and return the event."""
    if isinstance(event, JobEvent):
        # Nobody else has it yet; a copy of every event would cost more than reading it.
        object.__setattr__(event, "_find", find)
    return event


def make(kind: str, *, id: str, queue: str, at_ms: int, fields: dict[str, Any]) -> Event:
    """Return the event of this kind; an unknown kind becomes `Custom`.

    Args:
        kind: The name of the event.
        id: The id of the event.
        queue: The name of the queue.
        at_ms: When it happened.
        fields: `job_id` for events about a job, and the fields of its class.
    """
    cls = KINDS.get(kind)
    if cls is None:
        return Custom(id=id, queue=queue, at_ms=at_ms, name=kind, fields=fields)
    return cls(id=id, queue=queue, at_ms=at_ms, **fields)
