"""Processes on Redis are killed, and their clocks are wrong: how long it takes, and what is kept.

The storms, and what both stores are put through, are in tests/robustness/torture.
"""

import asyncio
import random
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.robustness.chaos.app import JOBS, PARENTS
from tests.robustness.chaos.fleet import Fleet, fleet
from tests.robustness.chaos.ledger import Ledger, Line, Verdict, judge
from tests.robustness.faults.audit import Audit
from tests.robustness.faults.rig import app_on, until
from tests.support.servers import RedisServer
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and SIGSTOP"),
]

PREFIX = "bull"


def storage(server: RedisServer) -> Toril:
    app = app_on(server, prefix=PREFIX)
    for queue in (JOBS, PARENTS):
        app.queue(queue, keep="all", events_limit=10_000_000)
    return app


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "ledger")


@asynccontextmanager
async def workers(
    server: RedisServer, ledger: Ledger, count: int, *options: str
) -> AsyncIterator[Fleet]:
    args = (server.url, PREFIX, ledger.path, *options)
    async with fleet("tests.robustness.faults.program", *args, count=count) as processes:
        await processes.all_up(count)
        yield processes


def lines(ledger: Ledger, word: str, job: Job[object]) -> list[Line]:
    return [line for line in ledger.lines() if line.word == word and line.key[1] == job.id]


async def drained(app: Toril, within: float) -> None:
    async def look() -> bool:
        counts = [await app.queue(queue).counts() for queue in (JOBS, PARENTS)]
        return not any(c.ready or c.active or c.delayed or c.waiting_children for c in counts)

    await until(look, within=within)


def verdict_of(server: RedisServer, ledger: Ledger) -> Verdict:
    with server.client() as client:
        audit = Audit(client, PREFIX, (JOBS, PARENTS))
        verdict = judge(ledger.lines(), audit.fates(), audit.finishes())
        verdict.unsound = audit.findings()
    return verdict


@pytest.mark.timeout(60)
async def test_a_killed_workers_job_runs_again_by_lock_and_interval(
    server: RedisServer, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    # Lock 2 s, interval 1 s: as it was measured for others.
    async with storage(server) as app, workers(server, ledger, 2, "concurrency=1") as pair:
        took: list[float] = []
        for _ in range(3):
            await pair.all_up(2)
            job = await app.queue(JOBS).add("hang", {"ms": 0})
            first = await ledger.find("start", (JOBS, job.id), 1)
            victim = next(each for each in pair.up if each.pid == first.pid)
            # Somewhere between two renewals.
            await asyncio.sleep(random.uniform(0, 0.7))
            at = await pair.kill(victim, ledger)
            again = await ledger.find("start", (JOBS, job.id), 2)
            took.append((again.at - at) / 1e9)
            await job.result(timeout=5)

    with capsys.disabled():
        print(f"\nstarted again after {min(took):.2f} … {max(took):.2f} s")  # noqa: T201
    assert max(took) <= 3.2 + 0.3, took


@pytest.mark.timeout(60)
async def test_a_clock_that_is_wrong_makes_nothing_early_or_late(
    server: RedisServer, ledger: Ledger
) -> None:
    async with storage(server) as app:
        for skew, delay in (("3600", 1.0), ("-3600", 0.5), ("5", 1.0), ("-5", 0.5)):
            async with workers(server, ledger, 1, f"skew={skew}"):
                queue = app.queue(JOBS)
                far = await queue.add("plain", {"ms": 0}, delay="1h")
                added = time.monotonic_ns()
                soon = await queue.add("plain", {"ms": 0}, delay=delay)
                started = await ledger.find("start", (JOBS, soon.id), 1)
                late = (started.at - added) / 1e9 - delay

                assert -0.02 <= late <= 0.15, f"skew {skew}: {late:.3f} s late"
                assert lines(ledger, "start", far) == []


@pytest.mark.timeout(60)
async def test_the_server_is_killed_again_and_again_and_no_acknowledged_job_is_lost(
    server: RedisServer, ledger: Ledger
) -> None:
    async with storage(server) as app, workers(server, ledger, 2, "lock=8s") as processes:
        acked: list[Job[object]] = []

        async def produce() -> None:
            while not over:
                for job in await app.queue(JOBS).add_many([("plain", {"ms": 20})] * 5):
                    ledger.note("acked", job.queue, job.id, "plain")
                    acked.append(job)
                await asyncio.sleep(0.02)

        over: list[bool] = []
        producing = asyncio.create_task(produce())
        for _ in range(5):
            await asyncio.sleep(0.4)
            await asyncio.to_thread(server.restart, kill=True)
        over.append(True)
        await producing
        await drained(app, within=30)
        codes = await processes.stop()
        verdict = verdict_of(server, ledger)

    assert not verdict.findings, f"{verdict.findings}\n{ledger.tail()}"
    assert (codes, verdict.explained) == ([0, 0], 0)
    assert len(acked) >= 50
