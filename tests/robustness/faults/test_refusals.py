"""A server that answers, and refuses: it is busy, full, a replica, or has forgotten its scripts."""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from tests.robustness.faults.rig import QUEUE, Runs, app_on, until
from tests.support.proxy import FaultProxy, Sent, answer
from tests.support.servers import RedisServer
from toril.errors import StoreFull

SPIN = """
local function now() local t = redis.call('TIME') return t[1] * 1000 + t[2] / 1000 end
local over = now() + tonumber(ARGV[1])
while now() < over do end
"""


@contextmanager
def busy(server: RedisServer, seconds: float) -> Iterator[threading.Thread]:
    """Let a script that is not ours hold the server, which says BUSY to everybody else."""
    server.call("CONFIG", "SET", "busy-reply-threshold", 50)
    spin = threading.Thread(
        target=server.call, args=("EVAL", SPIN, 0, seconds * 1000), kwargs={"patience": 30}
    )
    spin.start()
    try:
        yield spin
    finally:
        spin.join(20)


def is_script(sent: Sent) -> bool:
    return sent.name in ("EVAL", "EVALSHA")


@pytest.mark.parametrize("seconds", [1.5, 4.0])
async def test_a_busy_server_makes_no_job_run_twice(server: RedisServer, seconds: float) -> None:
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs, concurrency=3, lock="8s"):
        jobs = await app.queue(QUEUE).add_many([("x", {"ms": 300})] * 3)
        await runs.until_started(*(job.id for job in jobs))
        with busy(server, seconds):
            await runs.until_ended(*(job.id for job in jobs))
            await asyncio.gather(*(job.result(timeout=10) for job in jobs))

        assert sorted(runs.started) == sorted(job.id for job in jobs)


async def test_an_add_to_a_busy_server_is_done_when_it_is_free(server: RedisServer) -> None:
    async with app_on(server) as app:
        await app.queue(QUEUE).add("warm")
        with busy(server, 1.0):
            await until(lambda: _says_busy(server), within=5)
            job = await app.queue(QUEUE).add("x")

        assert job.created


async def _says_busy(server: RedisServer) -> bool:
    try:
        await asyncio.to_thread(server.call, "PING", patience=1)
    except redis.ResponseError as error:
        return "BUSY" in str(error).upper()
    except redis.TimeoutError:
        pass
    return False


async def test_scripts_that_are_flushed_are_sent_again(server: RedisServer) -> None:
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs, concurrency=3, lock="1s"):
        jobs = []
        for _ in range(20):
            jobs += await app.queue(QUEUE).add_many([("x", {"ms": 20})] * 3)
            server.call("SCRIPT", "FLUSH")
            await asyncio.sleep(0.05)
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))

    assert sorted(runs.started) == sorted(job.id for job in jobs)


@pytest.mark.timeout(40)
async def test_a_full_server_takes_no_jobs_and_lets_those_that_run_finish(
    server: RedisServer,
) -> None:
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs, concurrency=3, lock="1s"):
        queue = app.queue(QUEUE)
        jobs = await queue.add_many([("x", {"ms": 200}), ("x", {"ms": 500}), ("x", {"ms": 1800})])
        await runs.until_started(*(job.id for job in jobs))
        server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        server.call("CONFIG", "SET", "maxmemory", 1)

        began = time.monotonic()
        with pytest.raises(StoreFull, match="maxmemory"):
            await queue.add("more")
        assert time.monotonic() - began <= 1
        # Renewed while it is full (the lock is shorter than the last job), and finished.
        await runs.until_ended(*(job.id for job in jobs))
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))
        assert sorted(runs.started) == sorted(job.id for job in jobs)

        server.call("CONFIG", "SET", "maxmemory", 0)
        await runs.until_ended((await queue.add("more")).id)
        assert (await queue.counts()).completed == 4


async def test_a_full_server_is_not_asked_without_a_pause(
    server: RedisServer, proxy: FaultProxy
) -> None:
    runs = Runs()
    async with app_on(server, proxy) as app, app.worker(QUEUE, runs, concurrency=1):
        queue = app.queue(QUEUE)
        # The second job waits: the worker has every reason to try.
        first, second = await queue.add_many([("x", {"ms": 300})] * 2)
        await runs.until_started(first.id)
        server.call("CONFIG", "SET", "maxmemory", 1)
        await runs.until_ended(first.id)
        before = len(proxy.sent)
        await asyncio.sleep(2)
        asked = len(proxy.sent) - before
        server.call("CONFIG", "SET", "maxmemory", 0)
        await runs.until_ended(second.id)

        assert asked <= 60, proxy.count(before)


@pytest.mark.parametrize(
    "reply",
    [
        "-READONLY You can't write against a read only replica.",
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "-CLUSTERDOWN Hash slot not served",
        "-TRYAGAIN Multiple keys request during rehashing of slot",
        "-NOREPLICAS Not enough good replicas to write.",
        "-MISCONF Redis is configured to save RDB snapshots, but is unable to persist to disk.",
        "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
        "-BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
        "-ERR max number of clients reached",
    ],
)
async def test_a_refusal_that_passes_is_waited_out(
    server: RedisServer, proxy: FaultProxy, reply: str
) -> None:
    runs = Runs()
    async with app_on(server, proxy) as app, app.worker(QUEUE, runs, concurrency=2):
        await runs.until_ended((await app.queue(QUEUE).add("warm")).id)
        # Whatever is sent next, and the wait for jobs too.
        proxy.trap(lambda sent: True, answer(reply), times=6)
        proxy.trap("BZPOPMIN", answer(reply), times=2)
        jobs = await app.queue(QUEUE).add_many([("x", {"ms": 20})] * 10)
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))

    assert sorted(runs.started) == sorted(["1", *(job.id for job in jobs)])


async def test_a_primary_that_is_a_replica_for_a_while_is_waited_for(server: RedisServer) -> None:
    runs = Runs()
    with RedisServer() as other:
        async with app_on(server) as app, app.worker(QUEUE, runs, concurrency=2, lock="10s"):
            jobs = await app.queue(QUEUE).add_many([("x", {"ms": 300})] * 6)
            await runs.until_started(jobs[1].id)
            # Of a server that is no primary: it keeps what it has and takes no writes.
            server.call("CONFIG", "SET", "replica-read-only", "yes")
            server.call("REPLICAOF", "127.0.0.1", _nobody(other))
            await asyncio.sleep(1.5)
            server.call("REPLICAOF", "NO", "ONE")
            await asyncio.gather(*(job.result(timeout=10) for job in jobs))

    assert sorted(runs.started) == sorted(job.id for job in jobs)


def _nobody(other: RedisServer) -> int:
    """Give a port where nobody answers any more."""
    other.stop()
    return other.port


async def test_a_server_without_enough_replicas_gets_its_writes_later(server: RedisServer) -> None:
    async with app_on(server) as app:
        queue = app.queue(QUEUE)
        await queue.add("warm")
        server.call("CONFIG", "SET", "min-replicas-to-write", 1)
        adding = asyncio.create_task(queue.add("x"))
        await asyncio.sleep(0.5)
        assert not adding.done()
        server.call("CONFIG", "SET", "min-replicas-to-write", 0)

        assert (await adding).created
