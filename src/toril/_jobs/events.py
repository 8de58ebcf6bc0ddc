"""`Events`: what happens to the jobs of queues, whoever adds and runs them, in order.

Never here: what a worker tells of itself (its listeners).
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Self

from toril._model.checks import shown
from toril.errors import ConfigError
from toril.events import Event, JobEvent, Removed

from .event_reader import Find, Follower
from .session import Session

After = str | Mapping[str, str] | None


class Events:
    """Iterate over the events of one or several queues, oldest first, without end.

    A listener that was away goes on after the id of the last event it saw, per queue. What it
    reads is a record of what happened, not a job. When the store cannot be reached, it tries
    again until it can, and misses nothing that is still kept. All listeners of one event loop
    share one reader for each queue; a slow one holds up no other.

    Args:
        after: Continue after the event with this id, or one id per queue. "0": from the oldest
            event that is kept. None: from now on, where "now" is when `async with` begins, or
            else the first step of `async for`.
        find: How events find their jobs.
        job_id: Only events of this job.
    """

    def __init__(
        self,
        context: Session,
        queues: Sequence[str],
        after: After = None,
        *,
        find: Find | None = None,
        job_id: str | None = None,
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
        if not (after is None or isinstance(after, str | Mapping)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise ConfigError(
                f"after={shown(after)} is not the id of an event",
                field="after",
                value=after,
                hint="give the id of an event that you received, one for each queue, or None",
            )
        self._context = context
        self._find = find
        self._job_id = job_id
        self.queues = tuple(dict.fromkeys(queues))
        given = {queues[0]: after} if isinstance(after, str) else after
        self._last: dict[str, str] = dict(given or {})
        self._given: Event | None = None
        self._news = asyncio.Event()
        self._followers: list[Follower] = []

    @property
    def last(self) -> dict[str, str]:
        """The id of the last event that was returned, by queue."""
        self._note()
        return self._last

    def _note(self) -> None:
        # Not for every event: a thousand listeners may each be given a thousand of them.
        if self._given is not None:
            self._last[self._given.queue] = self._given.id

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
        followers, self._followers = self._followers, []
        for follower in followers:
            self._context.feeds.leave(follower)

    async def _each(self) -> AsyncIterator[Event]:
        await self._begin()
        try:
            while True:
                for event in await self._next():
                    self._given = event
                    yield event
                self._note()
        finally:
            await self.close()

    async def _begin(self) -> None:
        if self._followers:
            return
        await self._context.ready()
        feeds = self._context.feeds
        feeds.find = self._find or feeds.find
        fresh = [queue for queue in self.queues if queue not in self.last]
        newest = await asyncio.gather(*map(feeds.newest, fresh))
        self.last.update(zip(fresh, newest, strict=True))
        for queue in self.queues:
            follower = Follower(queue, self.last[queue], self._news.set, job_id=self._job_id)
            self._followers.append(follower)
            feeds.follow(follower, fresh=queue in fresh)

    async def _next(self) -> Sequence[Event]:
        while True:
            for follower in self._followers:
                if events := follower.take():
                    # The others come first the next time.
                    self._followers.remove(follower)
                    self._followers.append(follower)
                    return events
            self._news.clear()
            await self._news.wait()


class JobEvents:
    """The events of one job, until it is removed; `async with` begins at once, like `Events`."""

    def __init__(self, events: Events) -> None:
        self._events = events

    async def __aenter__(self) -> Self:
        await self._events.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._events.close()

    async def __aiter__(self) -> AsyncIterator[JobEvent]:
        async with self._events as events:
            async for event in events:
                if isinstance(event, JobEvent):
                    yield event
                    if isinstance(event, Removed):
                        return
