"""What the children of test_isolation run. Imported in them, and by the tests only to name it."""

import asyncio
import ctypes
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from toril import Fail, Job, Release, Snooze, Toril, current_job, handles
from toril.sync import run

app = Toril(":memory:")
imports = 0
runs = 0


def add(first: int, second: int = 1) -> list[int]:
    """Say what it was called with, and where."""
    return [first + second, os.getpid()]


def tomorrow(today: date) -> date:
    return today + timedelta(days=1)


async def on_a_loop(job: Job[Any], number: int) -> list[Any]:
    await asyncio.sleep(0)
    return [number, os.getpid(), job.attempt, current_job() is job]


def where(job: Job[Any]) -> int:
    return os.getpid()


def nap(job: Job[Any]) -> list[Any]:
    began = time.monotonic()
    time.sleep(0.05)
    return [os.getpid(), began, time.monotonic()]


def count_runs(job: Job[Any]) -> int:
    global runs
    runs += 1
    return runs


def report(job: Job[Any]) -> None:
    job.progress({"percent": 50})
    job.log("half way")
    job.log("the rest")


async def report_and_wait(job: Job[Any]) -> list[Any]:
    lines = await job.log("one")
    await job.progress(99)
    await job.update({"changed": True})
    (await job.refresh())
    return [lines, job.data, job.last_progress, list((await job.logs()).lines)]


def update_without_a_loop(job: Job[Any]) -> None:
    run(job.update({"from": "a thread"}))


async def parent(job: Job[Any]) -> dict[str, Any]:
    counts = await job.dependencies()
    return {"values": list((await job.children_values()).values()), "completed": counts.completed}


async def ask_too_much(job: Job[Any]) -> None:
    await job.result()


async def lose_it(job: Job[Any]) -> None:
    await job.log("mine")


def signal_of(job: Job[Any]) -> str:
    match job.data:
        case "fail":
            raise Fail("not again")
        case "snooze" if job.run == 1:
            raise Snooze("10ms")
        case "release" if job.run == 1:
            raise Release
        case "raise":
            raise LookupError("nothing there")
        case _:
            return f"run {job.run}"


def die(job: Job[Any]) -> str:
    match job.data:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)
        case "segv":
            ctypes.string_at(0)
        case "exit":
            os._exit(3)
        case "sys.exit":
            sys.exit(4)
    return "lives"


def print_much(job: Job[Any]) -> int:
    for _ in range(job.data):
        sys.stdout.write("x" * 100 + "\n")
    return int(job.data)


def die_at_first(job: Job[Any]) -> int:
    """Count the runs in a file, and kill the process in the first ones."""
    path = Path(job.data["count"])
    runs = int(path.read_text()) + 1 if path.exists() else 1
    path.write_text(str(runs))
    if runs <= job.data["times"]:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    return runs


def sleep(job: Job[Any]) -> None:
    """Tell who it is, and sleep whatever anybody says."""
    Path(job.data["pid"]).write_text(str(os.getpid()))
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(1)


def sleep_until_told(job: Job[Any]) -> str:
    job.log("sleeping")
    job.cancelled.wait(30)
    job.log("told")
    return "early"


async def sleep_on_a_loop(job: Job[Any]) -> None:
    await job.log("sleeping")
    try:
        await asyncio.sleep(30)
    finally:
        await job.log("cleaned up")


def start_another(job: Job[Any]) -> None:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    Path(job.data["pid"]).write_text(str(process.pid))
    time.sleep(60)


def hold_the_interpreter(job: Job[Any]) -> str:
    ctypes.PyDLL(None).usleep(int(job.data["seconds"] * 1_000_000))
    return "done"


def grow(job: Job[Any]) -> int:
    held = bytearray(job.data["bytes"])
    held[::1024] = b"x" * len(held[::1024])
    time.sleep(job.data.get("seconds", 0))
    return os.getpid()


kept: list[bytearray] = []


def keep(job: Job[Any]) -> int:
    kept.append(bytearray(job.data["bytes"]))
    kept[-1][::1024] = b"x" * len(kept[-1][::1024])
    return os.getpid()


def take(job: Job[Any]) -> int:
    return os.getpid()


def listen(job: Job[Any]) -> None:
    job.log("told" if job.cancelled.wait(10) else "not told")


def talk(job: Job[Any]) -> None:
    sys.stdout.write(f"from print {job.id}\n")
    sys.stderr.write("no end of line")
    os.write(1, b"\nraw\n")


def talk_without_end(job: Job[Any]) -> None:
    for number in range(5_000):
        sys.stdout.write(f"{number}\n")


def fork(job: Job[Any]) -> str:
    """Fork a process that comes out of the handler in its own way, and wait for it."""
    if os.fork() == 0:
        match job.data:
            case "exit":
                sys.exit(7)
            case "text":
                sys.exit("no good")
            case "raise":
                raise LookupError("in the fork")
            case _:
                return "the fork"
    return f"the fork ended with {os.waitstatus_to_exitcode(os.wait()[1])}"


async def fork_on_a_loop(job: Job[Any]) -> str:
    await asyncio.sleep(0)
    await job.log("before")
    return fork(job)


def lose_stdout(job: Job[Any]) -> str:
    sys.stdout = None  # type: ignore[assignment]
    return "done"


def run_out_of_memory(job: Job[Any]) -> None:
    raise MemoryError


def large_result(job: Job[Any]) -> str:
    return "x" * int(job.data)


def write_to_the_log(job: Job[Any]) -> None:
    logging.getLogger("shop").info("for information")
    logging.getLogger("shop").debug("nobody asked")


async def use_own_store(job: Job[Any]) -> None:
    await app.queue("other").add("x")


class Card:
    def __init__(self, text: str) -> None:
        self.text = text


made = 0


def cards() -> Mapping[type, object]:
    global made
    made += 1
    return {Card: Card(f"made {made} times")}


async def cards_later() -> Mapping[type, object]:
    await asyncio.sleep(0)
    return {Card: Card("made on a loop")}


def nonsense() -> int:
    return 5


def fail_to_make() -> None:
    raise ConnectionError("no database")


class Reader:
    def __init__(self, card: Card) -> None:
        self._card = card

    @handles("read")
    async def read(self, job: Job[Any]) -> str:
        return self._card.text

    @handles("pid")
    def pid(self, job: Job[Any]) -> int:
        return os.getpid()


@app.processor("classes", isolation="process")
class Provided:
    def __init__(self, card: Card) -> None:
        self._card = card

    async def process(self, job: Job[Any]) -> str:
        return self._card.text


app.provide(Card, Card("provided by the app"))
