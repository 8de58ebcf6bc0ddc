"""What the observe scripts share: programs and HTTP, and PASS or FAIL for each line of a scenario.

python examples/demo/observe.py                 # on a file and on a Redis server of its own
python examples/demo/observe.py --store sqlite
"""

import argparse
import asyncio
import inspect
import json
import os
import socket
import sys
import tempfile
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

# How late a start may be on a busy machine, in seconds; it is never early.
LATE = 2.0


class Program:
    """A running program; `lines` is what it has printed and logged."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.lines: list[str] = []
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.lines.append(line.decode().rstrip())

    async def says(self, text: str, *, times: int = 1, within: float = 10) -> None:
        def heard() -> bool:
            return sum(text in line for line in self.lines) >= times

        try:
            await until(heard, within=within)
        except AssertionError:
            raise AssertionError(f"{text!r} was not printed, but {self.lines}") from None

    async def stop(self) -> int:
        if self.process.returncode is None:
            self.process.terminate()
        try:
            async with asyncio.timeout(10):
                await self.process.wait()
        except TimeoutError:
            self.process.kill()
        await self._reading
        return await self.process.wait()


class Web:
    """A web server, over HTTP."""

    def __init__(self, port: int) -> None:
        self.base = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> tuple[int, Any]:
        return await self._ask(Request(self.base + path))

    async def send(
        self, method: str, path: str, body: bytes = b"", **headers: str
    ) -> tuple[int, Any]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self._ask(Request(self.base + path, body, named, method=method))

    async def _ask(self, request: Request) -> tuple[int, Any]:
        def ask() -> tuple[int, Any]:
            try:
                with urlopen(request, timeout=10) as answer:
                    return answer.status, _read(answer.read())
            except HTTPError as error:
                return error.code, _read(error.read())

        return await asyncio.to_thread(ask)


def _read(body: bytes) -> Any:
    try:
        return json.loads(body or b"null")
    except ValueError:
        return body.decode(errors="replace")


class Stage:
    """A store, and the programs of one application beside it."""

    def __init__(self, folder: Path, name: str, url: str, scratch: Path) -> None:
        self.folder = folder
        self.store = name
        self.url = url
        self.scratch = scratch
        self.server: Program | None = None
        self.failed = 0
        self._made = 0

    def fresh(self) -> dict[str, str]:
        """Return settings that name a store without jobs."""
        self._made += 1
        if self.store == "sqlite":
            return {"TORIL_URL": f"sqlite:///{self.scratch}/{self._made}.db"}
        return {"TORIL_URL": f"{self.url}/{self._made}"}

    @asynccontextmanager
    async def run(self, *words: str, ready: str, **settings: str) -> AsyncIterator[Program]:
        """Run a module of Python in the folder of the application until the block ends."""
        command = [sys.executable, "-m", *words]
        program = await _start(command, self.folder, settings)
        try:
            await program.says(ready, within=20)
            yield program
        finally:
            await program.stop()

    @asynccontextmanager
    async def web(self, target: str, **settings: str) -> AsyncIterator[tuple[Web, Program]]:
        """Serve a web application."""
        port = free_port()
        words = ("uvicorn", target, "--port", str(port), "--no-access-log",
                 "--timeout-graceful-shutdown", "1")  # fmt: skip
        async with self.run(*words, ready="Application startup complete", **settings) as program:
            web = Web(port)
            await until(lambda: _answers(port), within=10)
            yield web, program

    @asynccontextmanager
    async def worker(self, target: str, *words: str, **settings: str) -> AsyncIterator[Program]:
        """Run `toril worker`."""
        words = ("toril", "worker", target, *words)
        async with self.run(*words, ready="worker.ready", **settings) as program:
            yield program

    def line(self, scenario: str, text: str, passed: object, seen: object = "") -> None:
        """Print whether a line of a scenario was seen."""
        self.failed += not passed
        more = "" if passed or seen == "" else f" (seen: {seen!r})"
        print(f"{'PASS' if passed else 'FAIL'} {self.store:6} {scenario} {text}{more}", flush=True)

    @contextmanager
    def scenario(self, number: str) -> Iterator[Callable[..., None]]:
        """Give what prints the lines of one scenario; an error in it is a line that failed."""

        def line(text: str, passed: object, seen: object = "") -> None:
            self.line(number, text, passed, seen)

        try:
            yield line
        except Exception as error:
            traceback.print_exc()
            line(f"the scenario ended with {type(error).__name__}: {error}", False)


async def _start(command: list[str], folder: Path, settings: dict[str, str]) -> Program:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TORIL")}
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**kept, "PYTHONUNBUFFERED": "1", "PYTHONUTF8": "1", **settings},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    return Program(process)


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/-", timeout=5).close()
    except HTTPError:
        return True
    except (URLError, ConnectionError):
        return False
    return True


async def until(look: Callable[[], Any], expected: object = True, *, within: float = 8) -> Any:
    """Wait until `look` returns what is expected, and return it."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen == expected:
            return seen
        assert time.monotonic() < deadline, f"expected {expected!r}, seen last: {seen!r}"
        await asyncio.sleep(0.01)


async def tally(queue: Any) -> dict[str, int]:
    """Count a queue's jobs in the letters of the scenarios; what is 0 is left out."""
    counts = await queue.counts()
    letters = {
        "W": counts.ready, "A": counts.active, "D": counts.delayed, "C": counts.completed,
        "F": counts.failed, "WC": counts.waiting_children,
    }  # fmt: skip
    return {letter: count for letter, count in letters.items() if count}


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as trial:
        trial.bind(("127.0.0.1", 0))
        port: int = trial.getsockname()[1]
        return port


async def start_redis(stage: Stage, port: int) -> Program:
    """Start a Redis server that keeps what it was told on disk."""
    command = [
        "redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
        "--appendonly", "yes", "--appendfsync", "always", "--dir", str(stage.scratch),
        "--maxmemory-policy", "noeviction",
    ]  # fmt: skip
    program = await _start(command, stage.scratch, {})
    await program.says("Ready to accept connections")
    return program


async def restart_store(stage: Stage) -> None:
    """Stop the Redis server and start it again; a file needs nothing of that."""
    if stage.server is not None:
        await stage.server.stop()
        stage.server = await start_redis(stage, int(stage.url.rpartition(":")[2]))


async def _observe(folder: Path, store: str, play: Callable[[Stage], Awaitable[None]]) -> int:
    with tempfile.TemporaryDirectory(prefix="toril-observe-") as scratch:
        port = free_port()
        stage = Stage(folder, store, f"redis://127.0.0.1:{port}", Path(scratch))
        if store == "redis":
            stage.server = await start_redis(stage, port)
        try:
            await play(stage)
        finally:
            if stage.server is not None:
                await stage.server.stop()
        return stage.failed


def main(folder: Path, play: Callable[[Stage], Awaitable[None]]) -> None:
    """Play the scenarios on each store, and exit with 1 if a line failed."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--store", choices=["sqlite", "redis", "both"], default="both")
    store = parser.parse_args().store
    stores = ["sqlite", "redis"] if store == "both" else [store]
    failed = sum([asyncio.run(_observe(folder, each, play)) for each in stores])
    sys.exit(1 if failed else 0)
