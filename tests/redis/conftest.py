"""A store on a prefix of the test's own, its keys as any client sees them, and connections to break."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.support.kit import QUEUE
from tests.support.links import Linked
from tests.support.proxy import FaultProxy
from tests.support.redis_kit import RedisKit
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril._store.connect import connect
from toril._store.protocol import Store


class Wire:
    """The keys of one prefix."""

    def __init__(self, server: RedisServer, prefix: str) -> None:
        self.client: Any = server.client()
        self.prefix = prefix

    def key(self, suffix: str, queue: str = QUEUE) -> str:
        return f"{self.prefix}:{queue}:{suffix}"

    def names(self, queue: str = QUEUE) -> set[str]:
        """Return what the keys of a queue end in, without those of calls that may be sent again."""
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
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
def wire(prefix: str) -> Wire:
    return Wire(shared_server(), prefix)


@pytest.fixture
async def store(prefix: str) -> AsyncIterator[Store]:
    fresh = connect(shared_server().url, prefix)
    await fresh.open()
    yield fresh
    await fresh.close()


@pytest.fixture
def kit(store: Store) -> RedisKit:
    return RedisKit(store, shared_server())


@pytest.fixture
def keys() -> Any:
    """A client that reads and writes whatever a test likes."""
    with shared_server().client() as client:
        yield client


@pytest.fixture
def server() -> RedisServer:
    """The server that tests share: only their own keys may be touched."""
    return shared_server()


@pytest.fixture
def own_server() -> Iterator[RedisServer]:
    """A server of this test's own, to be broken."""
    with RedisServer(enable_debug_command="yes") as own:
        yield own


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    """What stands between the test and the shared server."""
    with FaultProxy(server.port) as between:
        yield between


@pytest.fixture
def key() -> str:
    return f"{fresh_prefix()}:count"


@pytest.fixture
async def linked() -> AsyncIterator[Linked]:
    """Opens links, and closes them when the test is over."""
    opened = Linked()
    yield opened
    await opened.close()
