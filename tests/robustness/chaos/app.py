"""The program of the workers that are killed: `python -m tests.robustness.chaos.app FILE LEDGER`.

It says "up" on its standard output when it claims, and ends by SIGTERM.
"""

import asyncio
import sys
import time
from pathlib import Path
from typing import Any

from tests.robustness.chaos.ledger import Ledger
from tests.robustness.chaos.program import run
from toril import Job, Toril

JOBS, PARENTS = "storm", "roots"
CONCURRENCY = 5


class PlannedError(Exception):
    """The failure of a job that fails once."""


def make_app(path: Path) -> Toril:
    """Make the app as the workers and the producer have it; all that happened is kept."""
    app = Toril(f"sqlite:///{path}")
    for queue in (JOBS, PARENTS):
        app.queue(queue, keep="all", events_limit=10_000_000)
    return app


def register(app: Toril, ledger: Ledger) -> None:
    """Register what runs the jobs: each notes where it begins, and that it came to its end."""
    jobs, parents = app.queue(JOBS), app.queue(PARENTS)

    def begin(job: Job[Any]) -> float:
        ledger.note("start", job.queue, job.id, job.run)
        seconds: float = job.data["ms"] / 1000
        return seconds

    def end(job: Job[Any]) -> None:
        ledger.note("end", job.queue, job.id, job.run)

    @jobs.handler()
    async def work(job: Job[Any]) -> str:
        await asyncio.sleep(begin(job))
        end(job)
        return job.id

    @jobs.handler("threaded")
    def work_in_thread(job: Job[Any]) -> str:
        time.sleep(begin(job))
        end(job)
        return job.id

    @jobs.handler("retry")
    async def fail_once(job: Job[Any]) -> str:
        await asyncio.sleep(begin(job))
        end(job)
        if job.attempt == 1:
            raise PlannedError
        return job.id

    @jobs.handler("hang")
    async def hang_once(job: Job[Any]) -> str:
        begin(job)
        if job.run == 1:
            await asyncio.Event().wait()
        end(job)
        return job.id

    @parents.handler()
    async def gather(job: Job[Any]) -> int:
        seconds = begin(job)
        values = await job.children_values()
        assert len(values) == job.data["children"], f"ran with the results of {values} only"
        await asyncio.sleep(seconds)
        end(job)
        return len(values)


async def main(path: Path, ledger: Ledger) -> None:
    app = make_app(path)
    register(app, ledger)
    # Kills are frequent enough to hit one job four times by chance; its limit has a test of its own.
    queues = {JOBS: CONCURRENCY, PARENTS: CONCURRENCY}
    worker = app.worker(queues, total=CONCURRENCY, max_stalls=20)

    async with app:
        await run(worker, ledger)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Ledger(Path(sys.argv[2]))))
