"""T01, T02 and T05 in a mixed fleet: Node's workers and toril's share queues in Redis.

Both are killed, stopped and shut down, and take over from each other. Node gives a job up that
stalls twice, whoever ran it: that is its rule, and such a job is counted apart, if it did.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.interop.node import HERE, node
from tests.robustness.chaos.app import JOBS, PARENTS
from tests.robustness.chaos.fleet import Fleet, programs
from tests.robustness.chaos.ledger import Key, Line, Verdict
from tests.robustness.chaos.test_kill_storm import Producer
from tests.robustness.torture.site import PREFIX, QUICK, ROUNDS, Site, drained, seed
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]

KILLS = int(os.environ.get("TORIL_REDIS_KILLS", "120")) // 6
EACH = 2
GAP_S = (0.1, 0.5)
GIVEN_UP = "job stalled more than allowable limit"


@asynccontextmanager
async def nodes(site: Site, role: str, count: int) -> AsyncIterator[Fleet]:
    assert site.server is not None
    where = (site.server.port, PREFIX, site.ledger.path, JOBS, PARENTS)
    async with programs(node(), HERE / "storm.mjs", role, *where, count=count) as fleet:
        await fleet.all_up(count)
        yield fleet


def given_up(site: Site, verdict: Verdict) -> list[str]:
    """Take the jobs out of a verdict that Node's limit ended, and give their ids."""
    assert site.server is not None
    with site.server.client() as client:
        found = [
            job_id
            for job_id in client.zrange(f"{PREFIX}:{JOBS}:failed", 0, -1)
            if (client.hget(f"{PREFIX}:{JOBS}:{job_id}", "failedReason") or "").startswith(GIVEN_UP)
            and int(client.hget(f"{PREFIX}:{JOBS}:{job_id}", "stc") or 0) > 1
        ]
    # A parent fails with its child: that is no fault of its own.
    ends = [f"{(JOBS, job_id)}: failed: {GIVEN_UP}" for job_id in found]
    ends += [f": failed: child {PREFIX}:{JOBS}:{job_id} failed" for job_id in found]
    verdict.lost = [each for each in verdict.lost if not each.endswith(tuple(ends))]
    return found


def shares_of(site: Site) -> dict[str, int]:
    """Count who ran jobs, who was killed, and who ran again what whom left behind."""
    lines = site.ledger.lines()
    nodes = {line.pid for line in lines if line.word == "node"}
    killed = {int(line.facts[0]) for line in lines if line.word == "killed"}
    settled = {(line.key, line.run) for line in lines if line.word == "settled"}
    shares = Counter[str]()
    last: dict[Key, Line] = {}
    for line in (line for line in lines if line.word == "start"):
        shares[f"run by {_side(line.pid, nodes)}"] += 1
        before = last.get(line.key)
        if before and before.pid in killed and (before.key, before.run) not in settled:
            shares[f"{_side(line.pid, nodes)} after {_side(before.pid, nodes)}"] += 1
        last[line.key] = line
    shares["Node killed"] = len(killed & nodes)
    shares["toril killed"] = len(killed - nodes)
    return dict(shares)


def _side(pid: int, nodes: set[int]) -> str:
    return "Node" if pid in nodes else "toril"


@pytest.mark.timeout(120 + 2 * KILLS)
async def test_kills_in_a_fleet_with_node_lose_no_job(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number = seed()
    rng = random.Random(number)
    with Site("redis", tmp_path) as site:
        async with (
            site.app() as app,
            site.workers(EACH, *QUICK, "concurrency=3") as ours,
            nodes(site, "work", EACH) as theirs,
            nodes(site, "add", 1) as adding,
        ):
            producer = Producer(app, site.ledger, rng)
            async with asyncio.TaskGroup() as both:
                both.create_task(producer.run())
                for _ in range(KILLS):
                    fleet = rng.choice((ours, theirs))
                    await fleet.all_up(EACH)
                    await asyncio.sleep(rng.uniform(*GAP_S))
                    await fleet.kill(rng.choice(fleet.up), site.ledger)
                producer.is_over = True
                assert await adding.stop() == [0]
            await drained(app, within=40)
            codes = [await fleet.stop() for fleet in (ours, theirs)]
        verdict = site.verdict()
        left = given_up(site, verdict)
        shares = shares_of(site)
        tail = site.ledger.tail()

    with capsys.disabled():
        print(f"\nwith Node, seed {number}: {verdict}; given up by Node: {len(left)}; {shares}")  # noqa: T201
    assert not verdict.findings, f"seed {number}: {verdict.findings}\n{tail}"
    assert codes == [[0] * EACH] * 2
    assert verdict.kills == KILLS
    assert verdict.hits >= KILLS // 2, f"only {verdict.hits} kills hit a running job"
    assert {"Node after toril", "toril after Node"} <= set(shares), shares


ZOMBIES = 3
LATE_MS = 3_000


async def _add_zombies(site: Site, app: Toril, ms: int) -> tuple[list[Job[object]], list[Line]]:
    jobs = await app.queue(JOBS).add_many([("zombie", {"ms": ms})] * ZOMBIES)
    return jobs, await _noted(site, "start", jobs, 1)


async def _noted(site: Site, word: str, jobs: list[Job[object]], run: int) -> list[Line]:
    keys = [(JOBS, job.id) for job in jobs]
    return await asyncio.gather(*(site.ledger.find(word, key, run) for key in keys))


def _send(fleet: Fleet, number: signal.Signals) -> None:
    for process in fleet.running:
        process.send_signal(number)


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_what_a_stopped_worker_held_is_done_by_the_other_side_and_by_it_alone(
    tmp_path: Path,
) -> None:
    """T02: whoever goes on too late changes nothing."""
    one_each = (*QUICK, "concurrency=1")
    with Site("redis", tmp_path) as site:
        async with site.app() as app:
            for _ in range(ROUNDS):
                async with site.workers(ZOMBIES, *one_each) as ours:
                    taken, first = await _add_zombies(site, app, 60_000)
                    async with nodes(site, "work", 1) as theirs:
                        _send(ours, signal.SIGSTOP)
                        second = await _noted(site, "start", taken, 2)
                        resumed = time.monotonic_ns()
                        _send(ours, signal.SIGCONT)
                        ends = await _noted(site, "cancelled", taken, 1)
                        await _noted(site, "refused", taken, 1)
                        results = [await job.result(timeout=10) for job in taken]
                        codes = [await fleet.stop() for fleet in (ours, theirs)]
                assert {line.pid for line in second}.isdisjoint(line.pid for line in first)
                assert max(line.at - resumed for line in ends) / 1e9 <= 1.0
                assert results == [job.id for job in taken]
                assert codes == [[0] * ZOMBIES, [0]]

                async with nodes(site, "work", 1) as theirs:
                    given, first = await _add_zombies(site, app, LATE_MS)
                    async with site.workers(ZOMBIES, *one_each) as ours:
                        _send(theirs, signal.SIGSTOP)
                        second = await _noted(site, "start", given, 2)
                        results = [await job.result(timeout=10) for job in given]
                        _send(theirs, signal.SIGCONT)
                        await _noted(site, "end", given, 1)
                        left = [await app.queue(JOBS).job(job.id) for job in given]
                        late = [job and await job.result(timeout=1) for job in left]
                        codes = [await fleet.stop() for fleet in (ours, theirs)]
                assert {line.pid for line in second}.isdisjoint(line.pid for line in first)
                assert results == late == ["2"] * ZOMBIES
                assert codes == [[0] * ZOMBIES, [0]]
        lines = site.ledger.lines()
        assert {line.run for line in lines if line.word == "settled"} == {2}
        assert not [line for line in lines if line.word == "accepted"]


@pytest.mark.timeout(60 + 30 * ROUNDS)
async def test_workers_of_both_sides_that_are_told_to_stop_leave_nothing_behind(
    tmp_path: Path,
) -> None:
    """T05: SIGTERM at any moment; what runs is ended, nothing is run again or left locked."""
    rng = random.Random(seed())
    codes: list[int] = []
    with Site("redis", tmp_path) as site:
        async with (
            site.app() as app,
            site.workers(EACH, "lock=30s", "concurrency=3") as ours,
            nodes(site, "work", EACH) as theirs,
        ):
            queue = app.queue(JOBS)
            for _ in range(20 * ROUNDS):
                for job in await queue.add_many([("plain", {"ms": rng.randint(1, 80)})] * 12):
                    site.ledger.note("acked", job.queue, job.id, "plain")
                fleet = rng.choice((ours, theirs))
                await fleet.all_up(EACH)
                await asyncio.sleep(rng.uniform(0, 0.1))
                codes.append(await fleet.retire(rng.choice(fleet.up)))
            await drained(app)
            for fleet in (ours, theirs):
                codes += await fleet.stop()
        verdict = site.verdict()
        shares = shares_of(site)

    assert not verdict.findings
    assert set(codes) == {0}
    assert verdict.executions == verdict.acknowledged == 240 * ROUNDS
    assert {"run by Node", "run by toril"} <= set(shares)
