"""From nodes to stored jobs: defaults laid under options, trips shared, large batches in chunks.

Tasks, queues, flows and schedules all come through here, so that one set of defaults holds for
all of them. Never here: how a user writes any of these.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from toril._model.backoff import Backoff
from toril._model.options import JobOptions, Options, due, merge
from toril._model.record import NewJob, Record, check_queue_name, is_durable, leading_segments
from toril._model.report import SettingsPatch
from toril._model.states import State
from toril._model.stored_options import to_text
from toril._store.loops import PerLoop
from toril._store.protocol import Added
from toril.errors import ConfigError, DurabilityNotConfirmed, PartlyAdded, QueueFull, TorilError

from .audience import Audience
from .coalesce import Coalescer
from .context import Context
from .draft import Node
from .job import Job
from .payload import check_size
from .room import Room
from .turns import in_turns

CHUNK = 250
"""How many jobs of a batch are stored all or none."""

WINDOW = 4 * CHUNK
"""How many jobs of a batch go in one call, but beside a worker of this app: there it is one chunk."""

CHUNK_BYTES = 1_000_000
"""How much data a chunk or a call holds; a job with more is a chunk and a call by itself."""

_MERGED = 1024

Group = tuple[NewJob, ...]


@dataclass(slots=True, kw_only=True)
class _Declared:
    """What was declared for a queue: defaults of its jobs, and settings not yet stored."""

    defaults: JobOptions
    patch: SettingsPatch | None = None
    stored: SettingsPatch | None = None
    merged: dict[object, JobOptions] = field(default_factory=dict[object, JobOptions])


class Adder:
    """Add the jobs of one app."""

    def __init__(
        self, context: Context, defaults: JobOptions, *, warn_unserved: bool = False
    ) -> None:
        self.context = context
        self.audience = Audience(context, warn=warn_unserved)
        self._defaults = defaults
        self._queues: dict[str, _Declared] = {}
        # By the beginnings of their names, one of them.
        self._leads: dict[str, str] = {}
        self._trips = PerLoop(self._coalescer)
        # Who waits for replicas holds up nobody who does not.
        self._durable_trips = PerLoop(self._coalescer)
        # However many add many jobs, others find at most this much work of theirs before them.
        self._bulk = PerLoop(lambda: asyncio.Semaphore(context.store.trips))
        self._room = PerLoop(lambda: Room(context))

    def declare(
        self, queue: str, given: Options | None = None, patch: SettingsPatch | None = None
    ) -> None:
        """Set the defaults of a queue's jobs, and the settings to be stored at its first use.

        Raises   ConfigError: the name cannot be one, or begins another queue's name; a bad option.
        """
        check_queue_name(queue)
        self._check_family(queue)
        options = merge(self._defaults, given or Options())
        self._queues[queue] = _Declared(defaults=options, patch=patch)

    def options(self, node: Node) -> JobOptions:
        """Lay a node's options over the defaults of its queue.

        Raises   ConfigError: a bad option.
        """
        declared = self._declared(node.queue)
        if not node.options and node.task_backoff is None:
            return declared.defaults
        try:
            # True, 1 and 1.0 are equal as keys and mean different things as options.
            values = node.options.values()
            key = (node.task_backoff, *node.options.items(), *map(type, values))
            found = declared.merged.get(key)
        except TypeError:
            return _merged(declared.defaults, node)
        if found is None:
            found = _merged(declared.defaults, node)
            if len(declared.merged) >= _MERGED:
                declared.merged.clear()
            declared.merged[key] = found
        return found

    async def ready(self, queues: Iterable[str]) -> None:
        """Open the store, and store the settings declared for these queues if they are not yet."""
        await self.context.ready()
        for queue in queues:
            declared = self._declared(queue)
            patch = declared.patch
            if patch is not None:
                await self.context.store.configure(queue, replace(patch, declared=True))
                # Only now: a store that failed is asked again at the next use.
                declared.patch = None if declared.patch is patch else declared.patch
                declared.stored = patch

    async def mark(self, queue: str) -> None:
        """Note in the store that something is declared for a queue, unless it is noted."""
        if self._declared(queue).stored is None:
            self._declared(queue).patch = SettingsPatch()
            await self.ready([queue])

    async def store_again(self, queue: str) -> None:
        """Store the settings of a queue again that the store has lost."""
        declared = self._declared(queue)
        declared.patch = declared.patch or declared.stored
        await self.ready([queue])

    def marked(self, queues: Iterable[str]) -> Iterable[str]:
        """Return those of these queues for which something was declared and stored."""
        return (queue for queue in queues if self._declared(queue).stored is not None)

    async def add(self, nodes: Sequence[Node]) -> list[Job[Any]]:
        """Add jobs without children, and give their handles in the same order.

        Atomic   chunks of 250 jobs or 1 MB of data.
        Raises   what the store refused them for; PartlyAdded when chunks before it were stored.
        """
        queues = {node.queue for node in nodes}
        await self.ready(queues)
        self.audience.added(queues)
        if len(nodes) == 1:
            (new,) = news = (self.new_job(nodes[0]),)
            (added,) = await self.put(news)
            return [self.handle(nodes[0], new, added)]
        return await self._add_many(nodes)

    async def put(self, group: Group) -> tuple[Added, ...]:
        """Add one group, all or none, sharing the trip with whatever else is being added.

        Whether it waits for room in a full queue is what its first job says.

        Raises   what the store refused it for.
        """
        wait_ms = group[0].options.full_wait_ms
        if wait_ms is None:
            return await self._carry(group)
        loop, room = asyncio.get_running_loop(), self._room.here()
        until = loop.time() + wait_ms / 1000
        first = await room.wait_turn(group[0].queue, until)
        while True:
            try:
                return await self._carry(group)
            except QueueFull as full:
                if full.jobs > full.limit:
                    raise
                await room.wait(full, until, first=first)
                first = True

    async def _carry(self, group: Group) -> tuple[Added, ...]:
        trips = self._durable_trips if is_durable(group) else self._trips
        return await trips.here().put(group)

    def new_job(self, node: Node) -> NewJob:
        """Make the job that is to be stored.

        Raises   ConfigError: a bad option, or data over its limit.
        """
        options = self.options(node)
        where = f"data of {node.name!r}"
        if options.max_size is not None:
            check_size(node.data, options.max_size, where=where)
        else:
            self.context.limits.check(node.data, node.queue, where)
        if node.parent is not None and options.parent_on_fail is None:
            options = replace(options, parent_on_fail="fail")
        return NewJob(
            queue=node.queue,
            name=node.name,
            data=node.data,
            options=options,
            id=node.id,
            parent=node.parent,
        )

    def handle(self, node: Node, new: NewJob, added: Added) -> Job[Any]:
        """Make the handle of a job that was added."""
        record = _record(new, added)
        return Job(self.context, record, decode=node.decode, created=added.created)

    def _handle_of(self, parts: tuple[Node, NewJob, Added]) -> Job[Any]:
        return self.handle(*parts)

    async def _add_many(self, nodes: Sequence[Node]) -> list[Job[Any]]:
        if nodes and self.options(nodes[0]).full_wait_ms is not None:
            return await self._add_as_room_allows(nodes)
        jobs: list[Job[Any]] = []
        # All are made before the first is stored: one that cannot be leaves nothing behind.
        news = await in_turns(self.new_job, nodes)
        alone = not self.audience.serving or (bool(news) and news[0].options.durable is not None)
        for window in cut(news, WINDOW if alone else CHUNK):
            answers = await self._add_groups([tuple(chunk) for chunk in cut(window, CHUNK)])
            errors = [each for each in answers if isinstance(each, TorilError)]
            if errors:
                ids = [id for each in answers for id in _stored(each)]
                raise _partly([*(job.id for job in jobs), *ids], errors)
            added = [one for each in answers if not isinstance(each, TorilError) for one in each]
            parts = zip(nodes[len(jobs) : len(jobs) + len(window)], window, added, strict=True)
            jobs += await in_turns(self._handle_of, parts)
        return jobs

    async def _add_as_room_allows(self, nodes: Sequence[Node]) -> list[Job[Any]]:
        """Add chunk by chunk, each as soon as there is room, and of a chunk first what fits."""
        jobs: list[Job[Any]] = []
        rest = deque(cut(await in_turns(self.new_job, nodes), CHUNK))
        try:
            while rest:
                chunk = rest.popleft()
                try:
                    added = await self._carry(tuple(chunk))
                except QueueFull as full:
                    fits = min(max(full.limit - full.count, 0), len(chunk) - 1)
                    rest.extendleft(part for part in (chunk[fits:], chunk[:fits]) if part)
                    if not fits:
                        await self._wait_for_one(full, chunk[0].options.full_wait_ms or 0)
                else:
                    there = nodes[len(jobs) : len(jobs) + len(chunk)]
                    jobs.extend(map(self.handle, there, chunk, added))
        except TorilError as error:
            failure = error
        else:
            return jobs
        raise _partly([*(job.id for job in jobs), *_stored(failure)], [failure])

    async def _wait_for_one(self, full: QueueFull, wait_ms: int) -> None:
        one = QueueFull(queue=full.queue, limit=full.limit, count=full.count)
        until = asyncio.get_running_loop().time() + wait_ms / 1000
        await self._room.here().wait(one, until, first=False)

    async def _add_groups(self, groups: list[Group]) -> Sequence[tuple[Added, ...] | TorilError]:
        if not any(map(is_durable, groups)):
            async with self._bulk.here():
                return await self.context.store.add(groups)
        trips = self._durable_trips.here()
        answers = await asyncio.gather(*map(trips.put, groups), return_exceptions=True)
        return [_answer(each) for each in answers]

    def _coalescer(self) -> Coalescer[Group, tuple[Added, ...]]:
        return Coalescer(self._store, limit=CHUNK, weigh=_weigh)

    async def _store(self, groups: list[Group]) -> Sequence[tuple[Added, ...] | BaseException]:
        return await self.context.store.add(groups)

    def _declared(self, queue: str) -> _Declared:
        if queue not in self._queues:
            self.declare(queue)
        return self._queues[queue]

    def _check_family(self, queue: str) -> None:
        leads = leading_segments(queue)
        other = next((lead for lead in leads if lead in self._queues), self._leads.get(queue))
        if other is not None:
            short, long = sorted((queue, other), key=len)
            raise ConfigError(
                f"queues {short!r} and {long!r} cannot both exist: one begins the other",
                field="queue",
                value=queue,
                hint=f'rename the first, for example "{short}:main"',
            )
        self._leads.update(dict.fromkeys(leads, queue))


def _weigh(group: Group) -> float:
    """Return which part of a trip a group takes."""
    jobs = len(group)
    if jobs == 1:
        return len(group[0].data) / CHUNK_BYTES
    return max(jobs / WINDOW, sum([len(job.data) for job in group]) / CHUNK_BYTES)


def cut(jobs: Sequence[NewJob], most: int) -> Iterator[list[NewJob]]:
    """Cut a batch into parts of at most so many jobs, and of bounded size."""
    part: list[NewJob] = []
    size = 0
    for job in jobs:
        size += len(job.data)
        if part and (len(part) == most or size > CHUNK_BYTES):
            yield part
            part, size = [], len(job.data)
        part.append(job)
    if part:
        yield part


def now_ms() -> int:
    """Give the time, in ms since the epoch."""
    return time.time_ns() // 1_000_000


def _merged(defaults: JobOptions, node: Node) -> JobOptions:
    options = merge(defaults, node.options, now=now_ms())
    backoff: Backoff | None = node.task_backoff
    if backoff is None or options.attempts == 1 or options.backoff is not None:
        return options
    return options if "backoff" in node.options else replace(options, backoff=backoff)


def _record(new: NewJob, added: Added) -> Record:
    options = new.options
    now = now_ms()
    created = now if options.created_ms is None else options.created_ms
    due_ms = due(options, created, now)
    if new.expects_children:
        state = State.WAITING_CHILDREN
    elif due_ms is not None:
        state = State.DELAYED
    else:
        state = State.PRIORITIZED if options.priority else State.WAITING
    parent = new.parent
    return Record(
        queue=new.queue,
        id=added.id,
        name=new.name,
        data=new.data,
        opts=to_text(options),
        state=state,
        created_ms=created,
        priority=options.priority,
        delay_ms=0 if due_ms is None else max(due_ms - created, 0),
        parent_queue=parent.queue if parent else None,
        parent_id=parent.id if parent else None,
    )


def _answer(given: tuple[Added, ...] | BaseException) -> tuple[Added, ...] | TorilError:
    if isinstance(given, BaseException) and not isinstance(given, TorilError):
        raise given
    return given


def _stored(answer: tuple[Added, ...] | TorilError) -> Sequence[str]:
    if isinstance(answer, TorilError):
        return answer.ids if isinstance(answer, DurabilityNotConfirmed) else ()
    return [one.id for one in answer]


def _partly(ids: list[str], errors: list[TorilError]) -> TorilError:
    """Make one error of all, with the ids of the jobs that were stored in spite of them."""
    doubt = errors[0]
    refused = next((e for e in errors if not isinstance(e, DurabilityNotConfirmed)), None)
    if refused is None and isinstance(doubt, DurabilityNotConfirmed):
        return DurabilityNotConfirmed(doubt.reason, ids=tuple(ids), replicas=doubt.replicas)
    if refused is None or not ids:
        return doubt
    error = PartlyAdded(f"{len(ids)} jobs were stored, then: {refused}", ids=tuple(ids))
    error.__cause__ = refused
    return error
