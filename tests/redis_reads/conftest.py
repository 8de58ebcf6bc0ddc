"""A store on Redis with keys that somebody else wrote, be it BullMQ or a bug."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.contract.ttl import RedisKit
from tests.servers import fresh_prefix, shared_server
from toril._store.connect import connect
from toril._store.protocol import Store


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


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
    """Give a client that reads and writes whatever a test likes."""
    with shared_server().client() as client:
        yield client
