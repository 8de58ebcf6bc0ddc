"""Whose calls the writer runs next while one queue asks for much and others for little.

Costs are learned: the CPU time that the calls of one verb and queue took, for each of their groups.
Never here: what a call does.
"""

import time
from collections.abc import Sequence, Sized
from typing import Any, Generic, Protocol, TypeVar, cast

# A transaction is never longer than this many calls: one of them is one trip of many jobs.
MAX_CALLS = 64
# Calls that are expected to take longer are long ones.
LONG_S = 0.002
# What a group costs before it is known.
GUESS_S = 0.00002
LEAST_S = 0.000001
# A long call that adds several groups is cut into parts of this length: a group is never cut.
PART_S = 0.005
# How long a queue with short calls counts as a neighbour of one with long calls.
RECENT_S = 0.25
# After a long call the short ones have the writer for as long as it took, and at most this long.
LONGEST_REST_S = 0.05
MOST_KNOWN = 1_000


class TimedCall(Protocol):
    """What is needed of a call."""

    @property
    def queue(self) -> str | None:
        """The queue it is about, or the first of them."""
        ...

    @property
    def run(self) -> Any:
        """The function that carries it out; all calls of one verb share its code."""
        ...

    @property
    def groups(self) -> Any:
        """What it is about."""
        ...

    def cut(self, count: int) -> "TimedCall":
        """Return a call about its first groups, and leave it the others."""
        ...


C = TypeVar("C", bound=TimedCall)
Key = tuple[object, str | None]


def queue_of(groups: Any) -> str | None:
    """Return the queue that the groups of a call are about, or the first of them."""
    first: Any = groups
    for _ in range(2):
        if type(first) in (list, tuple) and first:
            first = first[0]
    queue: str | None = getattr(first, "queue", None)
    return queue


def _adds(groups: Any) -> list[tuple[Any, ...]]:
    """Return the groups of a call that adds jobs; of all others nothing."""
    some = cast("list[tuple[Any, ...]]", groups if type(groups) is list else [])
    return some if some and type(some[0]) is tuple else []


def _key(call: TimedCall) -> Key:
    return getattr(call.run, "__code__", call.run), call.queue


def _size(call: TimedCall) -> int:
    """Count the jobs that a call adds, or the groups that it is about."""
    adds = _adds(call.groups)
    if adds:
        return max(sum(map(len, adds)), 1)
    return max(len(call.groups), 1) if isinstance(call.groups, Sized) else 1


class CallQueue(Generic[C]):
    """The calls that wait for a writer, in the order in which they came.

    As long as no other queue has short calls beside the long ones of a queue, all that wait share a
    transaction. Else short calls go first and by themselves, long ones one by one and in turn with
    them, and each long one is followed by a rest in which only short ones run: a neighbour waits
    for at most one long call, and seldom for more than one in all its steps.
    """

    def __init__(self) -> None:
        self._waiting: list[tuple[tuple[C, ...], bool]] = []
        self._costs: dict[Key, float] = {}
        self._long_queue: str | None = None
        # The two queues whose short calls came last, and when: the newer one first.
        self._recent: tuple[tuple[str | None, float], ...] = ((None, 0.0), (None, 0.0))
        self._others = 0.0
        # Whether short calls have gone before a long one that could have run.
        self._passed = False
        self._rest_until = 0.0

    def put(self, calls: tuple[C, ...]) -> None:
        """Take calls in that belong into one transaction, in this order."""
        queue = calls[0].queue
        is_long = sum(map(self._cost, calls)) > LONG_S
        if is_long:
            self._long_queue = queue
        elif queue is not None:
            before = [each for each in self._recent if each[0] != queue]
            self._recent = ((queue, time.monotonic()), before[0])
        self._waiting.append((calls, is_long))

    def take(self) -> list[C]:
        """Return the calls of the next transaction; none while long ones have to rest."""
        now = time.monotonic()
        if not self._is_contested(now):
            return self._first(MAX_CALLS)
        resting = now < self._rest_until
        some_long = any(is_long for _, is_long in self._waiting)
        some_short = any(not is_long for _, is_long in self._waiting)
        if some_long and not resting and (self._passed or not some_short):
            self._passed = False
            return self._next_long()
        self._passed = some_long and not resting
        return self._take_short()

    def take_all(self) -> list[C]:
        """Return all calls that wait."""
        return self._first(len(self._waiting))

    def pause(self) -> float | None:
        """Return for how long nothing can run unless something comes; None: nothing waits."""
        if not self._waiting:
            return None
        now = time.monotonic()
        if any(not is_long for _, is_long in self._waiting) or not self._is_contested(now):
            return 0.0
        return max(self._rest_until - now, 0.0)

    def ran(self, calls: Sequence[C], cpu_s: float, wall_s: float, *, others: bool) -> None:
        """Learn from calls that were carried out; `others`: other processes write as well."""
        factor = cpu_s / sum(map(self._cost, calls))
        now = time.monotonic()
        if others:
            self._others = now
        for call in calls:
            self._learn(call, factor)
        if cpu_s > LONG_S:
            self._rest_until = now + min(wall_s, LONGEST_REST_S)

    def _learn(self, call: C, factor: float) -> None:
        verb, queue = _key(call)
        if len(self._costs) >= MOST_KNOWN:
            self._costs.clear()
        # Of the verb as well: that is the guess for a queue that is not known.
        learned = max(self._unit(call) * factor, LEAST_S)
        self._costs[verb, queue] = self._costs[verb, None] = learned

    def _unit(self, call: C) -> float:
        verb, queue = _key(call)
        found = self._costs.get((verb, queue))
        return self._costs.get((verb, None), GUESS_S) if found is None else found

    def _cost(self, call: C) -> float:
        return self._unit(call) * _size(call)

    def _is_contested(self, now: float) -> bool:
        if now - self._others < RECENT_S:
            return True
        (queue, when), older = self._recent
        if queue == self._long_queue:
            queue, when = older
        return queue is not None and now - when < RECENT_S

    def _first(self, most: int) -> list[C]:
        taken: list[C] = []
        count = 0
        while count < len(self._waiting) and len(taken) < most:
            taken += self._waiting[count][0]
            count += 1
        del self._waiting[:count]
        return taken

    def _next_long(self) -> list[C]:
        at = next(n for n, (_, is_long) in enumerate(self._waiting) if is_long)
        calls, _ = self._waiting[at]
        adds = _adds(calls[0].groups)
        if len(calls) == 1 and len(adds) > 1:
            count = self._part(adds, self._unit(calls[0]))
            if count < len(adds):
                return [cast("C", calls[0].cut(count))]
        return list(self._waiting.pop(at)[0])

    def _part(self, groups: list[tuple[Any, ...]], unit: float) -> int:
        """Count the groups that go in one transaction."""
        cost, count = 0.0, 0
        for group in groups:
            cost += unit * len(group)
            if cost > PART_S and count:
                break
            count += 1
        return count

    def _take_short(self) -> list[C]:
        taken: list[C] = []
        left: list[tuple[tuple[C, ...], bool]] = []
        for entry in self._waiting:
            if entry[1] or len(taken) >= MAX_CALLS:
                left.append(entry)
            else:
                taken += entry[0]
        self._waiting = left
        return taken
