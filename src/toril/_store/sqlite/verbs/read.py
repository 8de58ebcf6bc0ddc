"""The reading verbs, on a connection that only reads. Never here: a write."""

from collections.abc import Callable, Sequence
from typing import Any

from toril._model.checks import MAX_WHOLE
from toril._model.notes import read_pause
from toril._model.record import Record, Ref
from toril._model.report import (
    Child,
    Children,
    Counts,
    Logs,
    Metrics,
    Page,
    Query,
    QueueSettings,
    ScheduleInfo,
    Slot,
    WorkerInfo,
)
from toril._model.schedule import LAST_MS, Rule
from toril._model.states import State
from toril._model.stored import Unreadable, flag, or_else, reader, whole
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.clock import REAL
from toril._store.sqlite.connection.sql import SQLiteConnection
from toril._store.sqlite.connection.statements import statements
from toril._store.sqlite.connection.transaction import QueueRow, keep_from_text, to_json
from toril.errors import ConfigError
from toril.events import Custom, Event, make

_numbered = reader(list[tuple[int, Record]])
_children = reader(list[tuple[str, str, str, str, str | None]])
_lines = reader(list[str])
_rows = reader(list[Any])
_rule = reader(Rule)
_vitals = reader(tuple[str | None, tuple[Slot, ...], int | None, float | None])
_EVERY = tuple(State)


class Reading:
    """What reading calls act on: a connection between transactions."""

    def __init__(self, db: SQLiteConnection, now: Millis | None = None) -> None:
        self.db = db
        self.now = REAL.now_ms() if now is None else now
        self._sql = statements()

    def value(self, name: str, bindings: tuple[Any, ...] = ()) -> Any:
        """Return the only row of a named statement: its value, or a tuple of several; or None."""
        return self.db.execute(self._sql[name], bindings).get

    def rows(self, name: str, bindings: tuple[Any, ...] = ()) -> list[Any]:
        """Return the rows of a statement that returns them as one JSON array."""
        return _rows(self.value(name, bindings))


def get(read: Reading, refs: Sequence[Ref], *, tries: bool = True) -> list[Record | None]:
    """Read jobs by queue and id."""
    asked = to_json([(ref.queue, ref.id) for ref in refs])
    found = dict(_numbered(read.value("read.jobs", (asked, flag(tries)))))
    return [found.get(number) for number in range(len(refs))]


def _listing(states: tuple[State, ...], *, newest_first: bool) -> list[tuple[str, str]]:
    """Return which statements list these states, each with the state that it takes."""
    parts: list[tuple[str, str]] = []
    both = State.WAITING in states and State.PRIORITIZED in states
    for state in states:
        match state:
            case State.WAITING | State.PRIORITIZED:
                if not (both and state is State.PRIORITIZED):
                    parts.append(("read.ready", "" if both else state))
            case State.DELAYED:
                parts.append(("read.delayed", state))
            case State.ACTIVE:
                parts.append(("read.active", state))
            case State.WAITING_CHILDREN:
                parts.append(("read.parents", state))
            case State.COMPLETED | State.FAILED:
                parts.append(("read.finished", state))
    return [(name + ("_last" if newest_first else ""), state) for name, state in parts]


def find(read: Reading, query: Query) -> Page:
    """List one page of jobs; states follow each other in the order they were asked for."""
    if query.dedup is not None:
        id = read.value("read.dedup", (query.queue, query.dedup, read.now))
        ids = [] if id is None else [id]
    elif query.fingerprint is not None:
        asked = (query.fingerprint, to_json(query.states), query.limit + 1, query.offset)
        ids = read.rows("errors.jobs", (query.queue, *asked))
    else:
        ids = _ids(read, query)
    if query.ids_only:
        return Page(ids=tuple(ids[: query.limit]), more=len(ids) > query.limit)
    records = get(read, [Ref(query.queue, id) for id in ids[: query.limit]], tries=False)
    return Page(jobs=tuple(r for r in records if r is not None), more=len(ids) > query.limit)


def _ids(read: Reading, query: Query) -> list[str]:
    """Page through states as if their lists stood one behind the other; one more than asked."""
    if read.db.in_transaction:
        return _ids_now(read, query)
    read.value("read.begin")
    try:
        return _ids_now(read, query)
    finally:
        read.value("read.end")


def _ids_now(read: Reading, query: Query) -> list[str]:
    wanted, skip = query.limit + 1, query.offset
    ids: list[str] = []
    for name, state in _listing(query.states or _EVERY, newest_first=query.newest_first):
        left = wanted - len(ids)
        if left <= 0:
            break
        # Reading from the start of each list keeps the arithmetic right over several of them.
        found = read.rows(name, (query.queue, state, query.name, skip + left, 0))
        ids += found[skip:]
        skip = max(skip - len(found), 0)
    return ids


def counts(read: Reading, queues: Sequence[str]) -> list[Counts]:
    """Count jobs by state."""
    return [
        _counts(jobs if counted else read.value("queue.count", (key,)), oldest)
        for key, counted, jobs, oldest in read.rows("read.counts", (to_json(list(queues)),))
    ]


def _counts(jobs: Sequence[int], oldest: Millis | None) -> Counts:
    waiting, prioritized, delayed, active, parents, completed, failed = map(whole, jobs)
    return Counts(
        waiting=waiting,
        prioritized=prioritized,
        delayed=delayed,
        active=active,
        waiting_children=parents,
        completed=completed,
        failed=failed,
        oldest_ms=oldest,
    )


def children(read: Reading, parent: Ref, outcome: str | None, page: tuple[int, int]) -> Children:
    """List a job's children and count them."""
    offset, limit = page
    text = read.value("read.children", (parent.queue, parent.id, outcome, limit, offset))
    found = _children(text)
    totals = read.value("read.child_counts", (parent.queue, parent.id))
    pending, completed, failed, ignored = map(whole, totals)
    return Children(
        items=tuple(
            Child(queue=queue, id=id, name=name, outcome=how, value=value)
            for queue, id, name, how, value in found
        ),
        pending=pending,
        completed=completed,
        failed=failed,
        ignored=ignored,
    )


def logs(read: Reading, job: Ref, page: tuple[int, int], *, newest_first: bool) -> Logs:
    """Read a page of a job's log."""
    offset, limit = page
    name = "read.logs_last" if newest_first else "read.logs"
    row = read.value(name, (job.queue, job.id, limit, offset))
    if row is None:
        return Logs()
    return Logs(lines=tuple(_lines(row[0])), total=row[1])


def metrics(read: Reading, queue: str, kind: str, since_ms: Millis) -> Metrics:
    """Read finished jobs a minute."""
    points = read.rows("read.metrics", (queue, kind, since_ms))
    ever = read.value("read.ever", (queue,)) or (0, 0)
    total = ever[0] if kind == State.COMPLETED else ever[1]
    return Metrics(kind=kind, points=tuple((at, n) for at, n in points), total=total)


def workers(
    read: Reading, queue: str | None, now: Millis, gone: Callable[[str], bool]
) -> list[WorkerInfo]:
    """List workers; `gone` says of the lock of a process whether that died."""
    found = read.rows("read.workers", (queue,))
    return [
        WorkerInfo(
            id=row[0],
            name=row[1],
            host=row[2],
            pid=row[3],
            queues=tuple(row[4]),
            concurrency=row[5],
            started_ms=row[6],
            seen_ms=row[7],
            active=row[8],
            rate=row[9],
            alive=now - row[7] < 60_000 and not gone(row[10]),
            declares=None if row[11] is None else tuple(row[11]),
            **_vitals_of(row[12]),
        )
        for row in found
    ]


def _vitals_of(text: str | None) -> dict[str, Any]:
    """Read what a worker says of itself beside who it is."""
    told = or_else(_vitals, text, (None, (), None, None))
    return dict(zip(("version", "slots", "rss", "cpu"), told, strict=True))


def settings(read: Reading, names: Sequence[str]) -> list[QueueSettings]:
    """Read queues' settings."""
    made: list[QueueSettings] = []
    for name in names:
        row = read.value("queue.load", (name,))
        known = row is not None
        made.append(settings_of(QueueRow(row), read.now) if known else QueueSettings(queue=name))
    return made


def settings_of(queue: QueueRow, now: Millis) -> QueueSettings:
    """Return a queue's settings as a value, as they hold at a time."""
    until = queue.limited_until
    most = queue.rate_max or queue.window_max
    if most and queue.window_used >= most:
        until = max(until, queue.window_end)
    return QueueSettings(
        queue=queue.name,
        paused=bool(queue.paused),
        concurrency=queue.concurrency,
        rate_max=queue.rate_max,
        rate_ms=queue.rate_ms,
        limited_until=until if until > now else None,
        keep_completed=keep_from_text(queue.keep_completed),
        keep_failed=keep_from_text(queue.keep_failed),
        dead_letter=queue.dead_letter,
        events_limit=queue.events_limit,
        max_waiting=queue.max_waiting,
        pause=read_pause(queue.pause, queue.pause_since, queue.pause_until),
        last_id=queue.ids,
        declared=bool(queue.declared),
    )


def events(read: Reading, queue: str, after: int, limit: int) -> list[Event]:
    """Read events after a number."""
    found: list[Event] = []
    for first, at, bodies in read.rows("read.events", (queue, after, limit)):
        for number, body in enumerate(bodies, start=first):
            if number > after and len(found) < limit:
                found.append(_event(queue, str(number), at, body))
    return found


def event_number(after: str | None) -> int:
    """Return the number of the event with an id; 0 for None."""
    if after is None:
        return 0
    if not after.isdigit():
        raise ConfigError(
            f"after={after!r} is not the id of an event of this store",
            field="after",
            value=after,
            hint="give the id of an event that you received, or None",
        )
    return whole(after)


def _event(queue: str, id: str, at: Millis, body: dict[str, Any]) -> Event:
    kind = body.pop("kind", "")
    try:
        return make(kind, id=id, queue=queue, at_ms=at, fields=body)
    except TypeError:
        # Another program wrote it: its fields are not those of its kind.
        return Custom(id=id, queue=queue, at_ms=at, name=str(kind), fields=body)


def schedule_info(row: Sequence[Any]) -> ScheduleInfo:
    """Read a stored schedule."""
    queue, id, name, rule, data, opts, count, next_ms, job_id, owner, pause, since = row
    try:
        read_rule = _rule(rule)
        from_text(opts)
        if next_ms is not None and not 0 <= next_ms <= LAST_MS:
            raise Unreadable(f"next_ms={next_ms} is not the time of a run")
        if not 0 <= count <= MAX_WHOLE:
            raise Unreadable(f"count={count} is not a number of runs")
    except (Unreadable, ConfigError) as error:
        return ScheduleInfo.unreadable(queue, id, str(error), name=name, owner=owner)
    return ScheduleInfo(
        queue=queue,
        id=id,
        name=name,
        rule=read_rule,
        data=data,
        opts=opts,
        count=count,
        next_ms=next_ms,
        job_id=job_id,
        owner=owner,
        pause=read_pause(pause, since, None),
    )


def peek(read: Reading, queues: Sequence[str], now: Millis) -> tuple[frozenset[str], Millis | None]:
    """Return which queues may have a job to claim now, and when that may change on its own."""
    claimable: set[str] = set()
    later: list[Millis] = []
    for name, paused, ready, due, full, limited in read.rows("read.peek", (to_json(list(queues)),)):
        if paused is not None and (not paused or paused > now):
            later += [paused] if paused else []
            continue
        if due is not None and due > now:
            later.append(due)
        if not (ready or (due is not None and due <= now)):
            continue
        if limited > now:
            later.append(limited)
        elif not full:
            claimable.add(name)
    return frozenset(claimable), min(later, default=None)
