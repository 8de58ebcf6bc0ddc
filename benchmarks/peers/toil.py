"""The two works that everyone is given by `isolation.py`: to wait for 50 ms, to compute for 10 ms.

A job is a text: "io 00000001", "cpu 00000001", or "gate 00000001", which keeps its place until
the gate opens. Whatever process or thread it runs in, it writes a line into a file that all share.
"""

import asyncio
import os
import time
from functools import cache
from pathlib import Path

SECONDS = {"io": 0.05, "cpu": 0.01}
LOOK_S = 0.02


def texts(kind: str, jobs: int) -> list[str]:
    return [f"{kind} {number:08d}" for number in range(jobs)]


def do(text: str) -> None:
    """Do a job in blocking code."""
    began = time.monotonic_ns()
    kind = text.partition(" ")[0]
    if kind == "gate":
        _note(text, began)
        while (left := _closed_for()) > 0:
            time.sleep(left)
        return
    if kind == "io":
        time.sleep(SECONDS["io"])
    else:
        _burn()
    _note(text, began)


async def do_async(text: str) -> None:
    """Do a job on the loop."""
    began = time.monotonic_ns()
    kind = text.partition(" ")[0]
    if kind == "gate":
        _note(text, began)
        while (left := _closed_for()) > 0:  # noqa: ASYNC110  # another process opens it
            await asyncio.sleep(left)
        return
    if kind == "io":
        await asyncio.sleep(SECONDS["io"])
    else:
        _burn()
    _note(text, began)


def _burn() -> None:
    """Use the processor for 10 ms, however many others want it."""
    end = time.thread_time() + SECONDS["cpu"]
    while time.thread_time() < end:
        pass


# The gate, and the notes.


def open_gate(where: Path, at_ns: int) -> None:
    """Let all places that are kept go at that time, by the monotonic clock."""
    (where / "gate.new").write_text(str(at_ns), "ascii")
    (where / "gate.new").rename(where / "gate")


def _closed_for() -> float:
    try:
        text = (_where() / "gate").read_text("ascii")
    except FileNotFoundError:
        return LOOK_S
    return (int(text) - time.monotonic_ns()) / 1e9


def _note(text: str, began: int) -> None:
    # One write each, to the end of the file: lines of many processes do not mix.
    os.write(_notes(), f"{text} {began} {time.monotonic_ns()} {os.getpid()}\n".encode())


@cache
def _where() -> Path:
    return Path(os.environ["BENCH_TOIL"])


@cache
def _notes() -> int:
    return os.open(_where() / "notes", os.O_WRONLY | os.O_APPEND | os.O_CREAT)
