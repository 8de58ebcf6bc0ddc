"""A line to one place: the connection that is up, or the shared attempt to get one.

Never here: what is called on it.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable

from toril.errors import TorilError

from .resp import Connection, ConnectionLost

FIRST_PAUSE_S = 0.02
LONGEST_PAUSE_S = 1.0
# A connection that breaks sooner counts as one more failure: nothing may spin.
_STEADY_S = 1.0

OnState = Callable[[bool, str], None]


def pause(failures: int) -> float:
    """Return how many seconds to wait after this many failures: longer each time, and never alike."""
    longest = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
    return longest * (0.5 + random.random() / 2)


def silent(up: bool, reason: str) -> None:
    """Tell nobody."""


class SharedConnection:
    """Keeps a connection to one place; everybody who needs it shares the attempts to get it.

    `connection` is the one that is up, or None. Nothing is attempted unless somebody asks.
    Shape    on_state(up, reason) is called when a line that was up is lost, and when it is back.
    """

    __slots__ = (
        "_closed", "_dial", "_dialing", "_failures", "_loop", "_not_before", "_on_state",
        "_since", "_up", "_why", "connection",
    )  # fmt: skip

    def __init__(
        self, dial: Callable[[], Awaitable[Connection]], on_state: OnState = silent
    ) -> None:
        self._dial = dial
        self._on_state = on_state
        self._loop = asyncio.get_running_loop()
        self._dialing: asyncio.Task[Connection | TorilError | ConnectionLost] | None = None
        self._failures = 0
        self._not_before = 0.0
        self._since = 0.0
        self._up: bool | None = None
        self._why = "not connected yet"
        self._closed = False
        self.connection: Connection | None = None

    async def ready(self, until: float) -> Connection:
        """Return the connection, waiting for one until then (by the loop's clock).

        Raises   ConnectionLost: this attempt failed, or there is none in time, or the
                 line was closed. ConfigError.
        """
        if self.connection is not None:
            return self.connection
        if self._closed:
            raise ConnectionLost("it was closed")
        if self._dialing is None:
            self._dialing = self._loop.create_task(self._attempt())
        attempt = self._dialing
        # Not awaited itself: whoever gives up must not end the attempt of the others.
        await asyncio.wait({attempt}, timeout=max(until - self._loop.time(), 0))
        if not attempt.done():
            raise ConnectionLost(self._why)
        if attempt.cancelled():
            raise ConnectionLost("it was closed")
        found = attempt.result()
        if isinstance(found, Connection):
            return found
        if isinstance(found, ConnectionLost):
            raise ConnectionLost(str(found))
        raise found

    def drop(self, connection: Connection, reason: str) -> None:
        """Give up a connection that is of no use any more, unless that was done already."""
        if connection is self.connection:
            connection.abort(reason)

    async def close(self) -> None:
        """End; nothing is told."""
        self._closed = True
        if self._dialing is not None:
            self._dialing.cancel()
            await asyncio.wait({self._dialing})
        connection, self.connection = self.connection, None
        if connection is not None:
            await connection.closed()

    async def _attempt(self) -> Connection | TorilError | ConnectionLost:
        try:
            await asyncio.sleep(max(self._not_before - self._loop.time(), 0))
            connection = await self._dial()
        except (ConnectionLost, TorilError) as error:
            self._failed(str(error))
            return error
        finally:
            self._dialing = None
        self.connection = connection
        self._since = self._loop.time()
        connection.on_lost = self._lost
        self._tell(True, "connected")
        return connection

    def _lost(self, reason: str) -> None:
        self.connection = None
        if self._loop.time() - self._since < _STEADY_S:
            self._failed(reason)
        else:
            self._failures = 0
            self._why = reason
            self._tell(False, reason)

    def _failed(self, reason: str) -> None:
        self._not_before = self._loop.time() + pause(self._failures)
        self._failures += 1
        self._why = reason
        self._tell(False, reason)

    def _tell(self, up: bool, reason: str) -> None:
        """Tell of a change; the first connection is none."""
        if self._up is None:
            self._up = True if up else None
        elif self._up is not up:
            self._up = up
            self._on_state(up, reason)
