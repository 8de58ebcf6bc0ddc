"""One schedule that something else wrote badly hurts only itself, on both stores.

Nothing of it is expanded before it is checked; it is reported once, and `toril doctor` and
`toril schedules` show it.
"""

import asyncio
import logging
import tracemalloc
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import apsw
import pytest
import redis

from tests.robustness.faults.rig import QUEUE, Runs, until
from tests.support.desk import Desk
from tests.support.servers import fresh_prefix, shared_server
from toril import Toril
from toril._model.schedule import Rule
from toril._store.redis.verbs.cron_text import followed
from toril.errors import ConfigError

SOUND = {"name": "x", "ic": "1", "every": "1000"}
CRON = {"name": "x", "ic": "1"}
# What stands in the hash of a schedule; none of it can be followed.
BAD: dict[str, dict[str, str]] = {
    **{
        f"{field} {text[:12]}": {**SOUND, field: text}
        for field, texts in {
            "ic": ("evil", "1e400", "nan", "9" * 5_000, "²"),
            "every": ("inf", "nan", "0", "-1", "x", "9" * 5_000, "9" * 300),
            "limit": ("1e400", "inf", "x", "0", "-5"),
            "startDate": ("x", "1e400", "1e300"),
            "endDate": ("x", "1e30", "-1"),
            "toril:offset": ("x", "1e400", "5000"),
            "opts": ("[" * 100_000, '{"a":' * 50_000, "7", '{"attempts":"x"}', "{" + "x" * 70_000),
        }.items()
        for text in texts
    },
    **{
        f"tz {tz[:12]}": {**CRON, "pattern": "* * * * *", "tz": tz}
        for tz in ("../../../../etc/passwd", "/etc/passwd", "a\0b", "a" * 100_000, "No/Where")
    },
    **{
        f"pattern {text[:32]}": {**CRON, "pattern": text}
        for text in (
            "* * *,1-9999999 * 1-9999999", "* * *,1-9999999 * 1", "* * 1 * *,1-9999999",
            "* * */2 * *,1-9999999", "* * *,9999999 * 1", "* * *,5-1 * 1", "* * *,1/0 * 1-3",
            "* * * *,1-9999999 * 5", "1-9999999 * * * *", "9" * 5_000 + " * * * *",
            "* " * 500_000, ",".join(["0-59"] * 20_000) + " * * * *", "*/0 * * * *", "* * *", "",
            "* * *,0-0 * 1", "0 0 *,32 * 1",
        )
    },
    "no rule": {"name": "x", "ic": "1"},
    "both rules": {**SOUND, "pattern": "* * * * *"},
}  # fmt: skip
SCORES = ("inf", "-inf", "-1e300", "1e300", "-1", "9e15")


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with shared_server().client() as client:
        yield client


def app_on(prefix: str) -> Toril:
    return Toril(shared_server().url, prefix=prefix, warn_unserved=False)


async def _ran(runs: Runs, start: str, count: int) -> bool:
    return sum(id.startswith(start) for id in runs.ended) >= count


def put(
    client: redis.Redis, prefix: str, id: str, fields: dict[str, str], score: str = "1"
) -> None:
    client.zadd(f"{prefix}:{QUEUE}:repeat", {id: score})  # type: ignore[dict-item]
    client.hset(f"{prefix}:{QUEUE}:repeat:{id}", mapping=fields)  # type: ignore[arg-type]


BOMBS = (
    "* * *,1-9999999 * 1", "* * */2 * *,1-9999999", "* * *,1-9999999 * 1-9999999",
    "* * *,9-9999999/2 * 5", "0 0 *,1-31/0 * 1", "* * * *,1-9999999 * 5", "* * *,*/9999999 * 1",
    "* " * 1_000_000, "*," * 1_000_000 + "* * * * *",
)  # fmt: skip


@pytest.mark.parametrize("pattern", BOMBS, ids=lambda text: text[:32])
def test_no_pattern_takes_memory(pattern: str) -> None:
    Rule(cron="* * *,1-3 * 1")  # what is imported or cached is there
    tracemalloc.start()
    try:
        with suppress(ConfigError):
            Rule(cron=followed(pattern))
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
    finally:
        tracemalloc.stop()


async def test_every_bad_schedule_is_listed_with_its_fault_and_the_good_one_stays_good(
    prefix: str, client: redis.Redis
) -> None:
    for name, fields in BAD.items():
        put(client, prefix, name, fields)
    for score in SCORES:
        put(client, prefix, score, SOUND, score)
    client.zadd(f"{prefix}:{QUEUE}:repeat", {"string": 1, "bullmq 5": 1})
    client.set(f"{prefix}:{QUEUE}:repeat:string", "x")
    async with app_on(prefix) as app:
        await app.schedules.put("good", every="1h", queue=QUEUE, name="x")
        async with asyncio.timeout(5):
            found = {each.id: each for each in await app.schedules.list(QUEUE)}

    assert found.keys() == {*BAD, *SCORES, "string", "good"}
    assert [id for id, each in found.items() if each.fault is None] == ["good"]
    assert all(each.job_id is None for each in found.values() if each.fault)


async def test_runs_go_on_beside_bad_schedules_and_each_is_reported_once(
    prefix: str, client: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    bad = [("ic", "ic evil"), ("limit", "limit 1e400"), ("every", "every inf")]
    for id, name in bad:
        put(client, prefix, id, BAD[name])
    put(client, prefix, "bomb", BAD["pattern * * *,1-9999999 * 1"])
    put(client, prefix, "inf", SOUND, "inf")
    client.set(f"{prefix}:other:repeat", "no sorted set")
    client.sadd(f"{prefix}::toril:queues", "other")
    # The armed run of a bad one, and one of a schedule whose hash says nothing good.
    client.hset(f"{prefix}:{QUEUE}:repeat:ic:1", mapping={"name": "x", "data": "{}", "rjk": "ic"})
    client.zadd(f"{prefix}:{QUEUE}:delayed", {"repeat:ic:1": 0})
    runs = Runs()
    caplog.set_level(logging.WARNING)
    async with app_on(prefix) as app:
        await app.schedules.put("good", every="300ms", queue=QUEUE, name="x")
        app.schedule("declared", every="1h", queue="other", name="x")
        worker = app.worker({"other": 1, QUEUE: 2}, runs)
        async with worker:
            plain = await app.queue(QUEUE).add("x", {})
            await plain.result(timeout=5)
            await runs.until_ended("repeat:ic:1", within=5)
            await until(lambda: _ran(runs, "repeat:good", 3), within=5)
        counts = await app.queue(QUEUE).counts()
    assert counts.failed == 0
    told = [each.getMessage() for each in caplog.records if "worker.trouble" in each.getMessage()]
    for id in ("ic", "limit", "every", "bomb", "inf"):
        assert len([line for line in told if f"schedule '{id}'" in line.replace("\\", "")]) == 1
    assert any("of queue 'other'" in line.replace("\\", "") for line in told)
    assert any("schedule.not_stored" in each.getMessage() for each in caplog.records)


@pytest.mark.parametrize("fields", [BAD["ic evil"], BAD["every inf"], BAD["opts 7"], None])
@pytest.mark.parametrize("score", ["1", "inf", "-inf"])
async def test_a_bad_schedule_is_whole_again_when_it_is_stored_again(
    prefix: str, client: redis.Redis, fields: dict[str, str] | None, score: str
) -> None:
    put(client, prefix, "s", fields or SOUND, score)
    if fields is None:
        client.delete(f"{prefix}:{QUEUE}:repeat:s")
        client.set(f"{prefix}:{QUEUE}:repeat:s", "x")
    async with app_on(prefix) as app:
        info = await app.schedules.put("s", every="200ms", queue=QUEUE, name="x")
        assert info.fault is None
        runs = Runs()
        async with app.worker(QUEUE, runs):
            await until(lambda: _ran(runs, "repeat:s", 2), within=5)


async def test_a_bad_schedule_can_be_dropped(prefix: str, client: redis.Redis) -> None:
    put(client, prefix, "s", BAD["ic evil"], "inf")
    async with app_on(prefix) as app:
        assert await app.schedules.drop(QUEUE, "s")
        assert await app.schedules.list() == []


# SQLite.

ROWS: dict[str, tuple[str, Any]] = {
    "no json": ("rule", "{"),
    "another shape": ("rule", "[1]"),
    "deep": ("rule", '{"cron":' + "[" * 100_000),
    "a bomb": ("rule", '{"cron":"* * */2 * *,1-9999999"}'),
    "a long cron": ("rule", '{"cron":"%s"}' % ("* " * 1_000)),
    "no number": ("rule", '{"every_ms":"x"}'),
    "never": ("rule", '{"every_ms":0}'),
    "a huge interval": ("rule", '{"every_ms":%s}' % ("9" * 30)),
    "a path as a zone": ("rule", '{"cron":"* * * * *","tz":"/etc/passwd"}'),
    "no utf8 in the rule": ("rule", b"\xff\xfe"),
    "no utf8 in the name": ("name", b"\xff\xfe"),
    "no utf8 in the id": ("id", b"\xff\xfe"),
    "no utf8 in its owner": ("owner", b"\xff\xfe"),
    "deep options": ("opts", '{"a":' * 1_500 + "1" + "}" * 1_500),
    "bad options": ("opts", '{"toril":{"timeout":"x"}}'),
    "far": ("next_ms", 2**63 - 1),
    "long ago": ("next_ms", -(2**63)),
    "counted too often": ("count", 2**63 - 1),
    "counted below none": ("count", -5),
}


def damage(path: Path, table: str, column: str, value: Any, where: str) -> None:
    db = apsw.Connection(str(path))
    try:
        new = "CAST(? AS TEXT)" if isinstance(value, bytes) else "?"
        db.execute(f"UPDATE {table} SET {column} = {new} WHERE {where}", (value,))
        assert db.total_changes() == 1, "nothing was damaged"
    finally:
        db.close()


@pytest.mark.parametrize("what", ROWS)
async def test_a_bad_row_of_a_schedule_hurts_only_itself(
    tmp_path: Path, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    column, value = ROWS[what]
    path, runs = tmp_path / "jobs.db", Runs()
    async with Toril(f"sqlite:///{path}", warn_unserved=False) as app:
        await app.schedules.put("bad", every="1h", queue=QUEUE, name="y")
        await app.schedules.put("good", every="100ms", queue=QUEUE, name="x")
        damage(path, "schedules", column, value, "id = 'bad'")
        async with app.worker(QUEUE, runs):
            await until(lambda: _ran(runs, "repeat:good", 3), within=5)
        bad, good = sorted(await app.schedules.list(), key=lambda each: each.id == "good")
        assert good.fault is None
        if bad.id == "bad":
            again = await app.schedules.put("bad", every="2h", queue=QUEUE, name="y")
            assert again.fault is None


# Shown.


async def test_doctor_and_schedules_show_a_bad_one(
    tmp_path: Path, prefix: str, client: redis.Redis
) -> None:
    put(client, prefix, "evil", BAD["ic evil"])
    put(client, prefix, "bomb", BAD["pattern * * */2 * *,1-9999999"])
    put(client, prefix, "far", SOUND, "inf")
    client.sadd(f"{prefix}::toril:queues", QUEUE)
    desk = Desk(tmp_path)
    where = ("--url", shared_server().url, "--prefix", prefix)
    listed, asked = desk.run("schedules", *where), desk.run("doctor", "--json", *where)
    assert (listed.code, listed.err) == (0, "")
    assert listed.out.count("cannot be followed") == 3
    assert asked.out.count("schedule.unreadable") == 3
    assert "Traceback" not in asked.err
