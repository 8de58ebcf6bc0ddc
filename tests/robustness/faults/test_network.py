"""The network between a worker and its server fails in every way that proxies and clouds know."""

import asyncio
import random
import time
from typing import Any

import pytest
from redis.asyncio import Redis

from tests.robustness.faults.rig import BACK_S, QUEUE, SILENT_S, Runs, app_on, until
from tests.support.proxy import FaultProxy, Sent, late, tear
from tests.support.servers import RedisServer
from toril import Job


@pytest.mark.serial
@pytest.mark.timeout(40)
async def test_workers_notice_that_their_connections_went_silent(
    server: RedisServer, proxy: FaultProxy
) -> None:
    """Two at once, since each takes its time: one waits for jobs, the other one runs one."""
    idle, busy = Runs(), Runs()
    async with (
        app_on(server, proxy) as app,
        app_on(server, proxy) as another,
        app.worker("idle", idle),
        another.worker("busy", busy, lock="30s"),
        app_on(server) as other,
    ):
        await idle.until_ended((await app.queue("idle").add("first")).id)
        first, second = await another.queue("busy").add_many([("x", {"ms": 200}), ("x", {})])
        await busy.until_started(first.id)
        proxy.half_open()
        # Its marker goes to the connection that nobody hears any more.
        job = await other.queue("idle").add("second")

        took = await asyncio.gather(
            idle.until_started(job.id, within=20), busy.until_ended(second.id, within=20)
        )
        await until(lambda: _is_done(second), within=5)
        third = await other.queue("idle").add("third")

        assert max(took) <= SILENT_S, took
        # It hears of jobs again, and does not only look from time to time.
        assert await idle.until_started(third.id) <= BACK_S
        assert busy.started == [first.id, second.id]


async def _is_done(job: Job[Any]) -> bool:
    return await job.state() == "completed"


@pytest.mark.timeout(40)
async def test_a_lock_is_kept_though_the_connection_that_renews_it_went_silent(
    server: RedisServer, proxy: FaultProxy
) -> None:
    runs = Runs()
    async with (
        app_on(server, proxy) as app,
        app.worker(QUEUE, runs, lock="5s"),
        app_on(server) as other,
    ):
        job = await app.queue(QUEUE).add("x", {"ms": 8_000})
        await runs.until_started(job.id)
        # From now on somebody is there to take the job, if its lock is lost.
        async with other.worker(QUEUE, runs, lock="5s", stalled_interval="200ms"):
            await until(lambda: _renewed(proxy))
            proxy.half_open()
            await runs.until_ended(job.id, within=20)

            assert await job.result(timeout=10) == job.id
            assert runs.started == [job.id]


async def _renewed(proxy: FaultProxy) -> bool:
    return len({sent.connection for sent in proxy.sent if _is_script(sent)}) > 1


@pytest.mark.timeout(40)
async def test_a_black_hole_for_a_while_costs_no_job_and_no_second_run(
    server: RedisServer, proxy: FaultProxy
) -> None:
    runs = Runs()
    async with app_on(server, proxy, query="?socket_timeout=1") as app:
        queue = app.queue(QUEUE)
        jobs = await queue.add_many([("x", {"ms": 100})] * 20)
        async with app.worker(QUEUE, runs, concurrency=4, lock="20s"):
            await runs.until_ended(jobs[4].id)
            proxy.black_hole()
            await asyncio.sleep(2)
            proxy.heal()
            await runs.until_ended(*(job.id for job in jobs), within=15)
            await asyncio.gather(*(job.result(timeout=5) for job in jobs))

    assert sorted(runs.started) == sorted(job.id for job in jobs)


@pytest.mark.parametrize("how", ["reset", "hang_up", "client kill"])
async def test_connections_that_end_again_and_again_cost_no_job_and_no_second_run(
    server: RedisServer, proxy: FaultProxy, how: str
) -> None:
    runs = Runs()
    async with app_on(server, proxy) as app:
        queue = app.queue(QUEUE)
        async with app.worker(QUEUE, runs, concurrency=4, lock="15s"):
            jobs = []
            for _ in range(6):
                jobs += [await queue.add("x", {"ms": 30}) for _ in range(4)]
                if how == "client kill":
                    server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
                else:
                    getattr(proxy, how)()
            await asyncio.gather(*(job.result(timeout=10) for job in jobs))

        assert sorted(runs.started) == sorted(job.id for job in jobs)
        assert (await queue.counts()).completed == len(jobs) == 24


@pytest.mark.timeout(40)
async def test_requests_that_are_torn_at_random_places_cost_no_job(
    server: RedisServer, proxy: FaultProxy
) -> None:
    rng = random.Random(7)
    for _ in range(60):
        async with app_on(server, proxy) as app:
            queue = app.queue(QUEUE)
            await queue.counts()
            proxy.trap(_is_script, tear(rng.randrange(1, 3000)))
            jobs = await queue.add_many([("x", {"n": n}) for n in range(20)])
            assert [job.created for job in jobs] == [True] * 20

    async with app_on(server) as app:
        assert (await app.queue(QUEUE).counts()).waiting == 60 * 20


def _is_script(sent: Sent) -> bool:
    return sent.name in ("EVAL", "EVALSHA")


async def test_a_long_way_to_the_server_only_takes_longer(
    server: RedisServer, proxy: FaultProxy
) -> None:
    runs = Runs()
    async with app_on(server, proxy) as app, app.worker(QUEUE, runs, concurrency=10):
        await app.queue(QUEUE).add("warm")
        proxy.delay(0.2)
        jobs = await app.queue(QUEUE).add_many([("x", {})] * 30)
        await asyncio.gather(*(job.result(timeout=15) for job in jobs))

    assert len(runs.started) == 31


@pytest.mark.timeout(40)
async def test_a_connection_that_drips_is_given_up(server: RedisServer, proxy: FaultProxy) -> None:
    runs = Runs()
    async with app_on(server, proxy, query="?socket_timeout=1") as app, app.worker(QUEUE, runs):
        await runs.until_ended((await app.queue(QUEUE).add("first")).id)
        proxy.drip(1)
        dripping = asyncio.create_task(app.queue(QUEUE).add("second"))
        await asyncio.sleep(2)
        proxy.heal()

        job = await dripping
        await runs.until_ended(job.id)

    assert runs.started.count(job.id) == 1


async def test_a_server_that_ends_idle_connections_disturbs_nobody(server: RedisServer) -> None:
    server.call("CONFIG", "SET", "timeout", 1)
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs):
        await runs.until_ended((await app.queue(QUEUE).add("first")).id)
        # An idle client is ended within a second or two after its time.
        await asyncio.sleep(4)
        job = await app.queue(QUEUE).add("second")

        assert await runs.until_ended(job.id) <= BACK_S


async def test_a_server_that_pauses_its_clients_is_waited_for(server: RedisServer) -> None:
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs, concurrency=2, lock="10s"):
        jobs = await app.queue(QUEUE).add_many([("x", {"ms": 100})] * 10)
        await runs.until_started(jobs[2].id)
        server.call("CLIENT", "PAUSE", 3000, "ALL")
        began = time.monotonic()
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))

        assert time.monotonic() - began >= 2.5
        assert sorted(runs.started) == sorted(job.id for job in jobs)


@pytest.mark.timeout(40)
async def test_workers_that_get_no_connection_wait_for_one(server: RedisServer) -> None:
    runs = Runs()
    async with app_on(server) as app, Redis(port=server.port) as settings:
        await settings.config_set("maxclients", 12)
        jobs = await app.queue(QUEUE).add_many([("x", {"ms": 20})] * 40)
        apps = [app_on(server) for _ in range(6)]
        work = [asyncio.create_task(_work(each, runs)) for each in apps]
        await runs.until_ended(*(job.id for job in jobs), within=15)
        # Every other one is let in when those that are in have gone.
        await settings.config_set("maxclients", 100)
        ended = await asyncio.gather(*work, return_exceptions=True)

    assert sorted(runs.started) == sorted(job.id for job in jobs)
    for each in ended:
        assert each is None or "clients" in str(each), each


async def _work(app: Any, runs: Runs) -> None:
    async with app:
        await app.worker(QUEUE, runs, concurrency=50).run_until_idle()


@pytest.mark.serial
@pytest.mark.timeout(40)
async def test_a_call_that_is_cancelled_never_gets_the_reply_of_another(
    server: RedisServer, proxy: FaultProxy
) -> None:
    async with app_on(server, proxy) as app:
        queue = app.queue(QUEUE)
        jobs = await queue.add_many([("x", {"n": n}) for n in range(50)])
        proxy.delay(0.005)
        rng = random.Random(11)
        replies, cancelled = 0, 0
        for _ in range(40):
            asked = [(n, asyncio.create_task(jobs[n].refresh())) for n in rng.sample(range(50), 25)]
            await asyncio.sleep(rng.uniform(0, 0.012))
            for _, task in asked[::2]:
                task.cancel()
            for n, task in asked:
                try:
                    assert (await task).data == {"n": n}
                    replies += 1
                except asyncio.CancelledError:
                    cancelled += 1

        assert replies >= 400
        assert cancelled >= 100


async def test_a_late_reply_is_not_taken_for_the_next_one(
    server: RedisServer, proxy: FaultProxy
) -> None:
    async with app_on(server, proxy, query="?socket_timeout=0.5") as app:
        queue = app.queue(QUEUE)
        first = await queue.add("x", {"n": 1})
        second = await queue.add("x", {"n": 2})
        proxy.trap(lambda sent: True, late(1.0))

        told = [await first.refresh(), await second.refresh()]

        assert [job.data for job in told] == [{"n": 1}, {"n": 2}]
