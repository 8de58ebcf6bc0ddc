"""A Node process that does with BullMQ what it is told: started, asked, killed, stopped.

Requests may come from any event loop, so that one process serves all the tests of a session.
"""

import asyncio
import itertools
import json
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest

HERE = Path(__file__).parent
START_S = 15.0
ANSWER_S = 8.0
# The process answers in time by itself; this is for one that does not.
LATE_S = 3.0
VERSIONS = (6, 5)
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


class NodeError(Exception):
    """What BullMQ threw: the class of the error, its message, and its code where it has one."""

    def __init__(self, kind: str, message: str, code: int | str | None = None) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind
        self.message = message
        self.code = code


def node() -> str:
    """Find Node, with what these tests need of it; without it skip at home and fail in CI."""
    found = shutil.which("node")
    missing = None
    if found is None:
        missing = "node is not on PATH"
    elif not (HERE / "node_modules" / "bullmq").exists():
        missing = f"npm packages are missing: npm install --prefix {HERE}"
    if missing is None and found is not None:
        return found
    _lack(str(missing))


def browser() -> str:
    """Find a Chromium; without one skip at home and fail in CI."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    _lack(f"no browser is on PATH: {', '.join(BROWSERS)}")


def _lack(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"interop: {what}")
    pytest.skip(f"interop: {what}")


class Peer:
    """One Node process with one version of BullMQ, on one Redis."""

    def __init__(self, version: int, port: int, *more: str, program: str = "peer.mjs") -> None:
        self.version = version
        self._numbers = itertools.count(1)
        self._asked: dict[int, tuple[asyncio.AbstractEventLoop, asyncio.Future[Any]]] = {}
        self._lock = threading.Lock()
        self._started = threading.Event()
        self.stray: list[str] = []
        self._process = subprocess.Popen(
            [node(), str(HERE / program), str(version), str(port), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=HERE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """Give the id of the process."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Say whether the process runs."""
        return self._process.poll() is None

    def ready(self) -> None:
        """Wait until the process listens."""
        assert self._started.wait(START_S), f"node {self.version} did not start in {START_S} s"
        assert self.alive, f"node {self.version} ended with {self._process.returncode}"

    async def ask(self, op: str, *, within: float = ANSWER_S, **request: Any) -> Any:
        """Ask for something, and give the answer or raise the error that Node gave."""
        self.ready()
        number = next(self._numbers)
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Any] = loop.create_future()
        line = json.dumps({"id": number, "op": op, "timeout": within * 1000, **request})
        with self._lock:
            self._asked[number] = (loop, answer)
            assert self._process.stdin is not None
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        try:
            return await asyncio.wait_for(answer, within + LATE_S)
        finally:
            self._asked.pop(number, None)

    def kill(self) -> None:
        """End the process at once, as a crash would."""
        self._process.kill()
        self._process.wait(5)

    def stop(self) -> None:
        """Let the process end, and make it end where it does not."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        if self.alive:
            self._process.stdin.close()
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        self._reader.join(5)
        for pipe in (self._process.stdin, self._process.stdout):
            pipe.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            answer = json.loads(line)
            if answer["id"] == 0:
                self._started.set()
            elif answer["id"] is None:
                self.stray.append(str(answer["error"]))
            else:
                self._answer(answer)
        self._started.set()
        gone = {"kind": "Gone", "name": "Gone", "message": "the Node process ended", "code": None}
        for number in list(self._asked):
            self._answer({"id": number, "error": gone})

    def _answer(self, answer: dict[str, Any]) -> None:
        asked = self._asked.pop(answer["id"], None)
        if asked is None or asked[0].is_closed():
            return
        loop, future = asked

        def settle() -> None:
            if future.done():
                return
            if "error" in answer:
                error = answer["error"]
                future.set_exception(NodeError(error["name"], error["message"], error["code"]))
            else:
                future.set_result(answer["value"])

        loop.call_soon_threadsafe(settle)


@contextmanager
def peer(version: int, port: int) -> Iterator[Peer]:
    """Run a Node process of its own, for a test that kills it."""
    running = Peer(version, port)
    try:
        running.ready()
        yield running
    finally:
        running.stop()
