"""What a job takes up in Redis is what a job of BullMQ takes up there."""

import pytest

from tests.robustness.faults.rig import app_on
from tests.support.servers import RedisServer

JOBS = 5_000
# Bytes a job of 100 bytes of data, as measured for BullMQ on the same version of the server.
WAITING, COMPLETED = 739, 1318


@pytest.mark.serial
@pytest.mark.timeout(60)
async def test_jobs_take_up_no_more_than_bullmqs(server: RedisServer) -> None:
    data = {"text": "x" * (100 - len('{"text":""}'))}
    async with app_on(server) as app:
        queue = app.queue("memory", keep="all")
        await queue.add("warm", data)

        async def work(job: object) -> None:
            return None

        before = used(server)
        for _ in range(JOBS // 1000):
            await queue.add_many([("work", data)] * 1000)
        waiting = (used(server) - before) / JOBS
        await app.worker("memory", work, concurrency=50).run_until_idle()
        completed = (used(server) - before) / JOBS

    assert waiting <= WAITING * 1.05
    assert completed <= COMPLETED * 1.05


def used(server: RedisServer) -> int:
    """Give the bytes that the data takes up."""
    server.call("MEMORY", "PURGE")
    text = str(server.call("INFO", "memory"))
    facts = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
    return int(facts["used_memory_dataset"])
