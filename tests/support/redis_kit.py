"""A kit for stores that let the server's clock end locks, limits and dedup keys.

Its clock moves what would have run out: no test waits for a time-out of the server.
"""

from typing import Any

import pytest

from tests.support.kit import Kit
from tests.support.servers import RedisServer
from toril._store.protocol import Store

# Time-outs that tests ask for are multiples of this, in ms.
ROUND = 500
MOMENT = 500


class RedisKit(Kit):
    """A kit whose `tick` brings every time-out under the store's prefix so much nearer."""

    def __init__(self, store: Store, server: RedisServer, *, slack_ms: int = 0) -> None:
        super().__init__(store)
        # Keys outlast their end on the kit's clock by this, for tests that take long.
        self._slack_ms = slack_ms
        self._client: Any = server.client()
        self._prefix: str = store.prefix  # type: ignore[attr-defined]
        # By key: what is left on the kit's clock, and what the server was told instead.
        self._left: dict[str, tuple[int, int]] = {}

    def about(self, at_ms: int) -> Any:
        # The server tells when a key runs out by its own clock, which does not stand still.
        return pytest.approx(at_ms, abs=MOMENT)

    def tick(self, ms: int) -> None:
        super().tick(ms)
        before, self._left = self._left, {}
        for key in self._client.scan_iter(match=f"{self._prefix}:*", count=1000):
            told = self._client.pttl(key)
            if told >= 0 and not _of_a_call(key):
                left = max(_meant(told, before.get(key)) - ms, 0)
                # What is about to run out on the kit's clock must outlast the test's next step.
                told = max(left, MOMENT) + self._slack_ms if left else 0
                self._left[key] = left, told
                self._client.pexpire(key, told)


def _meant(left: int, before: tuple[int, int] | None) -> int:
    """Say how much was meant to be left: the server's clock went on by itself a little."""
    if before is not None and before[1] - MOMENT * 10 < left <= before[1]:
        return before[0]
    return -(-left // ROUND) * ROUND


def _of_a_call(key: str | bytes) -> bool:
    text = key.decode() if isinstance(key, bytes) else key
    return ":toril:call:" in text
