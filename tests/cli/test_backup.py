"""`toril backup` copies a store that is in use; the copy is whole, private, and runs."""

import asyncio
import json
import sqlite3
import stat
from pathlib import Path

import pytest

from tests.support.desk import Desk
from toril import Job, Toril
from toril.errors import ConfigError, StoreCorrupt


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def jobs_in(path: Path) -> set[str]:
    db = sqlite3.connect(path)
    try:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return {row[0] for row in db.execute("SELECT id FROM jobs")}
    finally:
        db.close()


async def test_a_backup_made_while_jobs_are_added_holds_what_was_there_and_runs(
    desk: Desk,
) -> None:
    before: list[str] = []
    after: list[str] = []
    async with Toril(f"sqlite:///{desk.folder}/jobs.db", warn_unserved=False) as app:
        queue = app.queue("mail")
        before += [job.id for job in await queue.add_many([("x", {"n": n}) for n in range(300)])]
        making = asyncio.create_task(
            asyncio.to_thread(desk.run, "backup", "copy.db", "--url", "sqlite:///jobs.db")
        )
        while not making.done():
            after.append((await queue.add("x", {})).id)
            await asyncio.sleep(0.01)  # the command needs some of the processor as well
        ended = await making
        assert (ended.code, ended.err) == (0, "")
        assert f"to {desk.folder}/copy.db" in ended.out

    copied = jobs_in(desk.folder / "copy.db")
    assert set(before) <= copied
    assert copied <= {*before, *after}
    assert mode(desk.folder / "copy.db") == 0o600

    # Restored as docs/guides/backup.md says: the old files out of the way, the copy in their place.
    (desk.folder / "jobs.db").unlink()
    (desk.folder / "copy.db").rename(desk.folder / "jobs.db")
    ran: list[str] = []

    async def note(job: Job[object]) -> None:
        ran.append(job.id)

    async with Toril(f"sqlite:///{desk.folder}/jobs.db", warn_unserved=False) as app:
        async with app.worker("mail", note, concurrency=20) as worker:
            await worker.drained()
        new = await app.queue("mail").add("x", {})
    assert sorted(ran) == sorted(copied)
    assert new.id not in copied


def test_nothing_is_overwritten_unless_that_is_said(desk: Desk) -> None:
    make(desk.folder)
    (desk.folder / "copy.db").write_text("mine")

    refused = desk.run("backup", "copy.db", "--url", "sqlite:///jobs.db")
    assert refused.code == 2
    assert "it exists already" in refused.err
    assert (desk.folder / "copy.db").read_text() == "mine"

    forced = desk.run("backup", "copy.db", "--force", "--json", "--url", "sqlite:///jobs.db")
    assert json.loads(forced.out)["bytes"] == (desk.folder / "copy.db").stat().st_size
    assert jobs_in(desk.folder / "copy.db") == {"1"}
    assert mode(desk.folder / "copy.db") == 0o600
    assert sorted(each.name for each in desk.folder.iterdir()) == ["copy.db", "jobs.db"]


def make(folder: Path, jobs: int = 1) -> None:
    async def add() -> None:
        async with Toril(f"sqlite:///{folder}/jobs.db", warn_unserved=False) as app:
            await app.queue("mail").add_many([("x", {"text": "x" * 500})] * jobs)

    asyncio.run(add())


def back_up(url: str, target: Path) -> None:
    async def copy() -> None:
        async with Toril(url) as app:
            await app.backup(target, force=True)

    asyncio.run(copy())


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("jobs.db", "it is the store itself"),
        ("link.db", "it is the store itself"),
        ("nowhere/copy.db", "does not exist"),
        (".", "it is a folder"),
        ("busy.db", "of a database that is in use"),
    ],
)
def test_a_target_that_cannot_be_one_is_refused(tmp_path: Path, target: str, said: str) -> None:
    make(tmp_path)
    (tmp_path / "link.db").symlink_to(tmp_path / "jobs.db")
    (tmp_path / "busy.db-wal").write_text("theirs")
    with pytest.raises(ConfigError, match=said):
        back_up(f"sqlite:///{tmp_path}/jobs.db", tmp_path / target)
    assert jobs_in(tmp_path / "jobs.db") == {"1"}
    assert (tmp_path / "busy.db-wal").read_text() == "theirs"
    assert not [each for each in tmp_path.iterdir() if each.name.startswith(".")]


def test_a_damaged_store_is_not_taken_for_a_backup(tmp_path: Path) -> None:
    make(tmp_path, jobs=300)
    with (tmp_path / "jobs.db").open("r+b") as file:
        file.seek(120_000)
        file.write(b"\xff" * 20_000)
    with pytest.raises(StoreCorrupt, match="damaged"):
        back_up(f"sqlite:///{tmp_path}/jobs.db", tmp_path / "copy.db")
    assert [each.name for each in tmp_path.iterdir()] == ["jobs.db"]


def test_a_server_says_how_it_is_backed_up(tmp_path: Path, redis_url: str) -> None:
    with pytest.raises(ConfigError, match="redis-cli --rdb"):
        back_up(redis_url, tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


async def test_a_program_backs_its_store_up_itself(tmp_path: Path) -> None:
    async with Toril(f"sqlite:///{tmp_path}/jobs.db", warn_unserved=False) as app:
        await app.queue("mail").add("x", {})
        assert await app.backup(tmp_path / "copy.db") > 0
        with pytest.raises(ConfigError, match="exists already"):
            await app.backup(str(tmp_path / "copy.db"))
        await app.queue("mail").add("x", {})
        await app.backup(tmp_path / "copy.db", force=True)
        assert jobs_in(tmp_path / "copy.db") == {"1", "2"}
    async with Toril(":memory:") as memory:
        with pytest.raises(ConfigError, match="in memory has no file"):
            await memory.backup(tmp_path / "other.db")
