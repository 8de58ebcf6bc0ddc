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
from toril._model.states import State
from toril._model.stored import flag, whole
from toril._model.stored_options import from_text
from toril._model.times import Millis
from toril._store.protocol import Claimed, ClaimRequest, Finished, Recovered
from toril.errors import (
    ConfigError,
    FailedChildren,
    JobError,
    JobNotFound,
    LockLost,
    PendingChildren,
    TorilError,
)

from . import scripts
from .apart import apart, group_error
from .overdue import candidate
from .server import WORK_PATIENCE_S, Server, places
from .strays import LONGEST_OF_A_ROUND, pattern
from .wire import read_record

_REFUSED: dict[str, tuple[type[JobError], str]] = {
    "gone": (JobNotFound, "the job is gone"),
    "held": (LockLost, "another worker holds its lock"),
    "lost": (LockLost, "it was taken back or settled before"),
    "pending": (PendingChildren, "it still waits for children"),
    "failed-children": (FailedChildren, "a child of it has failed"),
}
# Results of one call together: a call of many large ones would hold up everybody.
CHARACTERS_A_CALL = 4 * 1024 * 1024
_json = msgspec.json.encode


class Handle(NamedTuple):
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
    at, answers = await server.run(
        "claim", rows.queues, rows.each, now=now, patience=WORK_PATIENCE_S
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
        if part and size + more > CHARACTERS_A_CALL:
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
    """Take jobs back, and put those back that stand in no list."""
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
    """Name the queues of which a job could be claimed now."""
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
            "request": [self._request(request) for request in requests],
            "skip": [
                (number, name)
                for number, request in enumerate(requests, 1)
                for name in request.skip
            ],
        }

    def _request(self, request: ClaimRequest) -> tuple[Any, ...]:
        rate = request.rate
        return (
            self.places[request.queue],
            request.limit,
            request.token,
            request.lock_ms,
            request.worker,
            rate.max if rate else None,
            rate.window_ms if rate else None,
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
    handle = Handle(record.runs, record.attempts_made, record.stalls, record)
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


def _decision(numbers: dict[str, int], decision: Decision) -> tuple[Any, ...]:
    handle: Handle | None = decision.handle
    record = handle.record if handle else None
    options, completed, failed = _options(record.opts if record else "{}")
    if decision.action is Action.COMPLETE:
        # By far the most: nothing else is needed of it.
        return (
            numbers[decision.queue], decision.id, decision.token,
            handle.run if handle else None, handle.made if handle else 0, 0,
            "complete", decision.result or "null", "", "", "", 0, 1, 0, 0, completed, 0,
            decision.rate_limit_ms, "", 0,
        )  # fmt: skip
    return (
        numbers[decision.queue],
        decision.id,
        decision.token,
        handle.run if handle else None,
        handle.made if handle else 0,
        _stalls(decision, handle),
        decision.action.value,
        "",
        decision.reason or ("failed" if decision.action is Action.FAIL else ""),
        _stack(decision, record, options),
        decision.stack,
        decision.delay_ms,
        flag(decision.counted),
        flag(decision.unknown),
        flag(decision.exhausted),
        failed,
        flag(_in_front(decision, record, options)),
        decision.rate_limit_ms,
        _try(decision, record),
        flag(decision.stalls is not None),
    )


def _stalls(decision: Decision, handle: Handle | None) -> int:
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
    return _json((worker, started, decision.end.word, decision.reason)).decode()


def _answer(server: Server, decision: Decision, word: str | TorilError) -> str | TorilError:
    if isinstance(word, TorilError):
        return word
    refused = _REFUSED.get(word)
    if refused is None:
        return group_error(server, "finish", decision.queue, word) or word
    kind, why = refused
    return kind(
        f"the decision to {decision.action} job {decision.id!r} of queue {decision.queue!r} "
        f"was refused: {why}",
        queue=decision.queue,
        job_id=decision.id,
    )
