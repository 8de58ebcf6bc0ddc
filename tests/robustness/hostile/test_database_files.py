"""A database file, or what is beside it, was made by somebody who means harm.

Names in a file are no paths, definitions in a file are no programs, and what others may change is
not used. Never here: damage by accident (`tests/robustness/faults`).
"""

# ruff: noqa: ASYNC240  # nothing else runs on the loops of these tests

import asyncio
import fcntl
import os
import secrets
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.robustness.faults.rig import QUEUE, Runs, until
from toril import Toril
from toril._store.sqlite.connection import processes
from toril.errors import ConfigError, StoreCorrupt, StoreError, StoreUnavailable

if sys.platform == "win32":
    pytest.skip("modes, owners and sockets are POSIX", allow_module_level=True)

SOMEBODY = 65_534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def app_on(path: Path) -> Toril:
    return Toril(f"sqlite:///{path}", warn_unserved=False)


async def make(path: Path, jobs: int = 1) -> None:
    async with app_on(path) as app:
        await app.queue(QUEUE).add_many([("x", {})] * jobs)


def edit(path: Path, sql: str, *values: object) -> None:
    db = apsw.Connection(str(path))
    try:
        db.execute(sql, values)  # type: ignore[arg-type]
    finally:
        db.close()


def announce(path: Path, lock: str, bell: str | None = None) -> None:
    edit(
        path,
        "INSERT INTO processes (host, pid, lock, bell, started_ms) VALUES ('h', 1, ?, ?, 1)",
        lock,
        bell,
    )


async def use(path: Path) -> None:
    """Look, add, work and leave."""
    runs = Runs()
    async with asyncio.timeout(15), app_on(path) as app:
        await app.queues()
        job = await app.queue(QUEUE).add("x", {})
        async with app.worker(QUEUE, runs):
            await job.result(timeout=10)
        assert job.id in runs.started


# Names in the file.


@pytest.mark.parametrize(
    "lock",
    [
        "../victim",
        "{folder}/victim",
        "../victim\0.lock",
        "../1-00000000.lock",
        "²-00000000.lock",
        "1-00000000.lock\n",
        "9" * 5_000 + "-00000000.lock",
        "a" * 300,
        "",
        ".",
        "..",
    ],
)
async def test_a_name_of_a_lock_leads_nowhere_else(path: Path, lock: str) -> None:
    await make(path)
    victim = path.with_name("victim")
    victim.write_text("precious")
    path.with_name("1-00000000.lock").write_text("precious")
    announce(path, lock.format(folder=path.parent), str(victim))
    await use(path)
    assert victim.read_text() == "precious"
    assert path.with_name("1-00000000.lock").read_text() == "precious"


async def test_a_lock_that_is_a_link_is_not_followed(path: Path) -> None:
    await make(path)
    victim = path.with_name("victim")
    victim.write_text("precious")
    live = path.with_name("jobs.db-live")
    live.mkdir(mode=0o700)
    (live / "1-00000000.lock").symlink_to(victim)
    (live / "1-00000000.bell").symlink_to(victim)
    announce(path, "1-00000000.lock", str(victim))
    with victim.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        await use(path)
    assert victim.read_text() == "precious"


async def test_a_stored_doorbell_is_neither_rung_nor_removed(path: Path) -> None:
    await make(path)
    bell = path.with_name("theirs")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as theirs:
        theirs.bind(str(bell))
        theirs.setblocking(False)
        announce(path, "1-00000000.lock", str(bell))
        await use(path)
        with pytest.raises(BlockingIOError):
            theirs.recv(1)
    assert bell.exists()


@pytest.mark.parametrize("bell", ["udp:abc", "udp:99999999999", "udp:", "/tmp/a\0b", "x" * 500])
async def test_a_doorbell_that_cannot_be_one_stops_nobody(path: Path, bell: str) -> None:
    await make(path)
    live = path.with_name("jobs.db-live")
    live.mkdir(mode=0o700)
    with (live / "1-00000000.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        announce(path, "1-00000000.lock", bell)
        await use(path)


# What dead processes leave behind.

WAIT_TO_BE_KILLED = """
import asyncio, sys
from toril import Toril
async def main():
    async with Toril(f"sqlite:///{sys.argv[1]}", warn_unserved=False) as app:
        await app.queue("faults").add("x", {})
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def sockets_in(*folders: Path) -> list[Path]:
    return [
        Path(root, name)
        for folder in folders
        for root, _, names in os.walk(folder)
        for name in names
        if stat.S_ISSOCK(os.lstat(Path(root, name)).st_mode)
    ]


@pytest.mark.parametrize("place", ["short", "long", "long, and no open folder has a path"])
async def test_the_socket_of_a_dead_process_goes_with_its_jobs_and_not_before(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Path("/tmp", f"toril-test-{secrets.token_hex(4)}")
    shelf.mkdir(mode=0o700)
    try:
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(shelf))
        monkeypatch.setenv("TMPDIR", str(shelf))
        folder = tmp_path if place == "short" else tmp_path / ("n" * 90)
        folder.mkdir(exist_ok=True)
        program = WAIT_TO_BE_KILLED
        if "no open folder" in place:
            monkeypatch.setattr(processes, "OPEN_FOLDERS", Path("/nowhere"))
            program = (
                "from pathlib import Path\nfrom toril._store.sqlite.connection import processes\n"
                f"processes.OPEN_FOLDERS = Path('/nowhere')\n{program}"
            )
        await leave_and_come_back(folder, shelf, program)
    finally:
        for each in sorted(shelf.rglob("*"), reverse=True):
            each.rmdir() if each.is_dir() else each.unlink()
        shelf.rmdir()


async def leave_and_come_back(folder: Path, shelf: Path, program: str) -> None:
    path = folder / "jobs.db"
    dying = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(path), stdout=asyncio.subprocess.PIPE
    )
    assert dying.stdout is not None
    assert await dying.stdout.readline() == b"up\n"
    dying.kill()
    await dying.wait()
    (left,) = sockets_in(folder, shelf)
    assert stat.S_IMODE(left.stat().st_mode) == 0o600
    assert stat.S_IMODE(left.parent.stat().st_mode) == 0o700

    async with app_on(path) as app:  # who only looks changes nothing
        await app.queues()
        await app.workers()
    assert sockets_in(folder, shelf) == [left]

    async with app_on(path) as app, app.worker(QUEUE, Runs()):

        async def is_swept() -> bool:
            return left not in sockets_in(folder, shelf)

        await until(is_swept, within=10)
    assert sockets_in(folder, shelf) == []


@as_root
@pytest.mark.parametrize("how", ["owner", "mode", "link"])
async def test_a_folder_of_doorbells_that_somebody_else_made_is_not_used(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shelf = Path("/tmp", f"toril-test-{secrets.token_hex(4)}")
    trap = shelf / f"toril-{os.geteuid()}"
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    shelf.mkdir(mode=0o700)
    try:
        if how == "link":
            trap.symlink_to(theirs)
        else:
            trap.mkdir(mode=0o700)
            os.chown(trap, SOMEBODY if how == "owner" else os.geteuid(), -1)
            trap.chmod(0o700 if how == "owner" else 0o777)
        monkeypatch.setenv("XDG_RUNTIME_DIR", str(shelf))
        monkeypatch.setattr("tempfile.tempdir", str(shelf))
        monkeypatch.setattr(processes, "OPEN_FOLDERS", Path("/nowhere"))
        folder = tmp_path / ("n" * 90)
        folder.mkdir()
        await use(folder / "jobs.db")
        assert list(theirs.iterdir()) == []
        assert sockets_in(shelf) == []
    finally:
        trap.unlink() if how == "link" else trap.rmdir()
        shelf.rmdir()


# What stands beside the file, and who made it.


def give_away(path: Path, end: str) -> None:
    os.chown(path.with_name(path.name + end), SOMEBODY, -1)


def open_to_all(path: Path, end: str) -> None:
    file = path.with_name(path.name + end)
    file.chmod(0o777 if file.is_dir() else 0o666)


def make_a_link(path: Path, end: str) -> None:
    file = path.with_name(path.name + end)
    trap = path.with_name("trap")
    file.rename(trap)
    file.symlink_to(trap)


NEIGHBOURS = ("-wal", "-shm", "-journal", "-live")


@as_root
@pytest.mark.parametrize("end", NEIGHBOURS)
@pytest.mark.parametrize("harm", [give_away, open_to_all, make_a_link])
async def test_a_neighbour_that_somebody_made_before_is_refused(
    path: Path, end: str, harm: Callable[[Path, str], None]
) -> None:
    neighbour = path.with_name(path.name + end)
    neighbour.mkdir() if end == "-live" else neighbour.touch(0o600)
    harm(path, end)
    with pytest.raises(StoreUnavailable, match=rf"cannot open .*jobs\.db{end}.*\("):
        await make(path)


@as_root
@pytest.mark.parametrize("harm", [give_away, open_to_all])
async def test_a_file_that_others_may_change_is_refused(
    path: Path, harm: Callable[[Path, str], None]
) -> None:
    await make(path)
    harm(path, "")
    before = path.read_bytes()
    with pytest.raises(StoreUnavailable, match=r"(chown|chmod go-w)"):
        await make(path)
    assert path.read_bytes() == before


@as_root
async def test_an_empty_file_of_somebody_is_left_as_it_is(path: Path) -> None:
    path.touch(0o666)
    give_away(path, "")
    with pytest.raises(StoreUnavailable, match="belongs to user 65534"):
        await make(path)
    assert path.stat().st_size == 0


@as_root
async def test_a_link_that_somebody_else_made_is_not_followed(path: Path) -> None:
    note = path.with_name("note")
    note.touch(0o600)
    path.symlink_to(note)
    os.lchown(path, SOMEBODY, -1)
    with pytest.raises(StoreUnavailable, match="symbolic link of user 65534"):
        await make(path)
    assert note.stat().st_size == 0


@as_root
async def test_a_folder_of_somebody_else_or_for_everybody_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    folder.chmod(0o777)
    with pytest.raises(StoreUnavailable, match="chmod o-w"):
        await make(folder / "jobs.db")
    folder.chmod(0o1777)
    await make(folder / "jobs.db")
    os.chown(folder, SOMEBODY, -1)
    with pytest.raises(StoreUnavailable, match="belongs to user 65534"):
        await make(folder / "jobs.db")


@pytest.mark.parametrize("kind", ["folder", "pipe", "socket"])
async def test_what_is_no_file_is_refused(
    path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path, 0o600)
        else:
            monkeypatch.chdir(path.parent)  # the whole path is too long for a socket
            server.bind(path.name)
        with pytest.raises(StoreUnavailable, match="it is not a file"):
            await make(path)


# Definitions in the file.

BOMB = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
CHANGED = {
    "a trigger that never ends": f"CREATE TRIGGER t AFTER INSERT ON jobs BEGIN {BOMB}; END",
    "a trigger that deletes": "CREATE TRIGGER t AFTER INSERT ON jobs BEGIN DELETE FROM jobs; END",
    "a trigger on processes": f"CREATE TRIGGER t AFTER INSERT ON processes BEGIN {BOMB}; END",
    "a column that is computed": "ALTER TABLE jobs ADD COLUMN z INTEGER AS (length(zeroblob(900000000)))",
    "an index that is computed": "CREATE INDEX z ON jobs (length(hex(zeroblob(10000))))",
    "a table that is gone": "DROP TABLE workers",
    "a view in place of a table": "DROP TABLE workers; CREATE VIEW workers AS SELECT 1 AS id",
    "a view that was dropped": "DROP VIEW job_counts",
    "an older version that has later tables": "PRAGMA user_version = 1",
}


@pytest.mark.parametrize("change", CHANGED)
async def test_a_file_whose_tables_were_changed_is_refused_and_left(
    path: Path, change: str
) -> None:
    await make(path)
    edit(path, CHANGED[change])
    before = path.read_bytes()
    with pytest.raises(StoreCorrupt, match="was changed by something other than toril"):
        async with asyncio.timeout(10):
            await make(path)
    assert path.read_bytes() == before


async def test_a_table_of_somebodys_own_is_no_harm(path: Path) -> None:
    await make(path)
    edit(path, "CREATE TABLE diary (text); CREATE INDEX some ON diary (text); ANALYZE")
    await use(path)


@pytest.mark.parametrize("version", [0, 1, 4, 2**31 - 1])
async def test_a_database_of_another_program_is_refused(path: Path, version: int) -> None:
    edit(path, f"CREATE TABLE notes (text); PRAGMA user_version = {version}")
    with pytest.raises((ConfigError, StoreError), match="another program's database"):
        await make(path)


# A thread that may end silently.


async def test_a_writer_that_ends_by_an_error_refuses_what_comes(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with app_on(path) as app:
        await app.queue(QUEUE).add("x", {})
        store: Any = app.context.store

        def fail(_: object) -> None:
            raise ValueError("told to fail")

        monkeypatch.setattr("threading.excepthook", lambda _: None)
        monkeypatch.setattr(store._engine._work, "committed", fail)
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                async with asyncio.timeout(5):
                    await app.queue(QUEUE).add("x", {})
        async with asyncio.timeout(10):
            await app.close()
