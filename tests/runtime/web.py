"""A web app in whose process a worker runs, for a real server; `JOBS` in its environment is a URL."""

import asyncio
import os
import sys
from typing import Any

from toril import Job, Toril

jobs = Toril(os.environ["JOBS"], warn_unserved=False)


def say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@jobs.queue("q").handler()
async def work(job: Job[Any]) -> None:
    say("working")
    await asyncio.sleep(float(job.data))


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "lifespan":
        return
    await receive()
    async with jobs, jobs.worker("q", grace="20s"):
        await jobs.queue("q").add("long", 60)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        say("stopping")
    await send({"type": "lifespan.shutdown.complete"})
