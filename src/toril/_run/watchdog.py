"""Noticing a worker that could claim and does not: never silent, whatever the reason.

Never here: what is done about it.
"""

from collections.abc import Callable

from toril._store.protocol import Store
from toril.errors import TorilError

from .lanes import Lanes
from .slots import Slots
from .telling import Telling
from .trips import Trips

LOOK_S = 30.0


class Watchdog:
    """Look every half minute; act when jobs could be claimed twice in a row and none was."""

    def __init__(
        self, store: Store, trips: Trips, telling: Telling, stuck: Callable[[str], None]
    ) -> None:
        self._store = store
        self._trips = trips
        self._telling = telling
        self._stuck = stuck
        self._seen: float | None = None

    async def look(self, lanes: Lanes, slots: Slots) -> float:
        """Look once."""
        could = self._trips.claiming and not slots.solitary and lanes.room > 0
        queues = lanes.open_queues() if could else ()
        claimable = queues and await self._store.wait(queues, timeout_ms=0)
        fruitful = self._trips.fruitful
        if not claimable:
            self._seen = None
        elif self._seen == fruitful:
            self._report(sorted(claimable))
        else:
            self._seen = fruitful
        return LOOK_S

    def _report(self, queues: list[str]) -> None:
        what = (
            f"jobs of {', '.join(queues)} could be claimed, places are free, and nothing was "
            f"claimed for {LOOK_S:.0f} s"
        )
        self._telling.trouble("claiming", TorilError(what))
        self._stuck(what)
