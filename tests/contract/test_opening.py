"""Opening a file that nobody has opened before, all at once, as the workers of a new app do."""

import asyncio
from pathlib import Path

import pytest

from tests.support.kit import QUEUE, Kit
from toril._store.sqlite.store import SQLiteStore

TOGETHER = 6


@pytest.mark.parametrize("number", range(10))
async def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path, number: int) -> None:
    """SQLite says "locked", without waiting, to whom it finds switching the file to its log."""
    stores = [SQLiteStore(tmp_path / "jobs.db") for _ in range(TOGETHER)]

    await asyncio.gather(*[store.open() for store in stores])

    await Kit(stores[0]).add()
    assert [(await Kit(store).counts(QUEUE)) for store in stores] == [{"waiting": 1}] * TOGETHER
    await asyncio.gather(*[store.close() for store in stores])
