"""The stores that the contract is held against. A new store is one more branch of `opened`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.contract.helpers import Kit
from toril._store.protocol import Store
from toril._store.sqlite.store import SQLiteStore

STORES = ("memory", "file")


def opened(kind: str, folder: Path) -> Store:
    """Make a store that nobody has used before."""
    return SQLiteStore(":memory:" if kind == "memory" else str(folder / "jobs.db"))


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    fresh = opened(request.param, tmp_path)
    await fresh.open()
    yield fresh
    await fresh.close()


@pytest.fixture
def kit(store: Store) -> Kit:
    return Kit(store)
