"""Long work on an event loop in short turns, so that others on the loop are served in between.

Never here: what the work is.
"""

import asyncio
from collections.abc import Callable, Iterable
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
