"""Live updates: one look a second for all viewers, sent to each as events of one stream.

The hub starts with the first viewer and rests after the last. Never here: HTTP (stream).
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Collection, Hashable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import unquote

import msgspec

from toril import StoreError, Toril

from .operations import OperationRow
from .rows import QueueSummary, WorkerRow, worker_row
from .sampler import Sampler, Snapshot, snapshot_rows

log = logging.getLogger("toril.dashboard")

INTERVAL_S, SLOWEST_S = 1.0, 10.0
# A look that takes the store longer than this doubles the pause before the next.
SLOW_MS = 100.0
LINGER_S = 10.0
KEPT, UNREAD = 256, 8
MOST_TOPICS, MOST_VIEWERS = 32, 200

Queues = frozenset[str] | None


@dataclass(frozen=True, slots=True)
class Frame:
    """One event of the stream, encoded once for all who get it."""

    id: int
    topic: str
    event: str
    data: bytes


@dataclass(slots=True, eq=False)
class Viewer:
    """One open stream: what it wants to know, and what it has not been sent yet."""

    topics: frozenset[str]
    queues: Queues
    unread: deque[Frame] = field(default_factory=deque[Frame])
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    overrun: bool = False
    dropped: int = 0

    def put(self, frame: Frame) -> None:
        """Queue a frame; one who does not keep up gets everything afresh instead."""
        if len(self.unread) >= UNREAD:
            self.dropped += len(self.unread)
            self.unread.clear()
            self.overrun = True
        if not self.overrun:
            self.unread.append(frame)
        self.ready.set()


class Hub:
    """Fans out what changes to all open streams of one process."""

    def __init__(self, app: Toril, sampler: Sampler) -> None:
        self._app = app
        self._sampler = sampler
        self._viewers: set[Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._sent: deque[tuple[Hashable, Frame]] = deque(maxlen=KEPT)
        self._before: dict[Queues, dict[str, QueueSummary]] = {}
        self._workers: dict[Queues, bytes] = {}
        self._count = 0
        self.interval_s = INTERVAL_S
        self.boot = f"{time.time_ns() // 1_000_000:x}"

    @property
    def viewers(self) -> int:
        """How many streams are open."""
        return len(self._viewers)

    def open(self, topics: Collection[str], queues: Queues, last_id: str = "") -> Viewer:
        """Add a viewer; it gets what it missed since `last_id`, or everything as it is."""
        viewer = Viewer(frozenset(topics), queues)
        missed = self._missed(viewer, last_id)
        if missed is None:
            viewer.overrun = True
        else:
            viewer.unread.extend(missed)
        viewer.ready.set()
        self._viewers.add(viewer)
        for topic in viewer.topics:
            if topic.startswith("job:") and topic not in self._jobs:
                self._jobs[topic] = asyncio.create_task(self._follow(topic))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._watch())
        return viewer

    def close(self, viewer: Viewer) -> None:
        """Remove a viewer."""
        self._viewers.discard(viewer)
        wanted = {topic for each in self._viewers for topic in each.topics}
        for topic in [topic for topic in self._jobs if topic not in wanted]:
            self._jobs.pop(topic).cancel()

    async def stop(self) -> None:
        """End what runs here."""
        tasks = [task for task in (self._task, *self._jobs.values()) if task is not None]
        self._task, self._jobs = None, {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def whole(self, viewer: Viewer) -> list[Frame]:
        """Return everything that a viewer wants to know, as it is now."""
        viewer.overrun = False
        viewer.unread.clear()
        found: list[Frame] = []
        if viewer.topics & {"overview", "workers"} or any(
            topic.startswith("queue:") for topic in viewer.topics
        ):
            snapshot = await self._sampler.snapshot()
            if "workers" in viewer.topics:
                found.append(self._frame("workers", "workers", _workers(snapshot, viewer.queues)))
            rows = self._visible(snapshot, viewer.queues)
            facts = self._facts(snapshot, viewer.queues)
            body = encode({**facts, "whole": True, "queues": list(rows.values()), "gone": []})
            found.append(self._frame("overview", "overview", body))
        return found

    def tell_operation(self, row: OperationRow) -> None:
        """Send how an operation goes on; those who see only some queues are not told."""
        if any("operations" in viewer.topics for viewer in self._viewers):
            self._send("operations", "operations", encode(row), None)

    # How.

    def _missed(self, viewer: Viewer, last_id: str) -> list[Frame] | None:
        boot, _, number = last_id.partition("-")
        if boot != self.boot or not number.isdigit() or not self._sent:
            return None
        last = int(number)
        if last < self._sent[0][1].id - 1 or last > self._count:
            return None
        found = [
            frame
            for audience, frame in self._sent
            if frame.id > last and _is_for(viewer, audience, frame.topic)
        ]
        return found if len(found) <= UNREAD else None

    def _frame(self, topic: str, event: str, data: bytes) -> Frame:
        self._count += 1
        return Frame(self._count, topic, event, data)

    def _send(self, topic: str, event: str, data: bytes, audience: Hashable) -> None:
        frame = self._frame(topic, event, data)
        self._sent.append((audience, frame))
        for viewer in self._viewers:
            if _is_for(viewer, audience, topic):
                viewer.put(frame)

    async def _watch(self) -> None:
        """Look once a second while somebody watches, and a little longer."""
        idle = 0.0
        while idle < LINGER_S:
            idle = 0.0 if self._viewers else idle + self.interval_s
            if self._viewers:
                await self._tick()
            await asyncio.sleep(self.interval_s)
        self._before, self._workers = {}, {}

    async def _tick(self) -> None:
        try:
            snapshot = await self._sampler.snapshot()
        except StoreError as error:
            body = encode({"error": "store", "message": str(error)})
            for queues in {viewer.queues for viewer in self._viewers}:
                self._send("overview", "trouble", body, queues)
            self.interval_s = min(self.interval_s * 2, SLOWEST_S)
            return
        slow = snapshot.took_ms > SLOW_MS
        self.interval_s = min(self.interval_s * 2, SLOWEST_S) if slow else INTERVAL_S
        for queues in {viewer.queues for viewer in self._viewers}:
            self._tell(snapshot, queues)

    def _tell(self, snapshot: Snapshot, queues: Queues) -> None:
        rows, before = self._visible(snapshot, queues), self._before.get(queues, {})
        changed = [row for name, row in rows.items() if _has_changed(before.get(name), row)]
        gone = [name for name in before if name not in rows]
        self._before[queues] = rows
        facts = self._facts(snapshot, queues)
        body = encode({**facts, "whole": False, "queues": changed, "gone": gone})
        self._send("overview", "delta", body, queues)
        workers = _workers(snapshot, queues)
        if self._workers.get(queues) != workers:
            self._workers[queues] = workers
            self._send("workers", "workers", workers, queues)

    def _visible(self, snapshot: Snapshot, queues: Queues) -> dict[str, QueueSummary]:
        rows = snapshot_rows(snapshot)
        return {row.name: row for row in rows if queues is None or row.name in queues}

    def _facts(self, snapshot: Snapshot, queues: Queues) -> dict[str, Any]:
        facts = {"took_ms": snapshot.took_ms, "interval_s": self.interval_s}
        return {"at_ms": snapshot.at_ms, **facts, "workers": asdict(totals(snapshot, queues))}

    async def _follow(self, topic: str) -> None:
        """Tell of the events of one job."""
        queue, job_id = map(unquote, topic.removeprefix("job:").split("|", 1))
        with suppress(asyncio.CancelledError):
            async with self._app.queue(queue).events() as events:
                async for event in events:
                    if getattr(event, "job_id", None) != job_id:
                        continue
                    facts = {"queue": queue, "id": job_id, "kind": event.kind, "at_ms": event.at_ms}
                    self._send(topic, "job", encode(facts), topic)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerTotals:
    """How many workers there are, and what they do."""

    count: int = 0
    alive: int = 0
    slots: int = 0
    busy: int = 0


def totals(snapshot: Snapshot, queues: Queues) -> WorkerTotals:
    """Count the workers, of these queues or of all."""
    seen = [
        each
        for each in snapshot.workers
        if queues is None or any(name in queues for name in each.queues)
    ]
    living = [each for each in seen if each.alive]
    return WorkerTotals(
        count=len(seen),
        alive=len(living),
        slots=sum(each.concurrency for each in living),
        busy=sum(each.active for each in living),
    )


def encode(value: object) -> bytes:
    """Return a value as one line of JSON."""
    return msgspec.json.encode(value)


def _has_changed(before: QueueSummary | None, row: QueueSummary) -> bool:
    """Compare two rows but for the age of the oldest job, which grows on its own."""
    if before is None or (before.oldest_waiting_ms is None) != (row.oldest_waiting_ms is None):
        return True
    age = row.oldest_waiting_ms
    younger = age is not None and age < (before.oldest_waiting_ms or 0)
    return younger or _but_age(before) != _but_age(row)


def _but_age(row: QueueSummary) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in row.__slots__ if name != "oldest_waiting_ms")


def _workers(snapshot: Snapshot, queues: Queues) -> bytes:
    return encode({"items": visible_workers(snapshot, queues)})


def visible_workers(snapshot: Snapshot, queues: Queues) -> list[WorkerRow]:
    """Return the workers of the queues that somebody may see, and only these of their queues."""
    rows = [worker_row(each) for each in snapshot.workers]
    if queues is None:
        return rows
    return [_narrowed(row, queues) for row in rows if any(name in queues for name in row.queues)]


def _narrowed(row: WorkerRow, queues: frozenset[str]) -> WorkerRow:
    return replace(
        row,
        queues=[name for name in row.queues if name in queues],
        running=[each for each in row.running if each.queue in queues],
    )


def _is_for(viewer: Viewer, audience: Hashable, topic: str) -> bool:
    if topic == "overview":
        wanted = "overview" in viewer.topics or any(
            each.startswith("queue:") for each in viewer.topics
        )
        return wanted and audience == viewer.queues
    if topic not in viewer.topics:
        return False
    return topic.startswith("job:") or audience == viewer.queues
