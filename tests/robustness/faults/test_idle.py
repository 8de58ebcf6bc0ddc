"""What a worker costs that has nothing to do, counted command by command on its way."""

import asyncio

import pytest

from tests.robustness.faults.rig import Runs, app_on, until
from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer

SECONDS = 20
QUEUES = [f"queue-{n}" for n in range(50)]


@pytest.mark.timeout(60)
async def test_fifty_idle_queues_cost_one_command_a_second_and_three_connections(
    server: RedisServer, proxy: FaultProxy
) -> None:
    runs = Runs()
    async with app_on(server, proxy) as app, app.worker(QUEUES, runs, concurrency=5):
        # Each queue exists, has been worked on, and is idle.
        for queue in QUEUES:
            await app.queue(queue).add("x")
        await until(lambda: _all_ended(runs))
        await asyncio.sleep(2)
        before = len(proxy.sent)
        await asyncio.sleep(SECONDS)
        asked = len(proxy.sent) - before
        counted, connections = proxy.count(before), proxy.open

        # Not for being fast asleep: a job is still taken at once.
        job = await app.queue("queue-33").add("x")
        await runs.until_ended(job.id, within=3)

    assert asked <= SECONDS, counted
    assert connections <= 3


async def _all_ended(runs: Runs) -> bool:
    return len(runs.ended) == len(QUEUES)
