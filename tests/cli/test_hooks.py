"""Hooks of an app under `toril worker` with several processes, on both stores."""

import signal
import sys

import pytest

from tests.support.crew import crew
from tests.support.desk import Desk
from toril import Toril

from .stock import Stock

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a fleet needs POSIX")

APP = """
import os
from collections.abc import AsyncIterator, Iterator
from toril import Depends, Job, Toril, hooks

app = Toril({url!r}, prefix={prefix!r})

def say(text):
    os.write(1, f"{{text}}\\n".encode())  # at once, so that lines stay whole

@app.lifespan
async def pool() -> AsyncIterator[int]:
    say(f"start {{os.getpid()}}")
    yield os.getpid()
    say(f"stop {{os.getpid()}}")

@app.lifespan(children=True)
def in_children() -> Iterator[None]:
    say("child starts")
    yield

@app.middleware
def note(job: Job) -> Iterator[None]:
    say(f"before {{job.name}} with {{job.headers}}")
    yield
    say(f"after {{job.name}}")

@app.on("completed")
async def completed(job: Job, result: object) -> None:
    say(f"completed {{job.name}} {{result}}")

@app.on(hooks.JobFailed)
def failed(record: hooks.JobFailed) -> None:
    say(f"failed {{record.job_name}} {{record.reason}}")
    raise RuntimeError("this hook is broken")

@app.task(queue="q")
async def on_loop(pool: int = Depends(pool)) -> bool:
    return pool == os.getpid()

@app.task(queue="q")
def in_thread() -> int:
    raise ValueError("on purpose")

@app.task(queue="q", isolation="process")
def in_child() -> int:
    return 3
"""


async def test_hooks_work_in_every_process_of_toril_worker(desk: Desk, place: Stock) -> None:
    url, prefix = place.url, place.prefix
    desk.write("app.py", APP.format(url=url, prefix=prefix))
    async with Toril(url, prefix=prefix) as app:
        queue = app.queue("q")
        for name in ("on_loop", "in_thread", "in_child"):
            await queue.add(name, headers={"trace": name})
        with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
            pids = fleet.up(2)
            for text in (
                "completed on_loop True", "failed in_thread on purpose", "completed in_child 3",
            ):  # fmt: skip
                fleet.until(text)
            fleet.until("listener.failed event='JobFailed' listener='failed'")
            fleet.signal(signal.SIGTERM)
            assert fleet.end() == 0
        job = await queue.add("on_loop")

    for pid in pids:
        # Lines of the two processes may run into each other.
        assert "\n".join(fleet.lines).count(f"start {pid}") == 1
        assert "\n".join(fleet.lines).count(f"stop {pid}") == 1
    for name in ("on_loop", "in_thread", "in_child"):
        assert fleet.said(f"before {name} with {{'trace': '{name}'}}")
    assert fleet.said("after in_child")
    assert fleet.said("child starts")
    assert job.created
