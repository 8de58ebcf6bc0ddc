"""What is in Redis, as values: hashes of jobs, entries of streams.

Never here: reading them.
"""

from collections.abc import Sequence
from typing import Annotated, Any

import msgspec

from toril._model.checks import MAX_WHOLE
from toril._model.record import Record
from toril._model.states import State
from toril._model.stored import Unreadable, or_else, reader, whole
from toril._model.stored_options import fault_of

from . import keys

_Whole = Annotated[int, msgspec.Meta(ge=-MAX_WHOLE, le=MAX_WHOLE)] | None


class _Fields(msgspec.Struct, array_like=True):
    """The fields of a job in the order in which `lua/lib/usual.lua` gives them."""

    name: str | None
    data: str | None
    opts: str | None
    created: _Whole
    delay: _Whole
    priority: _Whole
    made: _Whole
    runs: _Whole
    stalls: _Whole
    progress: str | None
    reason: str | None
    stack: str | None
    parent: str | None
    schedule: str | None
    dedup: str | None
    deferred: str | None
    unknown: _Whole
    origin: str | None
    letter: str | None
    started: _Whole
    finished: _Whole
    result: str | None
    worker: str | None
    link: str | None
    cancelled: str | None
    slot: _Whole
    fingerprint: str | None
    index: str | None


# What they are called in the hash.
_NAMES = {
    "created": "timestamp", "made": "atm", "runs": "ats", "stalls": "stc", "reason": "failedReason",
    "stack": "stacktrace", "parent": "parentKey", "schedule": "rjk", "dedup": "deid",
    "deferred": "defa", "unknown": "toril:unknown", "origin": "toril:origin",
    "letter": "toril:letter", "started": "processedOn", "finished": "finishedOn",
    "result": "returnvalue", "worker": "pb", "link": "parent", "cancelled": "toril:cancel",
    "slot": "toril:slot", "fingerprint": "toril:fault", "index": "toril:index",
}  # fmt: skip
_NUMBERS = (
    "created", "delay", "priority", "made", "runs", "stalls", "unknown", "started", "finished", "slot",
)  # fmt: skip
FIELDS = tuple([_NAMES.get(name, name) for name in _Fields.__struct_fields__])

_stack = reader(list[str])
_index = reader(tuple[tuple[str, str], ...])


def _texts(text: str | None) -> tuple[str, ...]:
    if not text:
        return ()
    try:
        return tuple(_stack(text))
    except Unreadable:
        return (text,)


def _read(fields: Sequence[Any]) -> _Fields:
    try:
        return msgspec.convert(fields, _Fields, strict=False)
    except msgspec.ValidationError:
        # Somebody wrote a number as none of ours is written.
        given = _Fields(*fields)
    for name in _NUMBERS:
        setattr(given, name, whole(getattr(given, name), None))
    return given


def read_record(
    prefix: str, queue: str, id: str, state: State, fields: Sequence[Any], **more: Any
) -> Record:
    """Make a record of a job's fields, in the order of `FIELDS`.

    A job whose options nobody can read is to fail at its next claim, which says so.
    """
    given = _read(fields)
    opts = given.opts or "{}"
    deferred = given.deferred
    fault = fault_of(opts)
    if fault is not None:
        opts, deferred = "{}", deferred or fault
    parent = keys.split_job(prefix, given.parent) if given.parent else None
    return Record(
        queue=queue,
        id=id,
        name=given.name or "",
        data=given.data or "{}",
        opts=opts,
        state=state,
        created_ms=given.created or 0,
        delay_ms=given.delay or 0,
        priority=given.priority or 0,
        attempts_made=given.made or 0,
        runs=given.runs or 0,
        stalls=given.stalls or 0,
        progress=given.progress,
        reason=given.reason,
        stack=_texts(given.stack),
        parent_queue=parent.queue if parent else None,
        parent_id=parent.id if parent else None,
        schedule=given.schedule,
        dedup=given.dedup,
        deferred=deferred,
        unknown=given.unknown or 0,
        origin=given.origin,
        letter=given.letter,
        cancelled=given.cancelled,
        started_ms=given.started,
        finished_ms=given.finished,
        result=given.result,
        worker=given.worker,
        slot=given.slot,
        fingerprint=given.fingerprint,
        fields=or_else(_index, given.index, ()),
        **more,
    )
