"""What the jobs of one app share: the store, and the trips to it that they take together.

Never here: anything about one job.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from toril._model.report import JobPatch
from toril._store.forks import Forkable, follow_forks
from toril._store.loop_local import PerLoop
from toril._store.pending import PendingStore
from toril._store.protocol import Store
from toril._store.values import LogLine

from .batching import Batcher
from .event_reader import EventReaders
from .guard import write_log
from .limits import Limits
from .process_role import HERE
from .results import Results

log = logging.getLogger("toril.store")


# What a server is found to be like when it is reached; a child's worker has said it.
_OF_SERVERS = frozenset(["store.vulnerable", "store.evicts", "store.forgets", "store.unchecked"])


def _log_notice(name: str, text: str) -> None:
    if HERE.child and name in _OF_SERVERS:
        return
    level = logging.INFO if name == "store.back" else logging.WARNING
    # The store calls this from its own threads and tasks.
    write_log(log, level, "%s %s", name, text, extra={"notice": name})


class Session(Forkable):
    """Share a store, its batchers and its waits among jobs.

    The `loop` is a worker's own: a handler in a thread hands its progress and log lines over to
    it. Outside of workers it is None. `limits` says how large payloads may be.
    """

    __slots__ = (
        "_feeds",
        "_lines",
        "_open",
        "_patches",
        "_results",
        "inline",
        "limits",
        "loop",
        "store",
    )

    def __init__(
        self,
        store: Store,
        limits: Limits | None = None,
        *,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.store = store
        self.limits = limits or Limits()
        store.on_notice.add(_log_notice)
        self.loop = loop
        self._open = False
        # For tests: what runs the jobs that were just added.
        self.inline: Callable[[], Awaitable[None]] | None = None
        self._patches = PerLoop(lambda: Batcher[JobPatch, None](self._update))
        self._lines = PerLoop(lambda: Batcher[LogLine, int](self._log))
        self._follow_store()
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Open the store again when it is needed; the worker's loop does not run here."""
        self._open = False
        self.loop = None

    def _follow_store(self) -> None:
        store = self.store
        self._feeds = PerLoop(lambda: EventReaders(store))
        self._results = PerLoop(lambda: Results(store, self.feeds))

    def use(self, store: Store, *, opened: bool = False) -> None:
        """Take another store than before, with nothing under way in that."""
        store.on_notice.add(_log_notice)
        self.store, self._open = store, opened
        self._follow_store()

    @property
    def opened(self) -> bool:
        """Whether the store was opened."""
        return self._open

    async def ready(self) -> Store:
        """Open the store when it is first needed, and give it.

        Raises   StoreUnavailable · StoreMismatch · StoreCorrupt · ConfigError: it cannot be used.
        """
        if not self._open:
            pending: object = self.store
            if isinstance(pending, PendingStore):
                found = await pending.resolve()
                if self.store is pending:
                    self.use(found)
            HERE.refuse_store(self.store.url)
            await self.store.open()
            self._open = True
        return self.store

    async def close(self) -> None:
        """Close the store; the next use opens it again."""
        self._open = False
        await self.store.close()

    @property
    def patches(self) -> Batcher[JobPatch, None]:
        """The batcher of changes to jobs, the running loop's."""
        return self._patches.here()

    @property
    def lines(self) -> Batcher[LogLine, int]:
        """The batcher of log lines, the running loop's."""
        return self._lines.here()

    @property
    def feeds(self) -> EventReaders:
        """The readers of events, the running loop's."""
        return self._feeds.here()

    @property
    def results(self) -> Results:
        """The waits for results, the running loop's."""
        return self._results.here()

    async def _update(self, patches: list[JobPatch]) -> Sequence[BaseException | None]:
        return await self.store.update(patches)

    async def _log(self, lines: list[LogLine]) -> Sequence[int | BaseException]:
        return await self.store.log(lines)
