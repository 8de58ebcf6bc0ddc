"""Closing an app whose workers still run: they are stopped first, whatever the order in the code.

Never here: stopping one worker.
"""

import asyncio
import logging
from collections.abc import Iterable
from typing import Any, Protocol

from toril._jobs.guard import write_log
from toril._jobs.job import CURRENT, Job
from toril._model.times import Duration, to_ms

# How long running jobs may go on when their app is closed.
GRACE = "2s"
# What stopping may take beyond the grace, when code or the store does not answer.
LONGEST_S = 20.0

log = logging.getLogger("toril.app")


class Stoppable(Protocol):
    """What closing needs of a worker."""

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The loop on which it works; None: it does not."""
        ...

    def holds(self, job: Job[Any]) -> bool:
        """Whether it runs this job."""
        ...

    async def stop(self, *, grace: Duration | None = None) -> bool:
        """Stop it."""
        ...


async def stop_workers(workers: Iterable[Stoppable], grace: Duration) -> bool:
    """Stop the workers that run, on whatever loop, and return whether the store may be closed.

    It may not within a handler: its worker needs the store to settle the very job.
    """
    seconds = to_ms(grace, field="grace") / 1000
    running = [worker for worker in workers if worker.loop is not None]
    if not running:
        return True
    job = CURRENT.get()
    if job is not None and any(worker.holds(job) for worker in running):
        text = "app.close_ignored job=%r: a handler closed the app that its worker uses"
        write_log(log, logging.WARNING, text, job.id, extra={"job_id": job.id})
        return False
    here = asyncio.get_running_loop()
    mine = [worker for worker in running if worker.loop is here]
    stops: list[asyncio.Future[bool]] = [
        asyncio.ensure_future(worker.stop(grace=grace)) for worker in mine
    ]
    for worker in running:
        if worker.loop is not None and worker.loop is not here and worker.loop.is_running():
            there = asyncio.run_coroutine_threadsafe(worker.stop(grace=grace), worker.loop)
            stops.append(asyncio.wrap_future(there))
    for worker in mine:
        # By itself, so that a listener that closes the app is not waited for.
        await worker.stop(grace=grace)
    if stops:
        await asyncio.wait(stops, timeout=seconds + LONGEST_S)
    return True
