"""T20, T14, T13, T05b, T15: races, flows, damage and growth, in one process and quick."""

import asyncio
import contextlib
import gc
import logging
import os
import random
import threading
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.robustness.torture.site import ROUNDS, Site, drained, seed
from toril import Job, Toril
from toril.errors import TorilError

pytestmark = pytest.mark.chaos

QUEUE = "ids"


def kept(app: Toril) -> Any:
    return app.queue(QUEUE, keep="all", events_limit=1_000_000)


# T20: exactly one.


@pytest.mark.timeout(30 * ROUNDS)
async def test_of_many_who_add_an_id_at_once_exactly_one_adds_it(site: Site) -> None:
    for _ in range(ROUNDS):
        async with site.app() as app, site.app() as other:
            queues = [kept(app), kept(other)]
            adding = [
                queues[turn % 2].add("x", {"by": turn}, id=f"card-{number}")
                for number in range(100)
                for turn in range(50)
            ]
            jobs = await asyncio.gather(*adding)

            assert sum(job.created for job in jobs) == 100
            assert (await queues[0].counts()).waiting == 100
            await queues[0].obliterate()


@pytest.mark.timeout(30 * ROUNDS)
async def test_a_dedup_key_is_free_when_its_job_has_ended_however(site: Site) -> None:
    async def run(job: Job[Any]) -> None:
        if job.data["fails"]:
            raise ValueError

    async with site.app() as app:
        queue = kept(app)
        for _ in range(50 * ROUNDS):
            for fails in (False, True):
                adding = [queue.add("x", {"fails": fails}, dedup="key") for _ in range(8)]
                jobs = await asyncio.gather(*adding)
                assert sum(job.created for job in jobs) == 1
                await app.worker(QUEUE, run).run_until_idle()

        assert (await queue.counts()).total == 100 * ROUNDS
    assert site.verdict(QUEUE).unsound == []


@pytest.mark.timeout(30 * ROUNDS)
async def test_removing_retrying_and_cancelling_beside_workers_leaves_a_sound_store(
    site: Site,
) -> None:
    number = seed()
    rng = random.Random(number)

    async def run(job: Job[Any]) -> None:
        await asyncio.sleep(rng.uniform(0, 0.01))
        if rng.random() < 0.2:
            raise ValueError

    async def steer(job: Job[Any]) -> None:
        await asyncio.sleep(rng.uniform(0, 0.3))
        what = rng.choice([job.remove, job.retry, job.cancel, job.promote])
        with contextlib.suppress(TorilError):  # refused is an answer; broken is not
            await what()

    async with site.app() as app:
        queue = kept(app)
        for _ in range(ROUNDS):
            jobs = await queue.add_many([("x", {}, {"delay": "5ms"})] * 100 + [("x", {})] * 200)
            async with app.worker(QUEUE, run, concurrency=20):
                await asyncio.gather(*(steer(job) for job in jobs))
                await drained(app, QUEUE)
            counts = await queue.counts()

            assert (counts.ready, counts.active, counts.delayed) == (0, 0, 0), f"seed {number}"
    assert site.verdict(QUEUE).unsound == [], f"seed {number}"


# T14: flows.


async def run_flow(site: Site, app: Toril, tree: Any) -> list[str]:
    order: list[str] = []

    async def run(job: Job[Any]) -> str:
        values = await job.children_values()
        assert len(values) == job.data, f"{job.id} ran with {len(values)} of {job.data} results"
        order.append(job.id)
        return job.id

    added = await tree.add()
    async with app.worker(QUEUE, run, concurrency=50):
        await added.job.result(timeout=60)
    assert sorted(order) == sorted(job.id for job in added.walk())
    assert order[-1] == added.job.id
    assert site.verdict(QUEUE).unsound == []
    return order


@pytest.mark.timeout(60)
async def test_a_wide_parent_runs_once_with_every_result(site: Site) -> None:
    width = 9_999  # with its parent as many as a flow may have
    async with site.app() as app:
        kept(app)
        children = [(QUEUE, "kid", 0)] * width
        await run_flow(site, app, app.flow(QUEUE, "top", width, children=children))


@pytest.mark.timeout(60)
async def test_a_chain_of_parents_runs_from_its_end(site: Site) -> None:
    async with site.app() as app:
        kept(app)
        chain = app.flow(QUEUE, "leaf", 0)
        for _ in range(1_000):
            chain = app.flow(QUEUE, "link", 1, children=[chain])
        await run_flow(site, app, chain)


@pytest.mark.timeout(30 + 30 * ROUNDS)
async def test_the_last_two_children_race_and_the_parent_runs_once(site: Site) -> None:
    runs: list[str] = []

    async def run(job: Job[Any]) -> None:
        runs.append(job.name)
        assert job.name == "kid" or len(await job.children_values()) == 2

    async with site.app() as app, site.app() as other:
        kept(app)
        flow = [app.flow(QUEUE, "top", children=[(QUEUE, "kid")] * 2) for _ in range(300 * ROUNDS)]
        async with app.worker(QUEUE, run, concurrency=8), other.worker(QUEUE, run, concurrency=8):
            trees = await app.add_flows(flow)
            await asyncio.gather(*(tree.job.result(timeout=20) for tree in trees))

    assert (runs.count("top"), runs.count("kid")) == (300 * ROUNDS, 600 * ROUNDS)


@pytest.mark.parametrize("policy", ["fail", "continue", "ignore", "remove"])
@pytest.mark.parametrize("fate", ["completed", "failed", "removed", "cancelled"])
async def test_a_parent_ends_whatever_becomes_of_its_children(
    site: Site, policy: str, fate: str
) -> None:
    runs: list[str] = []

    async def run(job: Job[Any]) -> None:
        runs.append(job.name)
        if job.name == "kid" and fate == "failed":
            raise ValueError

    async with site.app() as app:
        queue = kept(app)
        kid = (QUEUE, "kid", None, {"parent_on_fail": policy, "delay": "50ms"})
        tree = await app.flow(QUEUE, "top", children=[kid]).add()
        steer = {"removed": "remove", "cancelled": "cancel"}.get(fate)
        if steer:
            await getattr(tree.children[0].job, steer)()
        async with app.worker(QUEUE, run):
            await drained(app, QUEUE, within=10)
        state = await tree.job.state()

        fails = policy == "fail" and fate in ("failed", "cancelled")
        assert state == ("failed" if fails else "completed")
        assert runs.count("top") == (0 if fails else 1)
        assert (await queue.counts()).waiting_children == 0
    assert site.verdict(QUEUE).unsound == []


# T13: damage. The row of Redis is in tests/robustness/faults/test_damage.py.

DAMAGE = {
    "data": ("{not json", "", "[1,", "nul", '{"a": 1e999}'),
    "progress": ("{oops",),
    "name": ("", "unknown", "\x1b[31m"),
}


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
@pytest.mark.timeout(40)
async def test_good_jobs_complete_among_bad_ones_and_bad_ones_end(site: Site) -> None:
    number = seed()
    rng = random.Random(number)

    async def run(job: Job[Any]) -> None:
        return None

    async with site.app() as app:
        queue = kept(app)
        jobs = await queue.add_many([("x", {"n": n}) for n in range(1_000)])
        rng.shuffle(jobs)
        damage_some(site.file, [job.id for job in jobs[500:]], rng)
        async with app.worker(QUEUE, run, concurrency=20, lock="1s", stalled_interval="300ms"):
            await asyncio.gather(*(job.result(timeout=20) for job in jobs[:500]))
            await drained(app, QUEUE, within=10)
        counts = await queue.counts()

    assert (counts.ready, counts.active, counts.total) == (0, 0, 1_000), f"seed {number}"


def damage_some(file: Path, ids: list[str], rng: random.Random) -> None:
    db = apsw.Connection(str(file))
    db.set_busy_timeout(5000)
    with db:
        for job_id in ids:
            column = rng.choice(sorted(DAMAGE))
            query = f"UPDATE jobs SET {column} = ? WHERE id = ?"
            db.execute(query, (rng.choice(DAMAGE[column]), job_id))
    db.close()


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
@pytest.mark.parametrize("damage", ["opts = ']['", "stack = '{oops'"])
async def test_a_row_whose_options_or_stack_are_damaged_ends_and_holds_up_nobody(
    site: Site, damage: str
) -> None:
    async def run(job: Job[Any]) -> None:
        return None

    async with site.app() as app:
        queue = kept(app)
        bad, good = await queue.add("x"), await queue.add("x")
        db = apsw.Connection(str(site.file))
        db.execute(f"UPDATE jobs SET {damage} WHERE id = ?", (bad.id,))
        db.close()
        async with app.worker(QUEUE, run, concurrency=2, lock="500ms", stalled_interval="200ms"):
            await good.result(timeout=3)
            await drained(app, QUEUE, within=3)
        counts = await queue.counts()

    assert (counts.ready, counts.active, counts.total) == (0, 0, 2)


# T05b and T15: nothing grows.


@pytest.mark.timeout(60 * ROUNDS)
async def test_workers_that_start_and_stop_leave_no_thread_task_or_descriptor(site: Site) -> None:
    async def run(job: Job[Any]) -> None:
        return None

    async def cycle(times: int) -> None:
        for _ in range(times):
            async with site.app() as app, app.worker(QUEUE, run):
                await app.queue(QUEUE).add("x")

    await cycle(2)
    before = _held()
    await asyncio.gather(*(cycle(10 * ROUNDS) for _ in range(10)))
    # Threads and connections end in the background, in a moment.
    for _ in range(100):
        if _held() <= before:
            break
        await asyncio.sleep(0.02)

    assert _held() <= before


def _held() -> tuple[int, int, int]:
    # The loop keeps a few threads of its own for later.
    ours = [each for each in threading.enumerate() if not each.name.startswith("asyncio_")]
    return len(ours), len(asyncio.all_tasks()), len(os.listdir("/proc/self/fd"))


@pytest.mark.timeout(120 * ROUNDS)
async def test_memory_stays_when_jobs_come_and_go(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    # What is logged would be kept for the report.
    caplog.set_level(logging.CRITICAL, logger="toril")

    async def run(job: Job[Any]) -> None:
        ballast = "x" * 1024
        if job.name == "bad":
            raise ValueError(ballast)

    async with site.app() as app, app.worker(QUEUE, run, concurrency=100):
        queue = app.queue(QUEUE, keep=10, events_limit=100)

        async def batch(count: int) -> float:
            for _ in range(count):
                await queue.add_many([("good", {})] * 900 + [("bad", {})] * 100)
                await drained(app, QUEUE)
            gc.collect()
            return _resident_mb()

        first = await batch(50)
        then = await batch(75 * ROUNDS)

    assert then - first < 2.5, f"from {first:.1f} to {then:.1f} MB"


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
