"""The call that blocks on markers: one at a time, on a connection of its own.

Callbacks instead of a task: the way from a marker to who waits for it is what latency is made
of. Never here: what a marker means.
"""

import asyncio
from typing import Protocol

from toril.errors import TorilError

from .client import RedisClient
from .connection import SharedConnection
from .faults import Fault, Kind, as_error, judge
from .resp import Connection, ConnectionLost, Reply

# A server that is asked to wait longer may be gone without anybody noticing.
BLOCK_S = 5
DEADLINE_S = 6.0
_REFUSED_S = 1.0
# A marker that is no sorted set is left out for so long; its queue is looked at all the same.
_SET_ASIDE_S = 60.0
_LAST_S = 0.5


class Markers(Protocol):
    """Who wants markers, and is handed those that are popped."""

    def wanted(self, group: str) -> list[str]:
        """Return the markers that somebody waits for now."""
        ...

    def control(self, marker: str) -> str:
        """Return the key that ends a blocking call on this marker."""
        ...

    def end_call(self, marker: str) -> None:
        """End the blocking call that is under way."""
        ...

    def popped(self, marker: str, member: str, score: str) -> None:
        """Use a marker."""
        ...

    def look(self, markers: list[str]) -> None:
        """Send everybody who waits to look."""
        ...

    def refuse(self, markers: list[str], error: TorilError) -> None:
        """Tell everybody who waits that it cannot work."""
        ...


class Blocker:
    """Blocks on the wanted markers of one group, while there are any."""

    def __init__(self, markers: Markers, link: RedisClient, group: str) -> None:
        self._markers = markers
        self._link = link
        self._group = group
        self._loop = asyncio.get_running_loop()
        self._line = SharedConnection(self._dial)
        self._call: asyncio.Future[Reply] | None = None
        self._covered: list[str] = []
        self._ending = False
        self._scheduled = False
        self._turn = 0
        self._connecting: asyncio.Task[None] | None = None
        self._refused: asyncio.TimerHandle | None = None
        self._set_aside: dict[str, float] = {}
        self._closed = False

    def poke(self) -> None:
        """See that everything wanted is blocked on; those of one turn share a call."""
        if not self._scheduled and not self._closed:
            self._scheduled = True
            self._loop.call_soon(self._block)

    async def close(self) -> None:
        """End the call, so that no marker is popped for nobody, and disconnect."""
        self._closed = True
        if self._refused is not None:
            self._refused.cancel()
        if self._connecting is not None:
            self._connecting.cancel()
            await asyncio.wait({self._connecting})
        if self._call is not None:
            self._markers.end_call(self._covered[0])
            await asyncio.wait({self._call}, timeout=_LAST_S)
        await self._line.close()

    def _block(self) -> None:
        self._scheduled = False
        if self._closed or self._connecting or self._refused:
            return
        wanted = self._wanted()
        if not wanted:
            return
        if self._call is not None:
            if not self._ending and not set(wanted) <= set(self._covered):
                self._ending = True
                self._markers.end_call(self._covered[0])
            return
        connection = self._line.connection
        if connection is None:
            self._connecting = self._loop.create_task(self._connect(look=False))
            return
        self._begin(connection, wanted)

    def _wanted(self) -> list[str]:
        wanted = self._markers.wanted(self._group)
        if self._set_aside:
            now = self._loop.time()
            wanted = [marker for marker in wanted if self._set_aside.get(marker, 0.0) < now]
        return wanted

    def _begin(self, connection: Connection, wanted: list[str]) -> None:
        # The first key that holds something is popped: each comes first in its turn.
        self._turn = (self._turn + 1) % len(wanted)
        wanted = wanted[self._turn :] + wanted[: self._turn]
        self._covered = wanted
        self._ending = False
        control = self._markers.control(wanted[0])
        self._call = connection.call("BZPOPMIN", control, *wanted, BLOCK_S)
        self._call.add_done_callback(self._ended)

    def _ended(self, call: asyncio.Future[Reply]) -> None:
        self._call = None
        reply = call.result()
        if isinstance(reply, Exception):
            self._failed(reply)
        elif reply is not None:
            try:
                key, member, score = reply
                if key in self._covered:
                    self._markers.popped(key, member, score)
            except (TypeError, ValueError, ArithmeticError):
                # What was popped is no marker that anybody could use: whoever waits looks.
                self._markers.look(self._covered)
        self._block()

    def _failed(self, error: Exception) -> None:
        fault = judge(error)
        if fault.passes or fault.kind in (Kind.MOVED, Kind.ASK):
            if self._closed:
                return
            self._link.lost_sight(fault)
            self._link.suspect()
            connection = self._line.connection
            if connection is not None:
                self._line.drop(connection, fault.told)
            self._connecting = self._loop.create_task(self._connect(look=True))
            return
        if fault.kind is Kind.DAMAGE:
            self._connecting = self._loop.create_task(self._leave_out_damaged(fault))
        else:
            self._refuse(as_error(fault, self._link.address, "waiting"))

    def _refuse(self, error: TorilError) -> None:
        self._markers.refuse(self._markers.wanted(self._group), error)
        self._refused = self._loop.call_later(_REFUSED_S, self._try_again)

    async def _leave_out_damaged(self, fault: Fault) -> None:
        """Find the markers that cannot be blocked on, so that the other queues go on."""
        covered = self._covered
        try:
            types = await self._link.many([("TYPE", marker) for marker in covered])
            damaged = [
                marker
                for marker, type in zip(covered, types, strict=True)
                if type not in ("zset", "none")
            ]
            error = as_error(fault, self._link.address, "waiting", ", ".join(damaged or covered))
            self._set_aside |= dict.fromkeys(damaged, self._loop.time() + _SET_ASIDE_S)
            if damaged:
                self._markers.refuse(damaged, error)
            else:
                self._refuse(error)
        except TorilError as error:
            self._refuse(error)
        finally:
            self._connecting = None
        self._block()

    def _try_again(self) -> None:
        self._refused = None
        self._block()

    async def _connect(self, *, look: bool) -> None:
        """Get a connection; `look`: a call was lost, and maybe the marker that it had popped."""
        try:
            while self._markers.wanted(self._group):
                try:
                    await self._line.ready(self._loop.time() + BLOCK_S)
                except ConnectionLost:
                    continue
                break
        except TorilError as error:
            self._refuse(error)
        finally:
            self._connecting = None
        if look and self._line.connection is not None:
            self._markers.look(self._markers.wanted(self._group))
        self._block()

    async def _dial(self) -> Connection:
        wanted = self._markers.wanted(self._group)
        key = wanted[0] if wanted else None
        return await self._link.dial(key, deadline=DEADLINE_S)
