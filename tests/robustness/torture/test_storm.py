"""T01 on Redis: workers are killed -9 at random, again and again, and no job is lost.

The one on SQLite is tests/robustness/chaos/test_kill_storm.py. TORIL_REDIS_KILLS makes this one longer.
"""

import asyncio
import os
import random
import sys
from pathlib import Path

import pytest

from tests.robustness.chaos.test_kill_storm import GAP_S, WORKERS, Producer
from tests.robustness.torture.site import QUICK, Site, drained, seed

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]

KILLS = int(os.environ.get("TORIL_REDIS_KILLS", "120"))


@pytest.mark.timeout(180 + 2 * KILLS)
async def test_120_kills_lose_no_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Locks are short, so that the killed ones' jobs run again before the storm is over."""
    number = seed()
    rng = random.Random(number)
    with Site("redis", tmp_path) as site:
        async with site.app() as app, site.workers(WORKERS, *QUICK, "concurrency=3") as workers:
            producer = Producer(app, site.ledger, rng)
            async with asyncio.TaskGroup() as both:
                both.create_task(producer.run())
                for _ in range(KILLS):
                    await workers.all_up(WORKERS - 1)
                    await asyncio.sleep(rng.uniform(*GAP_S))
                    await workers.kill(rng.choice(workers.up), site.ledger)
                producer.is_over = True
            await drained(app)
            codes = await workers.stop()
        verdict, tail = site.verdict(), site.ledger.tail()

    with capsys.disabled():
        print(f"\nRedis, seed {number}: {verdict}")  # noqa: T201  # wanted in every log
    assert not verdict.findings, f"seed {number}: {verdict.findings}\n{tail}"
    assert codes == [0] * WORKERS
    assert verdict.kills == KILLS
    assert verdict.hits >= KILLS * 100 // 120, f"only {verdict.hits} kills hit a running job"
