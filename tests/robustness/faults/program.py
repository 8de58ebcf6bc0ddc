"""The program of workers that are killed, stopped, or have a wrong clock:

`python -m tests.robustness.faults.program URL PREFIX LEDGER [option=value …]`

It runs the jobs of `tests.robustness.chaos.app` and some worse ones, says "up" on its standard output when
it claims, and ends by SIGTERM.
"""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from tests.robustness.chaos.ledger import Ledger
from tests.robustness.chaos.program import run

DEFAULTS = {"lock": "2s", "interval": "1s", "concurrency": "5", "skew": "0"}


def skew_clock(seconds: float) -> None:
    """Let every clock that tells the time of day be wrong by so much, before anybody reads it."""
    right, right_ns = time.time, time.time_ns
    time.time = lambda: right() + seconds
    time.time_ns = lambda: right_ns() + round(seconds * 1e9)


async def main(url: str, prefix: str, ledger: Ledger, options: dict[str, str]) -> None:
    # Imported late: the clock has to be wrong from the first moment.
    from tests.robustness.chaos.app import JOBS, PARENTS, register
    from tests.robustness.torture.parricide import bystander, parricide
    from toril import Job, Toril
    from toril.errors import LockLost

    app = Toril(url, prefix=prefix)
    for queue in (JOBS, PARENTS):
        app.queue(queue, keep="all", events_limit=10_000_000)
    register(app, ledger)
    jobs = app.queue(JOBS)

    def begin(job: Job[Any]) -> float:
        ledger.note("start", job.queue, job.id, job.run)
        return float(job.data.get("ms", 0)) / 1000

    async def try_late(job: Job[Any]) -> None:
        words: set[str] = set()
        for write in (job.progress, job.log):
            try:
                await write("late")
            except LockLost:
                words.add("refused")
            else:
                words.add("accepted")
        for word in words:
            ledger.note(word, job.queue, job.id, job.run)

    @jobs.handler("zombie")
    async def zombie(job: Job[Any]) -> str:
        seconds = begin(job)
        try:
            # Whoever takes it over has it done soon.
            await asyncio.sleep(seconds if job.run == 1 else 0.1)
        except asyncio.CancelledError:
            ledger.note("cancelled", job.queue, job.id, job.run)
            await try_late(job)
            raise
        ledger.note("end", job.queue, job.id, job.run)
        return str(job.run)

    @jobs.handler("block")
    async def block(job: Job[Any]) -> str:
        time.sleep(begin(job))  # noqa: ASYNC251  # the fault itself
        ledger.note("end", job.queue, job.id, job.run)
        return str(job.run)

    @jobs.handler("poison")
    async def poison(job: Job[Any]) -> None:
        begin(job)
        os.kill(os.getpid(), signal.SIGKILL)

    jobs.handler("parricide", isolation="process")(parricide)
    jobs.handler("bystander", isolation="process")(bystander)

    each = int(options["concurrency"])
    worker = app.worker(
        {JOBS: each, PARENTS: each},
        total=each,
        lock=options["lock"],
        stalled_interval=options["interval"],
    )

    async with app:
        await run(worker, ledger)


if __name__ == "__main__":
    url, prefix, path, *given = sys.argv[1:]
    chosen = DEFAULTS | dict(each.split("=", 1) for each in given)
    skew_clock(float(chosen["skew"]))
    asyncio.run(main(url, prefix, Ledger(Path(path)), chosen))
