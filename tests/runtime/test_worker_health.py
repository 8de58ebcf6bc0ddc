"""What a worker says of itself, and what the watchdog does, on both stores and with faults."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril import Job, Toril, Worker
from toril._worker import exchange, health, watchdog
from toril._worker.health import Health


async def work(job: Job[Any]) -> str:
    return "done"


async def until(look: Callable[[], object], within: float = 10.0) -> None:
    async with asyncio.timeout(within):
        while not look():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


@pytest.fixture(params=["sqlite", "redis"])
async def app(request: pytest.FixtureRequest, tmp_path: object) -> AsyncIterator[Toril]:
    if request.param == "redis":
        url, prefix = shared_server().url, fresh_prefix()
    else:
        url, prefix = f"sqlite:///{tmp_path}/jobs.db", "bull"
    async with Toril(url, prefix=prefix) as fresh:
        yield fresh


async def test_a_worker_that_claims_is_ready(app: Toril) -> None:
    async with app.worker("q", work) as worker:
        await until(lambda: worker.health().ready)

        assert worker.health() == Health(live=True, ready=True, running=0)


async def test_one_that_was_not_started_is_not_ready(app: Toril) -> None:
    worker = app.worker("q", work)

    assert (worker.health().live, worker.health().ready) == (True, False)


async def test_one_that_stops_is_live_and_not_ready(app: Toril) -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(job: Job[Any]) -> None:
        begun.set()
        await go_on.wait()

    worker = app.worker("q", slow)
    await worker.start()
    await app.queue("q").add("x")
    await begun.wait()
    stopping = asyncio.create_task(worker.stop())
    await until(lambda: not worker.health().ready)

    assert worker.health() == Health(ready=False, reason="it is stopping", running=1)
    go_on.set()
    assert await stopping


@pytest.mark.chaos
async def test_one_whose_store_is_gone_is_not_ready_until_it_is_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "SILENCE_S", 0.5)
    monkeypatch.setattr(exchange, "WAIT_MS", 100)
    with RedisServer() as server:
        async with Toril(server.url) as app, app.worker("q", work) as worker:
            await until(lambda: worker.health().ready)
            server.kill()
            await until(lambda: not worker.health().ready)
            found = worker.health()
            server.start()
            await until(lambda: worker.health().ready)

    assert found.live
    assert "the store has not answered for" in (found.reason or "")
    assert "Connection refused" in (found.reason or "")


# The watchdog.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "LOOK_S", 0.2)


async def break_the_wait(app: Toril, worker: Worker) -> None:
    """Let the worker wait for jobs on a connection that will never tell of one."""
    await until(lambda: worker.health().ready)
    loops = worker._loops
    assert loops is not None
    await until(lambda: loops._exchange._watch is not None)
    loops._exchange.deafen()
    loops._exchange._watched = frozenset(["q"])
    loops._exchange._watch = asyncio.create_task(asyncio.Event().wait())  # type: ignore[arg-type]


async def test_a_connection_that_tells_of_nothing_is_made_anew(app: Toril, quick: None) -> None:
    given_up: list[str] = []
    worker = app.worker("q", work)
    worker.given_up = given_up.append
    async with worker:
        await break_the_wait(app, worker)
        job = await app.queue("q").add("x")

        assert await job.result(timeout=10) == "done"
        await until(lambda: worker.health().ready)
    assert given_up == []


async def test_a_worker_that_claims_nothing_even_then_is_given_up(app: Toril, quick: None) -> None:
    given_up: list[str] = []
    worker = app.worker("q", work)
    worker.given_up = given_up.append
    async with worker:
        await until(lambda: worker.health().ready)
        loops = worker._loops
        assert loops is not None
        # Nobody carries anything to the store any more.
        loops._carriers.close()
        await app.queue("q").add("x")
        await until(lambda: not worker.health().live)
        assert given_up == []
        await until(lambda: given_up)
        found = worker.health()

    assert "jobs of q could be claimed" in given_up[0]
    assert (found.live, found.ready) == (False, False)


async def test_a_queue_that_is_paused_is_no_concern(app: Toril, quick: None) -> None:
    given_up: list[str] = []
    worker = app.worker("q", work)
    worker.given_up = given_up.append
    async with worker:
        await app.queue("q").pause()
        await app.queue("q").add("x")
        await asyncio.sleep(1)

        assert worker.health().live
    assert given_up == []
