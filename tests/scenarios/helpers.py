"""What the scenarios share: waiting with a deadline, the story of a queue, who ran what and when.

Jobs are counted in the letters of the scenarios: W waiting (with prioritized), A active,
D delayed, C completed, F failed, WC waiting for children. What is not named is 0.
"""

import asyncio
import inspect
import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Self

from toril import Event, Job, Queue, Toril
from toril.events import JobEvent

LATE = 0.25
EARLY = 0.001
PATIENCE = 8.0
LOOK_S = 0.004
PROGRAMS = Path(__file__).with_name("programs.py")


def soon(url: str) -> dict[str, Any]:
    """Give options of workers by which a dead one is noticed soon.

    A file tells by itself who died; on a server the dead one's locks have to run out.
    """
    return {} if url.startswith("sqlite") else {"lock": "1s", "stalled_interval": "100ms"}


# Waiting.


async def until(
    look: Callable[[], Any], expected: object, *, within: float = PATIENCE, why: str = ""
) -> None:
    """Wait until `look` gives what is expected; else say what it gave last."""
    deadline = time.monotonic() + within
    while True:
        seen = look()
        if inspect.isawaitable(seen):
            seen = await seen
        if seen == expected:
            return
        assert time.monotonic() < deadline, (
            f"{why or 'expected'} {expected!r} within {within} s, seen last: {seen!r}"
        )
        await asyncio.sleep(LOOK_S)


async def stands(queue: Queue, *, within: float = PATIENCE, **expected: int) -> None:
    """Wait until a queue's counts are these, and all others 0."""
    await until(lambda: tally(queue), expected, within=within, why=f"counts of {queue.name}")


async def tally(queue: Queue) -> dict[str, int]:
    """Count a queue's jobs in the scenarios' letters."""
    counts = await queue.counts()
    letters = {
        "W": counts.ready,
        "A": counts.active,
        "D": counts.delayed,
        "C": counts.completed,
        "F": counts.failed,
        "WC": counts.waiting_children,
    }
    return {letter: count for letter, count in letters.items() if count}


async def standing(job: Job[Any]) -> tuple[int, int, int]:
    """Count a job's children: pending, completed, failed."""
    counts = await job.dependencies()
    return counts.pending, counts.completed, counts.failed


async def all_of(jobs: Iterable[Job[Any]], *, within: float = PATIENCE) -> list[Any]:
    """Wait for the results of jobs."""
    return await asyncio.gather(*(job.result(within) for job in jobs))


async def ended(job: Job[Any], *, within: float = PATIENCE) -> Job[Any]:
    """Wait until a job is completed or failed, and read it anew."""
    await asyncio.gather(job.result(within), return_exceptions=True)
    await job.refresh()
    assert job.finished_at is not None, f"{job!r} did not end within {within} s"
    return job


# Times.


def on_time(expected: float, actual: float) -> None:
    """Hold a wait against its length: hardly early, and a little late at most."""
    assert expected - EARLY <= actual <= expected + LATE, (
        f"after {actual * 1000:.1f} ms, {expected * 1000:.1f} ms were asked for"
    )


def all_on_time(expected: Sequence[float], actual: Sequence[float]) -> None:
    assert len(actual) == len(expected), f"{list(actual)} against {list(expected)}"
    for one, other in zip(expected, actual, strict=True):
        on_time(one, other)


class Journal:
    """What handlers in this process did: which job ran when, and how many at once."""

    def __init__(self) -> None:
        self.order: list[str] = []
        self.starts: list[float] = []
        self.ends: list[float] = []
        self.now = 0
        self.most = 0

    @contextmanager
    def run(self, what: str = "") -> Any:
        self.order.append(what)
        self.starts.append(time.monotonic())
        self.now += 1
        self.most = max(self.most, self.now)
        try:
            yield
        finally:
            self.now -= 1
            self.ends.append(time.monotonic())

    @property
    def pauses(self) -> list[float]:
        """Give the times from each end to the start after it."""
        return [start - end for end, start in zip(self.ends, self.starts[1:], strict=False)]


class Valve:
    """Handlers that take `valve.pass_` wait in it until they are let out."""

    def __init__(self) -> None:
        self._open = asyncio.Semaphore(0)

    async def wait(self) -> None:
        await self._open.acquire()

    def let(self, count: int) -> None:
        """Let so many of those who wait, or come to wait, go on."""
        for _ in range(count):
            self._open.release()


# Events.


async def story(app: Toril, queue: Queue, after: str = "0") -> list[Event]:
    """Give the events of a queue, from the oldest to the newest there is now."""
    last = await app.context.store.last_event(queue.name)
    events: list[Event] = []
    if last == after:
        return events
    async with queue.events(after=after) as stream:
        async for event in stream:
            events.append(event)
            if event.id == last:
                break
    return events


async def kinds(app: Toril, queue: Queue, after: str = "0") -> list[str]:
    """Give the kinds of a queue's events in their order."""
    return [event.kind for event in await story(app, queue, after)]


async def kinds_of(app: Toril, job: Job[Any]) -> list[str]:
    """Give the kinds of the events about one job."""
    events = await story(app, app.queue(job.queue))
    return [
        event.kind for event in events if isinstance(event, JobEvent) and event.job_id == job.id
    ]


# Programs.


class Program:
    """A program of `programs.py` in a process of its own; what it prints is heard."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._hearing = asyncio.create_task(self._hear())
        self.lines: list[str] = []

    @classmethod
    async def start(cls, what: str, **options: Any) -> Self:
        given = {
            key: str(value) if isinstance(value, Path) else value for key, value in options.items()
        }
        process = await asyncio.create_subprocess_exec(
            sys.executable, str(PROGRAMS), what, json.dumps(given), stdout=asyncio.subprocess.PIPE
        )
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def _hear(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(line.decode().rstrip("\n"))

    async def says(self, line: str, *, within: float = PATIENCE) -> None:
        """Wait until it has printed this line."""
        await until(lambda: line in self.lines, True, within=within, why=f"{line!r} printed:")

    def send(self, number: signal.Signals) -> None:
        os.kill(self._process.pid, number)

    async def exited(self, *, within: float = PATIENCE) -> int:
        """Wait until it has ended, and give its exit code."""
        async with asyncio.timeout(within):
            code = await self._process.wait()
            await self._hearing
        return code

    async def killed(self) -> None:
        self.send(signal.SIGKILL)
        assert await self.exited() == -signal.SIGKILL

    async def close(self) -> None:
        if self._process.returncode is None:
            self.send(signal.SIGKILL)
        await self.exited()


@asynccontextmanager
async def program(what: str, *, ready: bool = True, **options: Any) -> AsyncIterator[Program]:
    """Run a program until the block ends; begin when it says that it is ready."""
    running = await Program.start(what, **options)
    try:
        if ready:
            await running.says("ready")
        yield running
    finally:
        await running.close()


# Spying.


class Spy:
    """A store that notes which of its verbs are called, and passes every call on."""

    def __init__(self, store: Any) -> None:
        self._store = store
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._store, name)
        if not inspect.iscoroutinefunction(value):
            return value

        def noted(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            self.calls.append(name)
            called: Awaitable[Any] = value(*args, **kwargs)
            return called

        return noted


def spied(app: Toril) -> Spy:
    """Let an app's calls to its store be noted from now on."""
    spy = Spy(app.context.store)
    app.context.store = spy  # type: ignore[assignment]
    return spy
