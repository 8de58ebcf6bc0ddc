"""The numbers of jobs by state that a file keeps: found without counting, and right in the end."""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.support.kit import QUEUE, Kit
from toril._model.report import Counts
from toril._store.sqlite.connection.runner import connect
from toril._store.sqlite.connection.statements import migrations, statements
from toril._store.sqlite.store import SQLiteStore

STATES = (
    "waiting", "prioritized", "delayed", "active", "waiting-children", "completed", "failed",
)  # fmt: skip
# One job of the first state, two of the second, and so on.
EVERY = Counts(**{state.replace("-", "_"): n for n, state in enumerate(STATES, 1)})
FILL = """
INSERT INTO jobs (
    queue, id, name, data, opts, state, lane, position, created_ms, due_ms, token, lock_until,
    finished_ms
)
SELECT
    1, ?1 || number.value, 'n', '{}', '{}', ?1, ?1 = 'prioritized', number.value, 1,
    iif(?1 = 'delayed', 1e15, NULL), iif(?1 = 'active', 't', NULL), iif(?1 = 'active', 9e15, NULL),
    iif(?1 IN ('completed', 'failed'), 1, NULL)
FROM json_each(?2) AS number
"""


@contextlib.asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SQLiteStore]:
    store = SQLiteStore(path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def kept(path: Path) -> Counts:
    async with opened(path) as store:
        (counts,) = await store.counts([QUEUE])
        return counts


def edit(path: Path, *changes: str) -> None:
    """Change a file behind the back of whoever has it open."""
    db = apsw.Connection(str(path))
    for change in changes:
        db.execute(change)
    db.close()


def older(path: Path) -> None:
    """Make a file of the version before the numbers were kept, with jobs in each state."""
    path.touch(0o600)
    db = apsw.Connection(str(path))
    for step in migrations()[:7]:
        db.execute(step)
    db.execute("PRAGMA application_id = 0x746F7269; PRAGMA user_version = 7")
    db.execute("INSERT INTO queues (key, name, events) VALUES (1, ?, 5)", (QUEUE,))
    for number, state in enumerate(STATES, 1):
        db.execute(FILL, (state, str(list(range(number)))))
    db.close()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


async def test_an_older_file_is_counted_once_when_it_is_opened(path: Path) -> None:
    older(path)
    assert await kept(path) == EVERY


async def test_what_an_older_toril_adds_meanwhile_is_counted(path: Path) -> None:
    """It has the file open since before the change, and writes events and not the numbers."""
    older(path)
    async with opened(path) as store:
        kit = Kit(store)
        edit(
            path,
            "INSERT INTO jobs (queue, id, name, data, opts, state, position, created_ms)"
            " VALUES (1, 'late', 'n', '{}', '{}', 'waiting', 99, 1)",
            "UPDATE queues SET events = events + 2",
        )
        assert (await store.counts([QUEUE]))[0].waiting == EVERY.waiting + 1
        await kit.add()
        assert (await store.counts([QUEUE]))[0].waiting == EVERY.waiting + 2


async def test_a_count_that_would_fall_below_zero_is_corrected(path: Path) -> None:
    async with opened(path) as store:
        kit = Kit(store)
        await kit.add_many(3)
        edit(path, "UPDATE queues SET waiting = 0")
        claims = (await kit.ask(2)).jobs
        assert len(claims) == 2
        (counts,) = await store.counts([QUEUE])
        assert (counts.waiting, counts.active) == (1, 2)


async def test_an_examination_corrects_counts(path: Path) -> None:
    async with opened(path) as store:
        await Kit(store).add_many(3)
        edit(path, "UPDATE queues SET waiting = 1000, failed = 7")
        (found,) = [each for each in await store.examine() if each.name == "store.counts"]
        assert (found.level, found.queue) == ("warn", QUEUE)
        assert "have been corrected" in found.message
        (found,) = [each for each in await store.examine() if each.name == "store.counts"]
        assert found.level == "ok"
        assert (await store.counts([QUEUE]))[0] == Counts(waiting=3)


async def test_counting_reads_one_job_of_a_queue_at_most() -> None:
    """The one that would run next: it is found by an index in its order, so nothing is sorted."""
    db: Any = connect(":memory:", synchronous="full")
    for step in migrations():
        db.execute(step)
    sql = statements()["read.counts"]
    steps = [step for *_, step in db.execute("EXPLAIN QUERY PLAN " + sql, ("[]",))]
    assert [step for step in steps if "jobs" in step] == [
        "SEARCH jobs USING INDEX jobs_ready (queue=?)"
    ]
    assert not [step for step in steps if "TEMP B-TREE" in step], steps
    db.close()
