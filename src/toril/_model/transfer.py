"""Jobs on their way from one store to another: all that is kept of them, and what came through.

Never here: which jobs travel, or in which order.
"""

from dataclasses import dataclass, field

import msgspec

from toril.errors import StoreCorrupt

from .record import NewJob, Record, Ref
from .report import Child, ScheduleInfo
from .stored import Unreadable, reader
from .times import Millis


class Hold(msgspec.Struct, frozen=True, kw_only=True):
    """The dedup key that a job holds: until a time, or (None) until it has finished.

    Shape    following: the duplicate that is kept to be added then.
    """

    until_ms: Millis | None = None
    following: NewJob | None = None


class Parcel(msgspec.Struct, frozen=True, kw_only=True):
    """A job with all that its store keeps of it.

    Shape    lines: its log. children: as `Store.children` lists them. hold: the dedup key of its
             record, if it holds that now. armed: it is the next run of its schedule, and travels
             with that.
    """

    record: Record
    lines: tuple[str, ...] = ()
    children: tuple[Child, ...] = ()
    hold: Hold | None = None
    armed: bool = False

    @property
    def ref(self) -> Ref:
        """Where the job is."""
        return Ref(self.record.queue, self.record.id)

    @property
    def weight(self) -> int:
        """Say about how many characters it takes on its way."""
        record = self.record
        texts = (record.data, record.opts, record.result, record.progress, record.reason)
        inner = (*record.stack, *self.lines, *(child.value for child in self.children))
        return sum(len(text) for text in (*texts, *inner) if text)


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipment:
    """What a queue takes from another store in one step, and what is noted of it.

    Shape    origin: the store that it comes from. number: 1 for the first, then one more each
             time; 0: nothing is sent, the answer tells what came last. jobs: of this queue and
             others; parents and dead letters before the jobs that name them. last_id: at least
             this number was given to a job of the queue before. was_paused: the queue was, at
             its origin, before it was moved. last: nothing follows.
    """

    queue: str
    origin: str
    number: int = 0
    jobs: tuple[Parcel, ...] = ()
    schedules: tuple[ScheduleInfo, ...] = ()
    last_id: int = 0
    was_paused: bool = False
    last: bool = False

    @property
    def receipt(self) -> "Receipt":
        """What is noted when it has come through."""
        return Receipt(
            number=self.number,
            jobs=tuple(parcel.ref for parcel in self.jobs),
            schedules=tuple(info.id for info in self.schedules),
            until_ms=max((parcel.record.created_ms for parcel in self.jobs), default=0),
            was_paused=self.was_paused,
            last=self.last,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What a queue took last from an origin; number 0: nothing so far.

    Shape    jobs and schedules: what may still be at the origin as well, and must go there.
    Units    until_ms: the latest time at which one of the jobs was added.
    """

    number: int = 0
    jobs: tuple[Ref, ...] = ()
    schedules: tuple[str, ...] = ()
    until_ms: Millis = 0
    was_paused: bool = False
    last: bool = field(default=True)


_receipt = reader(Receipt)


def to_text(receipt: Receipt) -> str:
    """Write a receipt as it is stored."""
    return msgspec.json.encode(receipt).decode()


def from_text(text: str | None) -> Receipt:
    """Read a stored receipt; None is the one of a queue that took nothing.

    Raises   StoreCorrupt: it is no receipt.
    """
    try:
        return Receipt() if text is None else _receipt(text)
    except Unreadable as error:
        raise StoreCorrupt(
            f"what a queue took from another store last cannot be read: {error} (move it to an "
            "empty store, or delete that note if no move of it was cut off)"
        ) from error
