"""What `isolation.py` measures, in a process of its own: `python toil.py WHERE WORK MODE JOBS`.

Child processes import this file too: what runs stands at its top level.
"""

import asyncio
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from common import run

from toril import Toril

IO_S = 0.05
CPU_S = 0.01
AT_ONCE = {"io": 100, "cpu": 2}
# A hundred children would be a benchmark of the memory.
CHILDREN = {"io": 20, "cpu": 2}


async def io_async(n: int) -> None:
    await asyncio.sleep(IO_S)


def io_blocking(n: int) -> None:
    time.sleep(IO_S)


async def cpu_async(n: int) -> None:
    burn()


def cpu_blocking(n: int) -> None:
    burn()


def burn() -> None:
    """Use the processor for 10 ms, however many others want it."""
    end = time.thread_time() + CPU_S
    while time.thread_time() < end:
        pass


FUNCTIONS = {
    ("io", "async"): io_async,
    ("io", "thread"): io_blocking,
    ("io", "process"): io_blocking,
    ("cpu", "async"): cpu_async,
    ("cpu", "thread"): cpu_blocking,
    ("cpu", "process"): cpu_blocking,
}


async def measure(where: str, work: str, mode: str, jobs: int) -> dict[str, float]:
    """Run jobs that were added before, with everything warm, and tell how long it took."""
    app = Toril(f"sqlite:///{where}/jobs.db")
    options: dict[str, Any] = {"isolation": "process"} if mode == "process" else {}
    task = app.task(queue="toil", **options)(FUNCTIONS[work, mode])
    at_once = CHILDREN[work] if mode == "process" else AT_ONCE[work]
    # Two more in hand than run, so that a child never waits for the next one to be claimed.
    more = at_once if mode == "process" else 0
    async with app:
        worker = app.worker("toil", concurrency=at_once + more, processes=at_once)
        await worker.start()
        for job in await task.enqueue_many([(n,) for n in range(at_once + more)]):
            await job.result(timeout=60)
        worker.pause()
        await task.enqueue_many([(n,) for n in range(jobs)])
        before, began = _cpu(), time.perf_counter()
        worker.resume()
        await worker.drained()
        seconds, used = time.perf_counter() - began, _cpu() - before
        await worker.stop()
    ideal = jobs * (IO_S if work == "io" else CPU_S) / at_once
    return {"seconds": seconds, "of ideal": seconds / ideal, "µs CPU": used / jobs * 1e6}


def _cpu() -> float:
    """Give the seconds that the worker's own process used: its children are not in it."""
    times = os.times()
    return times.user + times.system


if __name__ == "__main__":
    _, folder, kind, how, count = sys.argv
    print(json.dumps(run(measure(str(Path(folder).resolve()), kind, how, int(count)))))
