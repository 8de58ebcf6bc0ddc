"""`Events`: what happens to the jobs of queues, whoever adds and runs them, in order.

Never here: what a worker tells of itself (its listeners).
"""

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from toril.errors import ConfigError, StoreUnavailable
from toril.events import Event, JobEvent, let_find

from .context import Context

WAIT_MS = 5_000
PATIENCE = (0.1, 5.0)

log = logging.getLogger("toril.events")


class Events:
    """Iterate over the events of one or several queues, oldest first, without end.

    A listener that was away goes on after the id of the last event it saw, per queue. What it
    reads is a record of what happened, not a job. When the store cannot be reached, it tries
    again until it can, and misses nothing that is still kept.

    Shape    after: an id, or one for each queue; None: only what comes from now on, where "now"
             is when `async with` begins, or else the first step of `async for`. "0": from the
             oldest event that is kept. find: how events find their jobs.
    """

    def __init__(
        self,
        context: Context,
        queues: Sequence[str],
        after: str | Mapping[str, str] | None = None,
        *,
        find: Callable[[JobEvent], Awaitable[Any]] | None = None,
    ) -> None:
        if not queues:
            raise ConfigError("events of no queue", field="queues", hint="name at least one queue")
        if isinstance(after, str) and len(queues) != 1:
            raise ConfigError(
                "an event's id belongs to one queue",
                field="after",
                value=after,
                hint='give one for each queue: after={"emails": "17"}',
            )
        self._context = context
        self._find = find
        self.queues = tuple(queues)
        given = {queues[0]: after} if isinstance(after, str) else after
        self.last: dict[str, str] = dict(given or {})
        """The id of the last event that was given out, by queue."""
        self._found: asyncio.Queue[list[Event]] = asyncio.Queue(maxsize=1)
        self._readers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        await self._begin()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._each()

    async def close(self) -> None:
        """Stop reading."""
        readers, self._readers = self._readers, []
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)

    async def _each(self) -> AsyncIterator[Event]:
        await self._begin()
        try:
            while True:
                for event in await self._next():
                    self.last[event.queue] = event.id
                    yield event if self._find is None else let_find(event, self._find)
        finally:
            await self.close()

    async def _begin(self) -> None:
        if self._readers:
            return
        store = await self._context.ready()
        for queue in self.queues:
            if queue not in self.last:
                self.last[queue] = await store.last_event(queue)
        self._readers = [
            asyncio.create_task(self._read(queue, self.last[queue])) for queue in self.queues
        ]

    async def _next(self) -> list[Event]:
        taking = asyncio.ensure_future(self._found.get())
        try:
            await asyncio.wait([taking, *self._readers], return_when=asyncio.FIRST_COMPLETED)
            if taking.done():
                return taking.result()
            # A reader never ends by itself: its error is what there is to tell.
            for reader in self._readers:
                if reader.done():
                    reader.result()
            return await taking
        finally:
            taking.cancel()

    async def _read(self, queue: str, after: str) -> None:
        pause = PATIENCE[0]
        while True:
            try:
                events = await self._context.store.events(queue, after, timeout_ms=WAIT_MS)
            except StoreUnavailable as error:
                facts = {"queue": queue, "error": str(error)}
                log.warning("events.unreachable queue=%r error=%s", queue, error, extra=facts)
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, PATIENCE[1])
                continue
            pause = PATIENCE[0]
            if events:
                after = events[-1].id
                await self._found.put(events)
