"""Lists of jobs: by id, by queue and state, or by looking at them one after the other.

Never here: the search language (search), and one job (job).
"""

import asyncio
import base64
import heapq
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import msgspec

from toril.dashboard.board import PageCall
from toril.dashboard.problems import bad_request
from toril.dashboard.rows import JobRow, now_ms
from toril.dashboard.search import EVERY, Search, SearchProblem, matcher, moment_of, read_search
from toril.types import QueueView, Record, Ref

MOST = 200
# One request looks at so many jobs, or for so long; the next goes on where it ended.
BUDGET, BUDGET_S = 2_000, 0.05
# How many jobs are read at once while they are looked at.
CHUNK = 200
# Where jobs of several queues are merged, each gives a few at first.
FIRST = 10
# After a look at a list that has changed, so many places are read again.
SLACK = 20
MOST_READ = 1_000
_OLDEST_FIRST = {"waiting", "prioritized", "delayed", "waiting-children"}


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsQuery:
    """A search, and where its page begins."""

    q: str = ""
    cursor: str = ""
    limit: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchPlan:
    """How the jobs were found.

    Attributes:
        by: "id", "index" (nothing else was looked at), or "scan" (jobs were looked at one by one).
        index: What the index is of.
        looked_at: How many jobs this page has looked at.
        of: How many jobs are in the lists that were looked at.
        back_to_ms: How far back the last job was that was looked at.
        done: Whether the end was reached.
    """

    by: str
    index: str | None = None
    looked_at: int = 0
    of: int = 0
    back_to_ms: int | None = None
    done: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class JobsAnswer:
    """A page of jobs, and how they were found."""

    items: list[JobRow]
    plan: SearchPlan
    next: str | None = None
    total: int | None = None
    problems: list[SearchProblem] = field(default_factory=list[SearchProblem])


class ListPlace(msgspec.Struct, array_like=True):
    """How far a list was read: the position, and the moment and id of the last job."""

    offset: int = 0
    at_ms: int = 0
    id: str = ""
    ended: bool = False


async def jobs(call: PageCall, query: JobsQuery) -> JobsAnswer:
    """Return the jobs that a search asks for, newest first; those that wait in their order."""
    limit = min(max(query.limit, 1), MOST)
    search = read_search(query.q, now_ms())
    found = [] if query.cursor else await by_id(call, search)
    if found or search.ids:
        rows = [call.board.row(record) for record in found]
        plan = SearchPlan(by="id", looked_at=len(rows), of=len(rows))
        return JobsAnswer(items=rows, plan=plan, total=len(rows), problems=[*search.problems])
    indexed = await by_index(call, search, query.cursor, limit)
    if indexed is not None:
        return indexed
    reader = await _ListReader.make(call, search, query.cursor)
    records = await reader.read(limit)
    return JobsAnswer(
        items=[call.board.row(record) for record in records],
        plan=reader.plan(),
        next=reader.next(),
        total=None if search.looks else reader.total,
        problems=[*search.problems],
    )


async def by_index(call: PageCall, search: Search, cursor: str, limit: int) -> JobsAnswer | None:
    """Return jobs by declared search fields; None: some are not declared, or more was asked for."""
    if not search.is_by_field:
        return None
    snapshot = await call.board.sampler.snapshot()
    names = call.visible([view.name for view in snapshot.queues])
    names = [name for name in names if not search.queues or name in search.queues]
    wanted = dict(search.fields)
    declared = await call.app.monitor.fields(*names) if names else {}
    having = [name for name in names if {*wanted} <= {*declared.get(name, ()), "tag"}]
    if not having or ("tag" not in wanted and not any(declared.get(name) for name in having)):
        return None
    places = {key: place.id for key, place in _read_cursor(cursor).items()}
    asked = [name for name in having if not cursor or places.get(name)]
    found = await asyncio.gather(
        *(
            call.app.queue(name).find(
                wanted,
                state=list(search.states) or None,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                before=places.get(name),
                limit=limit,
            )
            for name in asked
        )
    )
    records = [job.record for page in found for job in page.jobs]
    records.sort(key=lambda record: -record.created_ms)
    left = {
        name: ListPlace(id=page.next)
        for name, page in zip(asked, found, strict=True)
        if page.next is not None
    }
    return JobsAnswer(
        items=[call.board.row(record) for record in records],
        plan=SearchPlan(
            by="index", index=", ".join(wanted), looked_at=len(records), of=len(records),
            done=not left,
        ),
        next=_write_cursor(left) if left else None,
        problems=[*search.problems],
    )  # fmt: skip


async def by_id(call: PageCall, search: Search) -> list[Record]:
    """Return the jobs with the ids that were typed: in the queues that were named, or in any."""
    ids = search.ids or (search.words if len(search.words) == 1 else ())
    if not ids and len(search.fields) == 1:
        # QUEUE:ID reads like the name and value of a field.
        ids = (":".join(search.fields[0]),)
    if not ids:
        return []
    snapshot = await call.board.sampler.snapshot()
    names = call.visible([view.name for view in snapshot.queues])
    refs = [
        Ref(queue, job_id)
        for given in ids
        for queue, job_id in _places(given, names)
        if not search.queues or queue in search.queues
    ]
    return [job.record for job in await call.app.monitor.jobs(refs) if job is not None]


def _places(given: str, names: Sequence[str]) -> list[tuple[str, str]]:
    """Read an id, or QUEUE:ID."""
    here = [
        (name, given[len(name) + 1 :])
        for name in names
        if given.startswith(f"{name}:") and len(given) > len(name) + 1
    ]
    return here + [(name, given) for name in names]


class _Source:
    """The jobs of one queue in one state, from a place on."""

    def __init__(self, call: PageCall, queue: str, state: str, place: ListPlace) -> None:
        self.key = f"{state}:{queue}"
        self.place = place
        self.newest_first = state not in _OLDEST_FIRST
        self._call, self._queue, self._state = call, queue, state
        # Each with its position in the list.
        self._fresh: list[tuple[int, Record]] = []
        self._offset = max(place.offset - SLACK, 0) if place.id else 0
        self._more = not place.ended

    @property
    def head(self) -> Record | None:
        """The next job."""
        return self._fresh[0][1] if self._fresh else None

    @property
    def ended(self) -> bool:
        """Whether there is nothing more."""
        return not self._fresh and not self._more

    async def fill(self, size: int) -> None:
        """Read more jobs, if there are none at hand."""
        while not self._fresh and self._more:
            page = await self._call.app.queue(self._queue).page(
                self._state,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
                offset=self._offset,
                limit=size,
                newest_first=self.newest_first,
            )
            found = [*enumerate(page.jobs, self._offset)]
            self._fresh = self._after_place(found)
            self._offset += len(page.jobs)
            self._more = page.more and bool(page.jobs)
            size = min(2 * size, MOST_READ)

    def _after_place(self, found: list[tuple[int, Record]]) -> list[tuple[int, Record]]:
        """Leave out what was read before: jobs that came or went have moved the others."""
        last = self.place
        if not last.id:
            return found
        ids = [record.id for _, record in found]
        if last.id in ids:
            return found[ids.index(last.id) + 1 :]
        if self.newest_first:
            before = (last.at_ms, last.id)
            return [each for each in found if (moment_of(each[1]), each[1].id) < before]
        return [each for each in found if each[0] >= last.offset]

    def take(self) -> Record:
        """Return the next job, and go on."""
        at, record = self._fresh.pop(0)
        self.place = ListPlace(at + 1, moment_of(record), record.id)
        return record


class _ListReader:
    """Reads lists of several queues and states as one, within its budget."""

    def __init__(self, call: PageCall, search: Search, sources: list[_Source], total: int) -> None:
        self._search, self._sources = search, sources
        self._matches = matcher(search, call.board.redactor, now_ms())
        self._looked = 0
        self._back: int | None = None
        self._ended: dict[str, ListPlace] = {}
        self.total = total
        self._single = len({source.key.partition(":")[0] for source in sources}) == 1

    @classmethod
    async def make(cls, call: PageCall, search: Search, cursor: str) -> "_ListReader":
        snapshot = await call.board.sampler.snapshot()
        places = _read_cursor(cursor)
        sources: list[_Source] = []
        total = 0
        for view in snapshot.queues:
            if not call.access.sees(view.name) or (
                search.queues and view.name not in search.queues
            ):
                continue
            for state in search.states or EVERY:
                count = count_of(view, state)
                place = places.get(f"{state}:{view.name}", ListPlace())
                if count and not place.ended:
                    sources.append(_Source(call, view.name, state, place))
                total += count
        reader = cls(call, search, sources, total)
        reader._ended = {key: place for key, place in places.items() if place.ended}
        return reader

    async def read(self, limit: int) -> list[Record]:
        """Return the next jobs that match."""
        began = time.perf_counter()
        each = CHUNK if self._search.looks else limit + 1
        size = max(each // max(len(self._sources), 1), FIRST)
        await asyncio.gather(*(source.fill(size) for source in self._sources))
        heap = [(self._order(source), at) for at, source in enumerate(self._sources) if source.head]
        heapq.heapify(heap)
        found: list[Record] = []
        while heap and len(found) < limit and self._has_time(began):
            _, at = heapq.heappop(heap)
            source = self._sources[at]
            record = source.take()
            self._looked += 1
            self._back = moment_of(record)
            if self._matches(record):
                found.append(record)
            await source.fill(size)
            if source.head is not None:
                heapq.heappush(heap, (self._order(source), at))
        return found

    def _order(self, source: _Source) -> tuple[int, int, str]:
        head = source.head
        assert head is not None
        at = moment_of(head)
        # Jobs that wait, one state alone, are listed as they will run.
        return (at if self._single and not source.newest_first else -at), len(head.id), head.id

    def _has_time(self, began: float) -> bool:
        if not self._search.looks:
            return True
        return self._looked < BUDGET and (
            self._looked < CHUNK or time.perf_counter() - began < BUDGET_S
        )

    def next(self) -> str | None:
        if all(source.ended for source in self._sources):
            return None
        # Lists that were not begun need no place.
        read = {source.key: source.place for source in self._sources if source.place.id}
        for source in self._sources:
            if source.ended:
                read[source.key] = ListPlace(ended=True)
        return _write_cursor(self._ended | read)

    def plan(self) -> SearchPlan:
        done = all(source.ended for source in self._sources)
        if not self._search.looks:
            return SearchPlan(
                by="index", index="state", looked_at=self._looked, of=self.total, done=done
            )
        return SearchPlan(
            by="scan", looked_at=self._looked, of=self.total, back_to_ms=self._back, done=done
        )


def count_of(view: QueueView, state: str) -> int:
    """Return how many jobs of a queue are in a state."""
    found: int = getattr(view.counts, state.replace("-", "_"))
    return found


def _write_cursor(places: dict[str, ListPlace]) -> str:
    return base64.urlsafe_b64encode(msgspec.json.encode(places)).decode().rstrip("=")


def _read_cursor(text: str) -> dict[str, ListPlace]:
    if not text:
        return {}
    try:
        raw = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        return msgspec.json.decode(raw, type=dict[str, ListPlace])
    except (ValueError, msgspec.DecodeError):
        raise bad_request(f"cursor={text[:50]!r} is not one of this list", "cursor") from None
