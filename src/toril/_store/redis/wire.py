"""What stands in Redis, as values: hashes of jobs, entries of streams.

Never here: reading them.
"""

from collections.abc import Sequence
from typing import Any

from toril._model.record import Record
from toril._model.states import State
from toril._model.stored import Unreadable, reader, whole
from toril._model.stored_options import fault_of

from . import keys

# The fields of a job in the order in which `lua/lib/job.lua` gives them.
FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "stc", "progress",
    "failedReason", "stacktrace", "parentKey", "rjk", "deid", "defa", "toril:unknown",
    "toril:origin", "toril:letter", "processedOn", "finishedOn", "returnvalue", "pb", "parent",
    "toril:cancel",
)  # fmt: skip

_stack = reader(list[str])


def _texts(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        return tuple(_stack(text))
    except Unreadable:
        return (text,)


def read_record(
    prefix: str, queue: str, id: str, state: State, fields: Sequence[Any], **more: Any
) -> Record:
    """Make a record of a job's fields, in the order of `FIELDS`.

    A job whose options nobody can read is to fail at its next claim, which says so.
    """
    opts = fields[2] or "{}"
    deferred = fields[15]
    fault = fault_of(opts)
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
        created_ms=whole(fields[3]),
        delay_ms=whole(fields[4]),
        priority=whole(fields[5]),
        attempts_made=whole(fields[6]),
        runs=whole(fields[7]),
        stalls=whole(fields[8]),
        progress=fields[9],
        reason=fields[10],
        stack=_texts(fields[11]),
        parent_queue=parent.queue if parent else None,
        parent_id=parent.id if parent else None,
        schedule=fields[13],
        dedup=fields[14],
        deferred=deferred,
        unknown=whole(fields[16]),
        origin=fields[17],
        letter=fields[18],
        cancelled=fields[24],
        started_ms=whole(fields[19], None),
        finished_ms=whole(fields[20], None),
        result=fields[21],
        worker=fields[22],
        **more,
    )
