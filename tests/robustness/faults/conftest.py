"""A server for each test that may be broken, and a proxy in front of it."""

from collections.abc import Iterator

import pytest

from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer


@pytest.fixture
def server() -> Iterator[RedisServer]:
    """Have a server of this test's own, which keeps what it acknowledged."""
    with RedisServer(appendonly=True, appendfsync="always", enable_debug_command="yes") as own:
        yield own


@pytest.fixture
def proxy(server: RedisServer) -> Iterator[FaultProxy]:
    """Stand between the test and its server."""
    with FaultProxy(server.port) as between:
        yield between
