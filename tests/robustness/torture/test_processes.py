"""T02 to T05: worker processes that are stopped, blocked, poisoned and shut down."""

import asyncio
import os
import random
import signal
import sys
import time

import pytest

from tests.robustness.chaos.app import JOBS
from tests.robustness.faults.rig import has_failed, until
from tests.robustness.torture.site import QUICK, ROUNDS, Site, drained, seed
from toril import Job

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and SIGSTOP"),
]
ZOMBIES = 3
ALONE = ("lock=1s", "interval=300ms", "concurrency=1")


@pytest.mark.timeout(60 + 40 * ROUNDS)
async def test_workers_that_were_stopped_past_their_locks_give_their_jobs_up(site: Site) -> None:
    """T02: a zombie writes nothing to a job that another one holds, and its handler is cancelled."""
    stops = 0
    async with site.app() as app, site.workers(2 * ZOMBIES, *ALONE):
        for _ in range(5 * ROUNDS):
            jobs = await app.queue(JOBS).add_many([("zombie", {"ms": 60_000})] * ZOMBIES)
            keys = [(JOBS, job.id) for job in jobs]
            first = await asyncio.gather(*(site.ledger.find("start", key, 1) for key in keys))
            for line in first:
                os.kill(line.pid, signal.SIGSTOP)
            second = await asyncio.gather(*(site.ledger.find("start", key, 2) for key in keys))
            resumed = time.monotonic_ns()
            for line in first:
                os.kill(line.pid, signal.SIGCONT)

            cancelled = await asyncio.gather(
                *(site.ledger.find("cancelled", key, 1) for key in keys)
            )
            assert not {line.pid for line in first} & {line.pid for line in second}
            assert max(line.at - resumed for line in cancelled) / 1e9 <= 1.0
            assert [await job.result(timeout=10) for job in jobs] == ["2"] * ZOMBIES
            for key in keys:
                await site.ledger.find("refused", key, 1)
                await site.ledger.find("lock_lost", key, 1)
            stops += len(first)

    lines = site.ledger.lines()
    assert {line.run for line in lines if line.word == "settled"} == {2}
    assert [line for line in lines if line.word == "accepted"] == []
    assert stops == 15 * ROUNDS


@pytest.mark.timeout(40 + 20 * ROUNDS)
async def test_a_fleet_that_was_suspended_runs_each_job_at_most_once_more(site: Site) -> None:
    """T02b: a laptop that slept for three locks."""
    async with site.app() as app, site.workers(2, *ALONE) as workers:
        for _ in range(3 * ROUNDS):
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


@pytest.mark.timeout(40 + 20 * ROUNDS)
async def test_handlers_that_block_their_loops_for_three_locks_keep_their_jobs(site: Site) -> None:
    """T03: locks are renewed by a thread that no handler can hold up; others wait in patience."""
    async with site.app() as app, site.workers(3, "lock=700ms", "interval=200ms"):
        for _ in range(ROUNDS):
            mixed = [("block", {"ms": 2_100}), ("plain", {"ms": 100})] * 5
            jobs = await app.queue(JOBS).add_many(mixed)
            await asyncio.gather(*(job.result(timeout=30) for job in jobs))

            assert [len(site.noted("start", job)) for job in jobs] == [1] * 10


@pytest.mark.timeout(90 + 30 * ROUNDS)
async def test_jobs_that_kill_their_workers_fail_and_the_others_complete(site: Site) -> None:
    """T04: poison fails by the crash limit, a schedule's too; no bystander is charged for it."""
    async with site.app() as app, site.workers(2, *QUICK) as pair:
        queue = app.queue(JOBS)
        poisons = await queue.add_many([("poison", {"ms": 0})] * 2)
        others = await queue.add_many([("plain", {"ms": 30})] * 200)
        stored = await app.schedules.put(
            "bad", queue=JOBS, name="poison", data={}, every="1h", immediately=True
        )
        assert stored.job_id is not None
        run = await queue.job(stored.job_id)
        assert run is not None
        keeper = asyncio.create_task(pair.keep_up())
        for poison in (*poisons, run):
            await until(lambda poison=poison: has_failed(poison), within=60)
        await asyncio.gather(*(job.result(timeout=20) for job in others))
        keeper.cancel()

        for poison in (*poisons, run):
            error = (await poison.refresh()).error or ""
            assert len(site.noted("start", poison)) <= 3 + 1
            assert error.startswith("job stalled more than allowable limit: worker ")
        counts = await queue.counts()
        assert (counts.completed, counts.failed, counts.delayed) == (200, 3, 1)


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
    codes: list[int] = []
    async with site.app() as app, site.workers(3, "lock=30s") as workers:
        queue = app.queue(JOBS)
        for _ in range(20 * ROUNDS):
            for job in await queue.add_many([("plain", {"ms": rng.randint(1, 80)})] * 12):
                site.ledger.note("acked", job.queue, job.id, "plain")
            await workers.all_up(2)
            await asyncio.sleep(rng.uniform(0, 0.1))
            codes.append(await workers.retire(rng.choice(workers.up)))
        await drained(app)
        codes += await workers.stop()
    verdict = site.verdict()

    assert not verdict.findings
    assert set(codes) == {0}
    assert verdict.executions == verdict.acknowledged == 240 * ROUNDS


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
