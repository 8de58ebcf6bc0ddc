"""A move is killed -9, and another one goes on: every job is there once, and runs once.

Workers run at the target all the while: what has arrived there may be done, and gone, before the
next move begins.
"""

import asyncio
import random
import signal
import sys
from collections import Counter

import pytest

from tests.robustness.moves.conftest import Way
from tests.robustness.moves.life import EXPECTED, LEFT, fill, handlers, run_all, states
from toril import Toril

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL")

# A move asks for fewer changes than this: the last death that is planned does not come.
CALLS = 34


async def killed_at(way: Way, calls: int) -> bool:
    """Begin a move in a process that dies at this change; say whether it did."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.robustness.moves.deadly"),
        *(way.source.url, way.source.prefix, way.target.url, way.target.prefix, str(calls)),
    )
    code = await asyncio.wait_for(process.wait(), 15)
    assert code in (0, -signal.SIGKILL), f"the move ended with {code}"
    return code != 0


async def go_on(way: Way) -> None:
    async with way.move() as move:
        left = [moved.left for moved in await move.run(await move.plan())]
    assert sum(left) == 0


@pytest.mark.parametrize("calls", range(1, CALLS + 1))
async def test_a_move_that_dies_at_any_change_loses_and_doubles_nothing(
    way: Way, calls: int
) -> None:
    ran: list[str] = []
    async with way.source.app() as source:
        await fill(source)

    died = await killed_at(way, calls)
    async with way.target.app() as target:
        handlers(target, ran)
        await run_all(target)  # what came through may be done and gone by the next move
        await go_on(way)
        await run_all(target)
        assert Counter(ran) == EXPECTED
        assert await states(target, "work") == LEFT
    async with way.source.app() as source:
        assert await states(source, "work") == await states(source, "kids") == {}
    assert died == (calls < CALLS), "CALLS says how many changes there are"


# Killed at a moment of chance, in the middle of a step.

JOBS = 3_000
KILLS = 4


@pytest.mark.timeout(60)
@pytest.mark.chaos
@pytest.mark.parametrize(
    "way",
    ["sqlite to redis", "redis to sqlite", "sqlite to cluster", "sentinel to cluster"],
    indirect=True,
)
async def test_a_move_that_is_killed_by_chance_loses_and_doubles_nothing(
    way: Way,
) -> None:
    seed = random.SystemRandom().randrange(10**6)
    rng = random.Random(seed)
    async with way.source.app() as source:
        for first in range(0, JOBS, 250):
            await source.queue("work", keep_completed=False).add_many(
                [("step", {"what": str(n)}) for n in range(first, first + 250)]
            )
    ran: list[str] = []
    async with way.target.app() as target, way.source.app() as source:
        handlers(target, ran)
        await target.queue("work", keep_completed=False).limit(concurrency=20)
        async with target.worker(queues={"work": 20}):
            for _ in range(KILLS):
                await kill_midway(way, source, rng)
            await go_on(way)
            await down_to(target, 0, pause=0.02)
        assert await states(source, "work") == {}

    assert Counter(Counter(ran).values()) == {1: JOBS}, f"seed {seed}"
    assert len(ran) == JOBS, f"seed {seed}"


async def kill_midway(way: Way, source: Toril, rng: random.Random) -> None:
    """Start a move as a user does, and kill it when some jobs have gone."""
    words = ["move", way.source.url, way.target.url, "--yes"]
    words += ["--prefix", way.source.prefix, "--to-prefix", way.target.prefix]
    left = sum((await states(source, "work")).values())
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "toril", *words),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    until = left - rng.randrange(1, 700)
    try:
        await down_to(source, until, pause=0.002)
    finally:
        process.kill()
        await process.wait()


async def down_to(app: Toril, count: int, *, pause: float) -> None:
    """Look again and again until a queue has no more than so many jobs."""
    async with asyncio.timeout(20):
        while True:
            if sum((await states(app, "work")).values()) <= count:
                return
            await asyncio.sleep(pause)
