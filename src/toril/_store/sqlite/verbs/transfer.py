"""The verbs pack and restore: jobs on their way to another store, and those that came from one.

Never here: letting jobs go that have been moved (remove).
"""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from toril._model.record import Record, Ref
from toril._model.states import READY, State
from toril._model.stored import flag
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._model.transfer import Hold, Parcel, Receipt, Shipment, to_text
from toril._model.transfer import from_text as read_receipt
from toril._store.refusals import check_idle, not_next, taken
from toril._store.sqlite.connection.transaction import QueueRow, Unit, to_json

from . import add, retention, schedule
from .independent import limit
from .read import Reading, children, get

_EVERY_CHILD = (0, 1 << 31)
_ARRIVAL = {State.DELAYED: "delayed", State.WAITING_CHILDREN: "waiting-children"}


def pack(read: Reading, refs: Sequence[Ref]) -> list[Parcel | None]:
    """Carry out the verb pack."""
    records = get(read, refs)
    asked = to_json([(ref.queue, ref.id) for ref in refs])
    extras = {row[0]: row[1:] for row in read.rows("move.extras", (asked,))}
    return [
        None if record is None or number not in extras else _parcel(read, record, *extras[number])
        for number, record in enumerate(records)
    ]


def _parcel(read: Reading, record: Record, lines: list[str], family: int, *rest: Any) -> Parcel:
    armed, hold = rest
    ref = Ref(record.queue, record.id)
    return Parcel(
        record=record,
        lines=tuple(lines),
        children=children(read, ref, None, _EVERY_CHILD).items if family else (),
        hold=None if hold is None else _hold(read.now, record.queue, *hold),
        armed=bool(armed),
    )


def _hold(now: Millis, queue: str, until: Millis | None, following: str | None) -> Hold | None:
    if until is not None and until <= now:
        return None
    return Hold(
        until_ms=until, following=None if following is None else add.next_job(following, queue)
    )


def restore(unit: Unit, shipment: Shipment, now: Millis) -> Receipt:
    """Carry out the verb restore."""
    queue = unit.find_queue(shipment.queue)
    stored = queue and unit.value("move.receipt", (queue.key, shipment.origin))
    receipt = read_receipt(stored or None)
    if shipment.number == 0 or shipment.receipt == receipt:
        return receipt
    if shipment.number != receipt.number + 1:
        raise not_next(shipment, receipt.number)
    check_idle(shipment)
    queue = unit.queue(shipment.queue)
    queue.ids = max(queue.ids, shipment.last_id)
    _Restoring(unit, shipment, now).write()
    for info in shipment.schedules:
        schedule.restore(unit, info, now)
    unit.run("move.note", (queue.key, shipment.origin, to_text(shipment.receipt)))
    return shipment.receipt


class _Restoring:
    """What one shipment brings, and what is known of it already."""

    def __init__(self, unit: Unit, shipment: Shipment, now: Millis) -> None:
        self.unit = unit
        self.now = now
        self.origin = shipment.origin
        named = (ref for parcel in shipment.jobs for ref in _named(parcel.record))
        asked = {*(parcel.ref for parcel in shipment.jobs), *named}
        rows = unit.rows("move.known", (to_json([(ref.queue, ref.id) for ref in asked]),))
        self.keys = {Ref(queue, id): key for queue, id, key, _, _ in rows}
        there = {Ref(row[0], row[1]): (row[3], row[4]) for row in rows}
        self.new = [each for each in shipment.jobs if not self._is_there(each, there)]
        key: int = unit.value("add.last_key") or 0
        self.keys |= {parcel.ref: key + n for n, parcel in enumerate(self.new, 1)}

    def _is_there(self, parcel: Parcel, there: dict[Ref, tuple[str | None, Millis]]) -> bool:
        if parcel.ref not in there:
            return False
        if there[parcel.ref] == (self.origin, parcel.record.created_ms):
            return True
        raise taken(parcel.ref, self.origin)

    def write(self) -> None:
        """Store the jobs that are new, and tell of them."""
        self._run("move.jobs", [self._row(parcel) for parcel in self.new])
        self._run("add.children", self._children())
        self._run("move.lines", self._lines())
        self._run("finish.tries", self._tries())
        self._run("search.put", self._fields())
        for parcel in self.new:
            self.unit.queue(parcel.record.queue).count(None, parcel.record.state)
            self._hold(parcel)
            self._announce(parcel.record)

    def _run(self, statement: str, rows: Sequence[Sequence[Any]]) -> None:
        if rows:
            self.unit.run_each(statement, rows)

    def _row(self, parcel: Parcel) -> list[Any]:
        record, options = parcel.record, from_text(parcel.record.opts)
        queue, state = self.unit.queue(record.queue), record.state
        finished = record.finished_ms if state in (State.COMPLETED, State.FAILED) else None
        expires = None if finished is None else retention.expiry(options, state, finished)
        parent, letter = _parent(record), _letter(record)
        lane = record.priority if state is State.PRIORITIZED else 0
        due = record.due_ms if state is State.DELAYED else None
        row: list[Any] = [self.keys[parcel.ref], queue.key, record.id, record.name]
        row += [record.data, record.opts, state, lane, queue.take_positions(1)]
        row += [record.priority, record.delay_ms, record.created_ms, due, record.started_ms]
        row += [finished, expires, record.attempts_made, record.runs, record.stalls]
        row += [record.unknown, record.progress, record.result, record.reason]
        row += [to_json(record.stack) if record.stack else None, record.worker]
        row += [self.keys.get(parent) if parent else None, record.parent_queue, record.parent_id]
        row += [options.parent_on_fail, flag(bool(parcel.children)), record.schedule, record.dedup]
        row += [record.deferred, self.origin, self.keys.get(letter) if letter else None]
        row += [record.cancelled, limit(options, record.created_ms, record.schedule)]
        row += [record.slot, record.fingerprint]
        return row

    def _children(self) -> list[list[Any]]:
        return [
            [self.keys[parcel.ref], child.queue, child.id, child.name, child.outcome, child.value]
            for parcel in self.new
            for child in parcel.children
        ]

    def _lines(self) -> list[list[Any]]:
        return [
            [self.keys[parcel.ref], number, text]
            for parcel in self.new
            for number, text in enumerate(parcel.lines, 1)
        ]

    def _fields(self) -> list[list[Any]]:
        return [
            [self.unit.queue(parcel.record.queue).key, parcel.record.id, *pair]
            for parcel in self.new
            for pair in parcel.record.fields
        ]

    def _tries(self) -> list[list[Any]]:
        return [
            [self.keys[parcel.ref], *msgspec.structs.astuple(each)]
            for parcel in self.new
            for each in parcel.record.tries
        ]

    def _hold(self, parcel: Parcel) -> None:
        """Let a job hold its dedup key, unless another one does by now."""
        record, hold = parcel.record, parcel.hold
        if hold is None or record.dedup is None:
            return
        queue = self.unit.queue(record.queue)
        if self.unit.value("add.dedup_holder", (queue.key, record.dedup, self.now)) is not None:
            return
        self.unit.run("add.dedup_hold", (queue.key, record.dedup, record.id, hold.until_ms))
        if hold.following is not None:
            following = add.kept_text(hold.following, hold.following.id)
            self.unit.run("add.dedup_next", (queue.key, record.dedup, following))

    def _announce(self, record: Record) -> None:
        if record.state in (State.COMPLETED, State.FAILED):
            return
        queue, id = self.unit.queue(record.queue), record.id
        queue.emit(self.now, {"kind": "added", "job_id": id, "name": record.name})
        body: dict[str, Any] = {"kind": _ARRIVAL.get(record.state, "waiting"), "job_id": id}
        if record.state is State.DELAYED:
            self._expect(queue, record.due_ms or 0)
            body["due_ms"] = record.due_ms
        queue.emit(self.now, body)
        if record.state in READY:
            self.unit.ready.add(queue.name)

    def _expect(self, queue: QueueRow, due: Millis) -> None:
        queue.next_due = due if queue.next_due is None else min(queue.next_due, due)
        self.unit.look.add(queue.name)


def _named(record: Record) -> Iterable[Ref]:
    return (ref for ref in (_parent(record), _letter(record)) if ref is not None)


def _parent(record: Record) -> Ref | None:
    return record.parent


def _letter(record: Record) -> Ref | None:
    if record.letter is None:
        return None
    queue, _, id = record.letter.rpartition(":")
    return Ref(queue, id)
