"""What the tests of moving share: jobs made up as another store would send them, and sending them."""

from typing import Any

from tests.support.kit import KIDS, QUEUE, SECOND, T0, Kit
from toril._model.options import JobOptions
from toril._model.record import Record, Ref
from toril._model.report import Child, Selected, Selection
from toril._model.states import State
from toril._model.stored_options import to_text
from toril._model.transfer import Parcel, Receipt, Shipment

ORIGIN = "sqlite:///elsewhere.db bull"
_PARTS = ("lines", "children", "hold", "armed")


def parcel(state: State = State.WAITING, *, id: str = "moved", **given: Any) -> Parcel:
    """Make a job as it stood elsewhere; what is no part of a parcel is a field of its record."""
    parts = {name: given.pop(name) for name in _PARTS if name in given}
    options = given.pop("options", JobOptions())
    usual: dict[State, dict[str, Any]] = {
        State.PRIORITIZED: {"priority": 5},
        State.DELAYED: {"delay_ms": SECOND, "due_ms": T0 + SECOND},
        State.COMPLETED: {"finished_ms": T0, "started_ms": T0, "result": "1"},
        State.FAILED: {"finished_ms": T0, "started_ms": T0, "reason": "boom"},
    }
    fields = {"queue": QUEUE, "name": "job", "data": "{}", "opts": to_text(options)}
    record = Record(
        **{**fields, "id": id, "created_ms": T0, "state": state, **usual.get(state, {}), **given}
    )
    if state is State.WAITING_CHILDREN and "children" not in parts:
        parts["children"] = (pending("kid"),)
    return Parcel(record=record, **parts)


def pending(id: str, *, queue: str = KIDS, name: str = "child") -> Child:
    return Child(queue=queue, id=id, name=name, outcome="pending")


async def last(kit: Kit, queue: str = QUEUE) -> Receipt:
    """Ask what a queue took last from the usual origin."""
    return await kit.store.restore(Shipment(queue=queue, origin=ORIGIN), now=kit.now)


async def ship(kit: Kit, *parcels: Parcel, queue: str = QUEUE, **more: Any) -> Receipt:
    """Send jobs to a store as the next shipment, and move on."""
    more.setdefault("number", (await last(kit, queue)).number + 1)
    sent = Shipment(queue=queue, origin=ORIGIN, jobs=parcels, **more)
    return await kit.store.restore(sent, now=kit.now)


async def packed(kit: Kit, ref: Ref) -> Parcel:
    [found] = await kit.store.pack([ref])
    assert found is not None, f"{ref} is gone"
    return found


async def let_move(kit: Kit, *refs: Ref, before_ms: int | None = None) -> Selected:
    """Let jobs go that another store has by now."""
    ids = tuple(ref.id for ref in refs)
    selection = Selection(queue=refs[0].queue, ids=ids, mode="move", before_ms=before_ms)
    return await kit.store.remove(selection, now=kit.now)
