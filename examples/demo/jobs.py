"""The jobs of the demo: one processor for two kinds of jobs, and a line for all that happens.

    toril worker jobs.py

Settings: TORIL_URL, or REDIS_HOST and REDIS_PORT; DEMO_STEP is the time of one step in seconds.
"""

import asyncio
import os
from typing import Any

from toril import Job, Toril, handles, listens

STEP = float(os.environ.get("DEMO_STEP", "0.2"))
jobs = Toril()


@jobs.processor("demo", concurrency=5)
class Demo:
    """Handles jobs by their names; any other name is completed with None."""

    @handles("echo")
    async def echo(self, job: Job[Any]) -> dict[str, Any]:
        for percent in (0, 25, 50, 75, 100):
            await asyncio.sleep(STEP)
            await job.progress(percent)
        return {"echoed": job.data["msg"]}

    @handles("maybe-fail")
    async def maybe_fail(self, job: Job[Any]) -> dict[str, Any]:
        times = job.data["failTimes"]
        if job.attempts_made < times:
            raise RuntimeError(f"Failing on purpose (attempt {job.attempt}/{times})")
        return {"okAfterRetries": job.data["msg"]}

    @handles()
    async def other(self, job: Job[Any]) -> None:
        return None

    @listens("progress")
    def on_progress(self, job: Job[Any], value: Any) -> None:
        print(f'[worker] ⏳ progress "{job.name}" id={job.id} = {value}%')

    @listens("completed")
    def on_completed(self, job: Job[Any], result: Any) -> None:
        print(f'[worker] ✅ completed "{job.name}" id={job.id} result= {result}')

    @listens("attempt_failed")
    def on_failed(self, job: Job[Any], error: Exception) -> None:
        print(f'[worker] ❌ failed "{job.name}" id={job.id} attempt={job.attempt} error={error}')
