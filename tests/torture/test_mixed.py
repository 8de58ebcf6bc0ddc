"""T01 in a mixed fleet: Node's workers and toril's share queues in Redis, and both are killed.

Both sides add jobs. Node gives a job up that stalls twice, whoever ran it: that is its rule, and
such a job is counted apart, if it did stall so often.
"""

import asyncio
import os
import random
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.app import JOBS, PARENTS
from tests.chaos.fleet import Fleet, programs
from tests.chaos.ledger import Key, Line, Verdict
from tests.chaos.test_kill_storm import Producer
from tests.interop.node import HERE, node
from tests.torture.site import PREFIX, QUICK, Site, drained, seed

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
