"""T02 to T05: worker processes that are stopped, blocked, poisoned and shut down.

The rows of T02, T03 and T04 on Redis are in tests/faults/test_crashes.py.
"""

import asyncio
import os
import random
import signal
import sys
import time

import pytest

from tests.chaos.app import JOBS
from tests.faults.rig import has_failed, until
from tests.torture.site import ROUNDS, Site, drained, seed
from toril import Job

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and SIGSTOP"),
]
on_sqlite = pytest.mark.parametrize("site", ["sqlite"], indirect=True)
ALONE = ("lock=1s", "interval=300ms", "concurrency=1")


@on_sqlite
@pytest.mark.timeout(40 + 20 * ROUNDS)
async def test_a_worker_that_was_stopped_past_its_lock_gives_its_job_up(site: Site) -> None:
    """T02: a zombie finishes nothing that another one holds, and its handler is cancelled."""
    async with site.app() as app, site.workers(2, *ALONE):
        for _ in range(2 * ROUNDS):
            job = await app.queue(JOBS).add("zombie", {"ms": 60_000})
            first = await site.ledger.find("start", (JOBS, job.id), 1)
            os.kill(first.pid, signal.SIGSTOP)
            second = await site.ledger.find("start", (JOBS, job.id), 2)
            resumed = time.monotonic_ns()
            os.kill(first.pid, signal.SIGCONT)

            cancelled = await site.ledger.find("cancelled", (JOBS, job.id), 1)
            assert second.pid != first.pid
            assert (cancelled.at - resumed) / 1e9 <= 1.0
            assert await job.result(timeout=10) == "2"

    assert {line.run for line in site.ledger.lines() if line.word == "settled"} == {2}


@pytest.mark.timeout(40 + 20 * ROUNDS)
async def test_a_fleet_that_was_suspended_runs_each_job_at_most_once_more(site: Site) -> None:
    """T02b: a laptop that slept for three locks."""
    async with site.app() as app, site.workers(2, *ALONE) as workers:
        for _ in range(ROUNDS):
            jobs = await app.queue(JOBS).add_many([("plain", {"ms": 300})] * 6)
            await site.ledger.find("start", (JOBS, jobs[0].id), 1)
            for worker in workers.running:
                worker.send_signal(signal.SIGSTOP)
            await asyncio.sleep(3.0)
            for worker in workers.running:
                worker.send_signal(signal.SIGCONT)
            await asyncio.gather(*(job.result(timeout=20) for job in jobs))

            assert max(len(site.noted("start", job)) for job in jobs) <= 2
            assert sum(len(site.noted("start", job)) for job in jobs) <= 6 + len(workers.running)


@on_sqlite
@pytest.mark.timeout(40)
async def test_a_handler_that_blocks_its_loop_for_three_locks_keeps_its_job(site: Site) -> None:
    """T03: locks are renewed by a thread that no handler can hold up."""
    options = ("lock=700ms", "interval=200ms", "concurrency=1")
    async with site.app() as app, site.workers(2, *options):
        for _ in range(ROUNDS):
            job = await app.queue(JOBS).add("block", {"ms": 2100})

            assert await job.result(timeout=15) == "1"
            assert len(site.noted("start", job)) == 1


@on_sqlite
@pytest.mark.timeout(90)
async def test_a_job_that_kills_its_workers_fails_and_the_others_complete(site: Site) -> None:
    """T04: the poison fails by the crash limit; no bystander is charged for it."""
    async with site.app() as app, site.workers(2, "lock=1s", "interval=300ms") as pair:
        queue = app.queue(JOBS)
        poison = await queue.add("poison", {"ms": 0})
        others = await queue.add_many([("plain", {"ms": 30})] * 60)
        keeper = asyncio.create_task(pair.keep_up())
        await until(lambda: has_failed(poison), within=60)
        await asyncio.gather(*(job.result(timeout=20) for job in others))
        keeper.cancel()

        crashes = len(site.noted("start", poison))
        error = (await poison.refresh()).error or ""
        assert crashes <= 3 + 1
        assert error.startswith("job stalled more than allowable limit: worker ")
        assert (await queue.counts()).completed == 60


@pytest.mark.timeout(120)
async def test_jobs_in_children_that_kill_their_workers_together_fail_and_no_other(
    site: Site,
) -> None:
    """T04: whose child it was that took the worker down is found out by running each alone."""
    async with site.app() as app, site.workers(2, "lock=1s", "interval=300ms") as pair:
        queue = app.queue(JOBS)
        killers = await queue.add_many([("parricide", {})] * 2)
        others = await queue.add_many([("bystander", {"ms": 200})] * 8)
        keeper = asyncio.create_task(pair.keep_up())
        for killer in killers:
            await until(lambda job=killer: has_failed(job), within=90)
        await asyncio.gather(*(job.result(timeout=30) for job in others))
        keeper.cancel()

        for killer in killers:
            error = (await killer.refresh()).error or ""
            assert error.startswith("job stalled more than allowable limit: worker ")
            assert killer.record.stalls == 3 + 1
        assert max([(await job.refresh()).record.stalls for job in others]) <= 2


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_workers_that_are_told_to_stop_leave_nothing_behind(site: Site) -> None:
    """T05: SIGTERM at any moment; what runs is ended, nothing is run again or left locked."""
    rng = random.Random(seed())
    codes: list[int | None] = []
    async with site.app() as app, site.workers(2, "lock=30s") as workers:
        queue = app.queue(JOBS)
        for _ in range(6 * ROUNDS):
            for job in await queue.add_many([("plain", {"ms": rng.randint(1, 80)})] * 12):
                site.ledger.note("acked", job.queue, job.id, "plain")
            await workers.all_up(2)
            await asyncio.sleep(rng.uniform(0, 0.1))
            victim = rng.choice(workers.up)
            workers.up.remove(victim)
            workers.running.remove(victim)
            victim.send_signal(signal.SIGTERM)
            codes.append(await asyncio.wait_for(victim.wait(), 10))
            await workers.start()
        await drained(app)
        codes += await workers.stop()
    verdict = site.verdict()

    assert not verdict.findings
    assert set(codes) == {0}
    assert verdict.executions == verdict.acknowledged == 72 * ROUNDS


async def test_a_job_that_outlasts_the_grace_is_started_by_the_successor_at_once(
    site: Site,
) -> None:
    """T05: released, not left to run out: the successor has it within a second."""
    started: list[float] = []

    async def run(job: Job[object]) -> None:
        started.append(time.monotonic())
        if len(started) == 1:
            running.set()
            await asyncio.Event().wait()

    async with site.app() as app:
        for _ in range(ROUNDS):
            started.clear()
            running = asyncio.Event()
            job = await app.queue("grace").add("x")
            first = app.worker("grace", run, lock="30s")
            await first.start()
            await asyncio.wait_for(running.wait(), 5)
            async with app.worker("grace", run, lock="30s") as _second:
                released = time.monotonic()
                assert not await first.stop(grace=0.05)
                await job.result(timeout=5)

            assert started[1] - released <= 1.05
