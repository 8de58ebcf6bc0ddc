"""A store on a prefix of the test's own, and its keys as any client of Redis sees them."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.helpers import QUEUE, Kit
from tests.contract.ttl import RedisKit
from tests.servers import RedisServer, fresh_prefix, shared_server
from toril._store.connect import connect


class Wire:
    """The keys of one prefix."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.client: Any = server.client()
        self.prefix = prefix

    def key(self, suffix: str, queue: str = QUEUE) -> str:
        return f"{self.prefix}:{queue}:{suffix}"

    def names(self, queue: str = QUEUE) -> set[str]:
        """Give what the keys of a queue end in, but for those of calls that may be sent again."""
        base = self.key("", queue)
        ends = (key.removeprefix(base) for key in self.client.scan_iter(match=f"{base}*"))
        return {end for end in ends if not end.startswith("toril:call:")}

    def hash(self, suffix: str, queue: str = QUEUE) -> dict[str, Any]:
        return dict(self.client.hgetall(self.key(suffix, queue)))

    def opts(self, id: str, queue: str = QUEUE) -> dict[str, Any]:
        return dict(json.loads(self.hash(id, queue)["opts"]))

    def items(self, suffix: str, queue: str = QUEUE) -> list[str]:
        return list(self.client.lrange(self.key(suffix, queue), 0, -1))

    def scores(self, suffix: str, queue: str = QUEUE) -> dict[str, float]:
        return dict(self.client.zrange(self.key(suffix, queue), 0, -1, withscores=True))

    def events(self, queue: str = QUEUE) -> list[dict[str, str]]:
        return [fields for _, fields in self.client.xrange(self.key("events", queue))]


@pytest.fixture
def wire() -> Wire:
    return Wire(shared_server(), fresh_prefix())


@pytest.fixture
async def kit(wire: Wire) -> AsyncIterator[Kit]:
    store = connect(shared_server().url, wire.prefix)
    await store.open()
    yield RedisKit(store, shared_server())
    await store.close()
