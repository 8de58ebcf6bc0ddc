"""What a worker process may say to its supervisor: each message has its type, and is checked.

Code in the process can write to the line, too. Never here: what is done about a message.
"""

from typing import Annotated

import msgspec

Count = Annotated[int, msgspec.Meta(ge=0)]
Lines = Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Up(msgspec.Struct, frozen=True, kw_only=True, tag_field="say", tag="up"):
    """It works: under which id, on which queues, and the lines that describe it."""

    worker: str
    queues: tuple[str, ...]
    lines: Lines


class Beat(msgspec.Struct, frozen=True, kw_only=True, tag_field="say", tag="beat"):
    """How its worker is; it says so every second."""

    live: bool = True
    ready: bool = False
    reason: str | None = None
    running: Count = 0


class Files(msgspec.Struct, frozen=True, kw_only=True, tag_field="say", tag="files"):
    """The files that it has loaded, for `--reload`."""

    files: tuple[str, ...]


class Buried(msgspec.Struct, frozen=True, kw_only=True, tag_field="say", tag="buried"):
    """It has taken back the jobs of these workers, which had died."""

    workers: tuple[str, ...]


class WorkerEnded(msgspec.Struct, frozen=True):
    """It has ended: what is heard of a process last of all; it does not say that itself."""


Said = Up | Beat | Files | Buried

_read = msgspec.json.Decoder(Said).decode


def read_said(line: bytes) -> Said:
    """Read a message.

    Raises   ValueError: it is none.
    """
    try:
        return _read(line)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
