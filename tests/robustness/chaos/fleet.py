"""Worker processes that are started, killed and replaced."""

import asyncio
import os
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.robustness.chaos.ledger import Ledger

ROOT = Path(__file__).parents[3]


def environment() -> dict[str, str]:
    """Give the environment of a child: what steers the tests would only make toril wonder."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("TORIL_")}
    paths = filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))
    return {**own, "PYTHONPATH": os.pathsep.join(paths)}


class Fleet:
    """Some processes of one program; one that is killed is replaced at once."""

    def __init__(self, *command: object) -> None:
        self._command = tuple(map(str, command))
        self._up = asyncio.Event()
        self._failed = False
        self._watching: set[asyncio.Task[None]] = set()
        self.running: list[Process] = []
        self.up: list[Process] = []

    async def start(self, count: int = 1) -> None:
        for _ in range(count):
            process = await asyncio.create_subprocess_exec(
                *self._command, stdout=PIPE, env=environment()
            )
            self.running.append(process)
            watch = asyncio.create_task(self._see_up(process))
            self._watching.add(watch)
            watch.add_done_callback(self._watching.discard)

    async def _see_up(self, process: Process) -> None:
        assert process.stdout is not None
        said = await process.stdout.readline()
        if process in self.running:
            if said:
                self.up.append(process)
            else:
                self._failed = True
            self._up.set()

    async def all_up(self, count: int) -> None:
        """Wait until so many have come up; one that ends before fails the test."""
        while len(self.up) < count:
            self._up.clear()
            await self._up.wait()
            assert not self._failed, "a process ended before it came up: see its error output"

    async def kill(self, victim: Process, ledger: Ledger) -> int:
        """Kill -9 one, see it dead, and start another; give when it was killed (ns)."""
        self.up.remove(victim)
        self.running.remove(victim)
        at = time.monotonic_ns()
        victim.kill()
        await victim.wait()
        # Whatever it still wrote stands in the ledger by now.
        ledger.note("killed", victim.pid, at)
        await self.start()
        return at

    async def retire(self, process: Process) -> int:
        """Let one end by SIGTERM, and start another; give its exit code."""
        self.up.remove(process)
        self.running.remove(process)
        process.send_signal(signal.SIGTERM)
        code = await asyncio.wait_for(process.wait(), 10)
        await self.start()
        return code

    async def keep_up(self) -> None:
        """Start a new process for each that has died by its own hand."""
        while True:
            for process in list(self.up):
                if process.returncode is not None:
                    self.up.remove(process)
                    self.running.remove(process)
                    await self.start()
            await asyncio.sleep(0.05)

    async def stop(self) -> list[int]:
        """End all by SIGTERM; give their exit codes."""
        await self.all_up(len(self.running))
        for process in self.running:
            process.send_signal(signal.SIGTERM)
        return [await process.wait() for process in self.running]

    async def close(self) -> None:
        for process in self.running:
            if process.returncode is None:
                process.kill()
            await process.wait()
        for watch in list(self._watching):
            await watch


@asynccontextmanager
async def fleet(module: str, *args: object, count: int) -> AsyncIterator[Fleet]:
    """Have so many processes of a module, and none of them left afterwards."""
    async with programs(sys.executable, "-m", module, *args, count=count) as processes:
        yield processes


@asynccontextmanager
async def programs(*command: object, count: int) -> AsyncIterator[Fleet]:
    """Have so many processes of any program, and none of them left afterwards."""
    processes = Fleet(*command)
    try:
        await processes.start(count)
        yield processes
    finally:
        await processes.close()
