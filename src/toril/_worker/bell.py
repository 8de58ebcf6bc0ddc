"""Waking one carrier when there is something to carry.

An `asyncio.Event` would wake all of them, and each would look for what the first one takes.
Never here: carrying.
"""

import asyncio
from collections import deque


class Bell:
    """Wakes one of those who wait; rung while nobody waits, it wakes the next who does."""

    __slots__ = ("_rung", "_waiting")

    def __init__(self) -> None:
        self._rung = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    def ring(self) -> None:
        """Wake one; ringing again before it looks wakes no other one."""
        self._rung = True
        self._wake()

    def _wake(self) -> None:
        if self._rung and self._waiting and not self._waiting[0].done():
            self._waiting[0].set_result(None)

    async def wait(self) -> None:
        """Wait until it is rung; who returns has taken that."""
        while not self._rung:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(future)
            try:
                await future
            except asyncio.CancelledError:
                self._waiting.remove(future)
                self._wake()
                raise
            self._waiting.remove(future)
        self._rung = False
