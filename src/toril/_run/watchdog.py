"""Noticing a worker that could claim and does not: never silent, whatever the reason.

Never here: ending the process.
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
    """Look every half minute; act when jobs could be claimed twice in a row and none was.

    The first time the connection is made anew. When that did not help, the worker is `stuck`.
    `concern` says what was found, as long as no job was claimed since.
    """

    def __init__(
        self, store: Store, trips: Trips, telling: Telling, stuck: Callable[[str], None]
    ) -> None:
        self._store = store
        self._trips = trips
        self._telling = telling
        self._stuck = stuck
        self._seen: float | None = None
        self._concern: tuple[float, str] | None = None

    @property
    def concern(self) -> str | None:
        """Say what is wrong, unless a job was claimed since."""
        if self._concern is None or self._concern[0] != self._trips.fruitful:
            return None
        return self._concern[1]

    async def look(self, lanes: Lanes, slots: Slots) -> float:
        """Look once."""
        broken: str | None = getattr(self._store, "broken", None)
        if broken is not None:
            self._telling.trouble("using the store", TorilError(broken))
            self._stuck(broken)
            return LOOK_S
        could = self._trips.claiming and not slots.solitary and lanes.room > 0
        queues = lanes.open_queues() if could else ()
        claimable = queues and await self._store.wait(queues, timeout_ms=0)
        fruitful = self._trips.fruitful
        if not claimable:
            self._seen = self._concern = None
        elif self._seen == fruitful:
            await self._act(sorted(claimable), fruitful)
        else:
            self._seen = fruitful
        return LOOK_S

    async def _act(self, queues: list[str], fruitful: float) -> None:
        before = self.concern is not None
        what = (
            f"jobs of {', '.join(queues)} could be claimed, places are free, and nothing was "
            f"claimed for {LOOK_S:.0f} s"
        )
        self._concern = (fruitful, what)
        self._telling.trouble("claiming", TorilError(what))
        if before:
            self._stuck(what)
        else:
            await self._store.open(anew=True)
            self._trips.start_over()
