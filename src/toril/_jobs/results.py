"""Waiting for jobs to finish: one follower of a queue's events, however many wait.

Never here: what a result means to the one who waits.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from toril._model.record import Record, Ref
from toril._model.states import FINISHED, State
from toril._store.protocol import Store
from toril.events import (
    Active,
    Added,
    Completed,
    Delayed,
    Event,
    Failed,
    JobEvent,
    Removed,
    Waiting,
)

from .batching import Batcher
from .event_reader import EventReaders, Follower
from .expire import end_in_time, limit_of

# Obliterate and drain emit nothing and a log of events is bounded, so the jobs themselves are
# looked at again so often.
LOOK_MS = 5_000
# After one of these an end that came before it counts no more.
_BEGINNINGS = (Added, Waiting, Delayed, Active)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """How a job ended; all None: it is gone and nothing is known.

    Shape    value is JSON text; end is how it failed, as `Record.end` says it.
    """

    value: str | None = None
    reason: str | None = None
    stack: tuple[str, ...] = ()
    end: str = "failed"

    @property
    def known(self) -> bool:
        """Whether it is known how the job ended."""
        return self.value is not None or self.reason is not None


class Results:
    """Let any number of callers of one event loop wait for jobs."""

    def __init__(self, store: Store, feeds: EventReaders) -> None:
        self._store = store
        self._feeds = feeds
        self._reads = Batcher[Ref, Record | None](lambda refs: _read(store, refs))
        self._past = Batcher[Ref, Settled](lambda refs: _look_back(store, refs))
        self._watches: dict[str, _Watch] = {}

    async def settled(self, ref: Ref) -> Settled:
        """Wait until the job has finished or is gone; one that has finished answers at once.

        Of one that is gone the events tell that are still kept: it may have finished, unkept,
        just before anybody could look.
        """
        settled = await self._watched(ref)
        return settled if settled.known else await self._past.put(ref)

    async def _watched(self, ref: Ref) -> Settled:
        record = await self._reads.put(ref)
        if record is None or record.state in FINISHED:
            return _of_record(record)
        watch = self._watches.get(ref.queue)
        if watch is None or watch.over:
            watch = self._watches[ref.queue] = _Watch(self._feeds, self._reads, ref.queue)
        limited = limit_of(record) is not None
        timer = asyncio.create_task(end_in_time(self._store, record)) if limited else None
        try:
            return await watch.wait(ref.id)
        finally:
            if timer is not None:
                timer.cancel()
            if watch.over and self._watches.get(ref.queue) is watch:
                del self._watches[ref.queue]


async def _read(store: Store, refs: list[Ref]) -> list[Record | None]:
    return await store.get(refs)


async def _look_back(store: Store, refs: list[Ref]) -> list[Settled]:
    """Find in the kept events of their queues how jobs ended, one reading a queue."""
    ends: dict[Ref, JobEvent] = {}
    for queue in {ref.queue for ref in refs}:
        wanted = {ref.id for ref in refs if ref.queue == queue}
        last, after = await store.last_event(queue), ""
        while after != last and (events := await store.events(queue, after or None)):
            after = events[-1].id
            for event in events:
                if not isinstance(event, JobEvent) or event.job_id not in wanted:
                    continue
                if isinstance(event, Completed | Failed):
                    ends[Ref(queue, event.job_id)] = event
                elif isinstance(event, _BEGINNINGS):
                    ends.pop(Ref(queue, event.job_id), None)
    return [_of_event(ends.get(ref)) for ref in refs]


class _Watch:
    """Follow one queue's events for everyone who waits for a job of it."""

    def __init__(self, feeds: EventReaders, reads: Batcher[Ref, Record | None], queue: str) -> None:
        self._feeds = feeds
        self._reads = reads
        self._queue = queue
        self._waiters: dict[str, set[asyncio.Future[Settled]]] = {}
        self._follows = False
        self.over = False
        self._task = asyncio.create_task(self._follow())
        self._task.add_done_callback(self._ended)

    async def wait(self, job_id: str) -> Settled:
        future: asyncio.Future[Settled] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(job_id, set()).add(future)
        try:
            if self._follows:
                # The end may have been read between the caller's look and this line.
                await self._look([job_id], {})
            return await future
        finally:
            self._forget(job_id, future)

    def _forget(self, job_id: str, future: asyncio.Future[Settled]) -> None:
        waiting = self._waiters.get(job_id, set())
        waiting.discard(future)
        if not waiting:
            self._waiters.pop(job_id, None)
        if not self._waiters:
            self.over = True
            self._task.cancel()

    async def _follow(self) -> None:
        news = asyncio.Event()
        newest = await self._feeds.newest(self._queue)
        follower = Follower(self._queue, newest, news.set, patient=False)
        self._feeds.follow(follower, fresh=True)
        try:
            self._follows = True
            await self._look_again(follower, news)
        finally:
            self._feeds.leave(follower)

    async def _look_again(self, follower: Follower, news: asyncio.Event) -> None:
        looked = 0.0
        while True:
            if time.monotonic() - looked >= LOOK_MS / 1000:
                await self._look(list(self._waiters), {})
                looked = time.monotonic()
            if events := follower.take():
                await self._look_after(events)
                continue
            news.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_MS / 1000):
                    await news.wait()

    async def _look_after(self, events: Sequence[Event]) -> None:
        ends = {
            event.job_id: event
            for event in events
            if isinstance(event, Completed | Failed | Removed) and event.job_id in self._waiters
        }
        await self._look(list(ends), ends)

    async def _look(self, ids: list[str], ends: Mapping[str, JobEvent]) -> None:
        refs = [Ref(self._queue, job_id) for job_id in ids]
        records = await asyncio.gather(*(self._reads.put(ref) for ref in refs))
        for job_id, record in zip(ids, records, strict=True):
            if record is None:
                self._tell(job_id, _of_event(ends.get(job_id)))
            elif record.state in FINISHED:
                self._tell(job_id, _of_record(record))

    def _tell(self, job_id: str, settled: Settled) -> None:
        for future in self._waiters.get(job_id, ()):
            if not future.done():
                future.set_result(settled)

    def _ended(self, task: asyncio.Task[None]) -> None:
        # A reader that fails must not leave anybody waiting.
        self.over = True
        error = None if task.cancelled() else task.exception()
        for waiting in self._waiters.values():
            for future in waiting:
                if future.done():
                    continue
                if error is None:
                    future.cancel()
                else:
                    future.set_exception(error)


def _of_record(record: Record | None) -> Settled:
    if record is None:
        return Settled()
    if record.state is State.COMPLETED:
        return Settled(value=record.result if record.result is not None else "null")
    reason = record.reason or "failed without a reason"
    return Settled(reason=reason, stack=record.stack, end=record.end or "failed")


def _of_event(event: JobEvent | None) -> Settled:
    """Read from the event how a job ended that is no longer kept."""
    if isinstance(event, Completed):
        return Settled(value=msgspec.json.encode(event.result).decode())
    if isinstance(event, Failed):
        return Settled(reason=event.reason)
    return Settled()
