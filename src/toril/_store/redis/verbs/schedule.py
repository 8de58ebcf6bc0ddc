"""The verbs put_schedule, schedules, advance and drop_schedule.

A schedule stands as BullMQ has it, so that either side makes the next run of the other's. What a
rule has that BullMQ has not is in fields `toril:<word>` beside that. The times come from the
caller (`_model.schedule.next_run`). Never here: cron.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import msgspec

from toril._model.bounds import JOBS_A_CALL
from toril._model.checks import shown
from toril._model.notes import Pause, read_pause
from toril._model.record import Ref
from toril._model.report import ScheduleInfo, Unset
from toril._model.schedule import LAST_MS, MAX_TEXT, Rule
from toril._model.stored import reader, whole
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.redis.core import registry
from toril._store.redis.core.server import PATIENCE_S, Server
from toril._store.values import ScheduleDraft
from toril.errors import ConfigError, StoreCorrupt

from . import read
from .cron_text import followed, shared

# Each run has these of its own, and no run has a dedup key.
_OF_RUNS = frozenset({"de", "delay", "jobId", "prevMillis", "repeat", "repeatJobKey", "timestamp"})
_options = reader(dict[str, msgspec.Raw])


async def put(server: Server, draft: ScheduleDraft, now: Millis | None) -> ScheduleInfo:
    """Carry out the verb put_schedule."""
    await registry.register(server.link, server.prefix, [draft.queue], PATIENCE_S)
    rows = [(name, str(value)) for name, value in fields_of(draft).items() if value is not None]
    at, flat = await server.run(
        "put_schedule",
        [draft.queue],
        {"field": rows},
        now=now,
        id=draft.id,
        next=draft.next_ms,
        offset=offset_of(draft),
        pause="" if isinstance(draft.pause, Unset) else "resume" if draft.pause is None else "hold",
    )
    info = _info(draft.queue, draft.id, at, flat)
    if info is None:
        raise StoreCorrupt(
            f"schedule {draft.id!r} of queue {draft.queue!r} was stored and cannot be read back: "
            "another program changes its hash"
        )
    return info


async def advance(
    server: Server, job: Ref, schedule_id: str, next_ms: Millis | None, now: Millis | None
) -> ScheduleInfo | None:
    """Carry out the verb advance."""
    told = await server.run(
        "advance", [job.queue], now=now, id=schedule_id, job=job.id, next=next_ms
    )
    return None if told is None else _info(job.queue, schedule_id, *told)


async def drop(server: Server, queue: str, schedule_id: str, now: Millis | None) -> bool:
    """Carry out the verb drop_schedule."""
    return bool(await server.run("drop_schedule", [queue], now=now, id=schedule_id))


async def schedules(server: Server, queue: str | None) -> list[ScheduleInfo]:
    """Carry out the verb schedules."""
    queues = await read.queues(server) if queue is None else [queue]
    found: list[ScheduleInfo] = []
    for name in queues:
        try:
            found += await _of_queue(server, name)
        except StoreCorrupt as error:
            # All of them are: whoever lists others as well must see those.
            found.append(ScheduleInfo.unreadable(name, "repeat", str(error)))
    return sorted(found, key=_turn)


def _turn(info: ScheduleInfo) -> tuple[bool, Millis, str]:
    return info.next_ms is None, info.next_ms or 0, info.id


async def _of_queue(server: Server, queue: str) -> list[ScheduleInfo]:
    base = f"{server.base(queue)}repeat"
    ranked = await server.link.read("ZRANGE", base, 0, -1, "WITHSCORES")
    scores = list(zip(ranked[::2], ranked[1::2], strict=True))
    found: list[ScheduleInfo | None] = []
    for start in range(0, len(scores), JOBS_A_CALL):
        some = scores[start : start + JOBS_A_CALL]
        commands = [("HGETALL", f"{base}:{id}") for id, _ in some]
        hashes = await server.link.many(commands, damaged=None)
        found += [_info(queue, id, at, flat) for (id, at), flat in zip(some, hashes, strict=True)]
    return [info for info in found if info is not None]


def fields_of(draft: ScheduleDraft) -> dict[str, str | int | None]:
    """Return the fields of a schedule's hash, in BullMQ's words; None is omitted."""
    rule, pause = draft.rule, draft.pause if isinstance(draft.pause, Pause) else None
    opts = _template(draft.opts)
    pattern = None if rule.cron is None else shared(rule.cron)
    return {
        "name": draft.name,
        "data": None if draft.data == "{}" else draft.data,
        "opts": None if opts == "{}" else opts,
        "pattern": pattern,
        "every": rule.every_ms,
        "tz": rule.tz if rule.cron is not None or rule.tz != "UTC" else None,
        "limit": rule.limit,
        "startDate": rule.start_ms,
        "endDate": rule.end_ms,
        # BullMQ's field holds the offset that came of the first run as well.
        "toril:offset": "" if rule.offset_ms is None else rule.offset_ms,
        "toril:immediately": "1" if rule.immediately else None,
        "toril:cron": None if rule.cron == pattern else rule.cron,
        "toril:owner": draft.owner,
        "toril:pause": pause.text if pause else None,
        "toril:pause_since": pause.since_ms if pause else None,
    }


def offset_of(draft: ScheduleDraft) -> int:
    """Return how far the runs of an interval lie after its slots."""
    every = draft.rule.every_ms
    if draft.rule.offset_ms is not None or every is None:
        return draft.rule.offset_ms or 0
    return (draft.next_ms or 0) % every


def _template(opts: str) -> str:
    """Leave out of the options of a schedule what each run has of its own."""
    given = _options(opts)
    left = {name: value for name, value in given.items() if name not in _OF_RUNS}
    return opts if len(left) == len(given) else msgspec.json.encode(left).decode()


def _info(queue: str, id: str, at: str | None, flat: Sequence[str] | None) -> ScheduleInfo | None:
    """Read a schedule; None for one that BullMQ 5 made."""
    if at is None:
        return None
    if flat is None:
        return ScheduleInfo.unreadable(queue, id, "its key is not a hash")
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    if "ic" not in fields:
        return None
    name, owner = fields.get("name", ""), fields.get("toril:owner")
    try:
        return ScheduleInfo(
            queue=queue,
            id=id,
            name=name,
            rule=_rule(*[_short(each, fields.get(each)) for each in _RULE]),
            data=fields.get("data", "{}"),
            opts=_checked(fields.get("opts", "{}")),
            count=_whole("ic", fields["ic"]) or 0,
            owner=owner,
            pause=read_pause(
                fields.get("toril:pause"), whole(fields.get("toril:pause_since"), None), None
            ),
            **_next(id, at, over="toril:over" in fields),
        )
    except ConfigError as error:
        return ScheduleInfo.unreadable(queue, id, str(error), name=name, owner=owner)


def _next(id: str, score: str, *, over: bool) -> dict[str, Any]:
    """Read the time of the next run, and name its job."""
    if over:
        return {}
    at = whole(score, None)
    if at is None or not 0 <= at <= LAST_MS:
        raise _fault("score", score, "is not the time of a run")
    return {"next_ms": at, "job_id": f"repeat:{id}:{at}"}


def _checked(opts: str) -> str:
    from_text(opts)
    return opts


_RULE = (
    "pattern",
    "every",
    "tz",
    "startDate",
    "endDate",
    "limit",
    "offset",
    "toril:offset",
    "toril:immediately",
    "toril:cron",
)


def _short(field: str, text: str | None) -> str | None:
    """Refuse what is too long for a rule before anything is made of it or keeps it."""
    if text is not None and len(text) > MAX_TEXT:
        raise _fault(field, text, f"has more than {MAX_TEXT} characters")
    return text


def _fault(field: str, text: str, why: str) -> ConfigError:
    return ConfigError(f"{field}={shown(text)} {why}", field=field, value=text)


@lru_cache(maxsize=4096)
def _rule(pattern: str | None, *rest: str | None) -> Rule:
    """Make a rule of fields in the order of `_RULE`.

    Raises   ConfigError: toril cannot follow it.
    """
    every, tz, start, end, limit, offset, own_offset, immediately, cron = rest
    if pattern is not None and cron is None:
        cron = followed(pattern)
    return Rule(
        cron=cron,
        every_ms=_whole("every", every),
        # BullMQ takes the zone of its process where none is given; nobody else can know that.
        tz=tz or "UTC",
        start_ms=_whole("startDate", start),
        end_ms=_whole("endDate", end),
        limit=_whole("limit", limit),
        offset_ms=_of_slot(offset, every) if own_offset is None else _whole("offset", own_offset),
        immediately=immediately is not None,
    )


def _of_slot(offset: str | None, every: str | None) -> int | None:
    """Read BullMQ's offset, which says 0 where there is none."""
    shift = whole(offset)
    return shift if 0 < shift < whole(every) else None


def _whole(field: str, text: str | None) -> int | None:
    if not text:
        return None
    number = whole(text, None)
    if number is None:
        raise _fault(field, text, "is not a number")
    return number
