"""`at=`: a moment by the store's clock, through every way of adding a job."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.servers import RedisServer
from toril import ConfigError, Job, Toril
from toril._jobs import enqueue


def soon(**later: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**later)


def ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


async def due(job: Job[Any]) -> int | None:
    return (await job.refresh()).record.due_ms


WAYS: dict[str, Callable[[Toril, datetime], Any]] = {
    "add": lambda app, at: app.queue("q").add("a", 1, at=at),
    "many": lambda app, at: app.queue("q").add_many([("a", 1, {"at": at})]),
    "flow": lambda app, at: app.flow("q", "a", 1, at=at).add(),
    "over a delay": lambda app, at: app.queue("later", delay="5h").add("a", 1, at=at),
    "default of a queue": lambda app, at: app.queue("night", at=at).add("a", 1),
}


@pytest.mark.parametrize("skew_ms", [-3_600_000, 0, 3_600_000], ids=str)
@pytest.mark.parametrize("way", WAYS)
async def test_a_moment_is_kept_whatever_the_clock_of_the_producer_says(
    anywhere: Toril, monkeypatch: pytest.MonkeyPatch, way: str, skew_ms: int
) -> None:
    at, merge = soon(hours=1.5), enqueue.merge

    def skewed(*options: Any, now: int | None = None) -> Any:
        return merge(*options, now=None if now is None else now + skew_ms)

    monkeypatch.setattr(enqueue, "merge", skewed)
    added = await WAYS[way](anywhere, at)
    match added:
        case [first, *_]:
            job = first
        case Job():
            job = added
        case _:
            job = added.job
    assert await due(job) == ms(at)


async def test_a_delay_overrides_the_moment_of_the_queue(anywhere: Toril) -> None:
    job = await anywhere.queue("night", at=soon(hours=9)).add("a", delay="1m")

    assert abs((await due(job) or 0) - time.time() * 1000 - 60_000) < 5_000


async def test_a_parent_runs_at_its_moment(anywhere: Toril) -> None:
    began: list[float] = []
    anywhere.queue("p").handler()(lambda job: began.append(time.time()))
    anywhere.queue("c").handler()(lambda job: time.sleep(0.5))
    at = datetime.now(UTC) + timedelta(seconds=1)
    async with anywhere.worker(), asyncio.timeout(10):
        tree = await anywhere.flow("p", "report", at=at, children=[("c", "part")]).add()
        await tree.job.result()

    assert 0 <= began[0] - at.timestamp() < 0.45


@pytest.mark.parametrize("option", ["at", "delay", "created_at"])
async def test_a_schedule_refuses_what_its_rule_says(memory: Toril, option: str) -> None:
    given: Any = {option: "1m" if option == "delay" else soon(hours=1)}
    with pytest.raises(ConfigError, match=f"{option}=.*its rule says when"):
        memory.schedule("s", every="1h", queue="q", name="a", **given)


async def test_the_delay_of_a_task_does_not_move_its_schedule(anywhere: Toril) -> None:
    anywhere.queue("q", at=soon(hours=5))
    info = await anywhere.schedules.put("s", cron="0 0 1 1 *", queue="q", name="a")
    job = await anywhere.queue("q").job(info.job_id or "")

    assert job is not None
    assert job.record.options.at_ms is None
    await job.refresh()
    assert job.record.due_ms == info.next_ms


async def test_a_deadline_before_the_moment_is_refused(memory: Toril) -> None:
    with pytest.raises(ConfigError, match="deadline='1 h' is over before"):
        await memory.queue("q").add("a", at=soon(hours=2), deadline="1h")


@pytest.mark.serial
async def test_an_add_that_took_long_is_due_at_its_moment() -> None:
    with RedisServer() as server:
        await add_slowly(server)


async def add_slowly(server: RedisServer) -> None:
    async with Toril(server.url) as app:
        queue = app.queue("q")
        await queue.add("warm")
        at = soon(seconds=30)
        server.call("CLIENT", "PAUSE", "1500", "ALL")
        jobs = await queue.add_many([("a", 1, {"at": at}), ("b", 2, {"at": at})])

        assert [await due(job) for job in jobs] == [ms(at)] * 2
