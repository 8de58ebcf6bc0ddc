"""Worker processes are killed, stopped and blocked: no job is lost, and each re-run is explained."""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from tests.chaos.app import JOBS, PARENTS
from tests.chaos.fleet import Fleet, fleet
from tests.chaos.ledger import Ledger, Line, Verdict, judge
from tests.chaos.test_kill_storm import Producer
from tests.faults.audit import Audit
from tests.faults.rig import app_on, has_failed, until
from tests.servers import RedisServer
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and SIGSTOP"),
]

KILLS = int(os.environ.get("TORIL_REDIS_KILLS", "12"))
GAP_S = (0.05, 0.35)
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
    async with fleet("tests.faults.program", *args, count=count) as processes:
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


@pytest.mark.timeout(120)
async def test_kills_lose_no_job(
    server: RedisServer, ledger: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    seed = int(os.environ.get("TORIL_SEED", random.SystemRandom().randrange(10**6)))
    rng = random.Random(seed)
    quick = ("lock=1s", "interval=300ms")
    async with storage(server) as app, workers(server, ledger, 3, *quick) as processes:
        producer = Producer(app, ledger, rng)
        async with asyncio.TaskGroup() as both:
            both.create_task(producer.run())
            for _ in range(KILLS):
                await processes.all_up(2)
                await asyncio.sleep(rng.uniform(*GAP_S))
                await processes.kill(rng.choice(processes.up), ledger)
            producer.is_over = True
        await drained(app, within=40)
        codes = await processes.stop()
        verdict = verdict_of(server, ledger)

    with capsys.disabled():
        print(f"\nseed {seed}: {verdict}")  # noqa: T201  # the run's result, wanted in every log
    assert not verdict.findings, f"seed {seed}: {verdict.findings}\n{ledger.tail()}"
    assert codes == [0, 0, 0]
    assert (verdict.kills, verdict.hits >= KILLS // 2) == (KILLS, True)


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
async def test_a_worker_that_was_stopped_past_its_lock_gives_its_job_up(
    server: RedisServer, ledger: Ledger
) -> None:
    options = ("lock=1s", "interval=300ms", "concurrency=1")
    async with storage(server) as app, workers(server, ledger, 2, *options):
        for _ in range(2):
            job = await app.queue(JOBS).add("zombie", {"ms": 60_000})
            first = await ledger.find("start", (JOBS, job.id), 1)
            os.kill(first.pid, signal.SIGSTOP)
            second = await ledger.find("start", (JOBS, job.id), 2)
            assert second.pid != first.pid
            resumed = time.monotonic_ns()
            os.kill(first.pid, signal.SIGCONT)

            cancelled = await ledger.find("cancelled", (JOBS, job.id), 1)
            assert (cancelled.at - resumed) / 1e9 <= 1.0
            assert await job.result(timeout=10) == "2"
            await ledger.find("lock_lost", (JOBS, job.id), 1)

        settled = [line for line in ledger.lines() if line.word == "settled"]
        assert [line.run for line in settled] == [2, 2]


@pytest.mark.timeout(60)
async def test_a_handler_that_blocks_its_loop_for_three_locks_keeps_its_job(
    server: RedisServer, ledger: Ledger
) -> None:
    options = ("lock=700ms", "interval=200ms", "concurrency=1")
    async with storage(server) as app, workers(server, ledger, 2, *options):
        job = await app.queue(JOBS).add("block", {"ms": 2100})

        assert await job.result(timeout=15) == "1"

    assert len(lines(ledger, "start", job)) == 1


@pytest.mark.timeout(90)
async def test_a_job_that_kills_its_workers_fails_and_the_others_complete(
    server: RedisServer, ledger: Ledger
) -> None:
    options = ("lock=1s", "interval=300ms", "concurrency=3")
    async with storage(server) as app, workers(server, ledger, 2, *options) as pair:
        queue = app.queue(JOBS)
        poison = await queue.add("poison", {"ms": 0})
        others = await queue.add_many([("plain", {"ms": 50})] * 40)
        keeper = asyncio.create_task(pair.keep_up())
        await until(lambda: has_failed(poison), within=40)
        await asyncio.gather(*(job.result(timeout=20) for job in others))
        keeper.cancel()

        crashes = len(lines(ledger, "start", poison))
        reason = (await poison.refresh()).error
        assert crashes <= 3 + 1
        assert (reason or "").startswith("job stalled more than allowable limit: worker ")
        assert (await queue.counts()).completed == 40


@pytest.mark.timeout(60)
async def test_a_clock_that_is_wrong_makes_nothing_early_or_late(
    server: RedisServer, ledger: Ledger
) -> None:
    async with storage(server) as app:
        for skew, delay in (("3600", 1.0), ("-5", 0.5)):
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
