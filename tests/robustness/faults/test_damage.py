"""What stands in Redis is not what it should be: one bad job or key never stops a queue."""

import asyncio
import random
from typing import Any

import pytest
import redis

from tests.robustness.faults.rig import QUEUE, Runs, app_on, until
from tests.support.keyspace import keyspace
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril import Toril
from toril.errors import TorilError

BROKEN = {
    "data": ("{not json", "", "\x00\x01", "[1,", "nul", '{"a": 1e999}'),
    "opts": ("][", "", "[]", "null", '"text"', '{"attempts":"many"}', '{"backoff":7}'),
    "stacktrace": ("{oops", "7", '{"a":1}'),
    "progress": ("{oops",),
    "ats": ("many", "-1", "1e9"),
    "atm": ("many", "-5"),
    "stc": ("many",),
    "priority": ("first",),
    "delay": ("later",),
    "timestamp": ("yesterday", ""),
    "processedOn": ("now",),
    "parent": ("{oops", "[]"),
    "parentKey": ("nonsense", "a:b:c"),
    "name": ("", "unknown", "\x1b[31m"),
}


@pytest.fixture
def server() -> RedisServer:
    return shared_server()


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


def raw(server: RedisServer) -> "redis.Redis":
    return server.client()


@pytest.mark.parametrize("field", ["data", "opts"])
async def test_a_job_that_cannot_be_read_fails_at_first_sight_and_keeps_its_bytes(
    server: RedisServer, prefix: str, field: str
) -> None:
    runs = Runs()
    broken = {"data": "{not json", "opts": "]["}[field]
    async with app_on(server, prefix=prefix) as app:
        bad = await app.queue(QUEUE).add("x")
        with raw(server) as client:
            client.hset(f"{prefix}:{QUEUE}:{bad.id}", field, broken)
            async with app.worker(QUEUE, runs, lock="1s", stalled_interval="500ms"):
                good = await app.queue(QUEUE).add("x")
                await good.result(timeout=5)
                await until(lambda: _state(app, bad.id, "failed"), within=5)

            fields = client.hgetall(f"{prefix}:{QUEUE}:{bad.id}")

    assert fields[field] == broken
    assert fields["failedReason"]
    assert int(fields["ats"]) == 1
    assert "stc" not in fields


async def _state(app: Toril, job_id: str, state: str) -> bool:
    job = await app.queue(QUEUE).job(job_id)
    return job is not None and await job.state() == state


@pytest.mark.timeout(40)
async def test_good_jobs_complete_among_bad_ones_and_bad_ones_end(
    server: RedisServer, prefix: str
) -> None:
    rng = random.Random(3)
    runs = Runs()
    async with app_on(server, prefix=prefix) as app:
        queue = app.queue(QUEUE, keep="all")
        jobs = await queue.add_many([("x", {"n": n}) for n in range(1_000)])
        rng.shuffle(jobs)
        good, bad = jobs[:500], jobs[500:]
        with raw(server) as client, client.pipeline(transaction=False) as pipe:
            for job in bad:
                key = f"{prefix}:{QUEUE}:{job.id}"
                for field in rng.sample(sorted(BROKEN), rng.randint(1, 3)):
                    if rng.random() < 0.3:
                        pipe.hdel(key, field)
                    else:
                        pipe.hset(key, field, rng.choice(BROKEN[field]))
            pipe.execute()
        async with app.worker(QUEUE, runs, concurrency=20, lock="1s", stalled_interval="300ms"):
            await asyncio.gather(*(job.result(timeout=20) for job in good))
            await until(lambda: _nothing_left(app), within=10)

    assert {job.id for job in good} <= set(runs.ended)


async def _nothing_left(app: Toril) -> bool:
    counts = await app.queue(QUEUE).counts()
    return not counts.waiting and not counts.active


@pytest.mark.parametrize("state", ["waiting", "prioritized", "delayed", "active"])
async def test_a_job_whose_record_is_gone_is_passed_over(
    server: RedisServer, prefix: str, state: str
) -> None:
    runs = Runs()
    options: dict[str, Any] = {
        "waiting": {}, "prioritized": {"priority": 3}, "delayed": {"delay": "300ms"}, "active": {},
    }[state]  # fmt: skip
    async with app_on(server, prefix=prefix) as app:
        queue = app.queue(QUEUE)
        async with app.worker(QUEUE, runs, lock="1s", stalled_interval="200ms", concurrency=2):
            gone = await queue.add("x", {"ms": 400}, delay=options.get("delay", "100ms"))
            if state == "active":
                await runs.until_started(gone.id)
            with raw(server) as client:
                client.delete(f"{prefix}:{QUEUE}:{gone.id}")
            after = await queue.add("x", **({} if state == "active" else options))
            await after.result(timeout=5)
            await until(lambda: _nothing_left(app), within=5)
            await until(lambda: _no_delayed(app), within=5)

        assert await queue.job(gone.id) is None
        with raw(server) as client:
            assert not client.exists(f"{prefix}:{QUEUE}:{gone.id}")


async def _no_delayed(app: Toril) -> bool:
    return not (await app.queue(QUEUE).counts()).delayed


def put_text_at(server: RedisServer, key: str) -> None:
    """Let a key hold what it never should."""
    with server.client() as client:
        client.delete(key)
        client.set(key, "?")


@pytest.mark.parametrize("key", ["wait", "events", "marker", "meta", "id"])
async def test_a_key_of_the_wrong_kind_is_named_and_nothing_is_written(
    server: RedisServer, prefix: str, key: str
) -> None:
    async with app_on(server, prefix=prefix) as app:
        await app.queue("broken").add("x")
        put_text_at(server, f"{prefix}:broken:{key}")
        with server.client() as client:
            before = keyspace(client, prefix)
            with pytest.raises(TorilError, match=f"{prefix}:broken:"):
                await app.queue("broken").add("x")

            assert keyspace(client, prefix) == before


@pytest.mark.parametrize(
    "key", ["wait", "active", "prioritized", "delayed", "completed", "marker", "meta", "events"]
)
async def test_other_queues_go_on_beside_a_key_of_the_wrong_kind(
    server: RedisServer, prefix: str, key: str
) -> None:
    runs = Runs()
    async with app_on(server, prefix=prefix) as app:
        await app.queue("broken").add("x")
        put_text_at(server, f"{prefix}:broken:{key}")
        async with app.worker({"broken": 1, "sound": 1}, runs, grace=0):
            jobs = [await app.queue("sound").add("x") for _ in range(3)]
            await asyncio.gather(*(job.result(timeout=5) for job in jobs))


@pytest.mark.parametrize("key", ["active", "prioritized", "delayed", "marker", "events", "limiter"])
async def test_a_key_of_the_wrong_kind_loses_no_job(
    server: RedisServer, prefix: str, key: str
) -> None:
    runs = Runs()
    async with app_on(server, prefix=prefix) as app:
        queue = app.queue(QUEUE, keep="all")
        jobs = await queue.add_many([("x", {})] * 5)
        put_text_at(server, f"{prefix}:{QUEUE}:{key}")
        async with app.worker(QUEUE, runs, lock="1s", stalled_interval="200ms"):
            # It tries, and cannot; then somebody repairs the key.
            await asyncio.sleep(0.3)
            server.call("DEL", f"{prefix}:{QUEUE}:{key}")
            jobs.append(await queue.add("x"))
            await asyncio.gather(*(job.result(timeout=6) for job in jobs))
