"""One transaction of the writer: the queues it touched, the events it emits, whom it wakes.

Counters and limits of a queue are read once a transaction, changed in Python, and written back
with the events in one statement a queue, however many jobs the transaction moved.
Never here: what a verb does.
"""

import time
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from toril._model.options import Keep
from toril._model.record import check_queue_name, leading_segments
from toril._model.stored import reader
from toril._model.times import Millis
from toril.errors import ConfigError

from .sql import Connection, Rows
from .statements import statements

_encode = msgspec.json.encode
_rows = reader(list[Any])
_pairs = reader(list[tuple[int, int]])
_retention = reader(tuple[int | None, int | None])

# Text of this length, in characters, is handed to SQLite by itself: unpacking it from JSON takes
# ten times as long as storing it.
LARGE = 32_000

EventBody = dict[str, Any]


def clock() -> Millis:
    """Give the host's time in ms since the epoch: the clock of this store."""
    return time.time_ns() // 1_000_000


def to_json(value: object) -> str:
    """Write rows for json_each."""
    return _encode(value).decode()


def keep_to_text(keep: Keep | None) -> str | None:
    """Write a retention as it is stored with its queue."""
    return None if keep is None else to_json([keep.count, keep.age_ms])


def keep_from_text(text: str | None) -> Keep | None:
    """Read a retention as it is stored with its queue."""
    return None if text is None else Keep(*_retention(text))


# The columns of `queue.load` in order, and those of them that `queue.save` takes.
_LOADED = (
    "key", "name", "ids", "positions", "events", "paused", "concurrency", "rate_max", "rate_ms",
    "window_used", "window_max", "window_end", "limited_until", "ever_completed", "ever_failed",
    "keep_completed", "keep_failed", "dead_letter", "events_limit", "declared",
    "max_waiting",
    "next_due",
)  # fmt: skip
_SAVED = tuple(name for name in _LOADED if name not in ("name", "next_due"))


_columns: Callable[["QueueRow"], tuple[Any, ...]] = attrgetter(*_SAVED)


class QueueRow:
    """A queue within a transaction; it is written back when something changed."""

    key: int
    name: str
    ids: int
    positions: int
    events: int
    paused: int
    concurrency: int | None
    rate_max: int | None
    rate_ms: Millis | None
    window_used: int
    window_max: int
    window_end: Millis
    limited_until: Millis
    ever_completed: int
    ever_failed: int
    keep_completed: str | None
    keep_failed: str | None
    dead_letter: str | None
    events_limit: int
    declared: int
    max_waiting: int | None
    next_due: Millis | None

    __slots__ = (*_LOADED, "runs", "saved", "waiting")

    def __init__(self, row: Sequence[Any]) -> None:
        for name, value in zip(_LOADED, row, strict=True):
            setattr(self, name, value)
        # How many jobs wait to run, once `room` has counted them for this transaction.
        self.waiting: int | None = None
        # (time, events) in the order they happened
        self.runs: list[tuple[Millis, list[EventBody]]] = []
        self.saved = self.columns()

    def columns(self) -> tuple[Any, ...]:
        """Give what `queue.save` takes."""
        return _columns(self)

    def take_positions(self, count: int) -> int:
        """Reserve places at the end of the queue; give the first."""
        first = self.positions + 1
        self.positions += count
        return first

    def front(self) -> int:
        """Give a place before all others: the later it is given, the further in front."""
        self.positions += 1
        return -self.positions

    def emit(self, at: Millis, *events: EventBody) -> None:
        """Announce events of this queue, in this order."""
        if not self.runs or self.runs[-1][0] != at:
            self.runs.append((at, []))
        self.runs[-1][1].extend(events)
        self.events += len(events)


class Unit:
    """What the calls of one transaction act on."""

    def __init__(self, db: Connection, owner: int) -> None:
        self.db = db
        self.owner = owner
        self.now = clock()
        self.ready: set[str] = set()  # queues where a job may be claimed now
        self.look: set[str] = set()  # queues where that may have changed: look again
        self.changed: set[str] = set()  # queues that emitted events
        self.settled: set[str] = set()  # queues where jobs finished, until a claim looks there
        self._queues: dict[str, QueueRow | None] = {}
        self._sql = statements()

    def run(self, name: str, bindings: tuple[Any, ...] = ()) -> Rows:
        """Run a named statement."""
        return self.db.execute(self._sql[name], bindings)

    def value(self, name: str, bindings: tuple[Any, ...] = ()) -> Any:
        """Give the only row of a named statement: its value, or a tuple of several; or None."""
        return self.db.execute(self._sql[name], bindings).get

    def run_each(self, name: str, rows: Sequence[object], *bindings: object) -> None:
        """Run a named statement over rows, handed over as one JSON array, its last binding."""
        self.db.execute(self._sql[name], (*bindings, to_json(rows)))

    def run_by_size(
        self, name: str, rows: Sequence[Sequence[Any]], at: int, *bindings: object
    ) -> None:
        """Run a named statement over rows, and `name`_large over those whose text `at` is large."""
        small = [row for row in rows if len(row[at]) < LARGE]
        if small:
            self.run_each(name, small, *bindings)
        if len(small) < len(rows):
            for row in rows:
                if len(row[at]) >= LARGE:
                    self.run(f"{name}_large", (*bindings, *row))

    def rows(self, name: str, bindings: tuple[Any, ...] = ()) -> list[list[Any]]:
        """Give the rows of a statement that returns them as one JSON array.

        One row of JSON is one step: rows fetched one by one would each wait for the interpreter.
        """
        return _rows(self.value(name, bindings))

    def pairs(self, name: str, bindings: tuple[Any, ...] = ()) -> list[tuple[int, int]]:
        """Give the rows of a statement that returns pairs of numbers as one JSON array."""
        return _pairs(self.value(name, bindings))

    def find_queue(self, name: str) -> QueueRow | None:
        """Load a queue, or None when there is none."""
        if name not in self._queues:
            row = self.value("queue.load", (name,))
            self._queues[name] = None if row is None else QueueRow(row)
        return self._queues[name]

    def queue(self, name: str) -> QueueRow:
        """Load a queue, making it when there is none.

        Raises   ConfigError: the name cannot be a queue's, or leads or follows another one's.
        """
        found = self.find_queue(name)
        if found is None:
            check_queue_name(name)
            clash = self.value("queue.clash", (name, to_json(leading_segments(name))))
            if clash is not None:
                raise ConfigError(
                    f"queue {name!r} and queue {clash!r} cannot live in one store: one name is "
                    "the beginning of the other",
                    field="queue",
                    value=name,
                    hint="rename one of them",
                )
            self.run("queue.create", (name, self.now * 1_000))
            del self._queues[name]
            found = self.find_queue(name)
            assert found is not None
        return found

    def forget(self, name: str) -> None:
        """Stop knowing a queue that was deleted in this transaction."""
        self._queues.pop(name, None)

    def flush(self) -> None:
        """Write the events and the queues' counters."""
        for queue in self._queues.values():
            if queue is None:
                continue
            last = queue.events - sum(len(events) for _, events in queue.runs)
            for at, events in queue.runs:
                first, last = last + 1, last + len(events)
                self.run("queue.emit", (queue.key, last, first, at, to_json(events)))
            columns = queue.columns()
            if columns != queue.saved:
                self.run("queue.save", columns)
                queue.saved = columns
            if queue.runs:
                self.changed.add(queue.name)
                queue.runs = []
