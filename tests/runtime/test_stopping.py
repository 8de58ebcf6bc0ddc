"""Stopping: no new jobs, running ones get their grace, and what is left goes back at once."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.workers import Gate, Heard
from toril import Job, Toril
from toril._model.record import Ref
from toril._serve import shutdown
from toril._store.sqlite.store import SQLiteStore

# Inside a living process.


async def test_running_jobs_end_and_no_other_begins(app: Toril) -> None:
    gate = Gate()
    first, second = await app.queue("q").add_many([("a", {}), ("b", {})])
    worker = app.worker("q", gate, concurrency=1)
    await worker.start()
    await gate.until_running(1)

    stopping = asyncio.create_task(worker.stop(grace="5s"))
    await asyncio.sleep(0)
    gate.open()

    assert await stopping
    assert (await first.state(), await second.state()) == ("completed", "waiting")
    assert gate.started == [first.id]


async def test_what_outlasts_the_grace_is_put_back_in_front_uncounted(app: Toril) -> None:
    gate = Gate()
    first, second = await app.queue("q").add_many([("a", {}), ("b", {})])
    worker = app.worker("q", gate, concurrency=1)
    heard = Heard(worker, "completed", "failed", "attempt_failed")
    await worker.start()
    await gate.until_running(1)

    assert not await worker.stop(grace="20ms")

    record = (await first.refresh()).record
    assert (record.state, record.attempts_made, record.runs, record.stalls) == ("waiting", 0, 1, 0)
    assert heard.all == []
    assert [job.id async for job in app.queue("q").jobs("waiting")] == [first.id, second.id]


async def test_a_second_stop_does_not_wait_for_the_grace(app: Toril) -> None:
    gate = Gate()
    job = await app.queue("q").add("a")
    worker = app.worker("q", gate, concurrency=1)
    await worker.start()
    await gate.until_running(1)

    patient = asyncio.create_task(worker.stop(grace="60s"))
    await asyncio.sleep(0)

    assert not await worker.stop(grace=0)
    assert not await patient
    assert await job.state() == "waiting"


async def test_a_result_that_was_ready_when_the_grace_ended_counts(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            return "finished in time after all"
        return "never"

    started = asyncio.Event()
    job = await app.queue("q").add("a")
    worker = app.worker("q", handler, concurrency=1)
    await worker.start()
    await started.wait()
    await worker.stop(grace=0)

    assert await job.result() == "finished in time after all"


async def test_a_thread_keeps_its_job_until_it_ends(app: Toril) -> None:
    started, let = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def handler(job: Job[Any]) -> str:
        loop.call_soon_threadsafe(started.set)
        let.wait(10)
        return f"told to stop: {job.cancelled.is_set()}"

    job = await app.queue("q").add("a")
    worker = app.worker("q", handler, concurrency=1)
    await worker.start()
    await started.wait()

    assert not await worker.stop(grace=0)
    assert await job.state() == "active"
    let.set()
    assert await job.result(timeout=5) == "told to stop: True"


async def test_code_that_refuses_to_end_is_left_and_keeps_its_lock(app: Toril) -> None:
    ends = False

    async def handler(job: Job[Any]) -> None:
        started.set()
        while not ends:
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)

    started = asyncio.Event()
    job = await app.queue("q").add("a")
    worker = app.worker("q", handler, concurrency=1)
    await worker.start()
    await started.wait()

    assert not await worker.stop(grace=0)
    assert await job.state() == "active"
    ends = True


async def test_a_cancelled_run_stops_in_order(app: Toril) -> None:
    gate = Gate()
    job = await app.queue("q").add("a")
    worker = app.worker("q", gate, concurrency=1)
    running = asyncio.create_task(worker.run())
    await gate.until_running(1)
    running.cancel()
    gate.open()
    with suppress(asyncio.CancelledError):
        await running

    assert await job.state() == "completed"


async def test_starting_and_stopping_leaves_nothing_behind(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        pass

    await app.open()
    worker = app.worker("q", handler, concurrency=3)
    await worker.run_until_idle()
    tasks, threads, files = len(asyncio.all_tasks()), set(threading.enumerate()), open_files()
    interval = sys.getswitchinterval()

    for _ in range(10):
        await app.queue("q").add("x")
        await worker.run_until_idle()

    assert len(asyncio.all_tasks()) == tasks
    for thread in set(threading.enumerate()) - threads:
        # One that waited for the heartbeat's end has answered, and is about to end itself.
        thread.join(timeout=5)
        assert not thread.is_alive(), thread.name
    assert open_files() == files
    assert sys.getswitchinterval() == interval


def open_files() -> int:
    folder = Path("/proc/self/fd")
    return len(os.listdir(folder)) if folder.exists() else 0


# A process of its own.

PROGRAM = """
import asyncio, sys, time
from toril import Toril
from toril._serve.shutdown import leave, serve

app = Toril(sys.argv[1])

@app.queue("q").handler("async")
async def on_loop(job):
    print("started", flush=True)
    await asyncio.sleep(job.data["seconds"])

@app.queue("q").handler("thread")
def in_thread(job):
    print("started", flush=True)
    time.sleep(job.data["seconds"])

@app.queue("q").handler("spin")
async def spin(job):
    print("started", flush=True)
    end = time.monotonic() + job.data["seconds"]
    while time.monotonic() < end:
        pass

async def main():
    try:
        return await serve([app.worker(grace=sys.argv[2], concurrency=1)])
    finally:
        await app.close()

leave(asyncio.run(main()))
"""


class Process:
    """A worker process, and the store that it works on."""

    def __init__(self, folder: Path, *, grace: str) -> None:
        self.url = f"sqlite:///{folder / 'jobs.db'}"
        self._store = SQLiteStore(folder / "jobs.db")
        self._command = [sys.executable, "-W", "error", "-c", PROGRAM, self.url, grace]
        self._process: subprocess.Popen[str] | None = None

    async def run(self, name: str, seconds: float) -> None:
        async with Toril(self.url) as app:
            await app.queue("q").add(name, {"seconds": seconds})
            await app.queue("q").add(name, {"seconds": 0})
        assert await asyncio.to_thread(self._start) == "started\n"

    def _start(self) -> str:
        self._process = subprocess.Popen(
            self._command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def signal(self, number: int = signal.SIGTERM) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def ended(self) -> tuple[int, float]:
        """Give the exit code, and after how many seconds it came."""
        assert self._process is not None
        began = time.monotonic()
        _, errors = await asyncio.to_thread(self._process.communicate, timeout=15)
        assert "Traceback" not in errors, errors
        return self._process.returncode, time.monotonic() - began

    async def states(self) -> list[str]:
        await self._store.open()
        records = await self._store.get([Ref("q", "1"), Ref("q", "2")])
        await self._store.close()
        return [str(record.state) for record in records if record is not None]

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()


@contextmanager
def process(folder: Path, *, grace: str = "10s") -> Iterator[Process]:
    made = Process(folder, grace=grace)
    try:
        yield made
    finally:
        made.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("name", ["async", "thread", "spin"])
async def test_a_signal_lets_the_job_end_and_the_exit_code_is_0(
    tmp_path: Path, name: str, number: int
) -> None:
    with process(tmp_path) as worker:
        await worker.run(name, seconds=0.5)
        worker.signal(number)
        code, seconds = await worker.ended()

        assert (code, await worker.states()) == (0, ["completed", "waiting"])
        assert seconds < 3


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="signals are POSIX")
async def test_a_worker_under_nohup_goes_on_when_its_terminal_is_closed() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with shutdown._handled(shutdown.Ending([])):
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", ["async", "thread"])
async def test_a_second_signal_puts_the_job_back_at_once(tmp_path: Path, name: str) -> None:
    with process(tmp_path) as worker:
        await worker.run(name, seconds=60)
        worker.signal()
        await asyncio.sleep(0.2)  # two signals of one kind at once are one
        worker.signal()
        code, seconds = await worker.ended()

        assert (code, await worker.states()) == (1, ["waiting", "waiting"])
        assert seconds < 5


@pytest.mark.parametrize("name", ["async", "thread"])
async def test_the_end_of_the_grace_puts_the_job_back(tmp_path: Path, name: str) -> None:
    with process(tmp_path, grace="300ms") as worker:
        await worker.run(name, seconds=60)
        worker.signal()
        code, seconds = await worker.ended()

        assert (code, await worker.states()) == (1, ["waiting", "waiting"])
        assert 0.2 < seconds < 5
