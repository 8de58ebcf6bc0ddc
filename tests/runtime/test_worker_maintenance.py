"""What a worker does besides: schedules armed, old jobs removed, silence noticed."""

import asyncio
import itertools
import time
from typing import Any

import pytest

from tests.support.workers import Heard, until
from toril import Job, Toril
from toril._handlers.dependencies import Container
from toril._handlers.handlers import Registry
from toril._isolation.executor import Threads
from toril._jobs.listeners import Listeners
from toril._jobs.session import Session
from toril._model.record import Claim
from toril._store.values import ClaimRequest
from toril._worker import maintenance
from toril._worker.claims import ClaimSource, ClaimSources, Terms
from toril._worker.exchange import Exchange
from toril._worker.host import WorkerHost
from toril._worker.reporting import Reporter
from toril._worker.running import RunningJobs
from toril._worker.watchdog import Watchdog


@pytest.fixture
def reporter() -> Reporter:
    return Reporter(Listeners())


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
    app: Toril, reporter: Reporter
) -> None:
    store = app.context.store
    await app.schedules.put("hourly", queue="q", name="x", every="1h")
    (claimed,) = await store.claim([ClaimRequest(queue="q", limit=1, token="t")])
    assert len(claimed.jobs) == 1  # and its worker dies before it arms the next one
    (before,) = await store.schedules("q")

    rearming = maintenance.Rearming(store, ["q"], reporter)
    assert await rearming.repair() == maintenance.REPAIR_S
    (after,) = await store.schedules("q")
    await rearming.repair()
    (again,) = await store.schedules("q")

    assert before.next_ms is not None
    assert after.next_ms == before.next_ms + 3_600_000
    assert after == again


async def test_a_schedule_that_is_over_stays_over(app: Toril, reporter: Reporter) -> None:
    await app.schedules.put("once", queue="q", name="x", every="1h", limit=1)
    await app.worker("q", noop).run_until_idle()

    await maintenance.Rearming(app.context.store, ["q"], reporter).repair()

    assert (await app.queue("q").counts()).delayed == 0


# Old jobs and stalled ones.


async def test_one_round_of_trimming_says_when_to_come_back(app: Toril) -> None:
    await app.open()

    assert await maintenance.trim(app.context.store, ["q"]) == maintenance.TRIM_S


async def test_one_round_of_recovery_takes_back_and_tells(app: Toril) -> None:
    listeners = Listeners()
    told: list[str] = []
    listeners.on("stalled")(told.append)
    job = await app.queue("q").add("x")
    store = app.context.store
    await store.claim([ClaimRequest(queue="q", limit=1, token="t", lock_ms=1)])
    await asyncio.sleep(0.005)  # the lock's time is the store's own clock

    again = await maintenance.recover(store, ["q"], Reporter(listeners), max_stalls=3)

    assert (again, told) == ({"q"}, [job.id])


# Silence.


async def test_the_watchdog_gives_up_when_a_new_connection_did_not_help(
    app: Toril, reporter: Reporter
) -> None:
    await app.queue("q").add("x")
    given_up: list[str] = []
    sources, running_jobs, trips = still_life(app, reporter)
    watchdog = Watchdog(app.context.store, trips, reporter, given_up.append)

    await watchdog.look(sources, running_jobs)
    assert watchdog.concern is None
    await watchdog.look(sources, running_jobs)
    assert watchdog.concern is not None
    assert given_up == []
    await watchdog.look(sources, running_jobs)

    (reason,) = given_up
    assert reason.startswith("jobs of q could be claimed, places are free, and nothing was claimed")


@pytest.mark.parametrize("why", ["nothing waits", "paused here", "queue paused", "claims work"])
async def test_the_watchdog_keeps_quiet_when(app: Toril, reporter: Reporter, why: str) -> None:
    await app.open()
    if why != "nothing waits":
        await app.queue("q").add("x")
    if why == "queue paused":
        await app.queue("q").pause()
    given_up: list[str] = []
    sources, running_jobs, trips = still_life(app, reporter)
    trips.claiming = why != "paused here"
    watchdog = Watchdog(app.context.store, trips, reporter, given_up.append)

    for _ in range(3):
        await watchdog.look(sources, running_jobs)
        if why == "claims work":
            trips.fruitful += 1

    assert given_up == []


def still_life(app: Toril, reporter: Reporter) -> tuple[ClaimSources, RunningJobs, Exchange]:
    """Make the parts of a worker that does nothing."""
    store = app.context.store
    sources = ClaimSources([ClaimSource("q", 1, {})], Terms(lock_ms=30_000, worker="w"), total=None)
    host = WorkerHost(
        context=Session(store),
        registry=Registry(Container()),
        reporter=reporter,
        prepare=nothing,
        alone=nothing,
        wake=lambda: None,
        unknown_limit_ms=0,
        max_stalls=3,
    )
    slots = RunningJobs(host, Threads("test"))
    return sources, slots, Exchange(store, sources, slots, reporter)


async def nothing(claim: Claim) -> None:
    pass
