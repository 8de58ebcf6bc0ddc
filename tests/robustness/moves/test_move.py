"""Moving queues: what arrives, what stays, what is refused, and that it goes on where it stopped."""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.robustness.moves.conftest import Place, Way, cluster_place, file_place, server_place
from tests.robustness.moves.life import ARRIVED, EXPECTED, LEFT, fill, handlers, run_all, states
from tests.support.kit import Kit, complete
from tests.support.servers import RedisCluster, fresh_prefix
from toril import _transfer as moving
from toril._model.schedule import Rule
from toril._store.values import ScheduleDraft
from toril._transfer import Moved
from toril.errors import ConfigError, JobExists, JobLocked, WrongState

WAYS = [
    "sqlite to redis",
    "redis to sqlite",
    "sqlite to cluster",
    "cluster to sentinel",
    "sentinel to sqlite",
]
KIDS = {"waiting": 2, "completed": 1}


async def move(way: Way, *queues: str) -> list[Moved]:
    async with way.move() as opened:
        return await opened.run(await opened.plan(queues))


@pytest.fixture
async def full(way: Way) -> Way:
    """A way whose source holds jobs of all kinds."""
    async with way.source.app() as app:
        await fill(app)
    return way


async def test_everything_arrives_and_nothing_stays(full: Way) -> None:
    moved = {each.queue: each for each in await move(full)}

    async with full.source.app() as source, full.target.app() as target:
        assert await states(target, "work") == ARRIVED
        assert await states(target, "kids") == KIDS
        assert await states(source, "work") == await states(source, "kids") == {}
        assert await source.context.store.schedules() == []
        [schedule] = await target.context.store.schedules()
    assert (schedule.id, schedule.rule.cron, schedule.count) == ("nightly", "0 2 * * *", 1)
    assert (moved["work"].jobs, moved["work"].schedules) == (sum(ARRIVED.values()) - 1, 1)
    assert [each.left for each in moved.values()] == [0, 0]


async def test_what_arrived_runs_once_and_as_it_would_have(full: Way) -> None:
    ran: list[str] = []
    await move(full)

    async with full.target.app() as target:
        handlers(target, ran)
        await run_all(target)

        assert Counter(ran) == EXPECTED
        assert await states(target, "work") == LEFT
    steps = [what for what in ran if what.startswith("step")]
    assert steps == sorted(steps)


async def test_settings_arrive(full: Way) -> None:
    await move(full)

    async with full.target.app() as target, full.source.app() as source:
        [there, here] = [
            (await app.context.store.settings(["work"]))[0] for app in (target, source)
        ]
    assert (there.concurrency, there.keep_completed, there.keep_failed) == (
        4,
        here.keep_completed,
        here.keep_failed,
    )
    assert not there.paused
    assert not here.paused


async def test_a_paused_queue_arrives_paused(full: Way) -> None:
    async with full.source.app() as source:
        await source.queue("work").pause()

    moved = {each.queue: each for each in await move(full)}

    assert (moved["work"].paused, moved["kids"].paused) == (True, False)
    async with full.target.app() as target, full.source.app() as source:
        assert await target.queue("work").is_paused()
        assert not await target.queue("kids").is_paused()
        assert await source.queue("work").is_paused()


async def test_new_jobs_get_ids_of_their_own(full: Way) -> None:
    async with full.source.app() as source:
        newest = int((await source.queue("work").add("step", {"what": "last"})).id)

    await move(full)

    async with full.target.app() as target:
        assert int((await target.queue("work").add("step", {"what": "new"})).id) > newest


async def test_a_move_there_and_back_changes_nothing(full: Way) -> None:
    back = Way(full.target, full.source)
    await move(full)
    await move(back)
    ran: list[str] = []

    async with full.source.app() as app:
        assert await states(app, "work") == ARRIVED
        handlers(app, ran)
        await run_all(app)
    assert Counter(ran) == EXPECTED


async def test_jobs_that_are_added_later_move_with_the_next_move(full: Way) -> None:
    await move(full)
    async with full.source.app() as source:
        await source.queue("work").add("step", {"what": "late"})

    [moved] = await move(full, "work")

    assert moved.jobs == 1
    async with full.target.app() as target:
        assert (await states(target, "work"))["waiting"] == ARRIVED["waiting"] + 1


async def test_many_jobs_move_in_bounded_steps(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "BATCH_CHARACTERS", 10_000)
    told: list[int] = []
    async with way.source.app() as source:
        await source.queue("work").add_many([("step", {"x": "y" * 100})] * 600)
    async with way.move(tell=lambda queue, done, total: told.append(done)) as opened:
        await opened.run(await opened.plan())

    assert told == sorted(told)
    assert told[-1] == 600
    assert len(told) > 5


async def test_jobs_added_while_it_moves_come_along(
    way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(moving, "JOBS_A_CALL", 5)
    async with way.source.app() as source, way.move() as opened:
        queue = source.queue("work")
        await queue.add_many([("step", {})] * 20)

        async def produce() -> None:
            for _ in range(30):
                await queue.add("step", {})

        producing = asyncio.create_task(produce())
        [moved] = await opened.run(await opened.plan())
        await producing

    [more] = await move(way)
    assert moved.jobs + more.jobs == 50
    assert more.left == 0


# What is refused, and what is said about it.


async def test_jobs_that_run_are_waited_for(full: Way) -> None:
    async with full.source.app() as source:
        kit = Kit(source.context.store)
        claim = await kit.claim("kids")
        moving_on = asyncio.create_task(move(full))
        async for event in source.queue("kids").events(after="0"):
            if event.kind == "paused":
                break
        await kit.settle(complete(claim))

        await moving_on

        assert await states(source, "kids") == {}


async def test_jobs_that_do_not_end_hinder_it_and_all_stays_as_it_was(full: Way) -> None:
    async with full.source.app() as source:
        before = await states(source, "work")
        await Kit(source.context.store).claim("kids")
        async with full.move(patience_s=0.05) as opened:
            with pytest.raises(JobLocked, match="1 of 'kids'"):
                await opened.run(await opened.plan())

        assert await states(source, "work") == before
        assert not await source.queue("work").is_paused()


async def test_a_flow_is_not_torn_apart(full: Way) -> None:
    with pytest.raises(ConfigError, match="--queues kids,work"):
        await move(full, "kids")

    async with full.source.app() as source:
        assert await states(source, "kids") == KIDS
        assert not await source.queue("kids").is_paused()


async def test_another_job_of_the_same_id_is_in_the_way(full: Way) -> None:
    async with full.target.app() as target:
        there = await target.queue("work").add("step", {}, id="mine")

        with pytest.raises(JobExists, match="another job 'mine'"):
            await move(full)

        await there.remove()
    assert sum(each.left for each in await move(full)) == 0


async def test_a_queue_that_is_not_there_is_named(full: Way) -> None:
    with pytest.raises(ConfigError, match=r"no queue 'wrok' \(it has: kids, work\)"):
        await move(full, "wrok")


async def test_a_plan_changes_nothing(full: Way) -> None:
    async with full.move() as opened:
        plans = {plan.queue: plan for plan in await opened.plan()}

    assert (plans["work"].counts.waiting, plans["work"].schedules) == (ARRIVED["waiting"], 1)
    async with full.source.app() as source, full.target.app() as target:
        assert await states(source, "work") == ARRIVED
        assert await target.context.store.queues() == []


async def test_two_moves_at_once_do_not_mix(full: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving, "JOBS_A_CALL", 2)

    ends = await asyncio.gather(move(full), move(full), return_exceptions=True)
    await move(full)

    assert all(isinstance(end, list | WrongState) for end in ends), ends

    ran: list[str] = []
    async with full.target.app() as target:
        handlers(target, ran)
        await run_all(target)
    assert Counter(ran) == EXPECTED


async def test_a_schedule_that_the_target_refuses_stays_and_is_named(tmp_path: Path) -> None:
    way = Way(Place(f"sqlite:///{tmp_path / 'jobs.db'}", "bull"), server_place())
    both_days = ScheduleDraft(
        queue="work", id="odd", name="step", rule=Rule(cron="0 0 */2 * 1"), next_ms=2**41
    )
    async with way.source.app() as source:
        await source.queue("work").add("step", {"what": "x"})
        await source.context.store.put_schedule(both_days)

    [moved] = await move(way)

    assert (moved.jobs, moved.schedules, moved.left) == (1, 0, 1)
    assert "schedule 'odd' stays" in moved.problems[0]


# Clusters: what belongs together stands in one slot.


async def test_queues_move_from_one_node_of_a_cluster_to_another(cluster: RedisCluster) -> None:
    source, target = next(
        (one, other)
        for one, other in ((cluster_place(cluster), cluster_place(cluster)) for _ in range(100))
        if cluster.node_of(one.prefix) is not cluster.node_of(other.prefix)
    )
    async with source.app() as app:
        await fill(app)

    await move(Way(source, target))

    async with target.app() as there, source.app() as here:
        assert await states(there, "work") == ARRIVED
        assert await states(here, "work") == {}


async def test_a_cluster_takes_no_queues_that_would_be_scattered_and_the_source_keeps_them(
    cluster: RedisCluster, tmp_path: Path
) -> None:
    way = Way(file_place(tmp_path), Place(cluster_place(cluster).url, fresh_prefix()))
    async with way.source.app() as source:
        await fill(source)

    with pytest.raises(ConfigError, match="hash tag"):
        await move(way)

    async with way.source.app() as source:
        assert await states(source, "work") == ARRIVED
        assert not await source.queue("work").is_paused()
