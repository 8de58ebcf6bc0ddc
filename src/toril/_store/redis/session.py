"""All that one event loop has of a store: the link to its server, and who waits for work.

Never here: verbs.
"""

import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from toril._model.stored import whole
from toril._model.times import Millis
from toril._store.redis.core.server import Server
from toril._store.redis.core.server_checks import inspect
from toril._store.redis.net.address import Address
from toril._store.redis.net.client import RedisClient
from toril._store.redis.net.cluster import ClusterClient
from toril._store.redis.net.waiter import Waiter
from toril._store.redis.verbs import strays
from toril._store.redis.verbs.durable import DurableAdds
from toril._store.redis.verbs.stream import Readers
from toril._store.values import Claimed

# For how long a reading of the server's clock is better than any later one that says less.
FORGET_MS = 60_000
Notice = Callable[[str, str], None]


def _clock() -> float:
    return time.monotonic_ns() / 1e6


class LoopSession:
    """The connections of one event loop.

    Units    the server's clock is followed by what claims say of it, in ms.
    """

    def __init__(self, server: Server, notice: Notice) -> None:
        self.server = server
        self._notice = notice
        self._damaged: set[str] = set()
        # Where the search for jobs that stand in no list goes on.
        self.cursor = strays.START
        self._ahead = 0.0
        self._heard = 0.0
        self.readers = Readers(server.link)
        self.durable = DurableAdds(server)
        self.waiter = Waiter(server.link, server.prefix, server_now=self.server_now)

    @classmethod
    async def connect(cls, address: Address, prefix: str, notice: Notice) -> "LoopSession":
        """Connect, look at what kind of server it is, and tell what is wrong with it.

        Raises   StoreUnavailable · ConfigError: it cannot be used.
        """

        def on_state(up: bool, reason: str) -> None:
            notice("store.back" if up else "store.lost", reason)

        link = (ClusterClient if address.cluster else RedisClient)(address, on_state=on_state)
        await link.open()
        site = cls(Server(prefix, link), notice)
        async with AsyncExitStack() as cleanup:
            cleanup.push_async_callback(link.close)
            found = await inspect(link)
            seconds, micros = await link.read("TIME")
            cleanup.pop_all()
        for each in found.notices:
            notice(each.name, each.message)
        site._follow(whole(seconds) * 1000 + whole(micros) / 1000)
        return site

    def server_now(self) -> Millis:
        """Return the time of the server, as near as it is known."""
        return int(_clock() + self._ahead)

    def _follow(self, now: float) -> None:
        """Learn from what the server said the time was; a reply can only be late, never early."""
        own = _clock()
        ahead = now - own
        # But for a clock that was set back: what was learnt long ago is not held on to.
        if ahead > self._ahead or own - self._heard > FORGET_MS:
            self._ahead, self._heard = ahead, own

    def note(self, answers: Sequence[Claimed]) -> list[Claimed]:
        """Learn from claims what time it is, and when the next jobs are due."""
        for claimed in answers:
            if claimed.now_ms:
                self._follow(claimed.now_ms)
            # The end of a limit is met like a due time: no marker tells of it.
            if claimed.next_ms is not None and claimed.blocked in ("", "rate"):
                self.waiter.note_due(claimed.queue, claimed.next_ms)
            self._note_damage(claimed)
        return list(answers)

    def _note_damage(self, claimed: Claimed) -> None:
        """Tell once of a queue from which nothing can be taken, until that is repaired."""
        queue = claimed.queue
        if claimed.blocked != "damaged":
            self._damaged.discard(queue)
        elif queue not in self._damaged:
            self._damaged.add(queue)
            keys = (
                "wait, active, prioritized, delayed, completed, failed, marker, events, meta, "
                "limiter and toril:settings"
            )
            self.note_damaged([queue], "is started", keys)

    def note_damaged(self, queues: Sequence[str], what: str, keys: str) -> None:
        """Tell of queues of which no job is served, and which keys may be the reason."""
        for queue in queues:
            self._notice(
                "store.damaged",
                f"no job of queue {queue!r} {what}, since a key of it holds another kind of "
                f"value: look with TYPE at {self.server.base(queue)}{keys}",
            )

    def note_strays(self, found: Sequence[tuple[str, str]], cursor: str) -> None:
        """Tell of jobs that were put back, and note where the search for more goes on."""
        self.cursor = cursor or self.cursor
        for queue, job_id in found:
            self._notice(
                "store.stray",
                f"job {job_id!r} of queue {queue!r} was in no list of its queue, where no worker "
                "would have found it: it was put back",
            )

    def note_beside(self, faults: Sequence[str]) -> None:
        """Tell of what jobs that ended lead to, and that could not be reached."""
        for fault in faults:
            self._notice(
                "store.damaged",
                "a job has ended, and its parent, dedup key, dead letter or bound could not be "
                f"served: {fault}; look at the keys under {self.server.prefix}:",
            )

    async def wait(self, queues: Sequence[str], timeout_ms: Millis) -> frozenset[str]:
        """Carry out the verb wait."""
        markers = {queue: f"{self.server.base(queue)}marker" for queue in queues}
        return await self.waiter.wait(markers, timeout_ms)

    async def close(self) -> None:
        """Let the connections go, on the loop that they belong to."""
        self.readers.close()
        await self.waiter.close()
        await self.durable.close()
        await self.server.link.close()
