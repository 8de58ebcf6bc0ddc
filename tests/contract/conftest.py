"""The stores that the contract is held against. A new store is one more branch of `opened`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.helpers import Kit
from tests.contract.ttl import RedisKit
from tests.servers import RedisServer, fresh_prefix, servers_here, shared_server
from toril._store.connect import connect
from toril._store.protocol import Store
from toril._store.sqlite.store import SQLiteStore

SERVERS = tuple(servers_here())
STORES = ("memory", "file", *SERVERS)


def opened(kind: str, folder: Path) -> Store:
    """Make a store that nobody has used before."""
    if kind in SERVERS:
        return connect(shared_server(kind).url, fresh_prefix())
    return SQLiteStore(":memory:" if kind == "memory" else str(folder / "jobs.db"))


def kit_for(store: Store) -> Kit:
    """Give a kit whose clock moves everything that this store lets run out."""
    return Kit(store) if isinstance(store, SQLiteStore) else RedisKit(store, _server(store))


def _server(store: Store) -> RedisServer:
    return next(shared_server(kind) for kind in SERVERS if shared_server(kind).url == store.url)


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    fresh = opened(request.param, tmp_path)
    await fresh.open()
    yield fresh
    await fresh.close()


@pytest.fixture
def kit(store: Store) -> Kit:
    return kit_for(store)
