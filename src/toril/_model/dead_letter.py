"""A dead letter: what a job that failed for good leaves behind, as the data of another job."""

from typing import Any

import msgspec

from .stored import Unreadable, reader

LETTER_NAME = "failed-job"


class Original(msgspec.Struct, frozen=True, kw_only=True):
    """The job as it was added.

    Shape    data and opts are JSON: the texts as they are stored, put in unread.
    """

    id: str
    name: str
    queue: str
    data: msgspec.Raw
    opts: msgspec.Raw


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the data of a dead letter hold.

    Shape    error: message and stack. failed_at: a date and time in UTC.
    """

    original_job: Original
    error: dict[str, Any]
    failed_at: str


_read = reader(DeadLetter)


def read_letter(name: str, data: str) -> DeadLetter | None:
    """Read the letter that a job of this name and data is; None when it is none."""
    if name != LETTER_NAME:
        return None
    try:
        return _read(data)
    except Unreadable:
        return None


def may_go(target: str, *, queue: str, name: str, data: str) -> bool:
    """Return whether a job of this queue leaves a letter in the queue `target`.

    A letter of a letter goes on, but never back to a queue that it came through.
    """
    return target != queue and target not in _trail(name, data)


def _trail(name: str, data: str) -> set[str]:
    """Return the queues that a dead letter came through; of another job none."""
    queues: set[str] = set()
    letter = read_letter(name, data)
    while letter is not None:
        original = letter.original_job
        queues.add(original.queue)
        letter = read_letter(original.name, bytes(original.data).decode())
    return queues
