"""Workers are killed -9 at random, again and again, while jobs keep coming: none is lost.

TORIL_SEED repeats a run as far as a run of several processes can be repeated; TORIL_KILLS
makes it longer.
"""

import asyncio
import os
import random
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.chaos.app import JOBS, PARENTS, make_app
from tests.robustness.chaos.audit import Audit
from tests.robustness.chaos.fleet import Fleet, fleet
from tests.robustness.chaos.ledger import Ledger, Verdict, judge
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and flock"),
]

KILLS = int(os.environ.get("TORIL_KILLS", "120"))
WORKERS = 3
# So many jobs wait at least, so that a worker is hardly ever idle when it is killed.
BACKLOG = 60
GAP_S = (0.05, 0.45)
DRAIN_S = 30.0


@pytest.fixture
def folder(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder that stays where it is when the test fails."""
    folder = Path(tempfile.mkdtemp(prefix="toril-storm-"))
    yield folder
    if not request.node.stash.get(FAILED, False):
        shutil.rmtree(folder)


FAILED = pytest.StashKey[bool]()


class Producer:
    """Keep jobs of every kind coming, and note each one that the store has acknowledged."""

    def __init__(self, app: Toril, ledger: Ledger, rng: random.Random) -> None:
        self._app = app
        self._jobs = app.queue(JOBS)
        self._ledger = ledger
        self._rng = rng
        self._custom = 0
        self.is_over = False

    async def run(self) -> None:
        while not self.is_over:
            counts = await self._jobs.counts()
            if counts.ready < BACKLOG:
                await self._add()
            else:
                await asyncio.sleep(0.02)

    async def _add(self) -> None:
        plain = [(name, self._work()) for name in ("plain", "plain", "threaded") * 5]
        for job in await self._jobs.add_many(plain):
            self._acked(job, job.name)
        once = [
            self._jobs.add("retry", self._work(), attempts=2, backoff=self._rng.choice([0, "20ms"]))
            for _ in range(4)
        ]
        for job in await asyncio.gather(*once):
            self._acked(job, "retry")
        await self._add_flow(self._rng.randint(1, 4))
        await self._add_twice()

    async def _add_flow(self, width: int) -> None:
        tree = await self._app.flow(
            PARENTS,
            "gather",
            {**self._work(), "children": width},
            children=[(JOBS, "child", self._work()) for _ in range(width)],
        ).add()
        for job in tree.walk():
            self._acked(job, "parent" if job.queue == PARENTS else "child")

    async def _add_twice(self) -> None:
        """Add a job with an id of its own twice at once: it is one job."""
        self._custom += 1
        data = self._work()
        twins = [self._jobs.add("custom", data, id=f"card-{self._custom}") for _ in range(2)]
        first, second = await asyncio.gather(*twins)
        assert [first.created, second.created] == [True, False]
        self._acked(first, "custom")

    def _work(self) -> dict[str, object]:
        return {"ms": self._rng.randint(5, 50)}

    def _acked(self, job: Job[Any], kind: str) -> None:
        self._ledger.note("acked", job.queue, job.id, kind)


async def storm(workers: Fleet, ledger: Ledger, rng: random.Random) -> None:
    """Kill one at random, a random time after the one before, again and again.

    Two are up at least: else the newest would be hit each time, always in its first moments.
    """
    for _ in range(KILLS):
        await workers.all_up(WORKERS - 1)
        await asyncio.sleep(rng.uniform(*GAP_S))
        await workers.kill(rng.choice(workers.up), ledger)


async def drained(app: Toril) -> None:
    """Wait until every job is done, as long as that may take; the verdict says what is not."""
    queues = [app.queue(JOBS), app.queue(PARENTS)]
    deadline = asyncio.get_running_loop().time() + DRAIN_S
    while asyncio.get_running_loop().time() < deadline:
        counts = [await queue.counts() for queue in queues]
        if not any(c.ready or c.active or c.delayed or c.waiting_children for c in counts):
            return
        await asyncio.sleep(0.05)


async def run_storm(folder: Path, ledger: Ledger, rng: random.Random) -> list[int]:
    path = folder / "jobs.db"
    async with (
        make_app(path) as app,
        fleet("tests.robustness.chaos.app", path, ledger.path, count=WORKERS) as workers,
    ):
        await workers.all_up(WORKERS)
        producer = Producer(app, ledger, rng)
        async with asyncio.TaskGroup() as both:
            both.create_task(producer.run())
            await storm(workers, ledger, rng)
            # Not cancelled: what is on its way has to be noted when it is acknowledged.
            producer.is_over = True
        await drained(app)
        return await workers.stop()


def verdict_of(folder: Path, ledger: Ledger) -> Verdict:
    with Audit(folder / "jobs.db") as audit:
        verdict = judge(ledger.lines(), audit.fates(), audit.finishes())
        verdict.unsound = audit.findings()
    return verdict


@pytest.mark.timeout(180 + 2 * KILLS)
async def test_120_kills_lose_no_job(
    folder: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("TORIL_SEED", random.SystemRandom().randrange(10**6)))
    ledger = Ledger(folder / "ledger")
    request.node.stash[FAILED] = True

    codes = await run_storm(folder, ledger, random.Random(seed))
    verdict = verdict_of(folder, ledger)

    with capsys.disabled():
        print(f"\nseed {seed}: {verdict}")  # noqa: T201  # the run's result, wanted in every log
    told = f"seed {seed}, everything is in {folder}; the ledger ends with\n{ledger.tail()}"
    ledger.close()
    assert not verdict.findings, f"{verdict.findings}\n{verdict}\n{told}"
    assert codes == [0] * WORKERS, told
    assert verdict.kills == KILLS
    assert verdict.hits >= KILLS * 100 // 120, f"only {verdict.hits} kills hit a running job"
    request.node.stash[FAILED] = bool(os.environ.get("TORIL_KEEP"))
