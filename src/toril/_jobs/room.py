"""Adds that wait for room in queues that hold `max_waiting` jobs, in the order in which they came.

One task for each queue looks whether there is room, however many adds wait. Never here: how a store
counts, and which adds wait.
"""

import asyncio
from collections import deque

from toril.errors import QueueFull, StoreError

from .session import Session

# How often it is looked whether there is room: soon after there was some, less often after that.
FIRST_LOOK_S = 0.01
LONGEST_LOOK_S = 0.5

_Entry = tuple[int, asyncio.Future[None]]


class Room:
    """The adds of one event loop that wait for room."""

    def __init__(self, context: Session) -> None:
        self._context = context
        self._lines: dict[str, WaitingAdds] = {}

    async def wait(self, full: QueueFull, until: float, *, first: bool) -> None:
        """Wait until there may be room for what was refused; `first`: ahead of all others.

        Units    until: by the clock of the event loop.
        Raises   QueueFull: there was none in time.
        """
        line = self._line(full.queue)
        try:
            if not await line.wait(full.jobs, until, first=first):
                raise QueueFull(
                    queue=full.queue,
                    limit=full.limit,
                    count=full.count,
                    jobs=full.jobs,
                    waited=True,
                )
        finally:
            if not line.is_waited_for:
                self._lines.pop(full.queue, None)

    async def wait_turn(self, queue: str, until: float) -> bool:
        """Wait behind the adds that came before; return whether there were any."""
        line = self._lines.get(queue)
        if line is not None:
            await line.wait(1, until, first=False)
        return line is not None

    def _line(self, queue: str) -> "WaitingAdds":
        line = self._lines.get(queue)
        if line is None:
            line = self._lines[queue] = WaitingAdds(self._context, queue)
        return line


class WaitingAdds:
    """The adds that wait for room in one queue."""

    def __init__(self, context: Session, queue: str) -> None:
        self._context = context
        self._queue = queue
        self._waiting: deque[_Entry] = deque()
        self._looker: asyncio.Task[None] | None = None

    @property
    def is_waited_for(self) -> bool:
        """Whether any add waits here."""
        return any(not future.done() for _, future in self._waiting)

    async def wait(self, jobs: int, until: float, *, first: bool) -> bool:
        """Wait for room for this many jobs; return False if the time ended first."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[None] = loop.create_future()
        (self._waiting.appendleft if first else self._waiting.append)((jobs, future))
        if self._looker is None:
            self._looker = loop.create_task(self._look())
            self._looker.add_done_callback(self._looked)
        try:
            async with asyncio.timeout_at(until):
                await future
        except TimeoutError:
            return False
        finally:
            future.cancel()
        return True

    async def _look(self) -> None:
        """Let adds in as there is room for them, until none waits."""
        pause = FIRST_LOOK_S
        while True:
            await asyncio.sleep(pause)
            self._waiting = deque(entry for entry in self._waiting if not entry[1].done())
            if not self._waiting:
                self._looker = None
                return
            pause = FIRST_LOOK_S if await self._let_in() else min(pause * 2, LONGEST_LOOK_S)

    async def _let_in(self) -> bool:
        try:
            room = await self._room()
        except StoreError:
            return False  # an add of its own would tell; it waits on, for as long as it may
        before = len(self._waiting)
        while self._waiting and self._waiting[0][0] <= room:
            jobs, future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                room -= jobs
        return len(self._waiting) < before

    async def _room(self) -> float:
        store = await self._context.ready()
        (settings,) = await store.settings([self._queue])
        if settings.max_waiting is None:
            return float("inf")
        (counts,) = await store.counts([self._queue])
        return settings.max_waiting - counts.ready

    def _looked(self, task: asyncio.Task[None]) -> None:
        """Tell all who wait when the task that looks for room ended by an error."""
        if self._looker is not task:
            return
        self._looker = None
        error = None if task.cancelled() else task.exception()
        for _, future in self._waiting:
            if error is None:
                future.cancel()
            elif not future.done():
                future.set_exception(error)
        self._waiting.clear()
