"""Who owns a job, call by call: the cheapest scenarios, each of which one seeded bug breaks."""

import asyncio
import time
from typing import Any

import apsw
import pytest

from tests.robustness.torture.site import Site, on_redis, on_sqlite
from tests.support.kit import LOCK, QUEUE, SECOND, T0, Kit, complete, ref_of
from tests.support.proxy import LOSE_REPLY, FaultProxy
from toril import Job
from toril._model.options import Keep
from toril._model.schedule import Rule
from toril._model.states import State
from toril._store.values import ScheduleDraft
from toril.errors import TorilError

pytestmark = pytest.mark.chaos


async def lapse(kit: Kit) -> list[str]:
    """Let every lock run out, and take back what was held."""
    kit.tick(LOCK + SECOND)
    await asyncio.sleep(0.01)
    return await kit.recover(QUEUE)


async def test_whoever_lost_a_job_cannot_finish_it(kit: Kit) -> None:
    """T02."""
    await kit.add()
    first = await kit.claim()
    await lapse(kit)
    second = await kit.claim()

    with pytest.raises(TorilError):
        await kit.settle(complete(first))
    assert await kit.settle(complete(second)) == "completed"


async def test_a_job_under_a_lock_is_not_taken_back(kit: Kit) -> None:
    """T01: from the moment on at which the claim is answered."""
    await kit.add()
    await kit.claim()

    assert await kit.recover(QUEUE) == []


async def test_a_bystander_of_many_crashes_is_never_given_up(kit: Kit) -> None:
    """T04b: it shared its worker with others each time."""
    await kit.add_many(3)
    for _ in range(6):
        await kit.ask(3)
        await lapse(kit)
    answer = await kit.ask(3)

    assert [claim.record.deferred for claim in answer.jobs] == [None] * 3


async def test_a_schedule_that_is_advanced_twice_has_one_run_armed(kit: Kit) -> None:
    """T17: whoever lost the run's job cannot arm another one."""
    rule = Rule(every_ms=60 * SECOND)
    draft = ScheduleDraft(queue=QUEUE, id="tick", name="tick", rule=rule, next_ms=T0)
    await kit.store.put_schedule(draft, now=kit.now)
    run = ref_of(await kit.claim())
    for minutes in (1, 2):
        await kit.store.advance(run, "tick", T0 + minutes * 60 * SECOND, now=kit.now)

    (counts,) = await kit.store.counts([QUEUE])
    assert counts.delayed == 1


async def test_retention_lets_no_job_go_that_runs(kit: Kit) -> None:
    """T20: only what has ended is ever let go."""
    running = ref_of((await kit.add(), await kit.claim())[1])
    for _ in range(4):
        await kit.add(keep_completed=Keep(count=1))
        await kit.run()

    assert await kit.state(running) is State.ACTIVE


async def test_a_lock_is_renewed_for_as_long_as_its_job_runs(site: Site) -> None:
    """T03: four locks long."""
    runs: list[int] = []

    async def run(job: Job[Any]) -> None:
        runs.append(job.run)
        await asyncio.sleep(1.6)

    async with site.app() as app, site.app() as other:
        quick = {"lock": "400ms", "stalled_interval": "100ms"}
        async with app.worker("renew", run, **quick), other.worker("renew", run, **quick):
            job = await app.queue("renew").add("x")
            await job.result(timeout=10)

    assert runs == [1]


@on_redis
async def test_an_add_whose_reply_was_lost_is_done_once(site: Site) -> None:
    """T01b."""
    assert site.server is not None
    with FaultProxy(site.server.port) as proxy:
        async with site.app_through(proxy) as app:
            queue = app.queue("once")
            await queue.add("warm")
            for _ in range(5):
                trap = proxy.trap(lambda sent: sent.name.startswith("EVAL"), LOSE_REPLY)
                await queue.add("x")
                assert trap.hits == 1

            assert (await queue.counts()).waiting == 6


async def test_an_idle_worker_is_woken(site: Site) -> None:
    """T06: it waits for a sign, and does not merely look now and then."""

    async def run(job: Job[Any]) -> None:
        return None

    async with site.app() as app, site.app() as other, app.worker("wake", run):
        took: list[float] = []
        # The first job of a queue is added another way than those that follow.
        await (await other.queue("wake").add("x")).result(timeout=10)
        for _ in range(3):
            await asyncio.sleep(0.2)
            began = time.monotonic()
            job = await other.queue("wake").add("x")
            await job.result(timeout=10)
            took.append(time.monotonic() - began)

    assert min(took) < 0.5


@on_sqlite
async def test_what_was_acknowledged_is_in_the_file(site: Site) -> None:
    """T11: nothing is answered before its COMMIT."""
    async with site.app() as app:
        await app.queue("sure").add("first")
        db = apsw.Connection(str(site.file), flags=apsw.SQLITE_OPEN_READONLY)
        for added in range(2, 8):
            await app.queue("sure").add("x")
            assert db.execute("SELECT count(*) FROM jobs").get == added
        db.close()
