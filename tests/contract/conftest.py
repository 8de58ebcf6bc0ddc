"""The stores that the contract is held against."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.kit import Kit
from tests.support.stores import STORES, kit_for, opened
from toril._store.protocol import Store
from toril._store.sqlite.store import SQLiteStore


@pytest.fixture(params=STORES)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    fresh = opened(request.param, tmp_path)
    await fresh.open()
    yield fresh
    if isinstance(fresh, SQLiteStore):
        await check_counts(fresh)
    await fresh.close()


async def check_counts(store: SQLiteStore) -> None:
    """See that the numbers of jobs by state that the store keeps are those of its rows."""
    engine: Any = vars(store)["_engine"]
    if engine is not None:
        assert await engine.read(lambda reading: reading.rows("queue.miscounted")) == []


@pytest.fixture
def kit(store: Store) -> Kit:
    return kit_for(store)
