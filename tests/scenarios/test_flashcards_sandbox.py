"""Flash cards: the blocking handler again, in a child process that is given by its import path.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import asyncio
import os
import time
from itertools import pairwise

import pytest

from tests.scenarios.cards import IMAGES
from tests.scenarios.helpers import kinds, stands
from toril import JobFailed, Toril

PATH = "tests.scenarios.sandbox"


class TestSandbox:
    async def test_a_blocking_handler_runs_once_elsewhere_and_is_heard_of(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", {"spin": 1.0, "sleep": 0.1})
        app.processor(IMAGES, f"{PATH}:block")
        async with app.worker(IMAGES, lock="500ms", stalled_interval="100ms", concurrency=1):
            pid, _, _ = await job.result(20)

        await stands(queue, C=1)
        await job.refresh()
        assert pid != os.getpid()
        assert (job.run, job.last_progress, (await job.logs()).lines) == (1, 50, ("spun",))
        assert "stalled" not in await kinds(app, queue)

    async def test_the_workers_own_loop_goes_on(self, app: Toril) -> None:
        job = await app.queue(IMAGES).add("optimize-size", {"spin": 2.0, "sleep": 0})
        app.processor(IMAGES, f"{PATH}:block")
        longest = 0.0
        async with app.worker(IMAGES):
            waiting = asyncio.ensure_future(job.result(20))
            while not waiting.done():
                asked = time.monotonic()
                await asyncio.sleep(0)
                longest = max(longest, time.monotonic() - asked)
            await waiting

        # A loaded machine has its own pauses; a blocked loop would have stood for two seconds.
        assert longest < 1

    async def test_one_at_a_time_is_one_child_that_is_reused(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        jobs = [await queue.add("optimize-size", {"spin": 0.05, "sleep": 0}) for _ in range(3)]
        app.processor(IMAGES, f"{PATH}:block", concurrency=1)
        async with app.worker(IMAGES, concurrency=5):
            runs = sorted([await job.result(20) for job in jobs], key=lambda run: run[1])

        assert len({pid for pid, _, _ in runs}) == 1
        assert all(one[2] <= two[1] for one, two in pairwise(runs))

    async def test_a_child_that_exits_is_a_crash_and_the_worker_lives_on(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        app.processor(IMAGES, f"{PATH}:leave", name="leave")
        app.processor(IMAGES, f"{PATH}:block", name="block", concurrency=2)
        async with app.worker(IMAGES, concurrency=3, max_stalls=1):
            job = await queue.add("leave", 9)
            with pytest.raises(JobFailed, match="exited with code 9"):
                await job.result(20)
            await job.refresh()
            assert (job.attempts_made, job.run) == (0, 2)
            await (await queue.add("block", {"spin": 0, "sleep": 0})).result(20)

    async def test_services_come_from_a_factory(self, app: Toril) -> None:
        app.processor(IMAGES, f"{PATH}:Reader", init=f"{PATH}:make_container")
        async with app.worker(IMAGES):
            job = await app.queue(IMAGES).add("optimize-size")
            assert await job.result(20) == "from the factory"
