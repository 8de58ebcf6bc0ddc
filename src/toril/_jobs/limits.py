"""How large the payloads of an app may be, and how long a job's log: bounded unless said otherwise.

Jobs that others added, with larger data, still run. Never here: writing values (`payload`).
"""

import re
from typing import Final

from toril._model.checks import check_whole, shown
from toril._model.record import Record
from toril._store.values import LogLine
from toril.errors import ConfigError

from .payload import check_size

DEFAULT_PAYLOAD: Final = 1_000_000
DEFAULT_KEEP_LOGS: Final = 1_000
MAX_LOG_LINE: Final = 10_000

_UNITS: Final = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9,
                 "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}  # fmt: skip
_SIZE: Final = re.compile(r"\s*([0-9]{1,15})\s*([A-Za-z]*)\s*")

Size = int | str


def parse_size(size: Size, field: str = "max_payload") -> int:
    """Return a size in bytes, from a number or text such as "5MB".

    Raises   ConfigError: it is no size, or below 1.
    """
    if not isinstance(size, str):
        return check_whole(size, field, 1)
    match = _SIZE.fullmatch(size)
    unit = _UNITS.get(match[2].upper()) if match else None
    if match is None or unit is None:
        raise ConfigError(
            f"{field}={shown(size)} is not a size",
            field=field,
            value=size,
            hint='use a number of bytes, or text such as "500KB", "5MB" or "1GB"',
        )
    return check_whole(int(match[1]) * unit, field, 1)


class Limits:
    """The payload limits of one app: one for all of its queues, and those of single queues."""

    __slots__ = ("_queues", "default")

    def __init__(self, default: int = DEFAULT_PAYLOAD) -> None:
        self.default = default
        self._queues: dict[str, int] = {}

    def declare(self, queue: str, most: int | None) -> None:
        """Set the limit of one queue; None: the app's holds."""
        if most is None:
            self._queues.pop(queue, None)
        else:
            self._queues[queue] = most

    def of(self, queue: str) -> int:
        """Return how many bytes the data, result or progress of a job of this queue may have."""
        return self._queues.get(queue, self.default)

    def check(self, text: str, queue: str, where: str) -> str:
        """Return the JSON text if it is within the limit of the queue.

        Raises   ConfigError: it names the size, the limit and what to do.
        """
        check_size(text, self.of(queue), where=where, field="max_payload")
        return text


def log_line(record: Record, text: object, token: str | None) -> LogLine:
    """Return a line for a job's log: cut with a mark if it is too long, and valid UTF-8.

    Raises   ConfigError: it is not text.
    """
    if not isinstance(text, str):
        raise ConfigError(
            f"text={shown(text)} of a log line must be text",
            field="text",
            value=text,
            hint="pass a str, such as job.log(str(...))",
        )
    line = str.__str__(text)
    if len(line) > MAX_LOG_LINE:
        line = f"{line[:MAX_LOG_LINE]}… ({len(line):,} characters)"
    if not line.isascii():
        line = line.encode(errors="backslashreplace").decode()
    keep = record.options.keep_logs
    return LogLine(
        queue=record.queue,
        id=record.id,
        text=line,
        keep=DEFAULT_KEEP_LOGS if keep is None else keep,
        token=token,
    )
