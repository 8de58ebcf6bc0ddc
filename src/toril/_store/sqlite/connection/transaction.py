"""One transaction of the writer: the queues it touched, the events it emits, whom it wakes.

Counters and limits of a queue are read once a transaction, changed in Python, and written back
with the events in one statement a queue, however many jobs the transaction moved.
Never here: what a verb does.
"""

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any

import msgspec

from toril._model.faults import Cause
from toril._model.options import Keep
from toril._model.record import check_queue_name, leading_segments
from toril._model.series import SAMPLES_A_FOLD, Sample
from toril._model.states import State
from toril._model.stored import reader
from toril._model.times import Millis
from toril._store.clock import REAL, Clock
from toril.errors import ConfigError

from .sql import Rows, SQLiteConnection
from .statements import statements

_encode = msgspec.json.encode
_rows = reader(list[Any])
_pairs = reader(list[tuple[int, int]])
_retention = reader(tuple[int | None, int | None])

# Text of this length, in characters, is handed to SQLite by itself: unpacking it from JSON takes
# ten times as long as storing it.
LARGE = 32_000
# How many queues are known from one transaction to the next.
MOST_KNOWN = 1_000

EventBody = dict[str, Any]
# A failed attempt: why, id and name of its job, and when.
Blamed = tuple[Cause, str, str, Millis]


def to_json(value: object) -> str:
    """Write rows for json_each."""
    return _encode(value).decode()


def keep_to_text(keep: Keep | None) -> str | None:
    """Write a retention as it is stored with its queue."""
    return None if keep is None else to_json([keep.count, keep.age_ms])


def keep_from_text(text: str | None) -> Keep | None:
    """Read a retention as it is stored with its queue."""
    return None if text is None else Keep(*_retention(text))


# The columns that `queue.save` takes after the key, that `queue.configure` takes after it, and all
# that `queue.load` returns before the numbers of jobs by state, in order.
_NUMBERS = (
    "ids", "positions", "events", "window_used", "window_max", "window_end", "limited_until",
    "ever_completed", "ever_failed",
)  # fmt: skip
_SETTINGS = (
    "paused", "concurrency", "rate_max", "rate_ms", "keep_completed", "keep_failed", "dead_letter",
    "events_limit", "declared", "max_waiting", "pause", "pause_since", "pause_until",
)  # fmt: skip
_LOADED = ("key", "name", *_NUMBERS, *_SETTINGS, "next_due", "counted")
# The states in the order of their columns.
_STATES = (
    State.WAITING, State.PRIORITIZED, State.DELAYED, State.ACTIVE, State.WAITING_CHILDREN,
    State.COMPLETED, State.FAILED,
)  # fmt: skip

_numbers: Callable[["QueueRow"], tuple[Any, ...]] = attrgetter("key", *_NUMBERS)
_settings: Callable[["QueueRow"], tuple[Any, ...]] = attrgetter("key", *_SETTINGS)


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
    pause: str | None
    pause_since: Millis | None
    pause_until: Millis | None
    next_due: Millis | None
    counted: int

    __slots__ = (
        *_LOADED,
        "blamed",
        "configured",
        "is_due_known",
        "jobs",
        "runs",
        "samples",
        "saved",
    )

    def __init__(self, row: Sequence[Any]) -> None:
        for name, value in zip(_LOADED, row, strict=False):
            setattr(self, name, value)
        # How many jobs are in each state.
        self.jobs: dict[str, int] = dict(zip(_STATES, row[len(_LOADED) :], strict=True))
        # Whether `next_due` is known for certain.
        self.is_due_known = True
        # (time, events) in the order they happened
        self.runs: list[tuple[Millis, list[EventBody]]] = []
        # What was counted, by the minute.
        self.samples: dict[int, Sample] = {}
        self.blamed: list[Blamed] = []
        self.saved = self.numbers() if self.is_counted else ()
        self.configured = self.settings()

    @property
    def is_counted(self) -> bool:
        """Whether the numbers of jobs by state go with the newest event.

        They do not where a toril wrote last that does not keep them.
        """
        return self.counted == self.events

    @property
    def ready(self) -> int:
        """The number of jobs that wait to run."""
        return self.jobs[State.WAITING] + self.jobs[State.PRIORITIZED]

    def count(self, prev: str | None, now: str | None, jobs: int = 1) -> None:
        """Count jobs that go from one state to another; None: that are added, or deleted."""
        if prev is not None:
            self.jobs[prev] -= jobs
            if prev == State.DELAYED:
                self.is_due_known = False
        if now is not None:
            self.jobs[now] += jobs

    def sample(self, at: Millis) -> Sample:
        """Return what is counted in the minute of a time: jobs by task, with `series.count_job`."""
        return self.samples.setdefault(at // 60_000, {})

    def recount(self, jobs: Sequence[int]) -> None:
        """Take the numbers of jobs by state as they were counted just now."""
        self.jobs = dict(zip(_STATES, jobs, strict=True))

    def numbers(self) -> tuple[Any, ...]:
        """Return what `queue.save` takes."""
        return (*_numbers(self), *self.jobs.values())

    def settings(self) -> tuple[Any, ...]:
        """Return what `queue.configure` takes."""
        return _settings(self)

    def take_positions(self, count: int) -> int:
        """Reserve places at the end of the queue; give the first."""
        first = self.positions + 1
        self.positions += count
        return first

    def front(self) -> int:
        """Return a place before all others: the later it is given, the further in front."""
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

    def __init__(
        self,
        db: SQLiteConnection,
        owner: int,
        known: dict[str, QueueRow] | None = None,
        clock: Clock = REAL,
    ) -> None:
        """Begin with the queues of which it is `known` how they are."""
        self.db = db
        self.owner = owner
        self.now = clock.now_ms()
        self.ready: set[str] = set()  # queues where a job may be claimed now
        self.look: set[str] = set()  # queues where that may have changed: look again
        self.changed: set[str] = set()  # queues that emitted events
        self.settled: set[str] = set()  # queues where jobs finished, until a claim looks there
        # Whether samples are to be added up.
        self.many_samples = False
        self._queues: dict[str, QueueRow | None] = {}
        self._known = known or {}
        self._sql = statements()

    def run(self, name: str, bindings: tuple[Any, ...] = ()) -> Rows:
        """Run a named statement."""
        return self.db.execute(self._sql[name], bindings)

    def value(self, name: str, bindings: tuple[Any, ...] = ()) -> Any:
        """Return the only row of a named statement: its value, or a tuple of several; or None."""
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
        """Return the rows of a statement that returns them as one JSON array.

        One row of JSON is one step: rows fetched one by one would each wait for the interpreter.
        """
        return _rows(self.value(name, bindings))

    def pairs(self, name: str, bindings: tuple[Any, ...] = ()) -> list[tuple[int, int]]:
        """Return the rows of a statement that returns pairs of numbers as one JSON array."""
        return _pairs(self.value(name, bindings))

    def find_queue(self, name: str) -> QueueRow | None:
        """Load a queue, or None when there is none."""
        if name in self._known:
            self._queues[name] = self._known.pop(name)
        elif name not in self._queues:
            row = self.value("queue.load", (name,))
            found = self._queues[name] = None if row is None else QueueRow(row)
            if found is not None and not found.is_counted:
                found.recount(self.value("queue.count", (found.key,)))
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
        self._known.pop(name, None)

    def recount(self) -> None:
        """Correct the numbers of jobs by state of all queues where they are wrong."""
        self.forget_all()
        self.run("mend.counts")

    def forget_all(self) -> None:
        """Write what was changed in queues, and stop knowing any: their rows are to be changed."""
        self.flush()
        self._queues.clear()
        self._known.clear()

    def known(self) -> dict[str, QueueRow]:
        """Return the queues of which it is known how they are stored after `flush`."""
        known = self._known if len(self._known) < MOST_KNOWN else {}
        for name, queue in self._queues.items():
            if queue is not None and queue.is_due_known:
                known[name] = queue
        return known

    def blamed(self) -> list[tuple[QueueRow, list[Blamed]]]:
        """Return the attempts that failed, by queue, and forget them."""
        found: list[tuple[QueueRow, list[Blamed]]] = []
        for queue in self._queues.values():
            if queue is not None and queue.blamed:
                found.append((queue, queue.blamed))
                queue.blamed = []
        return found

    def flush(self) -> None:
        """Write the events and the queues' counters."""
        for queue in self._queues.values():
            if queue is None:
                continue
            last = queue.events - sum(len(events) for _, events in queue.runs)
            for at, events in queue.runs:
                first, last = last + 1, last + len(events)
                self.run("queue.emit", (queue.key, last, first, at, to_json(events)))
            numbers, settings = queue.numbers(), queue.settings()
            if numbers != queue.saved:
                self.run("queue.save", numbers)
                queue.saved = numbers
            if settings != queue.configured:
                self.run("queue.configure", settings)
                queue.configured = settings
            if queue.runs:
                self.changed.add(queue.name)
                queue.runs = []
            for minute, sample in queue.samples.items():
                row = (queue.key, minute * 60_000, to_json(sample))
                self.many_samples |= self.value("series.keep", row) >= SAMPLES_A_FOLD
            queue.samples = {}
