"""How soon a job starts, and what a worker costs while nothing happens, with the same settings.

From the moment before `add()` to the first line of the handler, by CLOCK_MONOTONIC, each after
two seconds of silence.
"""

import asyncio
import random
import subprocess
import time
from argparse import Namespace
from collections.abc import Coroutine
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Any

from children import huey_noop, make_app, make_huey
from common import (
    PAYLOAD,
    QUEUE,
    child,
    command,
    describe,
    folder,
    options,
    percentile,
    run,
    say,
    spread,
    table,
)

SILENCE_S = 2.0
IDLE_S = 15.0
DELAYED = 200


class Waiting(AbstractContextManager["Waiting"]):
    """A worker process that waits for jobs, and tells when each began."""

    def __init__(self, mode: str, where: Path) -> None:
        self._process = subprocess.Popen(
            command(mode, where), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.hear()

    def hear(self) -> list[float]:
        assert self._process.stdout is not None
        return [float(fact) for fact in self._process.stdout.readline().split()]

    def cpu(self) -> float:
        assert self._process.stdin is not None
        self._process.stdin.write("cpu\n")
        self._process.stdin.flush()
        return self.hear()[0]

    def idle(self, seconds: float) -> float:
        """Give the CPU used while nothing happens, in percent of a core."""
        time.sleep(2)
        began = self.cpu()
        time.sleep(seconds)
        return (self.cpu() - began) / seconds * 100

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()


async def across(where: Path, samples: int) -> tuple[list[float], list[float], float]:
    """Measure add → start in another process, the lateness of delayed jobs, and idle CPU."""
    async with make_app(str(where)) as app:
        queue = app.queue(QUEUE)
        await queue.add("warm", PAYLOAD)
        with Waiting("wait_for_jobs", where) as worker:
            worker.hear()
            took: list[float] = []
            for _ in range(samples):
                await asyncio.sleep(SILENCE_S)
                began = time.monotonic_ns()
                await queue.add("noop", PAYLOAD)
                took.append((worker.hear()[0] - began) / 1e6)
                say(".")
            rng = random.Random(7)
            for _ in range(DELAYED):
                wait = rng.randrange(500, 8_000)
                await queue.add("noop", {"delay_ms": wait}, delay=timedelta(milliseconds=wait))
            late = [worker.hear()[1] for _ in range(DELAYED)]
            return took, late, worker.idle(IDLE_S)


def huey_across(where: Path, samples: int) -> tuple[list[float], float]:
    """Measure the same of the peer, on its defaults."""
    noop = huey_noop(make_huey(str(where)), lambda: None)
    noop("warm")
    with Waiting("huey_wait_for_jobs", where) as worker:
        worker.hear()
        took: list[float] = []
        for _ in range(samples):
            time.sleep(SILENCE_S)
            began = time.monotonic_ns()
            noop(PAYLOAD["text"])
            took.append((worker.hear()[0] - began) / 1e6)
            say(".")
        return took, worker.idle(IDLE_S)


def _measure(given: Namespace, where: Path) -> None:
    samples = 5 if given.quick else 50
    for name in ("across", "within", "huey"):
        (where / name).mkdir()
    found: Coroutine[Any, Any, tuple[list[float], list[float], float]] = across(
        where / "across", samples
    )
    took, late, idle = run(found)
    within: list[float] = child("start_in_one_process", where / "within", samples, SILENCE_S)
    theirs, their_idle = huey_across(where / "huey", max(samples // 2, 5))
    say("\n")
    table(
        ["ms", "p50", "p95", "p99", "last"],
        [
            [name, *spread(values).values(), max(values)]
            for name, values in {
                "add → start, another process": took,
                "add → start, one process": within,
                "add → start, huey, another process": theirs,
                f"lateness of {DELAYED} delayed jobs": late,
            }.items()
        ],
    )
    print(f"{samples} samples ({len(theirs)} of huey); jobs are due at whole ms, and start after.")
    print(f"earliest delayed job: {percentile(late, 0):.2f} ms late\n")
    table(["an idle worker", "% of a core"], [["toril", idle], ["huey", their_idle]])


def main() -> None:
    given = options(__doc__ or "")
    with folder(given) as where:
        print("# Latency, synchronous=FULL\n")
        describe(where)
        _measure(given, where)


if __name__ == "__main__":
    main()
