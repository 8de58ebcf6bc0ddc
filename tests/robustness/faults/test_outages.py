"""The server goes away and comes back: workers take jobs again at once, and say so once."""

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from tests.robustness.faults.rig import BACK_S, QUEUE, Runs, app_on, told, until
from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer
from toril.errors import StoreUnavailable, Unconfirmed

OUTAGES: dict[str, tuple[Callable[[RedisServer], object], Callable[[RedisServer], object]]] = {
    "stopped": (RedisServer.stop, RedisServer.start),
    "killed": (RedisServer.kill, RedisServer.start),
    "paused": (RedisServer.pause, RedisServer.resume),
}


async def outage(server: RedisServer, kind: str, seconds: float) -> float:
    """Let the server be away for so long; give the moment from which on it answers."""
    away, back = OUTAGES[kind]
    await asyncio.to_thread(away, server)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(back, server)
    return time.monotonic()


async def added_later(server: RedisServer) -> str:
    """Add a job by an app that knows nothing of the outage."""
    async with app_on(server) as fresh:
        return (await fresh.queue(QUEUE).add("x")).id


# The last one outlasts every wait for an answer.
SHAPES = [*((kind, seconds) for kind in OUTAGES for seconds in (0.2, 2.0)), ("killed", 7.0)]


@pytest.mark.serial
@pytest.mark.timeout(60)
async def test_idle_workers_take_jobs_again_at_once() -> None:
    """All shapes at the same time, each with a server of its own: most of it is waiting."""
    took = await asyncio.gather(*(idle_through(*each) for each in SHAPES))

    assert max(took) <= BACK_S, list(zip(SHAPES, took, strict=True))


async def idle_through(kind: str, seconds: float) -> float:
    """Let an idle worker have an outage; give when it started a job after its end."""
    runs = Runs()
    server = await asyncio.to_thread(fresh_server)
    try:
        async with app_on(server) as app, app.worker(QUEUE, runs):
            await (await app.queue(QUEUE).add("first")).result(timeout=5)
            # Now it blocks on the server, and is there when the server goes.
            await asyncio.sleep(0.1)
            back = await outage(server, kind, seconds)
            job = await added_later(server)
            await runs.until_started(job)
            assert runs.started.count(job) == 1
            return time.monotonic() - back
    finally:
        await asyncio.to_thread(server.close)


def fresh_server() -> RedisServer:
    return RedisServer(appendonly=True).start()


@pytest.mark.timeout(60)
async def test_jobs_that_run_through_an_outage_run_once() -> None:
    await asyncio.gather(*(busy_through(kind) for kind in OUTAGES))


async def busy_through(kind: str) -> None:
    """Let a worker be in the middle of its jobs when its server goes away."""
    runs = Runs()
    server = await asyncio.to_thread(fresh_server)
    try:
        async with app_on(server) as app, app.worker(QUEUE, runs, concurrency=5, lock="15s"):
            queue = app.queue(QUEUE)
            # Ends before, during and after the outage; the last ones wait behind them.
            jobs = await queue.add_many([("x", {"ms": 50 + 150 * (n % 9)}) for n in range(30)])
            await runs.until_started(jobs[4].id)
            await outage(server, kind, 1.0)
            await asyncio.gather(*(job.result(timeout=12) for job in jobs))

            assert sorted(runs.started) == sorted(job.id for job in jobs), kind
            assert (await queue.counts()).completed == len(jobs), kind
    finally:
        await asyncio.to_thread(server.close)


@pytest.mark.timeout(40)
async def test_one_line_tells_that_the_server_is_gone_and_one_that_it_is_back(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs, lock="1s"):
        await (await app.queue(QUEUE).add("first")).result(timeout=5)
        caplog.clear()
        caplog.set_level(logging.INFO)

        await outage(server, "killed", 3.0)
        await until(lambda: _told_back(caplog))
        lines = told(caplog)

    assert [line.split()[1] for line in lines] == ["store.lost", "store.back"], lines


async def _told_back(caplog: pytest.LogCaptureFixture) -> bool:
    return any("store.back" in line for line in told(caplog))


async def test_an_add_during_a_short_outage_waits_for_its_end(server: RedisServer) -> None:
    async with app_on(server) as app:
        queue = app.queue(QUEUE)
        await queue.add("before")
        away = asyncio.create_task(outage(server, "killed", 0.5))
        await until(_is_down(server), within=5)

        job = await queue.add("during")
        await away

        assert job.created
        assert (await queue.counts()).waiting == 2


def _is_down(server: RedisServer) -> Callable[[], object]:
    async def look() -> bool:
        return not server.runs

    return look


@pytest.mark.timeout(40)
async def test_an_add_that_cannot_be_made_fails_by_its_deadline(server: RedisServer) -> None:
    """Two at once: one server is away, the other one refuses what would pass some day."""
    refusing = await asyncio.to_thread(fresh_server)
    try:
        async with app_on(server) as app, app_on(refusing) as other:
            await app.queue(QUEUE).add("before")
            await other.queue(QUEUE).add("before")
            await asyncio.to_thread(server.kill)
            refusing.call("CONFIG", "SET", "min-replicas-to-write", 1)

            began = time.monotonic()
            away, refused = await asyncio.gather(
                app.queue(QUEUE).add("during"),
                other.queue(QUEUE).add("during"),
                return_exceptions=True,
            )
            assert time.monotonic() - began <= 12
            assert isinstance(away, StoreUnavailable | Unconfirmed)
            assert "127.0.0.1" in str(away)
            assert isinstance(refused, StoreUnavailable)
            assert "too few replicas" in str(refused)

            await asyncio.to_thread(server.start)
            await app.queue(QUEUE).add("after")
            assert (await app.queue(QUEUE).counts()).waiting == 2
    finally:
        await asyncio.to_thread(refusing.close)


async def test_an_app_whose_server_is_not_there_says_so(server: RedisServer) -> None:
    await asyncio.to_thread(server.kill)
    app = app_on(server)

    with pytest.raises(StoreUnavailable, match=str(server.port)):
        await app.open()
    await app.close()


@pytest.mark.timeout(40)
async def test_a_server_that_loads_its_data_is_waited_for(server: RedisServer) -> None:
    # So much to load that it says LOADING for a while, whatever the machine.
    server.call("DEBUG", "POPULATE", 200_000, "ballast", 200, patience=60)
    await asyncio.to_thread(server.call, "BGREWRITEAOF")
    await until(_is_saved(server), within=30)
    runs = Runs()
    async with app_on(server) as app, app.worker(QUEUE, runs):
        await runs.until_ended((await app.queue(QUEUE).add("first")).id)
        await asyncio.to_thread(server.kill)
        server.start(ready=False)
        job = await app.queue(QUEUE).add("while it loads")
        await runs.until_ended(job.id)

        assert runs.started.count(job.id) == 1


def _is_saved(server: RedisServer) -> Callable[[], object]:
    async def look() -> bool:
        info = server.call("INFO", "persistence")
        return "aof_rewrite_in_progress:0" in info and "aof_rewrite_scheduled:0" in info

    return look


@pytest.mark.serial
async def test_a_worker_that_waits_for_its_server_costs_little(
    server: RedisServer, proxy: FaultProxy
) -> None:
    runs = Runs()
    async with app_on(server, proxy) as app, app.worker(QUEUE, runs):
        await runs.until_ended((await app.queue(QUEUE).add("first")).id)
        before = proxy.connections
        proxy.go_down()
        began = time.process_time()
        await asyncio.sleep(3)
        busy = time.process_time() - began
        proxy.heal()
        await runs.until_ended((await app.queue(QUEUE).add("second")).id)

        assert busy / 3 < 0.2
        # Two lines and a heartbeat, each of which tries again at most once a second in the end.
        assert proxy.connections - before <= 6


@pytest.mark.timeout(40)
async def test_a_worker_stops_in_time_while_its_server_is_away(server: RedisServer) -> None:
    runs = Runs()
    async with app_on(server) as app:
        worker = app.worker(QUEUE, runs, grace="500ms")
        await worker.start()
        job = await app.queue(QUEUE).add("x", {"ms": 30_000})
        await runs.until_started(job.id)
        await asyncio.to_thread(server.pause)

        began = time.monotonic()
        assert not await worker.stop()

        assert time.monotonic() - began <= 15
        server.resume()


async def test_two_apps_recover_from_the_same_outage(server: RedisServer) -> None:
    first, second = Runs(), Runs()

    async with (
        app_on(server) as one,
        one.worker(QUEUE, first, lock="10s"),
        app_on(server) as other,
        other.worker(QUEUE, second, lock="10s"),
    ):
        await outage(server, "killed", 0.3)
        jobs = await one.queue(QUEUE).add_many([("x", {"ms": 50})] * 20)
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))

    assert sorted(first.started + second.started) == sorted(job.id for job in jobs)
    assert first.started
    assert second.started
