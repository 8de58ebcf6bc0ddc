"""What a worker does besides: schedules armed, old jobs removed, silence noticed."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from tests.runtime.kit import Heard, until
from toril import Job, Toril
from toril._model.record import Claim
from toril._run import upkeep
from toril._run.context import Context
from toril._run.dependencies import Container
from toril._run.executors import Threads
from toril._run.handlers import Registry
from toril._run.hooks import Hooks, Listeners
from toril._run.lanes import Lane, Lanes, Terms
from toril._run.slots import Means, Slots
from toril._run.telling import Telling
from toril._run.trips import Trips
from toril._run.watchdog import Watchdog
from toril._store.protocol import ClaimRequest


@pytest.fixture
def telling() -> Telling:
    return Telling(Listeners(), Hooks(()))


async def noop(job: Job[Any]) -> None:
    pass


# Schedules.


async def test_a_schedule_runs_again_and_again(app: Toril) -> None:
    runs: list[str] = []

    @app.queue("q").handler("tick")
    async def tick(job: Job[Any]) -> None:
        runs.append(job.id)

    app.schedule("often", queue="q", name="tick", every="50ms", limit=4)
    async with app.worker():
        await until(lambda: over(app, "q"))

    assert len(runs) == len(set(runs)) == 4
    assert all(run.startswith("repeat:often:") for run in runs)
    slots = [int(run.rpartition(":")[2]) for run in runs]
    # A slot that passed while the machine was busy is left out, never made up.
    assert {(later - earlier) % 50 for earlier, later in itertools.pairwise(slots)} == {0}


async def over(app: Toril, queue: str) -> bool:
    return (await app.queue(queue).counts()).completed == 4


async def test_the_next_run_is_armed_before_a_run_that_fails(app: Toril) -> None:
    async def fail(job: Job[Any]) -> None:
        raise ValueError("on purpose")

    await app.schedules.put("daily", queue="q", name="x", cron="0 2 * * *", immediately=True)
    worker = app.worker("q", fail)
    heard = Heard(worker, "failed")
    async with worker:
        await heard.until("failed")
    (info,) = await app.context.store.schedules("q")
    assert info.next_ms is not None
    assert info.next_ms > time.time() * 1000
    assert (await app.queue("q").counts()).delayed == 1


async def test_two_workers_arm_one_run(app: Toril) -> None:
    runs: list[str] = []

    async def note(job: Job[Any]) -> None:
        runs.append(job.id)

    await app.schedules.put("often", queue="q", name="x", every="20ms", limit=4)
    async with app.worker("q", note), app.worker("q", note):
        await until(lambda: over(app, "q"))

    assert len(runs) == len(set(runs)) == 4


async def test_a_run_that_went_without_its_successor_is_made_up_for(
    app: Toril, telling: Telling
) -> None:
    store = app.context.store
    await app.schedules.put("hourly", queue="q", name="x", every="1h")
    (claimed,) = await store.claim([ClaimRequest(queue="q", limit=1, token="t")])
    assert len(claimed.jobs) == 1  # and its worker dies before it arms the next one
    (before,) = await store.schedules("q")

    rearming = upkeep.Rearming(store, ["q"], telling)
    assert await rearming.repair() == upkeep.REPAIR_S
    (after,) = await store.schedules("q")
    await rearming.repair()
    (again,) = await store.schedules("q")

    assert before.next_ms is not None
    assert after.next_ms == before.next_ms + 3_600_000
    assert after == again


async def test_a_schedule_that_is_over_stays_over(app: Toril, telling: Telling) -> None:
    await app.schedules.put("once", queue="q", name="x", every="1h", limit=1)
    await app.worker("q", noop).run_until_idle()

    await upkeep.Rearming(app.context.store, ["q"], telling).repair()

    assert (await app.queue("q").counts()).delayed == 0


# Old jobs and stalled ones.


async def test_one_round_of_trimming_says_when_to_come_back(app: Toril) -> None:
    await app.open()

    assert await upkeep.trim(app.context.store, ["q"]) == upkeep.TRIM_S


async def test_one_round_of_recovery_takes_back_and_tells(app: Toril) -> None:
    listeners = Listeners()
    told: list[str] = []
    listeners.on("stalled")(told.append)
    job = await app.queue("q").add("x")
    store = app.context.store
    await store.claim([ClaimRequest(queue="q", limit=1, token="t", lock_ms=1)])
    await asyncio.sleep(0.005)  # the lock's time is the store's own clock

    again = await upkeep.recover(store, ["q"], Telling(listeners, Hooks(())), max_stalls=3)

    assert (again, told) == ({"q"}, [job.id])


# Silence.


async def test_the_watchdog_gives_up_when_a_new_connection_did_not_help(
    app: Toril, telling: Telling
) -> None:
    await app.queue("q").add("x")
    given_up: list[str] = []
    lanes, slots, trips = still_life(app, telling)
    watchdog = Watchdog(app.context.store, trips, telling, given_up.append)

    await watchdog.look(lanes, slots)
    assert watchdog.concern is None
    await watchdog.look(lanes, slots)
    assert watchdog.concern is not None
    assert given_up == []
    await watchdog.look(lanes, slots)

    (reason,) = given_up
    assert reason.startswith("jobs of q could be claimed, places are free, and nothing was claimed")


@pytest.mark.parametrize("why", ["nothing waits", "paused here", "queue paused", "claims work"])
async def test_the_watchdog_keeps_quiet_when(app: Toril, telling: Telling, why: str) -> None:
    await app.open()
    if why != "nothing waits":
        await app.queue("q").add("x")
    if why == "queue paused":
        await app.queue("q").pause()
    given_up: list[str] = []
    lanes, slots, trips = still_life(app, telling)
    trips.claiming = why != "paused here"
    watchdog = Watchdog(app.context.store, trips, telling, given_up.append)

    for _ in range(3):
        await watchdog.look(lanes, slots)
        if why == "claims work":
            trips.fruitful += 1

    assert given_up == []


def still_life(app: Toril, telling: Telling) -> tuple[Lanes, Slots, Trips]:
    """Make the parts of a worker that does nothing."""
    store = app.context.store
    lanes = Lanes([Lane("q", 1, {})], Terms(lock_ms=30_000, worker="w"), total=None)
    means = Means(
        context=Context(store),
        registry=Registry(Container()),
        telling=telling,
        prepare=nothing,
        alone=nothing,
        wake=lambda: None,
        unknown_limit_ms=0,
        max_stalls=3,
    )
    slots = Slots(means, Threads("test"))
    return lanes, slots, Trips(store, lanes, slots, telling)


async def nothing(claim: Claim) -> None:
    pass
