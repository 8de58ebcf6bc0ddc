"""Long work in short turns, so that others are served in between: on an event loop, in a store.

Never here: what the work is.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from time import perf_counter
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

TURN_S = 0.0005
"""How long one turn takes, unless one item takes longer."""


async def in_turns(make: Callable[[T], U], items: Iterable[T]) -> list[U]:
    """Make something of each item, in their order, turn by turn."""
    made: list[U] = []
    until = perf_counter() + TURN_S
    for item in items:
        made.append(make(item))
        if perf_counter() > until:
            await asyncio.sleep(0)
            until = perf_counter() + TURN_S
    return made


CALL_S = 0.004
"""How long the jobs of one of many calls to a store may keep it busy."""

FEWEST = 10
LONGEST_REST_S = 0.02


class Pace:
    """How many jobs each of many calls in a row takes, so that other queues have turns between them.

    A call costs something however few jobs it has, such as the way to a server: only what more jobs
    cost is kept short. After each call the store rests for half the time that it took.
    """

    def __init__(self, most: int) -> None:
        self.limit = min(FEWEST, most)
        self._most = most
        # The quickest call: its jobs, and how long it took.
        self._least: tuple[int, float] | None = None

    async def call(self, call: Awaitable[T]) -> T:
        """Make a call about `limit` jobs, learn from it, and rest."""
        began = perf_counter()
        answer = await call
        took = perf_counter() - began
        self._learn(took)
        await asyncio.sleep(min(took / 2, LONGEST_REST_S))
        return answer

    def _learn(self, took: float) -> None:
        jobs, least = self._least or (self.limit, took)
        if self._least is None or took < least:
            self._least = (self.limit, took)
        more = self.limit - jobs
        expected = (took - least) / more * self.limit if more > 0 else 0.0
        if expected > 2 * CALL_S:
            self.limit = max(self.limit // 2, min(FEWEST, self._most))
        elif expected <= CALL_S:
            self.limit = min(self.limit * 2, self._most)
