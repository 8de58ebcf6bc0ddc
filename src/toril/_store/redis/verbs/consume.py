"""The verbs claim, finish, recover and trim: rows for the scripts, and values of their answers.

Never here: what becomes of a job (the Lua does it), or which decision is taken (`_model.decide`).
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, NamedTuple, cast

import msgspec

from toril._model.crashes import SILENT, STALLED_REASON, blames
from toril._model.decide import Action, Decision, kept_stacks
from toril._model.options import JobOptions, Keep
from toril._model.record import Claim, Record
from toril._model.series import waited
from toril._model.states import State
from toril._model.stored import flag, whole
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.redis.core import scripts
from toril._store.redis.core.scripts import row_of
from toril._store.redis.core.server import WORK_PATIENCE_S, Server, places
from toril._store.redis.core.split_groups import apart, group_error
from toril._store.redis.core.wire import read_record
from toril._store.refusals import DECISIONS, decision_refused
from toril._store.values import Claimed, ClaimRequest, Finished, Recovered
from toril.errors import (
    ConfigError,
    TorilError,
)

from .expire import candidate
from .strays import LONGEST_OF_A_ROUND, pattern

# Results of one call together: a call of many large ones would hold up everybody.
RESULTS_A_CALL = 4 * 1024 * 1024
_json = msgspec.json.encode


class ConsumeHandle(NamedTuple):
    """What the store wants to be told again when a claimed job is settled."""

    run: int
    made: int
    stalls: int
    record: Record


async def claim(
    server: Server, requests: Sequence[ClaimRequest], now: Millis | None
) -> list[Claimed]:
    """Carry out the verb claim."""
    if not requests:
        return []
    rows = _Rows(requests)
    at, _, answers, _ = await server.run(
        "finish", rows.queues, rows.each, now=now, patience=WORK_PATIENCE_S
    )
    return _claimed(server.prefix, requests, at, answers)


async def finish(
    server: Server,
    decisions: Sequence[Decision],
    requests: Sequence[ClaimRequest],
    now: Millis | None,
) -> tuple[Finished, list[str]]:
    """Carry out the verb finish; return as well what could not be done beside it.

    Shape    beside: faults of what jobs lead to, such as their parents; the jobs went their way.
    """
    if not decisions and not requests:
        return Finished(words=()), []
    claimed: list[Claimed] = []
    beside: list[str] = []

    async def send(numbers: Sequence[int]) -> Sequence[str]:
        some = [decisions[number] for number in numbers]
        # Sent apart they claim nothing: the worker asks again.
        asked = requests if len(some) == len(decisions) else ()
        rows = _Rows(asked, [decision.queue for decision in some])
        if all(map(_just_completes, some)):
            rows.each["done"] = [_done(rows.places, decision) for decision in some]
        else:
            rows.each["decision"] = [_decision(rows.places, decision) for decision in some]
        at, words, answers, faults = await server.run(
            "finish", rows.queues, rows.each, now=now, patience=WORK_PATIENCE_S
        )
        beside.extend(map(scripts.load("finish").explain, faults))
        claimed.extend(_claimed(server.prefix, asked, at, answers))
        return cast("list[str]", words)

    words = [word for part in _parts(decisions) for word in await apart(part, send)]
    answers = [_answer(server, d, word) for d, word in zip(decisions, words, strict=True)]
    return Finished(words=tuple(answers), claimed=tuple(claimed)), beside


def _parts(decisions: Sequence[Decision]) -> Iterator[Sequence[int]]:
    """Part decisions so that no call is very large; nearly always all go in one."""
    part: list[int] = []
    size = 0
    for number, decision in enumerate(decisions):
        more = len(decision.result or "") + len(decision.stack or "")
        if part and size + more > RESULTS_A_CALL:
            yield part
            part, size = [], 0
        part.append(number)
        size += more
    yield part


class Rescue(NamedTuple):
    """What a call of recover has found.

    Shape    damaged: queues with a key of another kind. late: jobs whose time may be over. strays:
             jobs that stood in no list, by queue and id. cursor: where the next search goes on.
    """

    taken: list[Recovered]
    damaged: list[str]
    late: list[Record]
    strays: list[tuple[str, str]]
    cursor: str


class Recovery(NamedTuple):
    """What a call of recover goes by; without a cursor it does not search for strays."""

    max_stalls: int
    dead: Mapping[str, str]
    cursor: str


async def recover(
    server: Server, queues: Sequence[str], how: Recovery, now: Millis | None
) -> Rescue:
    """Take jobs back, and put those back that are in no list."""
    if not queues:
        return Rescue([], [], [], [], how.cursor)
    numbers = places(queues)
    each: dict[str, list[Any]] = {
        "look": [(number,) for number in numbers.values()],
        "dead": list(how.dead.items()),
        "blame": list(blames(how.max_stalls)),
    }
    names = list(numbers)
    taken: list[tuple[int, str, int, int]]
    damaged: list[int]
    overdue: list[tuple[int, str, *tuple[Any, ...]]]
    strays: list[tuple[int, str]]
    taken, damaged, overdue, strays, cursor = await server.run(
        "recover",
        names,
        each,
        now=now,
        reason=STALLED_REASON,
        silent=SILENT,
        cursor=how.cursor,
        pattern=pattern(server.prefix),
        longest=LONGEST_OF_A_ROUND,
    )
    found = [
        Recovered(queue=names[place - 1], id=id, stalls=stalls, fatal=bool(fatal))
        for place, id, stalls, fatal in taken
    ]
    late = [candidate(server.prefix, names[place - 1], id, given) for place, id, *given in overdue]
    return Rescue(
        found,
        [names[place - 1] for place in damaged],
        late,
        [(names[place - 1], id) for place, id in strays],
        cursor,
    )


async def peek(server: Server, queues: Sequence[str]) -> frozenset[str]:
    """Return the names of the queues of which a job could be claimed now."""
    names = list(places(queues))
    found: list[int] = await server.run("peek", names, now=None) if names else []
    return frozenset(name for name, claimable in zip(names, found, strict=True) if claimable)


async def trim(
    server: Server, queues: Sequence[str], spare_ms: Millis, now: Millis | None
) -> tuple[int, list[str]]:
    """Carry out the verb trim; name the damaged queues as well."""
    if not queues:
        return 0, []
    numbers = places(queues)
    each = {"look": [(number,) for number in numbers.values()]}
    names = list(numbers)
    gone, damaged = await server.run("trim", names, each, now=now, spare=spare_ms)
    return whole(gone), [names[place - 1] for place in damaged]


class _Rows:
    """The rows of a call that claims, and the queues they are about."""

    __slots__ = ("each", "places", "queues")

    def __init__(self, requests: Sequence[ClaimRequest], others: Sequence[str] = ()) -> None:
        self.places = places([*others, *[request.queue for request in requests]])
        self.queues = list(self.places)
        self.each: dict[str, list[tuple[Any, ...]]] = {
            "done": [],
            "decision": [],
            "request": [self._request(request) for request in requests],
            "skip": [
                (number, name)
                for number, request in enumerate(requests, 1)
                for name in request.skip
            ],
        }

    def _request(self, request: ClaimRequest) -> tuple[Any, ...]:
        rate = request.rate
        return row_of("finish", "request")(
            queue=self.places[request.queue],
            limit=request.limit,
            token=request.token,
            lock=request.lock_ms,
            worker=request.worker,
            max=rate.max if rate else None,
            window=rate.window_ms if rate else None,
        )


def _claimed(
    prefix: str, requests: Sequence[ClaimRequest], now: int, answers: Sequence[Any]
) -> list[Claimed]:
    return [
        Claimed(
            queue=request.queue,
            jobs=tuple([_claim(prefix, request, now, *job) for job in jobs]),
            next_ms=next_ms,
            blocked=blocked,
            now_ms=now,
        )
        for request, (jobs, next_ms, blocked) in zip(requests, answers, strict=True)
    ]


def _claim(prefix: str, request: ClaimRequest, now: int, id: str, fields: Sequence[Any]) -> Claim:
    record = read_record(prefix, request.queue, id, State.ACTIVE, fields)
    handle = ConsumeHandle(record.runs, record.attempts_made, record.stalls, record)
    return Claim(record, request.token, now + request.lock_ms, handle)


def keep_text(keep: Keep | None) -> str:
    """Write a retention as the scripts read it; empty: none of its own."""
    if keep is None:
        return ""
    count = "" if keep.count is None else keep.count
    age = "" if keep.age_ms is None else keep.age_ms
    return f"{count}:{age}"


@lru_cache(maxsize=1024)
def _options(opts: str) -> tuple[JobOptions, str, str]:
    try:
        options = from_text(opts)
    except ConfigError:
        options = JobOptions()
    return options, keep_text(options.keep_completed), keep_text(options.keep_failed)


def _just_completes(decision: Decision) -> bool:
    return decision.action is Action.COMPLETE and not decision.rate_limit_ms


def _done(numbers: dict[str, int], decision: Decision) -> tuple[Any, ...]:
    """Lay out a decision that just completes its job, as by far the most do."""
    handle: ConsumeHandle | None = decision.handle
    _, keep, _ = _options(handle.record.opts if handle else "{}")
    run, made = (handle.run, handle.made) if handle else (None, 0)
    return row_of("finish", "done")(
        queue=numbers[decision.queue],
        id=decision.id,
        token=decision.token,
        run=run,
        made=made,
        keep=keep,
        result=decision.result or "null",
        started=handle.record.started_ms if handle else None,
        wait=_waited(handle.record) if handle else None,
        slot=decision.slot,
    )


def _waited(record: Record) -> Millis | None:
    return waited(record.runs, record.started_ms, record.created_ms, record.options)


def _decision(numbers: dict[str, int], decision: Decision) -> tuple[Any, ...]:
    handle: ConsumeHandle | None = decision.handle
    record = handle.record if handle else None
    options, completed, failed = _options(record.opts if record else "{}")
    completes = decision.action is Action.COMPLETE
    return row_of("finish", "decision")(
        queue=numbers[decision.queue],
        id=decision.id,
        token=decision.token,
        run=handle.run if handle else None,
        made=handle.made if handle else 0,
        stalls=_stalls(decision, handle),
        action=decision.action.value,
        result=(decision.result or "null") if completes else "",
        reason=decision.reason or ("failed" if decision.action is Action.FAIL else ""),
        stack=_stack(decision, record, options),
        text=decision.stack,
        delay=decision.delay_ms,
        counted=flag(decision.counted),
        unknown=flag(decision.unknown),
        exhausted=flag(decision.exhausted),
        keep=completed if completes else failed,
        front=flag(_in_front(decision, record, options)),
        pause=decision.rate_limit_ms,
        tried=_try(decision, record),
        crash=flag(decision.stalls is not None),
        started=record.started_ms if record else None,
        wait=_waited(record) if record else None,
        slot=decision.slot,
        fingerprint=decision.fault.fingerprint if decision.fault else None,
        fault=_fault(decision),
    )


def _stalls(decision: Decision, handle: ConsumeHandle | None) -> int:
    if decision.stalls is not None:
        return decision.stalls
    return handle.stalls if handle else 0


def _in_front(decision: Decision, record: Record | None, options: JobOptions) -> bool:
    if decision.action is Action.RETRY:
        return options.lifo and not (record and record.priority)
    return True


def _stack(decision: Decision, record: Record | None, options: JobOptions) -> str:
    """Write the texts of failed tries with this one, as the JSON array that is stored."""
    if decision.stack is None and not decision.counted:
        return ""
    earlier = record.stack if record else ()
    return _json(kept_stacks(earlier, decision.stack, options.keep_stack)).decode()


def _try(decision: Decision, record: Record | None) -> str:
    worker, started = (record.worker, record.started_ms) if record else (None, None)
    found = decision.fault.fingerprint if decision.fault else None
    note = (worker, started, decision.end.word, decision.reason, decision.slot, found)
    return _json(note).decode()


def _fault(decision: Decision) -> str:
    """Write why an attempt failed, as the rest of a JSON array: fingerprint, version, and the cause."""
    fault = decision.fault
    if fault is None:
        return ""
    cause = (fault.kind, fault.place, fault.message)
    return _json((fault.fingerprint, fault.version or "", cause)).decode()[1:-1]


def _answer(server: Server, decision: Decision, word: str | TorilError) -> str | TorilError:
    if isinstance(word, TorilError):
        return word
    if word in DECISIONS:
        return decision_refused(decision, word)
    return group_error(server, "finish", decision.queue, word) or word
