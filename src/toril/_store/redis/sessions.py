"""The connections of each event loop: made when it first asks, closed when it ends.

`asyncio.run` and everything like it ends the asynchronous generators of its loop before it closes
the loop. One of them closes the connections there. A loop that is closed without that is noticed
when the next one asks. Never here: what goes over the connections.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress

from toril._store.loop_local import Loop, PerLoop
from toril._store.redis.net.resp import connections_of
from toril._store.threads import refuse_eventlet
from toril.errors import StoreUnavailable

from .session import LoopSession, Notice

# How long connections that are closed may take to say good-bye.
CLOSING_S = 2.0


class _Place:
    """The connections of one event loop."""

    def __init__(self, connect: Callable[[], Awaitable[LoopSession]], notice: Notice) -> None:
        self._connect = connect
        self.notice = notice
        self._opening = asyncio.Lock()
        self._lifetime: AsyncGenerator[None, None] | None = None
        self.site: LoopSession | None = None
        self.over = False

    async def open(self, ended: Callable[[], object]) -> LoopSession:
        """Return the connections; make them if there are none yet."""
        async with self._opening:
            if self.site is None:
                refuse_eventlet()
                site = await self._connect()
                self._lifetime = _until_loop_ends(self.close, ended)
                await anext(self._lifetime)
                self.site = site
                if self.over:
                    await self.end()
                    raise StoreUnavailable("the store was closed while it was being opened")
            return self.site

    async def close(self) -> None:
        """Close the connections within 2 s; what has not answered by then is cut off."""
        site, self.site = self.site, None
        if site is None:
            return
        try:
            async with asyncio.timeout(CLOSING_S):
                await site.close()
        except TimeoutError:
            self.notice("store.close_timeout", f"connections were cut off after {CLOSING_S:g} s")
            for connection in connections_of(asyncio.get_running_loop()):
                connection.abort("it was closed")

    async def end(self) -> None:
        """Close the connections before the loop ends, and make no others."""
        self.over = True
        await self.close()
        lifetime, self._lifetime = self._lifetime, None
        # The loop may be ending it at this moment.
        with suppress(RuntimeError):
            if lifetime is not None:
                await lifetime.aclose()


async def _until_loop_ends(
    close: Callable[[], Awaitable[None]], ended: Callable[[], object]
) -> AsyncGenerator[None, None]:
    try:
        yield
    finally:
        ended()
        await close()


class LoopSessions:
    """Connections to one server, of every event loop of this process."""

    def __init__(self, connect: Callable[[], Awaitable[LoopSession]], notice: Notice) -> None:
        self._places = PerLoop(lambda: _Place(connect, notice), _leave)

    def get(self) -> LoopSession | None:
        """Return the running loop's connections, if it has some; the quick way."""
        return self._places.here().site

    async def open(self) -> LoopSession:
        """Return the running loop's connections; make them if there are none yet.

        Raises   StoreUnavailable · ConfigError.
        """
        loop = asyncio.get_running_loop()
        return await self._places.here().open(lambda: self._places.remove(loop))

    async def close_here(self) -> None:
        """Close the running loop's connections."""
        place = self._places.remove(asyncio.get_running_loop())
        if place is not None:
            await place.end()

    async def close(self) -> None:
        """Close all connections, each on its own loop, within 2 s."""
        here = asyncio.get_running_loop()
        closings: list[Awaitable[None]] = []
        for loop, place in self._places.remove_all():
            if loop is here:
                closings.append(place.end())
            elif loop.is_running():
                closings.append(_end_elsewhere(loop, place))
            else:
                _leave(loop, place)
        await asyncio.gather(*closings)


def _leave(loop: Loop, place: _Place) -> None:
    place.site, place.over = None, True
    for connection in connections_of(loop):
        connection.leave()


async def _end_elsewhere(loop: Loop, place: _Place) -> None:
    ending = place.end()
    try:
        ended = asyncio.run_coroutine_threadsafe(ending, loop)
    except RuntimeError:
        # That loop ended at this very moment.
        ending.close()
        _leave(loop, place)
        return
    try:
        # A loop that stands still must not hold up this one.
        await asyncio.wait_for(asyncio.wrap_future(ended), 2 * CLOSING_S)
    except TimeoutError:
        place.notice(
            "store.close_timeout",
            f"connections of an event loop that stands still were left open after {2 * CLOSING_S:g} s",
        )
