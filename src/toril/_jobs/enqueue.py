"""From nodes to stored jobs: defaults laid under options, trips shared, large batches in chunks.

Tasks, queues, flows and schedules all come through here, so that one set of defaults holds for
all of them. Never here: how a user writes any of these.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import msgspec

from toril._model.backoff import Backoff
from toril._model.bounds import CHARACTERS_A_CALL, JOBS_A_CALL
from toril._model.options import JobOptions, Options, due, merge
from toril._model.record import NewJob, Record, check_queue_name, is_durable, leading_segments
from toril._model.report import SettingsPatch
from toril._model.search import Fields, fields_of
from toril._model.states import State
from toril._model.stored_options import to_text
from toril._model.times import Millis
from toril._store.loop_local import PerLoop
from toril._store.values import AddAnswer
from toril.errors import ConfigError, DurabilityNotConfirmed, PartlyAdded, QueueFull, TorilError

from .batching import Batcher
from .drafts import BeforeEnqueue, prepared
from .job import Job
from .listeners import Listeners
from .node import Node
from .payload import check_size
from .room import Room
from .session import Session
from .turns import in_turns
from .unserved import Unserved

WINDOW = 4 * JOBS_A_CALL
"""How many jobs of a batch go in one call, but beside a worker of this app: there it is one chunk."""

LONGEST_REST_S = 0.05
"""How long who adds many jobs lets the queues rest that workers of this process serve beside."""

MANY = 25
MANY_BYTES = 100_000
"""More than this is much to add: it takes turns with other queues."""

BESIDE_OTHERS = 1 / 100
"""Which part of a trip a job takes when workers of this app serve several queues."""

NEW_QUEUE = 1 / 25
"""Which part of a trip the first job of a queue takes: the queue is made with it."""

_MERGED = 1024

Group = tuple[NewJob, ...]


@dataclass(slots=True, kw_only=True)
class _Declared:
    """What was declared for a queue: defaults of its jobs, and settings not yet stored."""

    defaults: JobOptions
    patch: SettingsPatch | None = None
    stored: SettingsPatch | None = None
    merged: dict[object, JobOptions] = field(default_factory=dict[object, JobOptions])


class Enqueuer:
    """Add the jobs of one app."""

    def __init__(
        self, context: Session, defaults: JobOptions, *, warn_unserved: bool = False
    ) -> None:
        self.context = context
        self.unserved = Unserved(context, warn=warn_unserved)
        self._defaults = defaults
        self._queues: dict[str, _Declared] = {}
        # By the beginnings of their names, one of them.
        self._leads: dict[str, str] = {}
        self._trips = PerLoop(partial(self._batcher, self._weigh))
        # Queues to which jobs were added.
        self._known: set[str] = set()
        # Who waits for replicas holds up nobody who does not. A confirmation costs more than the
        # jobs that share it: so these go by their size alone.
        self._durable_trips = PerLoop(partial(self._batcher, _size))
        # However many add many jobs, others find at most this much work of theirs before them.
        self._bulk = PerLoop(lambda: asyncio.Semaphore(context.store.trips))
        self._room = PerLoop(lambda: Room(context))
        # What the app does with each job before it is stored, and who hears of it afterwards.
        self.before: list[BeforeEnqueue] = []
        self.listeners = Listeners()

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
            return self._merged(declared.defaults, node)
        if found is None:
            found = self._merged(declared.defaults, node)
            if len(declared.merged) >= _MERGED:
                declared.merged.clear()
            declared.merged[key] = found
        return found

    def _merged(self, defaults: JobOptions, node: Node) -> JobOptions:
        options = merge(defaults, node.options, now=self.context.store.clock.now_ms())
        backoff: Backoff | None = node.task_backoff
        if backoff is None or options.attempts == 1 or options.backoff is not None:
            return options
        return options if "backoff" in node.options else replace(options, backoff=backoff)

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

    def start_over(self) -> None:
        """Forget what was stored: another store is used from now on."""
        for declared in self._queues.values():
            declared.patch, declared.stored = declared.patch or declared.stored, None
        self._known.clear()

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
        self.unserved.added(queues)
        if len(nodes) == 1:
            (new,) = news = (self.new_job(nodes[0]),)
            (added,) = await self.put(news)
            jobs = [self.handle(nodes[0], new, added)]
        else:
            jobs = await self._add_many(nodes)
        if self.context.inline is not None:
            await self.context.inline()
        return jobs

    async def put(self, group: Group) -> tuple[AddAnswer, ...]:
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

    async def _carry(self, group: Group) -> tuple[AddAnswer, ...]:
        trips = self._durable_trips if is_durable(group) else self._trips
        return await trips.here().put(group)

    def new_job(self, node: Node) -> NewJob:
        """Make the job that is to be stored, after `before_enqueue` functions have seen it.

        Raises   ConfigError: a bad option, or data over its limit. What such a function refuses it for.
        """
        return self.checked(prepared(node, self.before, self.options) if self.before else node)

    def checked(self, node: Node) -> NewJob:
        """Make a job as it would be stored.

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
            fields=_fields(node.data, options) if options.index or options.tags else (),
        )

    def handle(self, node: Node, new: NewJob, added: AddAnswer) -> Job[Any]:
        """Make the handle of a job that was added."""
        record = _record(new, added, self.context.store.clock.now_ms())
        job = Job(self.context, record, decode=node.decode, created=added.created)
        if self.listeners.heard("added"):
            self.listeners.tell("added", job)
        return job

    def _handle_of(self, parts: tuple[Node, NewJob, AddAnswer]) -> Job[Any]:
        return self.handle(*parts)

    async def _add_many(self, nodes: Sequence[Node]) -> list[Job[Any]]:
        if nodes and self.options(nodes[0]).full_wait_ms is not None:
            return await self._add_as_room_allows(nodes)
        jobs: list[Job[Any]] = []
        # All are made before the first is stored: one that cannot be leaves nothing behind.
        news = await in_turns(self.new_job, nodes)
        alone = not self.unserved.served or (bool(news) and news[0].options.durable is not None)
        for window in cut(news, WINDOW if alone else JOBS_A_CALL):
            answers = await self._add_groups([tuple(chunk) for chunk in cut(window, JOBS_A_CALL)])
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
        rest = deque(cut(await in_turns(self.new_job, nodes), JOBS_A_CALL))
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

    async def _add_groups(
        self, groups: list[Group]
    ) -> Sequence[tuple[AddAnswer, ...] | TorilError]:
        if not any(map(is_durable, groups)):
            async with self._bulk.here():
                return await self._add_in_turn(groups)
        trips = self._durable_trips.here()
        answers = await asyncio.gather(*map(trips.put, groups), return_exceptions=True)
        return [_answer(each) for each in answers]

    async def _add_in_turn(
        self, groups: list[Group]
    ) -> Sequence[tuple[AddAnswer, ...] | TorilError]:
        """Add many jobs, and leave a server that cannot take turns to other queues for as long."""
        store = self.context.store
        many = len(groups) > MANY or len(groups[0]) > MANY or len(groups[0][0].data) > MANY_BYTES
        others = many and store.trips > 1 and self._others(groups)
        began = time.perf_counter()
        answers = await store.add(groups)
        if others:
            await asyncio.sleep(min(time.perf_counter() - began, LONGEST_REST_S))
        return answers

    def _others(self, groups: list[Group]) -> bool:
        """Return whether workers of this app serve other queues than these."""
        return not self.unserved.served <= {group[0].queue for group in groups}

    def _batcher(self, weigh: Callable[[Group], float]) -> Batcher[Group, tuple[AddAnswer, ...]]:
        return Batcher(self._store, limit=JOBS_A_CALL, weigh=weigh, kind=self._kind)

    async def _store(self, groups: list[Group]) -> Sequence[tuple[AddAnswer, ...] | BaseException]:
        answers = await self._add_in_turn(groups)
        self._known.update([group[0].queue for group in groups])
        return answers

    def _kind(self, group: Group) -> str:
        """Return the queue of a group; of all that may be new together: they cost more."""
        queue = group[0].queue
        return queue if queue in self._known else ""

    def _weigh(self, group: Group) -> float:
        """Return which part of a trip a group takes, beside the queues of others."""
        weight = _size(group)
        if len(group) != 1:
            return weight
        if group[0].queue not in self._known:
            return weight + NEW_QUEUE
        return weight + BESIDE_OTHERS if len(self.unserved.served) > 1 else weight

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


def _fields(data: str, options: JobOptions) -> Fields:
    """Return by which fields a job with this data is found."""
    return fields_of(msgspec.json.decode(data), options.index, options.tags)


def _size(group: Group) -> float:
    """Return which part of a trip a group takes by its jobs and their data."""
    if len(group) == 1:
        return len(group[0].data) / CHARACTERS_A_CALL
    return max(len(group) / WINDOW, sum([len(job.data) for job in group]) / CHARACTERS_A_CALL)


def cut(jobs: Sequence[NewJob], most: int) -> Iterator[list[NewJob]]:
    """Cut a batch into parts of at most this many jobs, and of bounded size."""
    part: list[NewJob] = []
    size = 0
    for job in jobs:
        size += len(job.data)
        if part and (len(part) == most or size > CHARACTERS_A_CALL):
            yield part
            part, size = [], len(job.data)
        part.append(job)
    if part:
        yield part


def _record(new: NewJob, added: AddAnswer, now: Millis) -> Record:
    options = new.options
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


def _answer(given: tuple[AddAnswer, ...] | BaseException) -> tuple[AddAnswer, ...] | TorilError:
    if isinstance(given, BaseException) and not isinstance(given, TorilError):
        raise given
    return given


def _stored(answer: tuple[AddAnswer, ...] | TorilError) -> Sequence[str]:
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
