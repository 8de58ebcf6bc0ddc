"""Read a queue's events once, for every follower of one event loop.

A follower that starts from an older id, or leaves too much unread, reads on its own until it has
caught up, and then joins the others. Never here: what a follower does with the events.
"""

import asyncio
import logging
import random
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from toril._model.times import Millis
from toril._store.protocol import Store
from toril.errors import StoreUnavailable
from toril.events import Event, JobEvent, let_find

from .batching import Batcher

WAIT_MS = 5_000
PATIENCE = (0.1, 5.0)
# How many events a follower may leave unread before it has to read by itself.
MOST = 1_000
# How many events a feed remembers, so that a follower can join without reading.
RECENT = 500

log = logging.getLogger("toril.events")

Find = Callable[[JobEvent], Awaitable[Any]]


def order(event_id: str) -> tuple[int, int]:
    """Return what orders the ids of one queue's events."""
    first, _, second = event_id.partition("-")
    return int(first), int(second or 0)


def _order_of(event: Event) -> tuple[int, int]:
    return order(event.id)


class Follower:
    """One reader's place in the events of a queue; `wake` is called when there is something new.

    Shape    after: the id to go on from. job_id: only events of this job. patient: wait while the
             store is out of reach, instead of raising StoreUnavailable.
    """

    def __init__(
        self,
        queue: str,
        after: str,
        wake: Callable[[], None],
        *,
        job_id: str | None = None,
        patient: bool = True,
    ) -> None:
        self.queue = queue
        self.job_id = job_id
        self.patient = patient
        self.position = after
        self.catching_up: asyncio.Task[None] | None = None
        self._wake = wake
        self._pages: deque[Sequence[Event]] = deque()
        self._unread = 0
        self._error: BaseException | None = None
        self._drained: asyncio.Future[None] | None = None

    def take(self) -> Sequence[Event]:
        """Return the oldest events that were not taken yet, or nothing.

        Raises   what ended the reading, after all that was read before.
        """
        if not self._pages:
            if self._error is not None:
                raise self._error.with_traceback(None)
            return ()
        page = self._pages.popleft()
        self._unread -= len(page)
        if not self._pages and self._drained is not None and not self._drained.done():
            self._drained.set_result(None)
        return page

    def hear(self, events: Sequence[Event]) -> bool:
        """Take events in; return False, and take none, when too many are unread."""
        if self._pages and self._unread + len(events) > MOST:
            return False
        if events:
            self.position = events[-1].id
            self._pages.append(events)
            self._unread += len(events)
            self._wake()
        return True

    def fail(self, error: BaseException) -> None:
        """Let `take` raise this."""
        if self._error is None:
            self._error = error
            self._wake()

    def endure(self, _: StoreUnavailable) -> bool:
        """Return whether to wait while the store is out of reach."""
        return self.patient

    async def drained(self) -> None:
        """Wait until everything was taken."""
        while self._pages:
            self._drained = asyncio.get_running_loop().create_future()
            await self._drained


class EventReaders:
    """The feeds of one event loop: one for each queue that somebody follows."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.find: Find | None = None
        """How events find their jobs: the same for every follower."""
        self._feeds: dict[str, EventReader] = {}
        self._newest = Batcher[str, str](self._read_newest)

    async def newest(self, queue: str) -> str:
        """Return the id of the newest event of a queue; callers of one moment share the read."""
        return await self._newest.put(queue)

    async def _read_newest(self, queues: list[str]) -> list[str]:
        found = {queue: await self.store.last_event(queue) for queue in dict.fromkeys(queues)}
        return [found[queue] for queue in queues]

    def follow(self, follower: Follower, *, fresh: bool) -> None:
        """Let a follower hear what comes after its position.

        Shape    fresh: the position is what `newest` has just returned.
        """
        if not (fresh and self.join(follower)):
            self.catch_up(follower)

    def join(self, follower: Follower) -> bool:
        """Let a follower share its queue's feed; False when the feed is too far ahead of it."""
        feed = self._feeds.get(follower.queue)
        if feed is None:
            feed = self._feeds[follower.queue] = EventReader(
                self, follower.queue, follower.position
            )
        return feed.admit(follower)

    def leave(self, follower: Follower) -> None:
        """Tell a follower nothing more; a feed without followers ends."""
        if follower.catching_up is not None:
            follower.catching_up.cancel()
        feed = self._feeds.get(follower.queue)
        if feed is not None:
            feed.dismiss(follower)

    def forget(self, feed: "EventReader") -> None:
        """Start again when a queue is followed again."""
        if self._feeds.get(feed.queue) is feed:
            del self._feeds[feed.queue]

    def catch_up(self, follower: Follower) -> None:
        """Let a follower read on its own from its position on."""
        task = asyncio.get_running_loop().create_task(self._read_alone(follower))
        task.add_done_callback(lambda done: _pass_on(done, [follower]))
        follower.catching_up = task

    async def _read_alone(self, follower: Follower) -> None:
        """Read a follower's events page by page, as fast as it takes them, until it can join."""
        while True:
            await follower.drained()
            feed = self._feeds.get(follower.queue)
            floor = None if feed is None else feed.floor
            events = await self.read(follower.queue, follower.position, 0, follower.endure)
            if events:
                self._hear_alone(follower, events)
            elif floor is not None and order(floor) > order(follower.position):
                # What lies between is not kept any more.
                follower.position = floor
            # Without a feed a full page may have another one behind it.
            if (not events or follower.queue in self._feeds) and self.join(follower):
                return

    def _hear_alone(self, follower: Follower, events: list[Event]) -> None:
        self.let_find(events)
        follower.hear(_about(follower.job_id, events))
        follower.position = events[-1].id

    def let_find(self, events: Sequence[Event]) -> None:
        """Let events find their jobs."""
        if self.find is not None:
            for event in events:
                let_find(event, self.find)

    async def read(
        self, queue: str, after: str, timeout_ms: Millis, endure: Callable[[StoreUnavailable], bool]
    ) -> list[Event]:
        """Read events of a queue; while the store is out of reach, try again.

        Shape    endure: informed of each fault; returns whether anybody waits for its end.
        Raises   whatever does not pass.
        """
        pause = PATIENCE[0]
        while True:
            try:
                return await self.store.events(queue, after, timeout_ms=timeout_ms)
            except StoreUnavailable as error:
                if not endure(error):
                    raise
                facts = {"queue": queue, "error": str(error)}
                log.warning("events.unreachable queue=%r error=%s", queue, error, extra=facts)
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(pause * 2, PATIENCE[1])


class EventReader:
    """The reader of one queue's events, and who follows it.

    Shape    floor: every event after this id that was read is in `_recent`.
    """

    def __init__(self, feeds: EventReaders, queue: str, after: str) -> None:
        self.queue = queue
        self.floor = after
        self._position = after
        self._feeds = feeds
        self._followers: dict[Follower, None] = {}
        self._by_job: dict[str, dict[Follower, None]] = {}
        # Followers whose position the feed has not reached yet.
        self._ahead: dict[Follower, tuple[int, int]] = {}
        self._recent: list[Event] = []
        self._task = asyncio.get_running_loop().create_task(self._read())
        self._task.add_done_callback(self._ended)

    def admit(self, follower: Follower) -> bool:
        """Let a follower hear every event after its position, if none of them is lost to it."""
        position = order(follower.position)
        if position < order(self.floor):
            return False
        if position > order(self._position):
            self._ahead[follower] = position
        missed = self._recent[bisect_right(self._recent, position, key=_order_of) :]
        self._feeds.let_find(missed)
        if follower.job_id is None:
            self._followers[follower] = None
        else:
            self._by_job.setdefault(follower.job_id, {})[follower] = None
        # What it has read by itself and what it missed are never too many together.
        follower.hear(_about(follower.job_id, missed))
        return True

    def dismiss(self, follower: Follower) -> None:
        """Forget a follower; without any the reading ends."""
        self._ahead.pop(follower, None)
        self._followers.pop(follower, None)
        if follower.job_id is not None:
            alike = self._by_job.get(follower.job_id, {})
            alike.pop(follower, None)
            if not alike:
                self._by_job.pop(follower.job_id, None)
        if not self._followers and not self._by_job:
            self._feeds.forget(self)
            self._task.cancel()

    def _all(self) -> list[Follower]:
        of_jobs = [follower for alike in self._by_job.values() for follower in alike]
        return [*self._followers, *of_jobs]

    async def _read(self) -> None:
        while True:
            found = await self._feeds.read(self.queue, self._position, WAIT_MS, self._endure)
            if found:
                self._deliver(found)

    def _deliver(self, events: list[Event]) -> None:
        self._feeds.let_find(events)
        self._position = events[-1].id
        recent = [*self._recent, *events]
        cut = max(len(recent) - RECENT, 0)
        if cut:
            self.floor = recent[cut - 1].id
        self._recent = recent[cut:]
        pages: dict[Follower, list[Event]] = dict.fromkeys(self._followers, events)
        if self._by_job:
            for event in events:
                for follower in self._by_job.get(getattr(event, "job_id", ""), ()):
                    pages.setdefault(follower, []).append(event)
        for follower, page in pages.items():
            if not follower.hear(self._new_to(follower, page)):
                self.dismiss(follower)
                self._feeds.catch_up(follower)

    def _endure(self, error: StoreUnavailable) -> bool:
        """Fail those who do not wait for the store to come back; return whether others do."""
        for follower in self._all():
            if not follower.patient:
                follower.fail(error)
                self.dismiss(follower)
        return bool(self._all())

    def _new_to(self, follower: Follower, page: list[Event]) -> list[Event]:
        """Leave out what lies before the position that a follower came with."""
        position = self._ahead.get(follower)
        if position is None:
            return page
        if order(self._position) >= position:
            del self._ahead[follower]
        return [event for event in page if order(event.id) > position]

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._feeds.forget(self)
        _pass_on(task, self._all())


def _about(job_id: str | None, events: Sequence[Event]) -> Sequence[Event]:
    if job_id is None:
        return events
    return [each for each in events if isinstance(each, JobEvent) and each.job_id == job_id]


def _pass_on(task: asyncio.Task[None], followers: Sequence[Follower]) -> None:
    """Tell followers what ended the task that read for them."""
    error = asyncio.CancelledError() if task.cancelled() else task.exception()
    if error is not None:
        for follower in followers:
            follower.fail(error)
