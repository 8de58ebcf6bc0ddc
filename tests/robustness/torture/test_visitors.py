"""T12b: two stores in one process, and visitors that come and go inside and outside of it.

Each of them makes the locks of the process look dropped, or deletes its log. Every job that was
acknowledged is in the file after each round, and runs once in the end.
"""

import asyncio
import random
import shutil
import sqlite3
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.faults.rig import QUEUE, Runs
from tests.robustness.torture.site import ROUNDS, seed
from toril import Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="open files cannot be deleted there"),
]

VISITS = 200 * ROUNDS
# Once in so many rounds somebody deletes the log by hand.
DELETES = 20
# As a `sqlite3` shell that is opened and left again, once for each line.
SHELL = """
import sqlite3, sys
for line in sys.stdin:
    db = sqlite3.connect(sys.argv[1], timeout=30)
    try:
        count = db.execute("SELECT count(*) FROM jobs").fetchone()[0]
        sound = db.execute("PRAGMA quick_check").fetchone()[0] if line == "check\\n" else "ok"
    except sqlite3.Error as error:
        count, sound = 0, str(error).replace(" ", "-")
    db.close()
    print(sound, count, flush=True)
"""


class Shell:
    """A program that opens the file, reads it, and leaves it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def visit(self, word: str = "read") -> tuple[str, int]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{word}\n".encode())
        sound, count = (await self._process.stdout.readline()).decode().split()
        return sound, int(count)


@asynccontextmanager
async def shell(path: Path) -> AsyncIterator[Shell]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SHELL, str(path), stdin=pipe, stdout=pipe
    )
    try:
        yield Shell(process)
    finally:
        await process.communicate(b"")


def copy_it(path: Path) -> None:
    shutil.copy(path, path.with_name("copied"))


def read_bytes(path: Path) -> None:
    for end in ("", "-shm"):
        path.with_name(path.name + end).read_bytes()


def use_another_library(path: Path) -> None:
    db = sqlite3.connect(path)
    db.execute("SELECT count(*) FROM jobs").fetchone()
    db.close()


def delete_the_log(path: Path) -> None:
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink()


VISITORS: tuple[Callable[[Path], None], ...] = (copy_it, read_bytes, use_another_library)


@pytest.mark.timeout(40 + 60 * ROUNDS)
async def test_visitors_that_come_and_go_cost_no_job(tmp_path: Path) -> None:
    number = seed()
    rng = random.Random(number)
    path = tmp_path / "jobs.db"
    url = f"sqlite:///{path}"
    acked: list[str] = []

    async def add(app: Toril) -> None:
        acked.append((await app.queue(QUEUE).add("x", {})).id)

    async with Toril(url, warn_unserved=False) as first, Toril(url, warn_unserved=False) as second:
        first.queue(QUEUE, keep="all")
        second.queue(QUEUE, keep="all")
        await asyncio.gather(add(first), add(second))
        async with shell(path) as outside:
            for visit in range(VISITS):
                act = delete_the_log if visit % DELETES == DELETES - 1 else rng.choice(VISITORS)
                if rng.random() < 0.5:
                    await asyncio.gather(add(first), add(second), asyncio.to_thread(act, path))
                else:
                    act(path)
                told = await outside.visit("check" if visit % 10 == 0 else "read")
                await asyncio.gather(*(add(rng.choice((first, second))) for _ in range(2)))
                # Between the deletion and the next commit the newest is in no file.
                if act is not delete_the_log:
                    assert told[0] == "ok", f"seed {number}, visit {visit}"
                seen = (await outside.visit())[1]
                assert seen == len(acked), f"seed {number}, visit {visit}, {act.__name__}"
        runs = Runs()
        async with second.worker(QUEUE, runs, concurrency=20) as worker:
            await worker.drained()
    assert sorted(runs.started) == sorted(acked), f"seed {number}"


async def test_a_job_of_a_store_that_is_opened_and_left_is_kept(tmp_path: Path) -> None:
    """A third store in the process comes and goes while the other two work."""
    path = tmp_path / "jobs.db"
    url = f"sqlite:///{path}"
    stored = 0

    async def once(app: Any) -> None:
        nonlocal stored
        await app.queue(QUEUE).add("x", {})
        stored += 1

    async with Toril(url, warn_unserved=False) as first:
        await once(first)
        async with shell(path) as outside:
            for _ in range(15):
                async with Toril(url, warn_unserved=False) as other:
                    await asyncio.gather(once(first), once(other))
                await outside.visit()
                await once(first)
                assert (await outside.visit())[1] == stored
