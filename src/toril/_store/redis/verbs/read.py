"""The reading verbs: what to ask a server, and its replies as values. Never here: a write.

What must be seen at one moment is read by a script, the rest by commands that leave together.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import msgspec

from toril._model.notes import read_pause
from toril._model.options import Keep
from toril._model.record import Record, Ref, Try
from toril._model.report import (
    Children,
    Counts,
    Logs,
    Metrics,
    Page,
    Query,
    QueueSettings,
    WorkerInfo,
)
from toril._model.states import EVERY, State
from toril._model.stored import flag, or_else, reader, whole
from toril._model.times import Millis
from toril._store.redis.core import keys, presence, registry
from toril._store.redis.core.server import PATIENCE_S, Server, places
from toril._store.redis.core.wire import FIELDS, read_record

from . import children as family

# Of one call: queues that are looked at, jobs that are looked up.
_QUEUES, _JOBS, _LISTED = 200, 50, 250
# Of one page by name: how many calls look for it, a thousand ids each.
_LOOKS = 200
_MINUTE = 60_000
_EVENTS = 10_000
_TRY = "toril:try:"

_PLACES: dict[State, tuple[str, ...]] = {
    # Jobs that BullMQ 5 put aside while the queue was paused will run before the others.
    State.WAITING: ("paused", "wait"),
    State.PRIORITIZED: ("prioritized",),
    State.DELAYED: ("delayed",),
    State.ACTIVE: ("active",),
    State.WAITING_CHILDREN: ("waiting_children",),
    State.COMPLETED: ("completed",),
    State.FAILED: ("failed",),
}
_STATES = {place: state for state, listed in _PLACES.items() for place in listed}
T = TypeVar("T")


class TryNote(msgspec.Struct, array_like=True):
    """The note of an attempt, but for when it ended."""

    worker: str | None
    started: int | None
    end: str
    reason: str | None
    slot: int | None = None
    fingerprint: str | None = None


_try_tail = reader(TryNote)


def _chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]


async def get(server: Server, refs: Sequence[Ref]) -> list[Record | None]:
    """Carry out the verb get."""
    found: list[Record | None] = []
    for some in _chunks(refs, _JOBS):
        numbers = places([ref.queue for ref in some])
        rows = [(numbers[ref.queue], ref.id) for ref in some]
        answers = await server.run("get", list(numbers), {"job": rows})
        found += [
            _record(server.prefix, ref, *answer) if answer else None
            for ref, answer in zip(some, answers, strict=True)
        ]
    gone = await _gone_letters(server, [record for record in found if record is not None])
    return [_without(record, gone) if record else None for record in found]


async def _gone_letters(server: Server, records: Sequence[Record]) -> frozenset[str]:
    """Return the dead letters that these jobs left and that are not there any more."""
    letters = [record.letter for record in records if record.letter is not None]
    if not letters:
        return frozenset()
    commands = [("EXISTS", f"{server.prefix}:{letter}") for letter in letters]
    there = await server.link.many(commands)
    return frozenset(letter for letter, kept in zip(letters, there, strict=True) if not kept)


def _without(record: Record, gone: frozenset[str]) -> Record:
    if record.letter not in gone:
        return record
    return msgspec.structs.replace(record, letter=None)


def _record(prefix: str, ref: Ref, place: str, score: str | None, flat: list[str]) -> Record:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    tries = [_try(name, text) for name, text in fields.items() if name.startswith(_TRY)]
    return read_record(
        prefix,
        ref.queue,
        ref.id,
        _STATES[place],
        [fields.get(name) for name in FIELDS],
        due_ms=_due(score),
        tries=tuple(sorted((each for each in tries if each), key=lambda each: each.run)),
    )


def _due(score: str | None) -> Millis | None:
    """Read when a delayed job is due from its score."""
    due = whole(score, None)
    return None if due is None else due // 4096


def _try(name: str, text: str) -> Try | None:
    """Read the note of an attempt; None for what is none."""
    ended, _, tail = text.partition(" ")
    run = whole(name.removeprefix(_TRY), None)
    told = or_else(_try_tail, tail, None)
    if run is None or told is None:
        return None
    return Try(
        run=run,
        worker=told.worker,
        started_ms=whole(told.started, None),
        ended_ms=whole(ended),
        end=told.end,
        reason=told.reason,
        slot=told.slot,
        fingerprint=told.fingerprint,
    )


# Listings.


async def find(server: Server, query: Query) -> Page:
    """Carry out the verb find."""
    if query.dedup is not None:
        holder = await server.link.read("GET", f"{server.base(query.queue)}de:{query.dedup}")
        return Page(jobs=tuple(await _held(server, query.queue, holder)))
    if query.ids_only:
        return await _ids(server, query)
    jobs, left = await _listed(server, query)
    gone = await _gone_letters(server, jobs)
    found = [_without(record, gone) for record in jobs[: query.limit]]
    return Page(jobs=tuple(found), more=left or len(jobs) > query.limit)


async def _held(server: Server, queue: str, id: str | None) -> list[Record]:
    if id is None:
        return []
    [record] = await get(server, [Ref(queue, id)])
    return [] if record is None else [msgspec.structs.replace(record, tries=())]


def _listing(states: tuple[State, ...], *, newest_first: bool) -> list[str]:
    """Return which places to list one after the other, so that ready jobs stand as they would run."""
    listed: list[str] = []
    ready = [State.WAITING, State.PRIORITIZED]
    both = all(state in states for state in ready)
    for state in states:
        if both and state in ready:
            group = [place for each in ready for place in _PLACES[each]]
        else:
            group = list(_PLACES[state])
        listed += [place for place in group[:: -1 if newest_first else 1] if place not in listed]
    return listed


async def _ids(server: Server, query: Query) -> Page:
    order = _listing(query.states or EVERY, newest_first=query.newest_first)
    ids, others = await server.run(
        "ids",
        [query.queue],
        {"list": [(place,) for place in order]},
        name=query.name,
        newest=flag(query.newest_first),
        offset=query.offset,
        count=query.limit + 1,
    )
    named = frozenset(id for id, other in zip(ids, others, strict=True) if other)
    return Page(ids=tuple(ids[: query.limit]), more=len(ids) > query.limit, others=named)


async def _listed(server: Server, query: Query) -> tuple[list[Record], bool]:
    """List one job more than was asked for; say whether it was given up before the end."""
    order = _listing(query.states or EVERY, newest_first=query.newest_first)
    each = {"list": [(place,) for place in order]}
    jobs: list[Record] = []
    first, at, skip = 1, 0, query.offset
    for _ in range(_LOOKS):
        wanted = query.limit + 1 - len(jobs)
        found, first, at, skip = await server.run(
            "find",
            [query.queue],
            each,
            name=query.name,
            newest=flag(query.newest_first),
            first=first,
            at=at or 0,
            skip=skip,
            count=min(wanted, _LISTED),
        )
        jobs += [
            read_record(server.prefix, query.queue, id, _STATES[place], fields, due_ms=_due(score))
            for place, id, score, fields in found
        ]
        if len(jobs) > query.limit or first > len(order):
            return jobs, False
    return jobs, bool(jobs)


async def counts(server: Server, queues: Sequence[str]) -> list[Counts]:
    """Carry out the verb counts."""
    found: dict[str, Counts] = {}
    for some in _chunks(list(places(queues)), _QUEUES):
        for queue, row in zip(some, await server.run("counts", some), strict=True):
            waiting, prioritized, delayed, active, parents, completed, failed, oldest = row
            found[queue] = Counts(
                waiting=waiting,
                prioritized=prioritized,
                delayed=delayed,
                active=active,
                waiting_children=parents,
                completed=completed,
                failed=failed,
                oldest_ms=whole(oldest, None),
            )
    return [found[queue] for queue in queues]


# One job or queue.


async def children(
    server: Server, parent: Ref, outcome: str | None, page: tuple[int, int]
) -> Children:
    """Carry out the verb children."""
    return await family.children(server, parent, outcome, page)


async def logs(server: Server, job: Ref, page: tuple[int, int], *, newest_first: bool) -> Logs:
    """Carry out the verb logs."""
    offset, limit = page
    key = f"{keys.job_key(server.prefix, job)}:logs"
    if limit < 1:
        return Logs(total=await server.link.read("LLEN", key))
    span = (offset, offset + limit - 1)
    if newest_first:
        span = (-(offset + limit), -(offset + 1))
    lines, total = await server.link.many([("LRANGE", key, *span), ("LLEN", key)])
    return Logs(lines=tuple(lines[::-1] if newest_first else lines), total=total)


async def metrics(server: Server, queue: str, kind: str, since_ms: Millis) -> Metrics:
    """Carry out the verb metrics.

    The newest stored point is of the minute before the last count; what was counted since
    then is in no list yet.
    """
    key = f"{server.base(queue)}metrics:{kind}"
    told, points = await server.link.many(
        [("HMGET", key, "count", "prevTS", "prevCount"), ("LRANGE", f"{key}:data", 0, -1)]
    )
    total, last, before = map(whole, told)
    minute = last // _MINUTE
    newest_first = [total - before, *map(whole, points)] if last else []
    found = [
        ((minute - back) * _MINUTE, count)
        for back, count in enumerate(newest_first)
        if count > 0 and (minute - back + 1) * _MINUTE > since_ms
    ]
    return Metrics(kind=kind, points=tuple(found[::-1]), total=total)


async def settings(server: Server, queues: Sequence[str]) -> list[QueueSettings]:
    """Carry out the verb settings."""
    found: dict[str, QueueSettings] = {}
    for some in _chunks(list(places(queues)), _QUEUES):
        for queue, row in zip(some, await server.run("settings", some), strict=True):
            found[queue] = settings_of(queue, row)
    return [found[queue] for queue in queues]


def settings_of(queue: str, row: Sequence[Any]) -> QueueSettings:
    """Make a queue's settings of what `rules.of` gives."""
    paused, concurrency, most, window, until, completed, failed, letters, events, *more = row
    ids, declared, max_waiting, pause, since, ends = more
    return QueueSettings(
        queue=queue,
        paused=bool(paused),
        concurrency=whole(concurrency, None),
        rate_max=whole(most, None),
        rate_ms=whole(window, None),
        limited_until=until,
        keep_completed=_keep(completed),
        keep_failed=_keep(failed),
        dead_letter=letters or None,
        events_limit=whole(events, _EVENTS),
        max_waiting=whole(max_waiting, None),
        pause=read_pause(pause, whole(since, None), whole(ends, None)),
        last_id=whole(ids),
        declared=bool(declared),
    )


def _keep(text: str | None) -> Keep | None:
    if text is None:
        return None
    count, _, age = text.partition(":")
    return Keep(count=whole(count, None), age_ms=whole(age, None))


# Everybody.


async def queues(server: Server) -> list[str]:
    """Carry out the verb queues."""
    return sorted(await registry.names(server.link, server.prefix, server.sighting, PATIENCE_S))


async def workers(server: Server, queue: str | None) -> list[WorkerInfo]:
    """Carry out the verb workers."""
    return await presence.workers(server, queue)
