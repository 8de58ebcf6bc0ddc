"""The stores that tests run on. A new store is one more branch of `opened`."""

import os
from pathlib import Path

from tests.support.kit import Kit
from tests.support.redis_kit import RedisKit
from tests.support.servers import RedisServer, fresh_prefix, servers_here, shared_server
from toril._store.connect import connect
from toril._store.protocol import Store
from toril._store.sqlite.store import SQLiteStore

SERVERS = tuple(servers_here())
# Those that are named in PYTEST_STORES, as in memory,redis-server; else all.
STORES = tuple(
    store
    for store in ("memory", "file", *SERVERS)
    if store in os.environ.get("PYTEST_STORES", store).split(",")
)


def opened(kind: str, folder: Path) -> Store:
    """Return a store that nobody has used before."""
    if kind in SERVERS:
        return connect(shared_server(kind).url, fresh_prefix())
    return SQLiteStore(":memory:" if kind == "memory" else str(folder / "jobs.db"))


def kit_for(store: Store) -> Kit:
    """Return a kit whose clock moves everything that this store lets run out."""
    return Kit(store) if isinstance(store, SQLiteStore) else RedisKit(store, _server(store))


def _server(store: Store) -> RedisServer:
    return next(shared_server(kind) for kind in SERVERS if shared_server(kind).url == store.url)
