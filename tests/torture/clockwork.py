"""The program of workers that store one schedule all at once, again and again, and run its jobs:

`python -m tests.torture.clockwork URL PREFIX LEDGER cron|every RULE`
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

from tests.chaos.ledger import Ledger
from tests.chaos.program import run
from toril import Job, Toril

QUEUE = "clock"
SCHEDULE = "tick"


async def main(url: str, prefix: str, ledger: Ledger, **rule: Any) -> None:
    app = Toril(url, prefix=prefix)
    queue = app.queue(QUEUE, keep="all", events_limit=1_000_000)

    @queue.handler()
    async def tick(job: Job[Any]) -> None:
        ledger.note("start", job.queue, job.id, job.run)
        await asyncio.sleep(0.02)
        ledger.note("end", job.queue, job.id, job.run)

    worker = app.worker(QUEUE, lock="1s", stalled_interval="300ms")

    async def upsert() -> None:
        while True:
            await app.schedules.put(SCHEDULE, queue=QUEUE, name="tick", **rule)
            await asyncio.sleep(0.01)

    async with app:
        storing = asyncio.create_task(upsert())
        await run(worker, ledger)
        storing.cancel()


if __name__ == "__main__":
    url, prefix, ledger, kind, rule = sys.argv[1:]
    asyncio.run(main(url, prefix, Ledger(Path(ledger)), **{kind: rule}))
