"""A worker process that dies: its jobs go back at once, with how it died, on both stores."""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.crew import crew, die, wait_for
from tests.support.desk import Desk
from tests.support.servers import fresh_prefix, shared_server
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="a fleet needs POSIX"),
]

APP = """
import asyncio, os, signal, time
from toril import Job, Toril

app = Toril({url!r}, prefix={prefix!r})
jobs = app.queue("jobs")

def note(job: Job, word: str) -> None:
    with open("ledger", "a") as file:
        file.write(f"{{job.name}} {{job.run}} {{os.getpid()}} {{word}} {{time.monotonic()}}\\n")

@jobs.handler("hang")
async def hang(job: Job) -> str:
    note(job, "start")
    if job.run == 1:
        await asyncio.sleep(60)
    return "done"

@jobs.handler("leave")
async def leave(job: Job) -> None:
    note(job, "start")
    if job.run == 1:
        os._exit(7)

@jobs.handler("poison")
async def poison(job: Job) -> None:
    note(job, "start")
    os.kill(os.getpid(), signal.SIGKILL)

@jobs.handler("once", on_crash="fail")
async def once(job: Job) -> None:
    note(job, "start")
    os.kill(os.getpid(), signal.SIGKILL)

@jobs.handler("good")
async def good(job: Job) -> str:
    await asyncio.sleep(0.02)
    return "done"
"""


@pytest.fixture(params=["sqlite", "redis"])
async def app(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[Toril]:
    """The app of the fleet, as a producer has it."""
    url, prefix = f"sqlite:///{desk.folder}/jobs.db", "bull"
    if request.param == "redis":
        url, prefix = shared_server().url, fresh_prefix()
    desk.write("app.py", APP.format(url=url, prefix=prefix))
    async with Toril(url, prefix=prefix) as app:
        yield app


def ledger(desk: Desk) -> Iterator[list[str]]:
    """Give what the handlers noted: name, run, process, word and time."""
    file = Path(desk.folder, "ledger")
    if file.exists():
        yield from (line.split() for line in file.read_text().splitlines())


def began(desk: Desk, name: str, run: int) -> list[list[str]]:
    return [note for note in ledger(desk) if note[:2] == [name, str(run)]]


def kill_who_runs(desk: Desk, name: str) -> tuple[int, float]:
    """Kill the process of a job's first run; give it and when."""
    wait_for(lambda: began(desk, name, 1), "the first run")
    ((_, _, pid, _, _),) = began(desk, name, 1)
    at = time.monotonic()
    die(int(pid))
    return int(pid), at


def started_again(desk: Desk, name: str, since: float) -> float:
    wait_for(lambda: began(desk, name, 2), "the second run", 20)
    return float(began(desk, name, 2)[0][4]) - since


async def lost_try(job: Job[Any]) -> str:
    found = await job.refresh()
    (lost,) = found.record.tries
    assert lost.end == "stalled"
    return lost.reason or ""


async def test_a_job_of_a_process_that_was_killed_runs_again_within_a_second(
    desk: Desk, app: Toril
) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        job = await app.queue("jobs").add("hang", {})
        pid, at = kill_who_runs(desk, "hang")

        assert started_again(desk, "hang", at) < 1.0
        assert await job.result(timeout=5) == "done"
    reason = await lost_try(job)
    assert f"(pid {pid}) of {socket.gethostname()}-{pid}-" in reason
    assert reason.endswith(f" on {socket.gethostname()} was killed by SIGKILL")


async def test_the_next_process_takes_back_what_the_only_one_left_behind(
    desk: Desk, app: Toril
) -> None:
    with crew(desk, "worker", "app.py", "--processes", "1") as fleet:
        fleet.up(1)
        job = await app.queue("jobs").add("hang", {})
        _, at = kill_who_runs(desk, "hang")

        # Its lock would stand for half a minute; most of this is Python that starts.
        assert started_again(desk, "hang", at) < 3.0
        assert await job.result(timeout=5) == "done"
    assert "was killed by SIGKILL" in await lost_try(job)


async def test_an_exit_code_is_named(desk: Desk, app: Toril) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        job = await app.queue("jobs").add("leave", {})
        await job.result(timeout=10)

    assert "ended with exit code 7" in await lost_try(job)


async def test_a_dead_worker_is_not_listed(desk: Desk, app: Toril) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        await app.queue("jobs").add("hang", {})
        wait_for(lambda: began(desk, "hang", 1), "the first run")
        killed, at = kill_who_runs(desk, "hang")
        started_again(desk, "hang", at)

        assert killed not in {worker.pid for worker in await app.workers()}


async def test_a_job_that_fails_on_a_crash_runs_once_and_says_how_it_ended(
    desk: Desk, app: Toril
) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        job = await app.queue("jobs").add("poison", {}, attempts=5, on_crash="fail")
        wait_for(lambda: began(desk, "poison", 1), "the first run")
        fleet.until("job.failed")

    record = (await job.refresh()).record
    assert record.state == "failed"
    assert record.reason is not None
    assert record.reason.startswith("job stalled more than allowable limit: worker process ")
    assert record.reason.endswith("was killed by SIGKILL")
    assert began(desk, "poison", 2) == []


async def test_a_handler_that_must_not_run_twice_does_not_whoever_added_the_job(
    desk: Desk, app: Toril
) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        job = await app.queue("jobs").add("once", {}, attempts=5)
        fleet.until("job.failed")

    record = (await job.refresh()).record
    assert record.state == "failed"
    assert (record.reason or "").startswith("job stalled more than allowable limit: worker process")
    assert (record.reason or "").endswith("was killed by SIGKILL")
    assert began(desk, "once", 2) == []


async def test_no_crash_is_forgiven_where_none_is_allowed(desk: Desk, app: Toril) -> None:
    with crew(desk, "worker", "app.py", "--processes", "1", "--max-stalls", "0") as fleet:
        fleet.up(1)
        job = await app.queue("jobs").add("poison", {}, attempts=5)
        fleet.until("job.failed")

    record = (await job.refresh()).record
    assert (record.state, record.stalls) == ("failed", 1)
    assert began(desk, "poison", 2) == []


async def test_a_process_that_stands_still_loses_its_job_after_lock_and_interval(
    desk: Desk, app: Toril
) -> None:
    terms = ("--lock", "1s", "--stalled-interval", "200ms")
    with crew(desk, "worker", "app.py", "--processes", "2", *terms) as fleet:
        fleet.up(2)
        job = await app.queue("jobs").add("hang", {})
        wait_for(lambda: began(desk, "hang", 1), "the first run")
        ((_, _, pid, _, _),) = began(desk, "hang", 1)
        at = time.monotonic()
        os.kill(int(pid), signal.SIGSTOP)
        try:
            # The check comes at most one interval after the lock has run out.
            assert started_again(desk, "hang", at) < 1.0 + 0.2 + 0.5
            assert await job.result(timeout=5) == "done"
        finally:
            os.kill(int(pid), signal.SIGCONT)
        fleet.until("job.lock_lost", within=5)


@pytest.mark.timeout(90)
async def test_poison_stops_at_its_limit_while_the_others_go_on_and_schedules_live(
    desk: Desk, app: Toril
) -> None:
    queue = app.queue("jobs")
    bad = await queue.add("poison", {})
    await app.schedules.put("hourly", queue="jobs", name="poison", every="1h")
    good = await queue.add_many([("good", {}) for _ in range(100)])
    with crew(desk, "worker", "app.py", "--processes", "2", "--concurrency", "5"):
        # Not from what is said: who settled a job may be killed before it says so.
        async with asyncio.timeout(60):
            while (await queue.counts()).failed < 2:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        for job in good:
            assert await job.result(timeout=20) == "done"

    record = (await bad.refresh()).record
    assert record.state == "failed"
    assert "was killed by SIGKILL" in (record.reason or "")
    # More than three are too many; a crash beside the other one counts for both.
    assert record.stalls == 4
    assert 4 <= len([note for note in ledger(desk) if note[0] == "poison"]) <= 8
    counts = await queue.counts()
    assert (counts.completed, counts.failed, counts.delayed) == (100, 2, 1)
    (schedule,) = await app.schedules.list()
    assert schedule.count == 2
