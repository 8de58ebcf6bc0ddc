"""Adds that count only when a replica has them, or the disk: WAIT and WAITAOF.

Both look at what their own connection wrote, and let nothing else pass on it meanwhile: such adds
have a connection of their own, made when one is first asked for. Never here: how jobs are stored.
"""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from toril._model.options import Durability
from toril._model.record import NewJob, wishes
from toril._model.stored import whole
from toril._model.times import Millis
from toril._store.redis.core.server import Server
from toril._store.redis.core.server_checks import check_syncing
from toril._store.redis.net.client import RedisClient, Trip
from toril._store.redis.net.cluster import link_to
from toril._store.redis.net.faults import judge
from toril._store.redis.net.resp import Connection, ConnectionLost, ErrorReply, Word
from toril.errors import ConfigError, DurabilityNotConfirmed, TorilError

from .add import add
from .add_rows import Answer

# A file that is synced once a second may take nearly two.
CONFIRM_S = 3.0
# The connection is given up after its own time-out: an answer has to come before that.
_SHARE = 0.6
_COMMANDS: Mapping[Durability, tuple[Word, ...]] = {
    "replica": ("WAIT", 1),
    "aof": ("WAITAOF", 1, 0),
}

Groups = Mapping[int, Sequence[NewJob]]


class WaitVerdict(NamedTuple):
    """How many replicas have what a connection wrote, and why that will not do ("": it does)."""

    replicas: int = 0
    problem: str = ""


class DurableAdds:
    """Adds and has them confirmed, on one event loop: one call after the other.

    Units    patience_ms: how long a call waits to be confirmed.
    """

    __slots__ = ("_link", "_server", "_syncs", "_turn", "patience_ms")

    def __init__(self, server: Server) -> None:
        self._server = server
        self._link: RedisClient | None = None
        self._turn = asyncio.Lock()
        self._syncs = False
        timeout_s = server.link.address.socket_timeout
        self.patience_ms = round(min(CONFIRM_S, timeout_s * _SHARE) * 1000)

    async def add(self, groups: Sequence[Sequence[NewJob]], now: Millis | None) -> list[Answer]:
        """Carry out the verb add, and have it confirmed for the groups that ask for that."""
        async with self._turn:
            link = await self._open()
            answers: dict[int, Answer] = {}
            wanted = dict(enumerate(groups))
            if any("aof" in wishes(group) for group in groups):
                answers = await self._refuse(link, wanted)
            rest = {number: group for number, group in wanted.items() if number not in answers}
            trips: list[Trip] = []
            stored = await add(self._server.over(link, trips), list(rest.values()), now)
            answers.update(zip(rest, stored, strict=True))
            await self._confirm(link, trips, rest, answers)
        return [answers[number] for number in wanted]

    async def close(self) -> None:
        """Let the connection go."""
        link, self._link = self._link, None
        if link is not None:
            await link.close()

    async def _open(self) -> RedisClient:
        if self._link is None:
            # What becomes of a line is told by the one that everybody else uses.
            link = link_to(self._server.link.address)
            await link.open()
            self._link = link
        return self._link

    async def _refuse(self, link: RedisClient, groups: Groups) -> dict[int, Answer]:
        """Return which groups ask for what this server does not do; they are not stored."""
        if self._syncs:
            return {}
        try:
            await check_syncing(link)
        except ConfigError as error:
            return {number: error for number, group in groups.items() if "aof" in wishes(group)}
        self._syncs = True
        return {}

    async def _confirm(
        self, link: RedisClient, trips: Iterable[Trip], groups: Groups, answers: dict[int, Answer]
    ) -> None:
        """Ask on each connection that stored something, and put doubts in the answers' places."""
        asked: set[Durability] = {wish for group in groups.values() for wish in wishes(group)}
        places: dict[str, set[Connection | None]] = defaultdict(set)
        for trip in trips:
            # Sent twice, it may have been stored by another server than the one that answered.
            sure = None if trip.doubtful else trip.connection
            places[link.group(str(trip.command[3]))].add(sure)
        used = list({connection for some in places.values() for connection in some})
        found = await asyncio.gather(*(self._ask(connection, asked) for connection in used))
        verdicts = dict(zip(used, found, strict=True))
        for number, group in groups.items():
            answer = answers[number]
            if isinstance(answer, TorilError) or not group:
                continue
            place = places[link.group(self._server.base(group[0].queue))]
            told = [verdicts[c][wish] for c in place for wish in wishes(group)]
            doubt = next((verdict for verdict in told if verdict.problem), None)
            if doubt is not None:
                ids = tuple(added.id for added in answer)
                problem, replicas = doubt.problem, doubt.replicas
                answers[number] = DurabilityNotConfirmed(problem, ids=ids, replicas=replicas)

    async def _ask(
        self, connection: Connection | None, asked: set[Durability]
    ) -> dict[Durability, WaitVerdict]:
        """Ask for one thing after the other: each has the connection's time to itself."""
        return {wish: await self._verdict(connection, wish) for wish in asked}

    async def _verdict(self, connection: Connection | None, wish: Durability) -> WaitVerdict:
        if connection is None:
            return WaitVerdict(problem="the connection broke, and who has them is not known")
        try:
            reply = await connection.ask(*_COMMANDS[wish], self.patience_ms)
        except (ConnectionLost, ErrorReply) as error:
            return WaitVerdict(problem=judge(error).told)
        within = f"within {self.patience_ms / 1000:g} s"
        if wish == "replica":
            there = whole(reply)
            problem = f"{there} replicas have confirmed {within}, and one is asked for"
            return WaitVerdict(there, "" if there else problem)
        synced, there = whole(reply[0]), whole(reply[1])
        problem = f"the append-only file was not synced {within}"
        return WaitVerdict(there, "" if synced else problem)
