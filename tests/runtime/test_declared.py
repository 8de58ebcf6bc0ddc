"""What the code declares: stored when a worker starts, kept while it runs, dropped with the code."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.servers import RedisServer
from tests.support.workers import until
from toril import Job, Toril
from toril._handlers import declared

Again = Callable[..., Toril]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(declared, "LOOK_S", 0.05)
    monkeypatch.setattr(declared, "LOOKS", 3)


@pytest.fixture
def again(anywhere: Toril) -> Again:
    """Make the next release of an app on the same store."""

    def make(*names: str, owner: str | None = "") -> Toril:
        app = Toril(anywhere.url, prefix=anywhere.prefix, owner=owner)
        app.context.store = anywhere.context.store
        app.queue("q").handler()(nothing)
        for name in names:
            app.schedule(name, every="1h", queue="q", name="tick")
        return app

    return make


async def nothing(_: Job[Any]) -> None:
    pass


async def stored(app: Toril) -> list[str]:
    return sorted(info.id for info in await app.schedules.list("q"))


async def start_and_stop(app: Toril) -> list[str]:
    async with app.worker():
        return await stored(app)


async def test_a_schedule_that_the_code_drops_is_dropped(
    again: Again, caplog: pytest.LogCaptureFixture
) -> None:
    assert await start_and_stop(again("a", "b")) == ["a", "b"]
    app = again("b")
    assert await start_and_stop(app) == ["b"]
    assert "schedule.dropped queue='q' schedule='a'" in caplog.text
    pending = app.queue("q").jobs(["ready", "delayed"])
    assert not [job async for job in pending if job.record.schedule == "a"]
    assert await start_and_stop(again()) == []


async def test_a_schedule_that_was_put_at_run_time_stays(again: Again) -> None:
    await start_and_stop(again("a", "b"))
    app = again()
    await app.schedules.put("put", every="1h", queue="q", name="tick")
    # Put again at run time, a declared one is no longer the code's.
    await app.schedules.put("a", every="1h", queue="q", name="tick")

    assert await start_and_stop(app) == ["a", "put"]


@pytest.mark.parametrize("first", ["", "billing", None])
async def test_only_the_owner_drops_a_schedule(again: Again, first: str | None) -> None:
    await start_and_stop(again("a", owner=first))

    assert await start_and_stop(again(owner="shop")) == ["a"]
    assert await start_and_stop(again(owner=None)) == ["a"]
    assert await start_and_stop(again(owner=first)) == (["a"] if first is None else [])


async def test_what_old_code_declares_stays_until_its_workers_are_gone(again: Again) -> None:
    old, new = again("a", "b"), again("b")
    async with old.worker() as worker:
        await until(lambda: announced(old, worker.id))
        async with new.worker():
            await asyncio.sleep(0.4)
            assert await stored(new) == ["a", "b"]
            await worker.stop()
            await until(lambda: gone(new, "a"))
    assert await stored(new) == ["b"]


async def announced(app: Toril, worker: str) -> bool:
    return worker in [each.id for each in await app.workers("q")]


async def gone(app: Toril, schedule: str) -> bool:
    return schedule not in await stored(app)


async def test_what_is_declared_after_the_start_is_stored(again: Again) -> None:
    app = again()
    async with app.worker():
        app.schedule("late", every="1h", queue="q", name="tick")
        app.queue("q", rate="7/1m", keep_failed=3)
        await until(lambda: rate_is(app, 7))
        await until(lambda: has(app, "late"))


async def test_a_schedule_of_after_the_start_comes_back_as_well(again: Again) -> None:
    app = again()
    async with app.worker():
        app.schedule("late", every="1h", queue="q", name="tick")
        await until(lambda: has(app, "late"))
        await app.queue("q").obliterate(force=True)
        await until(lambda: has(app, "late"))


async def has(app: Toril, schedule: str) -> bool:
    return not await gone(app, schedule)


async def rate_is(app: Toril, most: int | None) -> bool:
    (settings,) = await app.context.store.settings(["q"])
    return settings.rate_max == most


async def test_what_the_store_lost_comes_back(
    again: Again, caplog: pytest.LogCaptureFixture
) -> None:
    app = again("a")
    limits: dict[str, Any] = {"rate": "7/1m", "concurrency": 3, "max_waiting": 20}
    queue = app.queue("q", **limits, events_limit=50, keep=4, dead_letter="dead")
    async with app.worker():
        (before,) = await app.context.store.settings(["q"])
        await queue.obliterate(force=True)
        await until(lambda: rate_is(app, 7))
        await until(lambda: has(app, "a"))
        (after,) = await app.context.store.settings(["q"])

    assert after == before
    assert "declared.lost queue='q'" in caplog.text


async def test_what_is_changed_by_hand_stays_changed(again: Again) -> None:
    app = again("a", "b")
    queue = app.queue("q", rate="7/1m")
    async with app.worker():
        await queue.limit(rate=None)
        await app.schedules.drop("q", "a")
        await asyncio.sleep(0.3)
        assert await rate_is(app, None)
        assert await stored(app) == ["b"]


async def test_a_server_that_was_emptied_gets_it_back(caplog: pytest.LogCaptureFixture) -> None:
    ran = asyncio.Event()
    with RedisServer() as server:
        async with Toril(server.url) as app:
            app.queue("q", rate="1000/1m").handler()(lambda job: ran.set())
            app.schedule("s", every="100ms", queue="q", name="tick")
            async with app.worker(), asyncio.timeout(15):
                await ran.wait()
                server.call("FLUSHALL")
                await asyncio.sleep(0.1)
                ran.clear()
                await ran.wait()
                await until(lambda: rate_is(app, 1000))
    assert "declared.lost" in caplog.text
