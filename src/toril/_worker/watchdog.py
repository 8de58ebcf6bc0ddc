"""Noticing a worker that could claim and does not: never silent, whatever the reason.

Never here: ending the process.
"""

from collections.abc import Callable

from toril._store.protocol import Store
from toril.errors import TorilError

from .claims import ClaimSources
from .exchange import Exchange
from .reporting import Reporter
from .running import RunningJobs

LOOK_S = 30.0


class Watchdog:
    """Look every half minute; act when jobs could be claimed twice in a row and none was.

    The first time the connection is made again. When that did not help, the worker is `stuck`.
    `concern` says what was found, as long as no job was claimed since.
    """

    def __init__(
        self, store: Store, trips: Exchange, reporter: Reporter, stuck: Callable[[str], None]
    ) -> None:
        self._store = store
        self._exchange = trips
        self._reporter = reporter
        self._stuck = stuck
        self._seen: float | None = None
        self._concern: tuple[float, str] | None = None

    @property
    def concern(self) -> str | None:
        """What is wrong, unless a job was claimed since."""
        if self._concern is None or self._concern[0] != self._exchange.fruitful:
            return None
        return self._concern[1]

    async def look(self, sources: ClaimSources, running_jobs: RunningJobs) -> float:
        """Look once."""
        broken = self._store.broken
        if broken is not None:
            self._reporter.trouble("using the store", TorilError(broken))
            self._stuck(broken)
            return LOOK_S
        could = self._exchange.claiming and not running_jobs.solitary and sources.room > 0
        queues = sources.open_queues() if could else ()
        claimable = queues and await self._store.wait(queues, timeout_ms=0)
        fruitful = self._exchange.fruitful
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
        self._reporter.trouble("claiming", TorilError(what))
        if before:
            self._stuck(what)
        else:
            await self._store.open(anew=True)
            self._exchange.start_over()
