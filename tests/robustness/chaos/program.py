"""What the programs of workers that are killed share: what they tell, and how they end."""

import asyncio
import signal
import sys
from typing import Any

from tests.robustness.chaos.ledger import Ledger
from toril import Job, Worker


async def run(worker: Worker, ledger: Ledger) -> None:
    """Run a worker until SIGTERM: it says "up" on its standard output when it claims."""

    @worker.on("completed")
    def completed(job: Job[Any], result: object) -> None:
        ledger.note("settled", job.queue, job.id, job.run, "completed")

    @worker.on("attempt_failed")
    def attempt_failed(job: Job[Any], error: BaseException) -> None:
        ledger.note("settled", job.queue, job.id, job.run, "attempt_failed")

    @worker.on("lock_lost")
    def lock_lost(job: Job[Any]) -> None:
        ledger.note("lock_lost", job.queue, job.id, job.run)

    @worker.on("ready")
    def up() -> None:
        ledger.note("up")
        sys.stdout.write("up\n")
        sys.stdout.flush()

    stopping: list[asyncio.Task[bool]] = []
    asyncio.get_running_loop().add_signal_handler(
        signal.SIGTERM, lambda: stopping.append(asyncio.create_task(worker.stop()))
    )
    await worker.run()
