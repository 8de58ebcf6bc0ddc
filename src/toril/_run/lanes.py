"""Who may claim how many jobs of which queue, and when it is worth asking.

A lane is one queue of a worker. Counts change on the event loop only. Never here: a store.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from toril._model.options import RateLimit
from toril._model.record import Claim
from toril._model.times import Millis
from toril._store.protocol import Claimed, ClaimRequest

# One call to a store is bounded.
MOST = 250
# How much data of jobs, or how many results, one call carries, unless one alone is larger.
MOST_CHARACTERS = 1_000_000
# A hint that came at once and led to nothing is followed by a rest, longer each time: jobs may
# wait that this worker must not take (a cap, a limit), and asking again at once would spin.
AT_ONCE_S = 0.02
FIRST_REST_S = 0.005
LONGEST_REST_S = 0.5


class Mood(Enum):
    """What a lane does while it has room."""

    READY = auto()  # there may be jobs: claim
    LISTENS = auto()  # there were none: the store's `wait` tells
    RESTS = auto()  # there may be some that it must not take: a timer tells


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What every claim of a worker says."""

    lock_ms: Millis
    worker: str
    rate: RateLimit | None = None


class Lane:
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
        self.few = MOST
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
        """Say whether some name has no place left."""
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

    def learn(self, jobs: Sequence[Claim]) -> None:
        """See how large the jobs of this queue are."""
        size = sum([len(claim.record.data) for claim in jobs])
        self.few = max(MOST_CHARACTERS * len(jobs) // (size or 1), 1)

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


class Lanes:
    """The queues of a worker, dealt the places that are free in turn."""

    __slots__ = ("_by_queue", "_lanes", "_total", "_turn", "terms")

    def __init__(self, lanes: Iterable[Lane], terms: Terms, *, total: int | None) -> None:
        self._lanes = list(lanes)
        self._by_queue = {lane.queue: lane for lane in self._lanes}
        self._total = total
        self._turn = 0
        self.terms = terms

    def __getitem__(self, queue: str) -> Lane:
        return self._by_queue[queue]

    @property
    def queues(self) -> tuple[str, ...]:
        """Name the queues."""
        return tuple(self._by_queue)

    @property
    def concurrency(self) -> int:
        """Count the places there are."""
        places = sum(lane.concurrency for lane in self._lanes)
        return places if self._total is None else min(places, self._total)

    @property
    def room(self) -> int:
        """Count the places that are free, and for which no job is on its way."""
        return self.concurrency - sum(lane.busy + lane.asked for lane in self._lanes)

    @property
    def asking(self) -> bool:
        """Say whether any lane would claim now."""
        return any(
            lane.mood is Mood.READY and lane.busy + lane.asked < lane.concurrency
            for lane in self._lanes
        )

    @property
    def expecting(self) -> bool:
        """Say whether a claim is under way."""
        return any(lane.asked for lane in self._lanes)

    def open_queues(self) -> tuple[str, ...]:
        """Name the queues from which this worker could claim if they have jobs."""
        return tuple(
            lane.queue
            for lane in self._lanes
            if lane.busy < lane.concurrency and not lane.blocked and not lane.capped
        )

    def listening(self) -> frozenset[str]:
        """Name the queues that the store shall watch."""
        return frozenset(lane.queue for lane in self._lanes if lane.mood is Mood.LISTENS)

    def deal(self, token: str) -> list[ClaimRequest]:
        """Share the free places among the queues that may have jobs, each beginning in turn."""
        most = MOST if self._total is None else min(self.room, MOST)
        self._turn = (self._turn + 1) % len(self._lanes)
        order = self._lanes[self._turn :] + self._lanes[: self._turn]
        asking = [lane for lane in order if lane.mood is Mood.READY]
        requests: list[ClaimRequest] = []
        for behind, lane in enumerate(asking):
            # An even share of what is left, so that a full queue never starves the next one.
            share = -(-most // (len(asking) - behind))
            request = lane.request(share, token, self.terms)
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
        """Learn from an answer; when the lane has to rest, say for how many seconds."""
        lane = self._by_queue[request.queue]
        lane.blocked = claimed.blocked
        if claimed.jobs:
            lane.misses = 0
            lane.learn(claimed.jobs)
        if len(claimed.jobs) >= request.limit:
            return None
        lane.mood = Mood.LISTENS
        if claimed.blocked == "rate" and claimed.next_ms is not None:
            lane.mood = Mood.RESTS
            return max(claimed.next_ms - claimed.now_ms, 1) / 1000
        return None if claimed.jobs else self._missed(lane)

    def _missed(self, lane: Lane) -> float | None:
        # The first look that finds nothing ends every run of jobs: it is no reason to rest.
        lane.misses += 1
        if lane.misses == 1:
            return None
        lane.mood = Mood.RESTS
        return min(FIRST_REST_S * 2.0 ** min(lane.misses - 2, 10), LONGEST_REST_S)

    def wake(self, queues: Iterable[str], *, waited: float = 0.0) -> None:
        """Claim from these queues at the next occasion; a hint came after so many seconds."""
        for queue in queues:
            lane = self._by_queue[queue]
            if waited > AT_ONCE_S:
                lane.misses = 0
            lane.wake()

    def listen_again(self, queue: str) -> None:
        """End a rest: let the store tell of this queue."""
        lane = self._by_queue[queue]
        lane.timer = None
        if lane.mood is Mood.RESTS:
            lane.mood = Mood.LISTENS

    def stop(self) -> None:
        """Forget all timers."""
        for lane in self._lanes:
            lane.stop_timer()
