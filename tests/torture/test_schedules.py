"""T17: a schedule that many processes store and run, while they are killed, has each run once."""

import asyncio
import random
import sys
from collections import Counter
from itertools import pairwise

import pytest

from tests.faults.rig import until
from tests.torture.clockwork import QUEUE, SCHEDULE
from tests.torture.site import ROUNDS, Site, seed

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]

EVERY_MS = 1_000
KILLS = 8 * ROUNDS


@pytest.mark.timeout(60 + 20 * ROUNDS)
@pytest.mark.parametrize("rule", [("cron", "* * * * * *"), ("every", "1s")], ids=["cron", "every"])
async def test_no_run_is_missing_and_none_is_double(site: Site, rule: tuple[str, str]) -> None:
    number = seed()
    rng = random.Random(number)
    async with (
        site.app() as app,
        site.programs("tests.torture.clockwork", 8, *rule) as fleet,
    ):
        for _ in range(KILLS):
            await fleet.all_up(6)
            await asyncio.sleep(rng.uniform(0.5, 1.5))
            await fleet.kill(rng.choice(fleet.up), site.ledger)
        await until(lambda: _enough(site), within=20)
        await fleet.stop()
        queue = app.queue(QUEUE)
        waiting = await queue.counts()
        stored = await app.schedules.get(QUEUE, SCHEDULE)
        while (await queue.counts()).active:  # noqa: ASYNC110  # the last victim's, if it had one
            await asyncio.sleep(0.05)
        verdict = site.verdict(QUEUE)

    ran = _ran(site)
    gaps = Counter(after - at for at, after in pairwise(ran))
    assert set(gaps) == {EVERY_MS}, f"seed {number}: {gaps}"
    assert len(ran) >= KILLS
    assert (verdict.unexplained, verdict.finished_twice, verdict.unsound) == ([], [], [])
    assert stored is not None
    assert waiting.delayed + waiting.ready == 1


async def _enough(site: Site) -> bool:
    return len(_ran(site)) >= KILLS


def _ran(site: Site) -> list[int]:
    """Give the slots of which a run was started, each once."""
    started = (line for line in site.ledger.lines() if line.word == "start")
    return sorted({int(line.facts[1].rpartition(":")[2]) for line in started})
