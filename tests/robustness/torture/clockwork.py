"""The program of workers that store schedules all at once, again and again, and run their jobs:

`python -m tests.robustness.torture.clockwork URL PREFIX LEDGER cron|every RULE race|calm`

In a race one of the schedules is dropped about as often as it is stored.
"""

import asyncio
import random
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.robustness.chaos.ledger import Ledger
from tests.robustness.chaos.program import run
from toril import Job, Toril
from toril.errors import StoreUnavailable

QUEUE = "clock"
SCHEDULE = "tick"
RACED = "flicker"


async def main(url: str, prefix: str, ledger: Ledger, race: bool, **rule: Any) -> None:
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
            with suppress(StoreUnavailable):
                await app.schedules.put(SCHEDULE, queue=QUEUE, name="tick", **rule)
                if race and random.random() < 0.5:
                    await app.schedules.drop(QUEUE, RACED)
                else:
                    await app.schedules.put(RACED, queue=QUEUE, name="tick", **rule)
            await asyncio.sleep(0.01)

    async with app, asyncio.TaskGroup() as beside:
        storing = beside.create_task(upsert())
        await run(worker, ledger)
        storing.cancel()


if __name__ == "__main__":
    url, prefix, ledger, kind, rule, mood = sys.argv[1:]
    asyncio.run(main(url, prefix, Ledger(Path(ledger)), mood == "race", **{kind: rule}))
