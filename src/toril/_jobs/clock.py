"""The time of day where there is no store at hand; `store.clock` is the one that a test may move."""

from toril._model.times import Millis
from toril._store.clock import REAL


def now_ms() -> Millis:
    """Return the time of day, in ms since the epoch."""
    return REAL.now_ms()
