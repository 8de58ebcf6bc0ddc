"""Files that another program damaged, for tests of what then happens."""

import asyncio
import random
from pathlib import Path
from typing import Any

import apsw

from tests.robustness.faults.rig import QUEUE, until
from toril import Toril

DEEP = '{"a":' * 1_500 + "1" + "}" * 1_500
FUZZ_TEXT = (
    "", "\0", "{", "[", "null", "[]", "{}", '"x"', "1e400", "-1", "NaN", "9" * 5_000, "[" * 10_000,
    DEEP, "\u202e\x1b[31m", '{"attempts":1e999}', '{"every_ms":0}', '[["a"]]', "[1,2,3]", "evil:1",
    '{"cron":"* * */2 * *,1-9999999"}', b"\xff\xfe", b"\x80" * 50, b"\xed\xa0\x80",
)  # fmt: skip
FUZZ_NUMBER = (0, -1, 1, 2**31, 2**53, 2**63 - 1, -(2**63), 10**15, 4_096, 99)


def app_on(path: Path) -> Toril:
    return Toril(f"sqlite:///{path}", warn_unserved=False)


class Damaged:
    """A file in which rows were damaged by another program."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path))
        self._db.set_busy_timeout(5_000)

    def __enter__(self) -> "Damaged":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def set(self, table: str, column: str, value: Any, where: str, *bindings: Any) -> bool:
        """Change a value; return whether SQLite let it."""
        new = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        try:
            self._db.execute(
                f"UPDATE {table} SET {column} = {new} WHERE {where}", (value, *bindings)
            )
        except (apsw.ConstraintError, apsw.MismatchError):
            return False
        return self._db.changes() > 0


async def stock(path: Path) -> None:
    """Fill every table."""

    async def fail(job: Any) -> None:
        await job.log("hello")
        if job.name == "bad":
            raise ValueError("told to fail")

    async with app_on(path) as app:
        queue = app.queue(QUEUE, keep="all", dead_letter="letters")
        async with app.worker(QUEUE, fail):
            flow = app.flow(QUEUE, "x", {}, children=[(QUEUE, "x", {}), (QUEUE, "x", {})])
            await (await flow.add()).job.result(timeout=5)
            bad = await queue.add("bad", {}, attempts=2)
            await until(lambda: _is(bad, "failed"), within=5)
        await queue.add("x", {}, dedup="k", delay="1h")
        await app.schedules.put("s", every="1h", queue=QUEUE, name="x")


async def _is(job: Any, state: str) -> bool:
    return bool(await job.state() == state)


def make_stock(path: Path) -> bytes:
    """Return a file in which every table has rows."""
    asyncio.run(stock(path))
    db = apsw.Connection(str(path))
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    # Processes leave the list when they end: one that did not.
    db.execute(
        "INSERT INTO processes (key, host, pid, lock, started_ms) "
        "VALUES (99, 'h', 1, '1-00000000.lock', 1);"
        "INSERT INTO workers (id, process, name, host, pid, queues, concurrency, active, "
        "started_ms, seen_ms) VALUES ('w', 99, 'w', 'h', 1, '[\"faults\"]', 1, 0, 1, 1)"
    )
    db.close()
    return path.read_bytes()


def damage_anything(path: Path, rng: random.Random) -> None:
    """Change a few values of any tables."""
    db = apsw.Connection(str(path))
    tables = [row[0] for row in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    columns = [
        (table, row[1], row[2])
        for table in tables
        if table != "sqlite_sequence"
        for row in db.execute(f"PRAGMA table_info({table})")
    ]
    db.close()
    with Damaged(path) as damaged:
        for _ in range(rng.randint(1, 5)):
            table, column, kind = rng.choice(columns)
            value = rng.choice(FUZZ_NUMBER if kind == "INTEGER" else FUZZ_TEXT)
            damaged.set(table, column, value, "1")
