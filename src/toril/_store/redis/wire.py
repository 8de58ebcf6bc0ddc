"""What stands in Redis, as values: hashes of jobs, entries of streams.

Never here: reading them.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from toril._model.options import from_text
from toril._model.record import Record
from toril._model.states import State
from toril.errors import ConfigError

from . import keys

# The fields of a job in the order in which `lua/lib/job.lua` gives them.
FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "stc", "progress",
    "failedReason", "stacktrace", "parentKey", "rjk", "deid", "defa", "toril:unknown",
    "toril:origin", "toril:letter", "processedOn", "finishedOn", "returnvalue", "pb", "parent",
    "toril:cancel",
)  # fmt: skip

_stack = msgspec.json.Decoder(list[str]).decode


def _number(text: str | int | None) -> int:
    """Read a number; what is none counts as 0, so that one bad job never stops the others."""
    try:
        return int(text or 0)
    except ValueError:
        try:
            return int(float(text or 0))
        except (ValueError, OverflowError):
            return 0


def _optional(text: str | int | None) -> int | None:
    return None if text in (None, "") else _number(text)


def _texts(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        return tuple(_stack(text))
    except msgspec.DecodeError:
        return (text,)


@lru_cache(maxsize=1024)
def _fault(opts: str) -> str | None:
    """Say what is wrong with stored options, which anybody may have written."""
    try:
        from_text(opts)
    except (ConfigError, ValueError, TypeError, AttributeError, KeyError) as error:
        return f"its stored options cannot be read: {error}"
    return None


def read_record(
    prefix: str, queue: str, id: str, state: State, fields: Sequence[Any], **more: Any
) -> Record:
    """Make a record of a job's fields, in the order of `FIELDS`.

    A job whose options nobody can read is to fail at its next claim, which says so.
    """
    opts = fields[2] or "{}"
    deferred = fields[15]
    fault = _fault(opts)
    if fault is not None:
        opts, deferred = "{}", deferred or fault
    parent = keys.split_job(prefix, fields[12]) if fields[12] else None
    return Record(
        queue=queue,
        id=id,
        name=fields[0] or "",
        data=fields[1] or "{}",
        opts=opts,
        state=state,
        created_ms=_number(fields[3]),
        delay_ms=_number(fields[4]),
        priority=_number(fields[5]),
        attempts_made=_number(fields[6]),
        runs=_number(fields[7]),
        stalls=_number(fields[8]),
        progress=fields[9],
        reason=fields[10],
        stack=_texts(fields[11]),
        parent_queue=parent.queue if parent else None,
        parent_id=parent.id if parent else None,
        schedule=fields[13],
        dedup=fields[14],
        deferred=deferred,
        unknown=_number(fields[16]),
        origin=fields[17],
        letter=fields[18],
        cancelled=fields[24],
        started_ms=_optional(fields[19]),
        finished_ms=_optional(fields[20]),
        result=fields[21],
        worker=fields[22],
        **more,
    )
