"""Who may claim how many jobs of which queue, and when it is worth asking.

A source is one queue of a worker. Counts change on the event loop only. Never here: a store.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from toril._model.bounds import CHARACTERS_A_CALL, JOBS_A_CALL
from toril._model.options import RateLimit
from toril._model.record import Claim
from toril._model.times import Millis
from toril._store.values import Claimed, ClaimRequest

# A queue that brings at most so many jobs a call has large ones: it has trips of its own.
FEW = 20
# A hint that came at once and led to nothing is followed by a rest, longer each time: jobs may
# wait that this worker must not take (a cap, a limit), and asking again at once would spin.
AT_ONCE_S = 0.02
FIRST_REST_S = 0.005
LONGEST_REST_S = 0.5


class Mood(Enum):
    """What a source does while it has room."""

    READY = auto()  # there may be jobs: claim
    LISTENS = auto()  # there were none: the store's `wait` tells
    RESTS = auto()  # there may be some that it must not take: a timer tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every claim of a worker says."""

    lock_ms: Millis
    worker: str
    rate: RateLimit | None = None


class ClaimSource:
    """One queue: how many of its jobs may run, how many do, and of which names."""

    __slots__ = (
        "_by_name", "_caps", "asked", "blocked", "busy", "concurrency", "few", "misses", "mood",
        "queue", "timer",
    )  # fmt: skip

    def __init__(self, queue: str, concurrency: int, caps: Mapping[str | None, int]) -> None:
        self.queue = queue
        self.concurrency = concurrency
        self.busy = 0
        self.asked = 0
        self.mood = Mood.READY
        self.blocked = ""
        self.misses = 0
        # How many jobs one claim may bring, by the size of those that came last.
        self.few = JOBS_A_CALL
        self.timer: Callable[[], None] | None = None
        self._caps = dict(caps)
        self._by_name: Counter[str | None] = Counter()

    def enter(self, name: str) -> None:
        """Count a job in: it takes a place until its end is on its way to the store."""
        self.busy += 1
        if self._caps:
            self._by_name[self._key(name)] += 1

    def leave(self, name: str) -> None:
        """Count a job out; what only waited for its place may be claimed."""
        self.busy -= 1
        if self.blocked == "concurrency":
            self.wake()
        if self._caps:
            key = self._key(name)
            self._by_name[key] -= 1
            if key in self._caps:
                self.wake()

    @property
    def capped(self) -> bool:
        """Whether some name has no place left."""
        return any(self._by_name[name] >= cap for name, cap in self._caps.items())

    def wake(self) -> None:
        """Claim at the next occasion."""
        self.mood = Mood.READY
        self.stop_timer()

    def stop_timer(self) -> None:
        """Forget the end of a rest."""
        if self.timer is not None:
            self.timer()
            self.timer = None

    @property
    def is_large(self) -> bool:
        """Whether the jobs of this queue are so large that few of them go in one call."""
        return self.few <= FEW

    def learn(self, jobs: Sequence[Claim]) -> None:
        """Note how large the jobs of this queue are."""
        size = sum([len(claim.record.data) for claim in jobs])
        self.few = max(CHARACTERS_A_CALL * len(jobs) // (size or 1), 1)

    def request(self, most: int, token: str, terms: Terms) -> ClaimRequest | None:
        """Ask for jobs if there is room and a chance to get some."""
        if self.mood is not Mood.READY:
            return None
        limit = min(most, self.few, self.concurrency - self.busy - self.asked)
        skip: frozenset[str] = frozenset()
        if self._caps:
            # Of what names the jobs are that are on their way, nobody knows yet.
            if self.asked:
                return None
            limit, skip = self._within_caps(limit)
        if limit <= 0:
            return None
        return ClaimRequest(
            queue=self.queue,
            limit=limit,
            token=token,
            lock_ms=terms.lock_ms,
            worker=terms.worker,
            skip=skip,
            rate=terms.rate,
        )

    def _within_caps(self, limit: int) -> tuple[int, frozenset[str]]:
        # A store knows no caps: so few are asked for that no name can get over its own.
        left = {name: cap - self._by_name[name] for name, cap in self._caps.items()}
        skip = frozenset(name for name, room in left.items() if name is not None and room <= 0)
        rooms = (room for name, room in left.items() if name not in skip)
        return min((limit, *rooms)), skip

    def _key(self, name: str) -> str | None:
        # None stands for the handler of all names that have none of their own.
        return name if name in self._caps else None


class ClaimSources:
    """The queues of a worker, dealt the places that are free in turn."""

    __slots__ = ("_by_queue", "_large", "_sources", "_total", "_turn", "terms")

    def __init__(self, sources: Iterable[ClaimSource], terms: Terms, *, total: int | None) -> None:
        self._sources = list(sources)
        self._by_queue = {source.queue: source for source in self._sources}
        self._large: set[str] = set()
        self._total = total
        self._turn = 0
        self.terms = terms

    def __getitem__(self, queue: str) -> ClaimSource:
        return self._by_queue[queue]

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues."""
        return tuple(self._by_queue)

    @property
    def concurrency(self) -> int:
        """The number of places there are."""
        places = sum(source.concurrency for source in self._sources)
        return places if self._total is None else min(places, self._total)

    @property
    def room(self) -> int:
        """The number of places that are free, and for which no job is on its way."""
        return self.concurrency - sum(source.busy + source.asked for source in self._sources)

    @property
    def asking(self) -> bool:
        """Whether any source would claim now."""
        return any(
            source.mood is Mood.READY and source.busy + source.asked < source.concurrency
            for source in self._sources
        )

    @property
    def expecting(self) -> bool:
        """Whether a claim is under way."""
        return any(source.asked for source in self._sources)

    @property
    def mixed(self) -> bool:
        """Whether some queues have large jobs and others do not."""
        return 0 < len(self._large) < len(self._sources)

    def open_queues(self) -> tuple[str, ...]:
        """Return the names of the queues from which this worker could claim if they have jobs."""
        return tuple(
            source.queue
            for source in self._sources
            if source.busy < source.concurrency and not source.blocked and not source.capped
        )

    def listening(self) -> frozenset[str]:
        """Return the names of the queues that the store shall watch."""
        return frozenset(source.queue for source in self._sources if source.mood is Mood.LISTENS)

    def deal(self, token: str, *, large: bool | None = None) -> list[ClaimRequest]:
        """Share the free places among the queues that may have jobs, each beginning in turn.

        Shape    large: only queues with large jobs, or only the others; None: all.
        """
        most = JOBS_A_CALL if self._total is None else min(self.room, JOBS_A_CALL)
        self._turn = (self._turn + 1) % len(self._sources)
        order = self._sources[self._turn :] + self._sources[: self._turn]
        asking = [
            source
            for source in order
            if source.mood is Mood.READY and (large is None or source.is_large == large)
        ]
        requests: list[ClaimRequest] = []
        for behind, source in enumerate(asking):
            # An even share of what is left, so that a full queue never starves the next one.
            share = -(-most // (len(asking) - behind))
            request = source.request(share, token, self.terms)
            if request is not None:
                requests.append(request)
                most -= request.limit
        return requests

    def expect(self, requests: Iterable[ClaimRequest]) -> None:
        """Keep the places free that were asked for, until there is an answer."""
        for request in requests:
            self._by_queue[request.queue].asked += request.limit

    def answered(self, requests: Iterable[ClaimRequest]) -> None:
        """Keep them no longer."""
        for request in requests:
            self._by_queue[request.queue].asked -= request.limit

    def note(self, request: ClaimRequest, claimed: Claimed) -> float | None:
        """Learn from an answer; when the source has to rest, say for how many seconds."""
        source = self._by_queue[request.queue]
        source.blocked = claimed.blocked
        if claimed.jobs:
            source.misses = 0
            source.learn(claimed.jobs)
            (self._large.add if source.is_large else self._large.discard)(source.queue)
        if len(claimed.jobs) >= request.limit:
            return None
        source.mood = Mood.LISTENS
        if claimed.blocked == "rate" and claimed.next_ms is not None:
            source.mood = Mood.RESTS
            return max(claimed.next_ms - claimed.now_ms, 1) / 1000
        return None if claimed.jobs else self._missed(source)

    def _missed(self, source: ClaimSource) -> float | None:
        # The first look that finds nothing ends every run of jobs: it is no reason to rest.
        source.misses += 1
        if source.misses == 1:
            return None
        source.mood = Mood.RESTS
        return min(FIRST_REST_S * 2.0 ** min(source.misses - 2, 10), LONGEST_REST_S)

    def wake(self, queues: Iterable[str], *, waited: float = 0.0) -> None:
        """Claim from these queues at the next occasion; a hint came after this many seconds."""
        for queue in queues:
            source = self._by_queue[queue]
            if waited > AT_ONCE_S:
                source.misses = 0
            source.wake()

    def listen_again(self, queue: str) -> None:
        """End a rest: let the store tell of this queue."""
        source = self._by_queue[queue]
        source.timer = None
        if source.mood is Mood.RESTS:
            source.mood = Mood.LISTENS

    def stop(self) -> None:
        """Forget all timers."""
        for source in self._sources:
            source.stop_timer()
