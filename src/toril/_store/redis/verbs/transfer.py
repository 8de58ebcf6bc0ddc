"""The verbs pack and restore, and letting jobs go that have been moved.

Never here: which jobs are moved.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from toril._model.bounds import JOBS_A_CALL
from toril._model.record import NewJob, Record, Ref
from toril._model.report import ScheduleInfo, Selected, Selection
from toril._model.states import State
from toril._model.stored import reader, whole
from toril._model.stored_options import from_text, to_text
from toril._model.times import Millis
from toril._model.transfer import Hold, Parcel, Receipt, Shipment
from toril._model.transfer import from_text as read_receipt
from toril._model.transfer import to_text as receipt_text
from toril._store.redis.core import keys, registry
from toril._store.redis.core.scripts import row_of
from toril._store.redis.core.server import PATIENCE_S, Rows, Server, places
from toril._store.refusals import cannot_move, check_idle, not_next, taken
from toril._store.values import ScheduleDraft

from . import read, schedule
from .add_rows import link_text
from .children import GONE

_EVERY_CHILD = (0, 1 << 31)
_AT_ONCE = 100
_NOTES = "toril:moved"
_options = reader(dict[str, msgspec.Raw])
_json = msgspec.json.encode


async def pack(server: Server, refs: Sequence[Ref]) -> list[Parcel | None]:
    """Carry out the verb pack."""
    found: list[Parcel | None] = []
    for start in range(0, len(refs), _AT_ONCE):
        records = await read.get(server, refs[start : start + _AT_ONCE])
        there = [record for record in records if record is not None]
        parcels = iter(await _parcels(server, there))
        found += [None if record is None else next(parcels) for record in records]
    return found


async def _parcels(server: Server, records: Sequence[Record]) -> list[Parcel]:
    asked = [_extras(server, record) for record in records]
    replies = iter(await server.link.many([("TIME",), *(each for one in asked for each in one)]))
    now = whole(next(replies)[0]) * 1000
    return [
        await _parcel(server, record, [next(replies) for _ in commands], now)
        for record, commands in zip(records, asked, strict=True)
    ]


def _extras(server: Server, record: Record) -> list[tuple[Any, ...]]:
    """Ask for what hangs on a job beside its record."""
    base = server.base(record.queue)
    key = f"{base}{record.id}"
    beside = [f"{key}:{word}" for word in ("dependencies", "processed", "failed", "unsuccessful")]
    dedup, scheduled = f"{base}de:{record.dedup}", f"{base}repeat"
    return [
        ("LRANGE", f"{key}:logs", 0, -1),
        ("EXISTS", *beside),
        ("GET", dedup),
        ("PTTL", dedup),
        ("HGETALL", f"{base}dn:{record.dedup}"),
        ("ZSCORE", scheduled, record.schedule or ""),
        ("HEXISTS", f"{scheduled}:{record.schedule}", "toril:over"),
    ]


async def _parcel(server: Server, record: Record, told: Sequence[Any], now: Millis) -> Parcel:
    lines, children, holder, left, kept, next_run, over = told
    ref = Ref(record.queue, record.id)
    family = await read.children(server, ref, None, _EVERY_CHILD) if children else None
    return Parcel(
        record=record,
        lines=tuple(lines),
        children=family.items if family else (),
        hold=_hold(server.prefix, record, now + left if left > 0 else None, kept)
        if holder == record.id and record.dedup is not None
        else None,
        armed=not over and record.id == f"repeat:{record.schedule}:{next_run}",
    )


def _hold(prefix: str, record: Record, until: Millis | None, flat: Sequence[str]) -> Hold:
    kept = dict(zip(flat[::2], flat[1::2], strict=True))
    if not kept:
        return Hold(until_ms=until)
    parent = kept.get("pk")
    following = NewJob(
        queue=record.queue,
        name=kept["name"],
        data=kept["data"],
        options=from_text(kept["opts"]),
        id=kept.get("jid"),
        schedule=kept.get("rjk"),
        parent=keys.split_job(prefix, parent) if parent else None,
    )
    return Hold(until_ms=until, following=following)


# Taking.


async def restore(server: Server, shipment: Shipment, now: Millis | None) -> Receipt:
    """Carry out the verb restore."""
    notes = f"{server.base(shipment.queue)}{_NOTES}"
    last = await server.link.read("HGET", notes, shipment.origin)
    receipt = read_receipt(last.partition(" ")[2] if last else None)
    if shipment.number == 0 or shipment.receipt == receipt:
        return receipt
    check_idle(shipment)
    numbers = places([shipment.queue, *(parcel.record.queue for parcel in shipment.jobs)])
    await registry.register(server.link, server.prefix, list(numbers), PATIENCE_S)
    word, *told = await server.run(
        "restore",
        list(numbers),
        _rows(server.prefix, numbers, shipment),
        now=now,
        origin=shipment.origin,
        shipment=shipment.number,
        receipt=receipt_text(shipment.receipt),
        last_id=shipment.last_id,
    )
    match word:
        case "taken":
            raise taken(keys.split_job(server.prefix, told[0]), shipment.origin)
        case "other":
            raise not_next(shipment, told[0])
        case _:
            return shipment.receipt


def _rows(prefix: str, numbers: Mapping[str, int], shipment: Shipment) -> dict[str, Rows]:
    jobs = list(enumerate(shipment.jobs, 1))
    plans = list(enumerate(shipment.schedules, 1))
    return {
        "job": [_job(numbers, parcel.record) for _, parcel in jobs],
        "field": [
            (n, name, value)
            for n, parcel in jobs
            for name, value in _fields(prefix, parcel, shipment.origin).items()
            if value is not None
        ],
        "line": [(n, line) for n, parcel in jobs for line in parcel.lines],
        "child": [
            (n, _key(prefix, child.queue, child.id), child.outcome, child.value)
            for n, parcel in jobs
            for child in parcel.children
        ],
        "hold": [
            (n, parcel.record.dedup, *_hold_row(prefix, parcel.hold))
            for n, parcel in jobs
            if parcel.hold is not None
        ],
        "schedule": [_plan(info) for _, info in plans],
        "rule": [
            (n, name, value)
            for n, info in plans
            for name, value in schedule.fields_of(_draft(info)).items()
            if value is not None
        ],
    }


def _key(prefix: str, queue: str, id: str) -> str:
    return keys.job_key(prefix, Ref(queue, id))


def _job(numbers: Mapping[str, int], record: Record) -> tuple[Any, ...]:
    at = record.due_ms if record.state is State.DELAYED else record.finished_ms
    return row_of("restore", "job")(
        queue=numbers[record.queue],
        id=record.id,
        name=record.name,
        created=record.created_ms,
        state=record.state.value,
        at=at,
        priority=record.priority,
    )


def _fields(prefix: str, parcel: Parcel, origin: str) -> dict[str, Any]:
    """Return the hash of a job as it is to stand; None is omitted."""
    record, parent = parcel.record, parcel.record.parent
    options = from_text(record.opts)
    policy = options.parent_on_fail
    finished = record.state in (State.COMPLETED, State.FAILED)
    fields: dict[str, Any] = {
        "name": record.name,
        "data": record.data,
        "opts": _opts(prefix, record),
        "timestamp": record.created_ms,
        "delay": record.delay_ms,
        "priority": record.priority,
        "atm": record.attempts_made or None,
        "ats": record.runs or None,
        "stc": record.stalls or None,
        "progress": record.progress,
        "returnvalue": record.result,
        "failedReason": record.reason,
        "stacktrace": _json(record.stack) if record.stack else None,
        "parentKey": None if parent is None else keys.job_key(prefix, parent),
        "parent": None if parent is None else link_text(prefix, parent, policy),
        "rjk": record.schedule,
        "deid": record.dedup,
        "defa": record.deferred,
        "processedOn": record.started_ms,
        "finishedOn": record.finished_ms if finished else None,
        "pb": record.worker,
        "toril:at": options.at_ms,
        "toril:unknown": record.unknown or None,
        "toril:letter": record.letter,
        "toril:cancel": record.cancelled,
        "toril:origin": origin,
        "toril:slot": record.slot,
        "toril:fault": record.fingerprint,
        "toril:index": _json(record.fields).decode() if record.fields else None,
    }
    return fields | dict(_tries(record)) | dict(_kids(prefix, parcel))


def _tries(record: Record) -> Iterator[tuple[str, str]]:
    for each in record.tries:
        note = (each.worker, each.started_ms, each.end, each.reason, each.slot, each.fingerprint)
        tail = _json(note).decode()
        yield f"toril:try:{each.run}", f"{each.ended_ms} {tail}"


def _kids(prefix: str, parcel: Parcel) -> Iterator[tuple[str, Any]]:
    """Note the names of children and their order, which are in their own hashes elsewhere."""
    if parcel.children:
        yield "toril:kids", len(parcel.children)
    for nth, child in enumerate(parcel.children, 1):
        yield f"{GONE}{_key(prefix, child.queue, child.id)}", f"{nth} 0 {child.name}"


def _opts(prefix: str, record: Record) -> str:
    """Write options as they stand on Redis: with the parent under this prefix."""
    given, parent = _options(record.opts), record.parent
    told = dict[str, Any](given)
    told.pop("parent", None)
    if parent is not None:
        told["parent"] = {"id": parent.id, "queue": f"{prefix}:{parent.queue}"}
    return record.opts if told == given else _json(told).decode()


def _hold_row(prefix: str, hold: Hold) -> tuple[Any, ...]:
    job = hold.following
    if job is None:
        return (hold.until_ms, None, None, None, None, None, None, None)
    parent, policy = job.parent, job.options.parent_on_fail
    key = None if parent is None else keys.job_key(prefix, parent)
    link = None if parent is None else link_text(prefix, parent, policy)
    opts = to_text(job.options)
    return (hold.until_ms, job.name, job.data, opts, job.id, key, link, job.schedule)


def _plan(info: ScheduleInfo) -> tuple[Any, ...]:
    return row_of("restore", "schedule")(
        id=info.id, next=info.next_ms, count=info.count, offset=schedule.offset_of(_draft(info))
    )


def _draft(info: ScheduleInfo) -> ScheduleDraft:
    return ScheduleDraft(
        queue=info.queue,
        id=info.id,
        name=info.name,
        rule=info.rule,
        data=info.data,
        opts=info.opts,
        next_ms=info.next_ms,
        owner=info.owner,
        pause=info.pause,
    )


# Letting go.


async def let_move(server: Server, selection: Selection, now: Millis | None) -> Selected:
    """Let jobs go that another store has by now."""
    queue, ids = selection.queue, selection.ids[: selection.limit]
    gone: list[str] = []
    active: list[str] = []
    for start in range(0, len(ids), JOBS_A_CALL):
        rows = [(id,) for id in ids[start : start + JOBS_A_CALL]]
        went, held = await server.run(
            "depart", [queue], {"job": rows}, now=now, before=selection.before_ms
        )
        gone += went
        active += held
    refused: dict[str, Exception] = {id: cannot_move(queue, id) for id in active}
    return Selected(ids=tuple(gone), refused=refused, more=len(selection.ids) > len(ids))
