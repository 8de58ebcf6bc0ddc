"""Opening a file that nobody has opened before, all at once, as the workers of a new app do."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from tests.support.kit import QUEUE, Kit
from toril._store.sqlite.connection.runner import Transaction, connect
from toril._store.sqlite.connection.schema import APPLICATION_ID, check_schema
from toril._store.sqlite.connection.statements import migrations
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


class Overtaken:
    """A connection; after each pragma that it reads, another process makes the next tables."""

    def __init__(self, path: str) -> None:
        self._db = connect(path, synchronous="normal")
        self._other = connect(path, synchronous="normal")
        self.version = 0

    def make_next(self) -> None:
        with Transaction(self._other):
            self._other.execute(migrations()[self.version])
            self.version += 1
            self._other.pragma("user_version", self.version)
            self._other.pragma("application_id", APPLICATION_ID)

    def pragma(self, name: str) -> Any:
        found = self._db.pragma(name)
        if self.version < len(migrations()):
            self.make_next()
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def __enter__(self) -> object:
        return self._db.__enter__()

    def __exit__(self, *error: Any) -> Any:
        return self._db.__exit__(*error)


def test_tables_that_another_process_is_making_are_not_taken_for_damage(tmp_path: Path) -> None:
    db: Any = Overtaken(str(tmp_path / "jobs.db"))
    db.make_next()

    while db.version < len(migrations()):
        check_schema(db, "jobs.db")
