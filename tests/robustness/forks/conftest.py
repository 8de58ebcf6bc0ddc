"""A store of each kind, and programs that fork: they run in processes of their own."""

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import RedisServer, fresh_prefix

# What every program begins with. `child` runs a function in a forked child and returns its answer.
PRELUDE = """
import asyncio, json, multiprocessing, os, signal, sys, threading, time
from toril import Toril, sync

signal.alarm(15)
URL, PREFIX = sys.argv[1:3]
app = Toril(URL, prefix=PREFIX, warn_unserved=False)
q = app.queue("q")

@app.task(queue="tasks")
def double(n: int) -> int:
    return 2 * n

def fork(function):
    sys.stdout.flush()
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        # A child has no thread that would end it: it must not outlive a test that failed.
        signal.alarm(10)
        try:
            answer = function()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writing, json.dumps(answer).encode())
        os.close(writing)
        sys.stderr.flush()
        os._exit(0)
    os.close(writing)
    return pid, reading

def answer_of(forked):
    pid, reading = forked
    with open(reading, "rb") as pipe:
        told = pipe.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return json.loads(told)

def child(function):
    return answer_of(fork(function))

def tell(value):
    print(json.dumps(value))
"""


class Place:
    """A store and what a test asks of it."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix

    @property
    def is_file(self) -> bool:
        return self.url.startswith("sqlite")

    def run(self, program: str, *, timeout: float = 18) -> Any:
        """Run a program to its end, and return what it told."""
        process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + program, self.url, self.prefix],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            told, self.errors = process.communicate(timeout=timeout)
        finally:
            # Children that hang must not outlive the test.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
        assert process.returncode == 0, f"{told}\n{self.errors}"
        return json.loads(told.splitlines()[-1])


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "file":
        return Place(f"sqlite:///{tmp_path / 'jobs.db'}", "bull")
    server: RedisServer = request.getfixturevalue("redis_server")
    return Place(server.url, fresh_prefix())


@pytest.fixture
def file_place(tmp_path: Path) -> Place:
    return Place(f"sqlite:///{tmp_path / 'jobs.db'}", "bull")
