"""A kit for stores that let the server's clock end locks, limits and dedup keys.

Its clock moves what would have run out: no test waits for a time-out of the server.
"""

from typing import Any

from tests.contract.helpers import Kit
from tests.servers import RedisServer
from toril._store.protocol import Store


class RedisKit(Kit):
    """A kit whose `tick` brings every time-out under the store's prefix so much nearer."""

    def __init__(self, store: Store, server: RedisServer) -> None:
        super().__init__(store)
        self._client: Any = server.client()
        self._prefix: str = store.prefix  # type: ignore[attr-defined]

    def tick(self, ms: int) -> None:
        super().tick(ms)
        for key in self._client.scan_iter(match=f"{self._prefix}:*", count=1000):
            left = self._client.pttl(key)
            if left >= 0 and not _of_a_call(key):
                self._client.pexpire(key, max(left - ms, 0))


def _of_a_call(key: str | bytes) -> bool:
    text = key.decode() if isinstance(key, bytes) else key
    return ":toril:call:" in text
