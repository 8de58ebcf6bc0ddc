"""Servers for the connection layer, and links that end with their test."""

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.faults.proxy import FaultProxy
from tests.redis_link.kit import Linked
from tests.servers import RedisServer, fresh_prefix, shared_server


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
    """What opens links, and closes them when the test is over."""
    opened = Linked()
    yield opened
    await opened.close()
