"""What SQLite says may corrupt a file, clause by clause: prevented, or noticed before the next answer.

Never here: a disk that fails (`test_disk`), a power cut (`tests/robustness/chaos`).
"""

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.robustness.faults.rig import QUEUE, until
from toril import Toril
from toril.errors import StoreError, StoreUnavailable

if sys.platform != "win32":
    import resource

pytestmark = pytest.mark.skipif(
    sys.platform == "win32", reason="open files cannot be deleted there"
)

# As a `sqlite3` shell does: open, read, and leave as the last one that seems to be there.
VISIT = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30)
print(db.execute("SELECT count(*) FROM jobs").fetchone()[0])
print(db.execute("PRAGMA integrity_check").fetchone()[0])
db.close()
"""
WRITE_BESIDE = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1], timeout=30, isolation_level=None)
db.execute("CREATE TABLE visitors (at)")
"""
ADD = """
import asyncio, sys
from toril import Toril
async def main():
    async with Toril(f"sqlite:///{sys.argv[1]}", warn_unserved=False) as app:
        for _ in range(int(sys.argv[2])):
            await app.queue("q").add("x", {})
        print("added", flush=True)
        sys.stdin.readline()
        await app.queue("q").add("x", {})
asyncio.run(main())
"""


def url_of(path: Path) -> str:
    return f"sqlite:///{path}"


def run(program: str, *args: object) -> list[str]:
    command = [sys.executable, "-c", program, *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")


async def visit(path: Path) -> int:
    """Let another program read the file and leave; return how many jobs it saw in a sound file."""
    count, sound, *_ = await asyncio.to_thread(run, VISIT, path)
    assert sound == "ok"
    return int(count)


def beside(path: Path, *ends: str) -> list[Path]:
    return [path.with_name(path.name + end) for end in ends]


def empty_log(path: Path) -> None:
    db = apsw.Connection(str(path))
    db.pragma("user_version")  # which opens the log
    db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
    db.close()
    assert size_of(beside(path, "-wal")[0]) == 0


def size_of(path: Path) -> int:
    return path.stat().st_size


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def app(path: Path) -> AsyncIterator[Toril]:
    async with Toril(url_of(path), warn_unserved=False) as app:
        yield app


async def add(app: Toril, count: int = 1) -> None:
    for _ in range(count):
        await app.queue(QUEUE).add("x", {})


# POSIX locks are dropped when any descriptor of the file is closed; two SQLite libraries.


async def test_a_second_store_in_the_process_leaves_the_locks_of_the_first(
    app: Toril, path: Path
) -> None:
    await add(app, 2)
    async with Toril(url_of(path), warn_unserved=False) as second:
        await second.open()
        assert await visit(path) == 2
        await add(app, 3)
        await add(second, 3)
        assert await visit(path) == 8
    await add(app)
    assert await visit(path) == 9


async def test_a_second_store_that_is_closed_leaves_the_locks_of_the_first(
    app: Toril, path: Path
) -> None:
    await add(app)
    async with Toril(url_of(path), warn_unserved=False) as second:
        await add(second)
    await visit(path)
    await add(app)
    assert await visit(path) == 3


def open_and_close(path: Path) -> None:
    for file in (path, *beside(path, "-wal", "-shm")):
        with file.open("rb") as opened:
            opened.read(1)


def copy_it(path: Path) -> None:
    shutil.copy(path, path.with_name("copied"))


def read_with_another_library(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("SELECT count(*) FROM jobs").fetchone()
    db.close()


def write_with_another_library(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE IF NOT EXISTS visitors (at)")
        db.execute("INSERT INTO visitors VALUES (1)")
    db.close()


CLOSING = (open_and_close, copy_it, read_with_another_library, write_with_another_library)


@pytest.mark.parametrize("close", CLOSING)
async def test_code_of_the_process_that_closes_the_file_costs_no_job(
    app: Toril, path: Path, close: Callable[[Path], None]
) -> None:
    await add(app, 2)
    for expected in (3, 4):
        close(path)
        await visit(path)
        await add(app)
        assert await visit(path) == expected


async def test_no_other_process_writes_while_the_lock_of_a_write_is_dropped(
    app: Toril, path: Path
) -> None:
    """Another library in the process closes the file in the middle of a transaction."""
    await add(app)
    program = (sys.executable, "-c", ADD, str(path), "5")
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    other = await asyncio.create_subprocess_exec(*program, **pipes)
    assert other.stdin is not None
    assert other.stdout is not None
    assert await other.stdout.readline() == b"added\n"
    dropped, go_on = threading.Event(), threading.Event()

    def write(unit: Any, _: object) -> None:
        unit.run("queue.create", ("mine", 0))
        read_with_another_library(path)
        dropped.set()
        go_on.wait(10)

    store: Any = app.context.store
    writing = asyncio.create_task(store._engine.write(write, None))
    await asyncio.to_thread(dropped.wait, 10)
    other.stdin.write(b"\n")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await other.stdout.read()  # it has ended when it has stored its job
    go_on.set()
    await writing
    await other.communicate(b"")
    assert other.returncode == 0
    assert await visit(path) == 7
    assert "mine" in await app.queues()


# Deleting the log.


@pytest.mark.parametrize("ends", [("-wal",), ("-shm",), ("-wal", "-shm")])
async def test_a_deleted_log_costs_no_job_that_was_acknowledged(
    app: Toril, path: Path, ends: tuple[str, ...]
) -> None:
    await add(app, 3)
    for file in beside(path, *ends):
        file.unlink()
    await add(app, 2)
    assert await visit(path) == 5
    await add(app)
    assert (await app.queue(QUEUE).counts()).waiting == 6


@pytest.mark.parametrize("ends", [("-wal",), ("-wal", "-shm")])
async def test_an_idle_store_saves_a_log_that_was_deleted(
    app: Toril, path: Path, ends: tuple[str, ...]
) -> None:
    await add(app, 3)
    for file in beside(path, *ends):
        file.unlink()

    async def is_back() -> bool:
        return all(file.exists() for file in beside(path, *ends))

    await until(is_back, within=10)
    assert await visit(path) == 3


async def test_a_log_that_two_processes_have_open_is_saved_by_one_of_them(
    app: Toril, path: Path
) -> None:
    program = (sys.executable, "-c", ADD, str(path), "5")
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    other = await asyncio.create_subprocess_exec(*program, **pipes)
    assert other.stdout is not None
    assert await other.stdout.readline() == b"added\n"
    await add(app, 2)
    for file in beside(path, "-wal", "-shm"):
        file.unlink()
    await add(app, 2)
    await other.communicate(b"\n")
    await add(app)
    assert other.returncode == 0
    assert await visit(path) == 11


async def test_two_stores_of_a_process_both_go_on_when_their_log_was_deleted(
    app: Toril, path: Path
) -> None:
    async with Toril(url_of(path), warn_unserved=False) as second:
        await add(second)
        await add(app)
        for file in beside(path, "-wal", "-shm"):
            file.unlink()
        await add(second, 2)
        await add(app, 2)
        assert await visit(path) == 6


async def test_a_log_that_another_program_began_anew_is_not_written_over(
    app: Toril, path: Path
) -> None:
    """Until its files are gone; then the jobs that were acknowledged are saved."""
    await add(app, 3)
    for file in beside(path, "-wal", "-shm"):
        file.unlink()
    # At once: the store notices within a quarter of a second.
    intruder = sqlite3.connect(path, isolation_level=None)
    intruder.execute("CREATE TABLE visitors (at)")
    noticed = False
    try:
        await add(app)
    except StoreUnavailable as error:
        noticed = True
        assert "another program has begun a new one" in str(error)  # noqa: PT017
    intruder.close()
    for file in beside(path, "-wal", "-shm"):
        file.unlink(missing_ok=True)
    await add(app)
    assert await visit(path) == (4 if noticed else 5)


# Replacing, renaming, restoring, overwriting the file.


async def test_a_renamed_file_is_complete_where_it_is(app: Toril, path: Path) -> None:
    await add(app, 3)
    aside = path.with_name("aside.db")
    os.rename(path, aside)
    with pytest.raises(StoreUnavailable, match=r"jobs\.db was moved, removed or replaced"):
        await add(app)
    assert await visit(aside) >= 3


async def test_a_restored_file_is_used_when_nothing_of_the_old_one_is_beside_it(
    app: Toril, path: Path
) -> None:
    await add(app, 3)
    old = path.with_name("old.db")
    db = apsw.Connection(str(path))
    db.execute("VACUUM INTO ?", (str(old),))
    db.close()
    old.chmod(0o600)
    await add(app, 2)
    os.replace(old, path)
    with pytest.raises(StoreUnavailable, match="moved, removed or replaced"):
        await add(app)
    # Its log was emptied: it must not be taken for one of the restored file.
    assert size_of(beside(path, "-wal")[0]) == 0
    for file in beside(path, "-wal", "-shm"):
        file.unlink()
    await add(app)
    assert await visit(path) == 4
    assert (await app.queue(QUEUE).counts()).waiting == 4


async def test_a_file_that_is_overwritten_acknowledges_nothing(app: Toril, path: Path) -> None:
    """As by `cp backup.db jobs.db` under a running app: its pages do not fit the log."""
    queue = app.queue(QUEUE)
    await queue.add_many([("x", {"text": "x" * 3_000})] * 300)
    async with Toril(url_of(path), warn_unserved=False) as other:
        await other.backup(path.with_name("copy.db"))
    empty_log(path)
    await queue.add_many([("x", {"text": "x" * 3_000})] * 100)
    await asyncio.sleep(0.5)  # as long as nobody checkpoints, only its time tells of the copy
    with path.with_name("copy.db").open("rb") as copy, path.open("r+b") as file:
        file.truncate(0)
        file.write(copy.read()[: 40 * 4096])
    with pytest.raises(StoreError, match="overwritten while it was open"):
        await add(app)


async def test_a_file_that_was_only_touched_is_used_on(app: Toril, path: Path) -> None:
    await add(app, 3)
    for _ in range(3):
        os.utime(path)
        await add(app)
        await asyncio.sleep(0.05)
    assert await visit(path) == 6


# Two names of one file.


async def test_a_file_with_two_names_is_refused_with_the_remedy(path: Path) -> None:
    async with Toril(url_of(path), warn_unserved=False) as app:
        await add(app)
    other = path.with_name("other.db")
    os.link(path, other)
    for name in (path, other):
        with pytest.raises(StoreUnavailable, match=r"2 names \(hard links\).*keep one"):
            await add(Toril(url_of(name), warn_unserved=False))
    other.unlink()
    async with Toril(url_of(path), warn_unserved=False) as app:
        await add(app)


async def test_a_link_leads_to_the_same_file_and_the_same_log(
    app: Toril, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = path.with_name("elsewhere")
    elsewhere.mkdir()
    link = elsewhere / "link.db"
    link.symlink_to(path)
    folder = path.with_name("folder")
    folder.symlink_to(path.parent)
    monkeypatch.chdir(path.parent)
    names = (str(link), str(folder / path.name), "./jobs.db", "elsewhere/../jobs.db")
    await add(app)
    for name in names:
        async with Toril(f"sqlite:///{name}", warn_unserved=False) as other:
            await add(other)
            await add(app)
            assert (await other.queue(QUEUE).counts()).waiting == await visit(path)
    assert await visit(path) == 9
    assert list(elsewhere.iterdir()) == [link]


# Carrying an open connection across a fork.


def in_a_fork(work: Callable[[], None]) -> int:
    """Run this in a forked child, and return its exit code."""
    child = os.fork()
    if not child:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def add_in_a_store_of_its_own(path: Path) -> None:
    async def once() -> None:
        async with Toril(url_of(path), warn_unserved=False) as app:
            await add(app, 3)

    asyncio.run(once())


@pytest.mark.parametrize("does", [open_and_close, read_with_another_library, lambda _: None])
async def test_a_forked_child_leaves_the_locks_of_its_parent(
    app: Toril, path: Path, does: Callable[[Path], None]
) -> None:
    await add(app, 2)
    assert in_a_fork(lambda: does(path)) == 0
    assert await visit(path) == 2
    await add(app)
    assert await visit(path) == 3


async def test_a_forked_child_and_its_parent_both_store_jobs(app: Toril, path: Path) -> None:
    await add(app, 2)
    for stored in (2, 8, 14):
        adding = asyncio.create_task(add(app, 3))
        await asyncio.sleep(0)
        code = in_a_fork(lambda: add_in_a_store_of_its_own(path))
        await adding
        assert code == 0
        assert await visit(path) == stored + 6
    assert (await app.queue(QUEUE).counts()).waiting == 20


# Opening at the same moment.


async def test_many_threads_open_a_new_file_at_once(path: Path) -> None:
    def use() -> None:
        async def once() -> None:
            async with Toril(url_of(path), warn_unserved=False) as app:
                await add(app, 3)

        asyncio.run(once())

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert await visit(path) == 24


# No room for what is taken from the log into the file.


async def test_a_disk_that_is_full_for_the_checkpoint_costs_no_job(app: Toril, path: Path) -> None:
    text = "x" * 20_000
    queue = app.queue(QUEUE)
    await queue.add_many([("x", {"text": text})] * 400)
    empty_log(path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size_of(path), hard))
    try:
        for _ in range(150):  # the log is taken into the file from 4 MB on
            await queue.add("x", {"text": text})
        assert size_of(beside(path, "-wal")[0]) > 4_200_000
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    await add(app)
    assert await visit(path) == 551
