"""Answers that are shared for a while: fifty tabs ask the store as often as one.

Never here: what is asked.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Any

KEPT_S = 2.0
MOST = 500


class Kept:
    """Remembers answers; those who ask for the same meanwhile wait for the one under way."""

    def __init__(self) -> None:
        self.kept_s = KEPT_S
        self._found: dict[Hashable, tuple[float, asyncio.Future[Any]]] = {}

    async def get(self, key: Hashable, make: Callable[[], Awaitable[Any]]) -> Any:
        """Return the answer to this key, made again if the last one is too old."""
        at, known = self._found.get(key, (float("-inf"), None))
        if known is None or time.monotonic() - at > self.kept_s:
            known = asyncio.ensure_future(make())
            self._found[key] = (time.monotonic(), known)
            known.add_done_callback(lambda ended: self._ended(key, ended))
            while len(self._found) > MOST:
                self._found.pop(next(iter(self._found)))
        return await asyncio.shield(known)

    def _ended(self, key: Hashable, ended: "asyncio.Future[Any]") -> None:
        # An error is for those who waited for it, and nobody else.
        if ended.cancelled() or ended.exception() is not None:
            self._found.pop(key, None)
