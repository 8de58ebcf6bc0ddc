"""T17: a schedule that many processes store and run has each run once, whoever is killed.

Another one is stored and dropped all the time, until it is let alone. Redis is restarted between.
"""

import asyncio
import random
import sys
import time
from itertools import pairwise

import pytest

from tests.robustness.chaos.fleet import Fleet
from tests.robustness.faults.rig import until
from tests.robustness.torture.clockwork import QUEUE, RACED, SCHEDULE
from tests.robustness.torture.site import ROUNDS, Site, seed
from toril import Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]

EVERY_MS = 1_000
KILLS = 8 * ROUNDS
CALM_SLOTS = 4


@pytest.mark.timeout(90 + 20 * ROUNDS)
@pytest.mark.parametrize("rule", [("cron", "* * * * * *"), ("every", "1s")], ids=["cron", "every"])
async def test_no_run_is_missing_and_none_is_double(site: Site, rule: tuple[str, str]) -> None:
    number = seed()
    rng = random.Random(number)
    program = ("tests.robustness.torture.clockwork", 8, *rule)
    async with site.app() as app:
        async with site.programs(*program, "race") as fleet:
            away = await _kill(site, fleet, rng)
            await until(lambda: _at_least(KILLS, _ran(site, SCHEDULE)), within=20)
            await fleet.stop()
        await _has_one_run_each(app)
        raced, calm_from = _ran(site, SCHEDULE), time.monotonic_ns()
        async with site.programs(*program, "calm") as fleet:
            await until(
                lambda: _at_least(CALM_SLOTS, _ran_in_time(site, RACED, calm_from)), within=20
            )
            await fleet.stop()
        assert await _has_one_run_each(app) == 2
        queue = app.queue(QUEUE)
        while (await queue.counts()).active:  # noqa: ASYNC110  # the last victim's, if it had one
            await asyncio.sleep(0.05)
        verdict = site.verdict(QUEUE)

    late = [(at, after) for at, after in pairwise(raced) if after - at != EVERY_MS]
    # What was due while nobody could be asked is run once, however often it was due.
    assert all(at <= away[1] and away[0] <= after for at, after in late), f"seed {number}: {late}"
    calm = _ran_in_time(site, RACED, calm_from)
    assert {after - at for at, after in pairwise(calm)} == {EVERY_MS}, f"seed {number}: {calm}"
    assert (verdict.unexplained, verdict.finished_twice, verdict.unsound) == ([], [], [])


async def _kill(site: Site, fleet: Fleet, rng: random.Random) -> tuple[float, float]:
    """Kill processes, and the server between two of them; give when it was away (ms)."""
    away = (0.0, 0.0)
    for number in range(KILLS):
        restarts = site.server is not None and number == KILLS // 2
        # A process that starts while the server is away ends, as it should.
        await fleet.all_up(8 if restarts else 6)
        await asyncio.sleep(rng.uniform(0.5, 1.5))
        if site.server is not None and restarts:
            began = time.time() * 1000
            await asyncio.to_thread(site.server.restart, kill=rng.random() < 0.5)
            away = (began - EVERY_MS, time.time() * 1000 + EVERY_MS)
        await fleet.kill(rng.choice(fleet.up), site.ledger)
    return away


async def _has_one_run_each(app: Toril) -> int:
    """See that each schedule has one run to come, and no other is; give how many there are."""
    stored = [await app.schedules.get(QUEUE, each) for each in (SCHEDULE, RACED)]
    armed = {schedule.job_id for schedule in stored if schedule is not None}
    delayed, waiting = [
        {job.id async for job in app.queue(QUEUE).jobs(state)} for state in ("delayed", "waiting")
    ]
    # What else waits was put back by whoever stopped.
    assert delayed <= armed <= delayed | waiting
    return len(armed)


async def _at_least(count: int, slots: list[int]) -> bool:
    return len(slots) >= count


def _ran(site: Site, schedule: str) -> list[int]:
    """Give the slots of which a run was started, each once."""
    started = [line.facts[1] for line in site.ledger.lines() if line.word == "start"]
    own = [job_id for job_id in started if job_id.startswith(f"repeat:{schedule}:")]
    return sorted({int(job_id.rpartition(":")[2]) for job_id in own})


def _ran_in_time(site: Site, schedule: str, since: int) -> list[int]:
    """Give the slots that came due when somebody worked again, after so many ns of uptime.

    What came due before was left over: any number of runs that the dropped schedule had armed.
    """
    first = min(
        (line.at for line in site.ledger.lines() if line.at > since and line.word == "start"),
        default=None,
    )
    if first is None:
        return []
    began = time.time() * 1000 - (time.monotonic_ns() - first) / 1e6
    return [slot for slot in _ran(site, schedule) if slot > began]
