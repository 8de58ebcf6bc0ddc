"""What shall become of a job after a try: the only place where that is decided.

Pure: chance is an argument. Never here: carrying it out.
"""

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import msgspec

from .backoff import Custom, delay
from .record import Claim, Record
from .times import Millis

UNKNOWN_FIRST_MS = 5_000
UNKNOWN_MAX_MS = 300_000
UNKNOWN_LIMIT_MS = 24 * 3_600_000


class End(StrEnum):
    """How a try ended."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timeout"
    FAILED = "fail"
    SNOOZED = "snoozed"
    RELEASED = "released"
    AWAITS = "awaits-children"
    UNKNOWN = "unknown-name"


class Action(StrEnum):
    """What a store shall do with an active job."""

    COMPLETE = "complete"
    FAIL = "fail"
    RETRY = "retry"
    SNOOZE = "snooze"
    RELEASE = "release"
    AWAIT = "await-children"


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """How a try of a job ended, in plain values.

    Shape    result is JSON text. backoff_ms is what the user's own backoff function said:
             None gives up. rate_limit_ms: nobody starts a job of this queue for so long.
    """

    end: End
    result: str | None = None
    reason: str | None = None
    stack: str | None = None
    delay_ms: Millis = 0
    backoff_ms: Millis | None = None
    rate_limit_ms: Millis = 0


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with the claimed job; the token fences the write.

    Shape    result is JSON text; stack one text, kept with those of earlier tries.
             counted: the try uses up an attempt. unknown: count one more unknown name.
             exhausted: it fails because no attempt was left.
    Units    delay_ms from the time of the write; keep_stack texts are kept.
    """

    queue: str
    id: str
    token: str
    action: Action
    end: End
    result: str | None = None
    reason: str | None = None
    stack: str | None = None
    delay_ms: Millis = 0
    counted: bool = True
    unknown: bool = False
    exhausted: bool = False
    rate_limit_ms: Millis = 0
    handle: Any = None


def decide(
    claim: Claim,
    outcome: Outcome,
    *,
    random: Callable[[], float],
    unknown_limit_ms: Millis = UNKNOWN_LIMIT_MS,
) -> Decision:
    """Decide what shall become of a claimed job.

    A try that returned completes it. `Fail` fails it. A snooze or release is not counted.
    An unknown name is put back with a growing delay and fails after `unknown_limit_ms`.
    Anything else is tried again while attempts are left, after the job's backoff.
    """
    record = claim.record
    match outcome.end:
        case End.RETURNED:
            return _made(claim, outcome, Action.COMPLETE)
        case End.FAILED:
            spent = record.attempts_made + 1 >= record.options.attempts
            return _made(claim, outcome, Action.FAIL, exhausted=spent)
        case End.SNOOZED:
            return _made(claim, outcome, Action.SNOOZE, outcome.delay_ms, counted=False)
        case End.RELEASED:
            return _made(claim, outcome, Action.RELEASE, counted=False)
        case End.AWAITS:
            return _made(claim, outcome, Action.AWAIT, counted=False)
        case End.UNKNOWN:
            return _unknown(claim, outcome, unknown_limit_ms)
        case End.RAISED | End.TIMED_OUT:
            return _again(claim, outcome, random)


def _again(claim: Claim, outcome: Outcome, random: Callable[[], float]) -> Decision:
    record = claim.record
    options = record.options
    if record.attempts_made + 1 >= options.attempts:
        return _made(claim, outcome, Action.FAIL, exhausted=True)
    backoff = options.backoff
    if backoff is None:
        return _made(claim, outcome, Action.RETRY)
    if isinstance(backoff, Custom):
        if outcome.backoff_ms is None:
            return _made(claim, outcome, Action.FAIL)
        return _made(claim, outcome, Action.RETRY, outcome.backoff_ms)
    return _made(claim, outcome, Action.RETRY, delay(backoff, record.attempt, random))


def _unknown_wait(count: int) -> Millis:
    return min(UNKNOWN_FIRST_MS << min(count, 16), UNKNOWN_MAX_MS)


def _unknown(claim: Claim, outcome: Outcome, limit_ms: Millis) -> Decision:
    count = claim.record.unknown
    if sum(_unknown_wait(n) for n in range(count)) >= limit_ms:
        return _made(claim, outcome, Action.FAIL)
    wait = _unknown_wait(count)
    return _made(claim, outcome, Action.SNOOZE, wait, counted=False, unknown=True)


def _made(
    claim: Claim,
    outcome: Outcome,
    action: Action,
    delay_ms: Millis = 0,
    **flags: bool,
) -> Decision:
    record: Record = claim.record
    return Decision(
        queue=record.queue,
        id=record.id,
        token=claim.token,
        action=action,
        end=outcome.end,
        result=outcome.result,
        reason=outcome.reason,
        stack=outcome.stack,
        delay_ms=delay_ms,
        rate_limit_ms=outcome.rate_limit_ms,
        handle=claim.handle,
        **flags,
    )
