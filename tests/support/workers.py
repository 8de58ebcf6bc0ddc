"""What tests of workers share: a note of what runs when, and waits that need no sleeping."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

from toril import Job, Toril
from toril._worker.worker import Worker
from toril.events import Event, JobEvent

T = TypeVar("T")

SOON = 5.0


class Gate:
    """A handler that says it has started, and ends when it is let."""

    def __init__(self) -> None:
        self.running: list[str] = []
        self.most = 0
        self.started: list[str] = []
        self._open = asyncio.Event()
        self._changed = asyncio.Event()

    async def __call__(self, job: Job[Any]) -> str:
        self.started.append(job.id)
        self.running.append(job.id)
        self.most = max(self.most, len(self.running))
        self._changed.set()
        try:
            await self._open.wait()
        finally:
            self.running.remove(job.id)
            self._changed.set()
        return job.id

    def open(self) -> None:
        self._open.set()

    async def until_running(self, count: int) -> None:
        async with asyncio.timeout(SOON):
            while len(self.running) != count:
                self._changed.clear()
                await self._changed.wait()


class Heard:
    """What a worker told its listeners, in order."""

    def __init__(self, worker: Worker, *events: str) -> None:
        self.all: list[tuple[Any, ...]] = []
        self._changed = asyncio.Event()
        for event in events:
            worker.on(event)(self._note(event))

    def _note(self, event: str) -> Callable[..., None]:
        def note(*args: Any) -> None:
            self.all.append((event, *args))
            self._changed.set()

        return note

    @property
    def names(self) -> list[str]:
        return [event for event, *_ in self.all]

    async def until(self, event: str, count: int = 1) -> tuple[Any, ...]:
        """Wait for the nth of these events, and give what came with it."""
        async with asyncio.timeout(SOON):
            while self.names.count(event) < count:
                self._changed.clear()
                await self._changed.wait()
        return [args for name, *args in self.all if name == event][count - 1]


async def events_of(app: Toril, queue: str) -> list[Event]:
    return await app.context.store.events(queue, None)


async def kinds(app: Toril, queue: str, job_id: str) -> list[str]:
    """Name the events of one job, and those of the whole queue, in order."""
    return [
        event.kind
        for event in await events_of(app, queue)
        if not isinstance(event, JobEvent) or event.job_id == job_id
    ]


async def until(look: Callable[[], Awaitable[T]], *, within: float = SOON) -> T:
    """Look again and again until there is something: for what only others can bring about."""
    async with asyncio.timeout(within):
        while not (found := await look()):  # noqa: ASYNC110  # no event of ours would tell
            await asyncio.sleep(0.01)
    return found


def line_at(where: str) -> tuple[str, str]:
    """Split "path:line" and read the text of that line."""
    path, _, number = where.rpartition(":")
    return path, Path(path).read_text().splitlines()[int(number) - 1].strip()
