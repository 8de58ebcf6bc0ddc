"""SIGHUP: each process is replaced by one that works already, and no job notices."""

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.support.crew import Crew, crew, wait_for
from tests.support.desk import Desk
from tests.support.processes import lives
from tests.support.servers import fresh_prefix, shared_server
from toril import Job, Toril

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="a fleet needs POSIX"),
    pytest.mark.timeout(60),
]

APP = """
import asyncio
from toril import Job, Toril

app = Toril({url!r}, prefix={prefix!r})
jobs = app.queue("jobs")

@jobs.handler("work")
async def work(job: Job) -> int:
    await asyncio.sleep(0.05)
    return job.data["n"]
"""
GAINED = """
@jobs.handler("greet")
async def greet(job: Job) -> str:
    return "hello"
"""


class Place:
    """The folder of a fleet, whose code is deployed anew, and the store that it shares."""

    def __init__(self, desk: Desk, url: str, prefix: str) -> None:
        self.desk = desk
        self._code = APP.format(url=url, prefix=prefix)
        self.app = Toril(url, prefix=prefix)
        self.deploy("")

    def deploy(self, more: str) -> None:
        self.desk.write("app.py", self._code + more)


@pytest.fixture(params=["sqlite", "redis"])
async def place(request: pytest.FixtureRequest, desk: Desk) -> AsyncIterator[Place]:
    url, prefix = f"sqlite:///{desk.folder}/jobs.db", "bull"
    if request.param == "redis":
        url, prefix = shared_server().url, fresh_prefix()
    place = Place(desk, url, prefix)
    async with place.app:
        yield place


def replace(fleet: Crew) -> None:
    """Replace all processes, and wait until the old ones have ended."""
    old = fleet.up(2)
    fleet.signal(signal.SIGHUP)
    fleet.until("fleet.replaced")
    wait_for(lambda: not any(map(lives, old)), "the end of the old processes")


async def test_no_job_is_lost_failed_or_run_twice_by_a_rolling_restart(place: Place) -> None:
    queue = place.app.queue("jobs")
    words = ("worker", "app.py", "--processes", "2", "--concurrency", "5")
    with crew(place.desk, *words) as fleet:
        fleet.up(2)
        rolling = asyncio.create_task(asyncio.to_thread(replace, fleet))
        jobs = []
        while not rolling.done():
            jobs.append(await queue.add("work", {"n": len(jobs)}))
            await asyncio.sleep(0.005)
        await rolling
        results = [await job.result(timeout=10) for job in jobs]
        fleet.signal(signal.SIGTERM)

        assert fleet.end() == 0

    assert results == list(range(len(jobs)))
    records = [(await job.refresh()).record for job in jobs]
    # One that was claimed by a process that was just told to end is handed back unrun.
    assert {each.end for record in records for each in record.tries} <= {"released"}
    assert {(record.attempts_made, record.stalls) for record in records} == {(1, 0)}
    assert fleet.said("job.stalled") + fleet.said("job.failed") == []


def test_the_new_process_works_before_the_old_one_is_told_to_end(place: Place) -> None:
    with crew(place.desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        fleet.signal(signal.SIGHUP)
        fleet.until("fleet.replaced")
        fleet.until("worker.closed", times=2)

        said = [line for line in fleet.lines if "worker.ready" in line or "worker.closing" in line]
    words = ["ready" if "worker.ready" in line else "closing" for line in said]
    # Two work from the second line on, whatever follows.
    ready = [words[:end].count("ready") - words[:end].count("closing") for end in range(7)]
    assert (words.count("ready"), words.count("closing")) == (4, 2)
    assert min(ready[2:]) == 2


async def until_delayed(job: Job[Any]) -> None:
    async with asyncio.timeout(5):
        while (await job.refresh()).record.state != "delayed":  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_job_that_only_the_new_code_knows_waits_for_it(place: Place) -> None:
    queue = place.app.queue("jobs")
    with crew(place.desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.up(2)
        job = await queue.add("greet", {})
        assert "job_name='greet'" in fleet.until("job.unknown_name")
        await until_delayed(job)

        place.deploy(GAINED)
        replace(fleet)

        assert await job.result(timeout=20) == "hello"
        assert "  greet  →  app.greet" in fleet.lines
    assert (await job.refresh()).record.attempts_made == 1


async def test_code_that_does_not_start_replaces_nothing(place: Place) -> None:
    queue = place.app.queue("jobs")
    with crew(place.desk, "worker", "app.py", "--processes", "2") as fleet:
        old = fleet.up(2)
        place.deploy("\nraise RuntimeError('broken')\n")
        fleet.signal(signal.SIGHUP)

        fleet.until("fleet.not_replaced")
        assert "broken" in fleet.until("error:")
        assert all(map(lives, old))
        job = await queue.add("work", {"n": 7})
        assert await job.result(timeout=5) == 7
