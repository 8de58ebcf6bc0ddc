"""The disk of a SQLite store fails: jobs that were acknowledged stay, and work goes on by itself."""

import asyncio
import os
import random
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.robustness.chaos.audit import Audit
from tests.robustness.faults.rig import QUEUE, Runs, until
from tests.robustness.torture.site import ROUNDS, seed
from toril import Job, Toril
from toril._store.sqlite import engine
from toril._store.sqlite.store import SQLiteStore
from toril._worker import exchange, health
from toril.errors import StoreCorrupt, StoreError, StoreFull, StoreUnavailable

if sys.platform != "win32":
    import resource

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX limits and renames"),
]

# Longer than any fault here lasts: what runs twice would have no excuse.
PATIENT = {"lock": "10s", "stalled_interval": "300ms"}
Fault = Callable[[Toril, Path], AbstractContextManager[None]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def app(path: Path) -> AsyncIterator[Toril]:
    async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
        app.queue(QUEUE, keep="all")
        yield app


def log_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-wal")


def writer(app: Toril) -> Any:
    """Reach the connection that writes."""
    store: Any = app.context.store
    return store._engine._work.db


def tell(db: Any, name: str, value: object) -> None:
    """Set a pragma between two calls of the thread that owns the connection."""
    deadline = time.monotonic() + 5
    while True:
        try:
            db.pragma(name, value)
            return
        except apsw.ThreadingViolationError:
            assert time.monotonic() < deadline
            time.sleep(0.001)


@contextmanager
def no_room_by_pages(app: Toril, path: Path) -> Generator[None]:
    """Let the file have no more pages than it has."""
    db = writer(app)
    tell(db, "max_page_count", db.pragma("page_count"))
    yield
    tell(db, "max_page_count", 2**30)


@contextmanager
def no_room_by_limit(app: Toril, path: Path) -> Generator[None]:
    """Let no file of this process grow beyond what the log has: the disk is full for it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (log_of(path).stat().st_size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def only_to_read(app: Toril, path: Path) -> Generator[None]:
    """Let the file be as on a disk that was mounted anew to be read only, as after a fault."""
    db = writer(app)
    tell(db, "query_only", True)
    yield
    tell(db, "query_only", False)


FAULTS: dict[str, tuple[Fault, type[StoreError], str]] = {
    "no more pages": (no_room_by_pages, StoreFull, "no room left in .*jobs.db"),
    "a limit on sizes": (no_room_by_limit, StoreFull, "no room left in .*jobs.db"),
    "read only": (only_to_read, StoreUnavailable, "jobs.db can only be read"),
}


@pytest.mark.timeout(20 + 20 * ROUNDS)
@pytest.mark.parametrize("fault", FAULTS)
async def test_a_disk_that_takes_nothing_for_a_while_costs_no_job_and_no_second_run(
    app: Toril, path: Path, fault: str
) -> None:
    meddle, error, message = FAULTS[fault]
    queue, runs = app.queue(QUEUE), Runs()
    acked: list[Job[Any]] = []
    async with app.worker(QUEUE, runs, concurrency=5, **PATIENT):
        for _ in range(ROUNDS):
            some = await queue.add_many([("x", {"ms": 200})] * 5 + [("x", {})] * 45)
            acked += some
            await runs.until_started(*(job.id for job in some[:5]))
            with meddle(app, path):
                acked += await add_until_refused(queue, error, message)
                # What ran has ended by then, and cannot say so.
                await runs.until_ended(*(job.id for job in some[:5]))
                await asyncio.sleep(0.5)
            acked.append(await queue.add("x", {}))
            await asyncio.gather(*(job.result(timeout=10) for job in acked))

    assert sorted(runs.started) == sorted(job.id for job in acked)
    with Audit(path) as audit:
        assert audit.findings() == []


async def add_until_refused(queue: Any, error: type[StoreError], message: str) -> list[Job[Any]]:
    """Add jobs until there is no room, and give those that were acknowledged."""
    acked: list[Job[Any]] = []
    try:
        while len(acked) < 200:
            acked += await queue.add_many([("x", {"text": "x" * 5_000})])
    except error as refused:
        assert re.search(message, str(refused)), refused  # noqa: PT017
    assert len(acked) < 200, "nothing was refused"
    return acked


@pytest.mark.timeout(20 + 10 * ROUNDS)
async def test_a_foreign_lock_of_three_seconds_makes_no_job_run_twice_and_no_call_fail(
    app: Toril, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    queue, runs = app.queue(QUEUE), Runs()
    async with app.worker(QUEUE, runs, concurrency=20, **PATIENT):
        jobs = await queue.add_many([("x", {"ms": 300})] * 20)
        await runs.until_started(*(job.id for job in jobs))
        other = apsw.Connection(str(path))
        other.execute("BEGIN IMMEDIATE")
        adding = asyncio.ensure_future(queue.add("x", {}))
        await asyncio.sleep(3)
        assert not adding.done()
        other.execute("COMMIT")
        other.close()
        jobs.append(await adding)
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))

    assert sorted(runs.started) == sorted(job.id for job in jobs)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


# Files that are not what they were.


@pytest.mark.parametrize("how", ["replaced", "removed"])
async def test_a_file_that_is_not_there_any_more_acknowledges_nothing_and_runs_nothing(
    app: Toril, path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "SILENCE_S", 0.5)
    monkeypatch.setattr(exchange, "WAIT_MS", 100)
    queue, runs = app.queue(QUEUE), Runs()
    before = await queue.add("x", {})
    async with app.worker(QUEUE, runs, **PATIENT) as worker:
        await before.result(timeout=5)
        aside = path.with_name("aside.db")
        if how == "replaced":
            shutil.copy(path, aside)
            os.replace(aside, path)
        else:
            os.rename(path, aside)

        with pytest.raises(StoreUnavailable, match=r"jobs\.db was moved, removed or replaced"):
            await queue.add("x", {})
        await until(lambda: _says_so(worker), within=5)
        assert runs.started == [before.id]
        assert "restart what uses it" in (worker.health().reason or "")


async def _says_so(worker: Any) -> bool:
    return not worker.health().ready


async def test_a_file_that_is_put_back_is_used_again(app: Toril, path: Path) -> None:
    queue, runs = app.queue(QUEUE), Runs()
    async with app.worker(QUEUE, runs, **PATIENT):
        os.rename(path, path.with_name("aside.db"))
        with pytest.raises(StoreUnavailable):
            await queue.add("x", {})
        os.rename(path.with_name("aside.db"), path)
        job = await queue.add("x", {})
        await job.result(timeout=10)


async def filled(path: Path, jobs: int = 300) -> list[str]:
    """Make a file with jobs and close it; give their ids."""
    async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
        app.queue(QUEUE, keep="all")
        made = await app.queue(QUEUE).add_many([("x", {"text": "x" * 200})] * jobs)
    return [job.id for job in made]


def bytes_of(path: Path) -> bytes:
    return path.read_bytes()


def put(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def damage(path: Path, rng: random.Random) -> None:
    """Write 64 random bytes over the head of every page but the first."""
    with path.open("r+b") as file:
        for at in range(4096, path.stat().st_size, 4096):
            file.seek(at)
            file.write(rng.randbytes(64))


async def test_a_damaged_file_is_named_and_left_as_it_is(path: Path) -> None:
    await filled(path)
    damage(path, random.Random(seed()))
    before = bytes_of(path)

    with pytest.raises(StoreCorrupt, match=r"jobs\.db is damaged .*left as it is.*\.recover"):
        async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
            await app.queue(QUEUE).add("x", {})

    assert bytes_of(path) == before


@pytest.mark.parametrize("text", [b"not a database, but quite long\n" * 200, b"\x00" * 8192])
async def test_a_file_that_is_no_database_is_named_and_left_as_it_is(
    path: Path, text: bytes
) -> None:
    put(path, text)

    with pytest.raises(StoreCorrupt, match=r"jobs\.db is damaged or not a toril store"):
        async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
            await app.queue(QUEUE).add("x", {})

    assert bytes_of(path) == text


async def test_a_file_that_can_only_be_read_is_refused_by_name(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a disk that is mounted read only; the rights alone would not hold root back."""
    await filled(path)

    def connect(where: str, *, synchronous: str) -> Any:
        return apsw.Connection(
            f"file:{where}?mode=ro", apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI
        )

    monkeypatch.setattr(engine, "connect", connect)
    with pytest.raises(
        StoreUnavailable, match=r"jobs\.db can only be read.*how its disk is mounted"
    ):
        await SQLiteStore(path).open()


@pytest.mark.timeout(30 + 20 * ROUNDS)
async def test_a_log_that_was_cut_short_leaves_the_newest_out_and_the_rest_sound(
    tmp_path: Path,
) -> None:
    """What a copy made by hand, or a disk that lied about a sync, may look like."""
    number = seed()
    rng = random.Random(number)
    path = tmp_path / "jobs.db"
    async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
        app.queue(QUEUE, keep="all", events_limit=1_000_000)
        async with app.worker(QUEUE, Runs()) as worker:
            for _ in range(10):
                await app.queue(QUEUE).add_many([("x", {})] * 10)
            await worker.drained()
        await app.queue(QUEUE).add_many([("x", {})] * 10)
        whole = log_of(path).read_bytes()
        main = path.read_bytes()
    for cut in range(10 * ROUNDS):
        copy = tmp_path / f"cut-{cut}.db"
        copy.write_bytes(main)
        log_of(copy).write_bytes(whole[: rng.randrange(len(whole) // 2, len(whole))])
        await goes_on(copy, f"seed {number}, cut {cut}")


async def goes_on(path: Path, told: str) -> None:
    """See that a worker runs what is in the file, and that all of it is sound."""
    runs = Runs()
    async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
        job = await app.queue(QUEUE).add("x", {})
        async with app.worker(QUEUE, runs) as worker:
            await job.result(timeout=5)
            await worker.drained()
    assert len(runs.started) == len(set(runs.started)), told
    with Audit(path) as audit:
        assert audit.findings() == [], told
