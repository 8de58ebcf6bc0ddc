"""More of who owns a job, and of what comes together: each test is broken by one seeded bug."""

import asyncio
import time
from typing import Any

import apsw
import pytest

from tests.robustness.torture.site import Site, drained, on_redis, on_sqlite
from tests.support.kit import HOUR, LOCK, QUEUE, SECOND, Kit, complete, ref_of
from tests.support.proxy import LOSE_REPLY, FaultProxy, Sent
from toril import Fixed, Job
from toril._model.states import State
from toril._store.values import ClaimRequest
from toril.errors import TorilError

pytestmark = pytest.mark.chaos
DUE_JOBS = 1_100


async def test_of_two_whose_locks_ran_out_only_who_ran_last_finishes(kit: Kit) -> None:
    """T02: the zombie wakes up while its successor is one, too."""
    await kit.add()
    first = await kit.crash()
    second = await kit.claim()
    kit.tick(LOCK + SECOND)

    with pytest.raises(TorilError):
        await kit.settle(complete(first))
    assert await kit.settle(complete(second)) == "completed"


async def test_whoever_lost_a_job_cannot_renew_it(kit: Kit) -> None:
    """T02: nor does it learn that it could."""
    kit.now = int(time.time() * 1000)
    await kit.add()
    first = await kit.crash()
    second = await kit.claim()
    renewer = kit.store.renewer()
    both = [(ref_of(claim), claim.token) for claim in (first, second)]
    found = await asyncio.to_thread(lambda: [renewer.renew([each], LOCK) for each in both])
    await asyncio.to_thread(renewer.close)

    assert found == [[ref_of(first)], []]


async def test_a_job_that_waits_to_run_alone_once_more_is_a_bystander(kit: Kit) -> None:
    """T04b: what it is charged with is its last crash alone, not the next one of others."""
    await kit.add()
    for alone in (True, False):
        claim = await kit.claim()
        if alone:
            await kit.update(ref_of(claim), alone=True, token=claim.token)
        kit.tick(LOCK + SECOND)
        taken = await kit.store.recover([QUEUE], max_stalls=1, now=kit.now)

    assert [(one.stalls, one.fatal) for one in taken] == [(1, False)]


async def test_a_claim_makes_a_bounded_number_of_due_jobs_ready(kit: Kit) -> None:
    """T10: a million that are due at once do not stop the store."""
    for _ in range(DUE_JOBS // 100):
        await kit.add_many(100, delay_ms=SECOND)
    kit.tick(SECOND)
    await kit.ask()

    left = (await kit.counts()).get("delayed", 0)
    assert 0 < left < DUE_JOBS


async def test_a_due_time_is_met_by_the_clock_of_the_store(
    kit: Kit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """T16: on SQLite that is this machine's; the server has its own, and no other matters."""
    server = type(kit) is not Kit
    kit.now = int(time.time() * 1000)
    await kit.add(delay_ms=HOUR)
    ahead = time.time() + 2 * HOUR / 1000
    monkeypatch.setattr(time, "time", lambda: ahead)
    monkeypatch.setattr(time, "time_ns", lambda: int(ahead * 1e9))
    wanted = ClaimRequest(queue=QUEUE, limit=1, token="token")
    (answer,) = await kit.store.claim([wanted])

    assert len(answer.jobs) == (0 if server else 1)


async def test_a_job_is_active_for_as_long_as_its_handler_runs(site: Site) -> None:
    """T01: what is acknowledged earlier is lost when its worker is killed."""
    states: list[State] = []

    async def run(job: Job[Any]) -> None:
        for _ in range(3):
            await asyncio.sleep(0.05)
            states.append(await job.state())

    async with site.app() as app, app.worker("early", run):
        job = await app.queue("early").add("x")
        await job.result(timeout=10)
        await drained(app, "early")

    assert states == [State.ACTIVE] * 3


@on_sqlite
async def test_a_result_and_what_it_frees_are_seen_at_once(site: Site) -> None:
    """T01c: nobody can die between the two."""

    async def run(job: Job[Any]) -> str:
        return job.name

    halves: list[int] = []
    async with site.app() as app, app.worker("family", run):
        # The file is there, and readable, from the first job on.
        await (await app.queue("family").add("x")).result(timeout=10)
        db = apsw.Connection(str(site.file), flags=apsw.SQLITE_OPEN_READONLY)
        for _ in range(5):
            tree = await app.flow("family", "top", children=[("family", "kid")]).add()
            while await tree.job.state() != State.COMPLETED:
                halves.append(db.execute(HALVES).get)
                await asyncio.sleep(0.002)
        db.close()

    assert len(halves) >= 5
    assert not any(halves)


HALVES = """
    SELECT count(*) FROM children
    JOIN jobs ON jobs.queue = (SELECT key FROM queues WHERE name = children.queue)
        AND jobs.id = children.id
    WHERE jobs.state = 'completed' AND children.outcome = 'pending'
"""


@on_redis
async def test_a_job_whose_marker_was_swallowed_is_found_all_the_same(site: Site) -> None:
    """T08: by a worker that has died since, say. Everybody looks by himself now and then."""
    assert site.server is not None

    async def run(job: Job[Any]) -> None:
        return None

    async with site.app() as app, app.worker("hints", run):
        await (await app.queue("hints").add("x")).result(timeout=10)
        with site.server.client() as thief:
            # Added as a worker would find it whose marker somebody else was given.
            job = await app.queue("hints").add("x", delay="1h")
            thief.zrem("bull:hints:delayed", job.id)
            thief.delete("bull:hints:marker")
            thief.lpush("bull:hints:wait", job.id)

        await job.result(timeout=9)


@on_redis
async def test_a_job_that_was_taken_over_before_its_claim_was_answered_is_not_given(
    site: Site,
) -> None:
    """T01b: the call comes again, and somebody else has the job by then."""
    assert site.server is not None
    calls = 0

    def is_claim(sent: Sent) -> bool:
        nonlocal calls
        if not sent.name.startswith("EVAL"):
            return False
        calls += 1
        if calls == 2:
            thief.set("bull:late:1:lock", "another's")
        return calls == 1

    with FaultProxy(site.server.port) as proxy, site.server.client() as thief:
        async with site.app_through(proxy) as app:
            wanted = ClaimRequest(queue="late", limit=1, token="mine")
            await app.context.store.claim([wanted])  # the server knows the script from now on
            await app.queue("late").add("x")
            trap = proxy.trap(is_claim, LOSE_REPLY, times=2)
            (answer,) = await app.context.store.claim([wanted])

    assert (trap.hits, calls) == (1, 2)
    assert answer.jobs == ()


async def test_jobs_that_failed_together_do_not_come_back_together(site: Site) -> None:
    """T21: jitter spreads what an outage has lined up."""

    async def run(job: Job[Any]) -> None:
        raise ValueError

    async with site.app() as app:
        queue = app.queue("herd", attempts=2, backoff=Fixed("1h", jitter=1.0))
        await queue.add_many([("x", {})] * 20)
        async with app.worker("herd", run, concurrency=20):
            while (await queue.counts()).delayed < 20:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        due = [job.record.delay_ms async for job in queue.jobs("delayed")]

    assert len(set(due)) == 20
