"""The clock of a process: the time of day, and how time passes. A test may move it.

What happens to stored jobs goes by the store's clock, which for SQLite is this one, and for Redis the
server's.
"""

import time

from toril._model.times import Millis


class Clock:
    """The real time."""

    __slots__ = ()

    def now_ms(self) -> Millis:
        """Return the time of day, in ms since the epoch."""
        return time.time_ns() // 1_000_000

    def passed(self) -> float:
        """Return seconds that only grow, to measure how long something takes."""
        return time.monotonic()


REAL = Clock()
