"""What a worker and its child process say to each other: one line of JSON each.

Nothing that is read here can run code. Never here: reading and writing pipes.
"""

from typing import Any

import msgspec

from toril import errors
from toril._handlers.isolation_options import Main, Target
from toril._model.decide import Outcome
from toril._model.record import Record
from toril._model.times import Millis
from toril.errors import JobError, TorilError

NULL = msgspec.Raw(b"null")
# What a child writes into its output before each job begins with this.
_MARK = b"\x1e"


class ChildFault(msgspec.Struct, frozen=True, kw_only=True):
    """An error of toril's, as it crosses the pipe."""

    kind: str
    text: str
    queue: str | None = None
    job_id: str | None = None


# To the child.


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello"):
    """The first thing a child hears: what it is for, and where it is found.

    Shape    path, argv: the parent's. secret: of its marks. watch: tell what memory is used, for the parent cannot see.
             log_level: from which on the parent writes log lines; None: nobody told it to.
             around, lifespans: as in `Isolation`.
             moves: which apps the parent has moved: from URL and prefix to URL and prefix.
    """

    parent: int
    path: list[str]
    argv: list[str]
    target: Target
    secret: str
    init: Target | None = None
    around: tuple[Target, ...] = ()
    lifespans: tuple[Target, ...] = ()
    main: Main | None = None
    watch: bool = False
    log_level: int | None = None
    moves: list[tuple[str, str, str, str]] = []


class Run(msgspec.Struct, frozen=True, kw_only=True, tag="run"):
    """Run this job; `number` counts the jobs of a child, soft_ms is its soft time limit."""

    number: int
    record: Record
    token: str
    soft_ms: Millis | None = None


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel"):
    """Let this job end, or be killed soon.

    Shape    reason: that of whoever cancelled it. why: what its code is told.
    """

    number: int
    reason: str | None = None
    why: str = ""


class Reply(msgspec.Struct, frozen=True, kw_only=True, tag="reply"):
    """The answer to an `Ask`."""

    number: int
    value: msgspec.Raw = NULL
    fault: ChildFault | None = None


# To the parent.


class Ready(msgspec.Struct, frozen=True, kw_only=True, tag="ready"):
    """The handler was imported; jobs may come."""

    rss: int | None = None


class Broken(msgspec.Struct, frozen=True, kw_only=True, tag="broken"):
    """The handler could not be imported, and the child ends; or it `died` before that was known."""

    reason: str
    stack: str | None = None
    died: bool = False


class Ask(msgspec.Struct, frozen=True, kw_only=True, tag="ask"):
    """Do this for the job that runs: a verb of the store, with what it takes."""

    number: int
    verb: str
    value: msgspec.Raw


class JobDone(msgspec.Struct, frozen=True, kw_only=True, tag="done"):
    """The job's handler has ended."""

    number: int
    outcome: Outcome
    rss: int | None = None


class Stuck(msgspec.Struct, frozen=True, kw_only=True, tag="stuck"):
    """Where the job's code was when it was told to end."""

    number: int
    stack: str | None


class Grown(msgspec.Struct, frozen=True, kw_only=True, tag="grown"):
    """How much memory the child uses."""

    rss: int


ToChild = Hello | Run | Cancel | Reply
ToParent = Ready | Broken | Ask | JobDone | Stuck | Grown

read_order = msgspec.json.Decoder(ToChild).decode
read_report = msgspec.json.Decoder(ToParent).decode
_encode = msgspec.json.Encoder().encode


def mark(secret: str) -> bytes:
    """Return what the marks of a child begin with; the number of a job and a line end follow.

    The secret is the child's own, so that nothing that a handler prints can be taken for a mark.
    """
    return _MARK + secret.encode() + b" "


def line(frame: ToChild | ToParent) -> bytes:
    """Write a frame as a line."""
    return _encode(frame) + b"\n"


def raw(value: object) -> msgspec.Raw:
    """Write a value to be part of a frame."""
    return msgspec.Raw(_encode(value))


def fault_of(error: BaseException) -> ChildFault:
    """Write an error down."""
    if isinstance(error, JobError):
        kind = type(error).__name__
        return ChildFault(kind=kind, text=str(error), queue=error.queue, job_id=error.job_id)
    kind = type(error).__name__ if isinstance(error, TorilError) else "TorilError"
    return ChildFault(kind=kind, text=str(error) or type(error).__name__)


def error_of(fault: ChildFault) -> TorilError:
    """Make the error that was written down, as far as it can be made of a text."""
    kind: Any = getattr(errors, fault.kind, None)
    if not (isinstance(kind, type) and issubclass(kind, TorilError)):
        return TorilError(fault.text)
    try:
        if issubclass(kind, JobError):
            return kind(fault.text, queue=fault.queue, job_id=fault.job_id)
        return kind(fault.text)
    except TypeError:
        return TorilError(fault.text)
