"""What shall become of a job after a try: the only place where that is decided.

Pure: chance and the time are arguments. Never here: carrying it out.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import msgspec

from .backoff import Custom, delay
from .crashes import charge, stalled_reason
from .faults import Cause, cause
from .record import Claim, Record, cancel_reason
from .stored import whole
from .times import Millis, describe

UNKNOWN_FIRST_MS = 5_000
UNKNOWN_MAX_MS = 300_000
UNKNOWN_LIMIT_MS = 24 * 3_600_000
MAX_STALLS = 3
DEFAULT_KEEP_STACK = 100
MAX_STACKS = 262_144
"""How many characters the stacks of one job's failed attempts may have together."""


class End(StrEnum):
    """How a try ended."""

    RETURNED = "returned"
    RAISED = "raised"
    TIMED_OUT = "timeout"
    DEADLINE = "deadline"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    FAILED = "fail"
    SNOOZED = "snoozed"
    RELEASED = "released"
    AWAITS = "awaits-children"
    CRASHED = "crashed"
    UNKNOWN = "unknown-name"
    MAX_RUNS = "max-runs"

    @property
    def word(self) -> str:
        """What is kept of it with a try that did not complete its job."""
        if self is End.CRASHED:
            return "stalled"
        return "failed" if self in (End.RAISED, End.FAILED) else self.value


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
             None gives up. rate_limit_ms: nobody starts a job of this queue for this long.
             once: a crash fails the job, however many are allowed. fault: what the error was.
             kinds: the names of the error's classes. final: no attempt is made after it.
    """

    end: End
    result: str | None = None
    reason: str | None = None
    stack: str | None = None
    delay_ms: Millis = 0
    backoff_ms: Millis | None = None
    rate_limit_ms: Millis = 0
    once: bool = False
    fault: Cause | None = None
    kinds: tuple[str, ...] = ()
    final: bool = False


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """What to do with the claimed job; the token fences the write.

    Shape    result is JSON text; stack one text, kept with those of earlier tries.
             counted: the try uses up an attempt. unknown: count one more unknown name.
             exhausted: it fails because no attempt was left. stalls: its process crashed, and
             that is the number of its crashes now. slot: where in its worker it ran. fault: why it
             failed, if it did.
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
    stalls: int | None = None
    rate_limit_ms: Millis = 0
    handle: Any = None
    slot: int | None = None
    fault: Cause | None = None


def kept_stacks(earlier: Sequence[str], stack: str | None, keep: int | None) -> list[str]:
    """Return the stacks of failed attempts that a job keeps, oldest first: the newest `keep`.

    The newest is kept whatever its size, older ones while there is room for them.
    """
    most = DEFAULT_KEEP_STACK if keep is None else keep
    texts = [*earlier] if stack is None else [*earlier, stack]
    texts = texts[-most:] if most else []
    room = MAX_STACKS
    for index in reversed(range(len(texts))):
        room -= len(texts[index])
        if room < 0:
            return texts[min(index + 1, len(texts) - 1) :]
    return texts


def begins(record: Record) -> Millis:
    """Say from when a job's limits count: when it was added, or when it was due by its schedule.

    The next run of a schedule is added long before it is due.
    """
    if record.schedule is not None:
        due = record.id.rpartition(":")[2]
        return max(record.created_ms, whole(due))
    return record.created_ms


def too_late(record: Record, now: Millis) -> Outcome | None:
    """Return how a claimed job ends that must not run: its time is over, or it ran too often."""
    options = record.options
    if record.runs > 1 and record.runs - record.unknown > options.most_runs:
        return Outcome(end=End.MAX_RUNS, reason=_ran_too_often(options.most_runs))
    if options.deadline_ms is None and options.expires_ms is None:
        return None
    age = now - begins(record)
    if options.deadline_ms is not None and age >= options.deadline_ms:
        return deadline_passed(record)
    # A start that could not even find a handler was none.
    first = record.runs - record.unknown <= 1
    if options.expires_ms is not None and first and age >= options.expires_ms:
        return _expired(options.expires_ms)
    return None


def next_limit(record: Record) -> tuple[Millis, Outcome] | None:
    """Return when the time of a job that waits is over, and how it ends then; None: never.

    The next run of a schedule has no such time: it ends when it is claimed, so that the schedule
    goes on from there.
    """
    options, limits = record.options, list[tuple[Millis, Outcome]]()
    if record.schedule is not None:
        return None
    if options.deadline_ms is not None:
        limits.append((record.created_ms + options.deadline_ms, deadline_passed(record)))
    if options.expires_ms is not None and record.runs <= record.unknown:
        limits.append((record.created_ms + options.expires_ms, _expired(options.expires_ms)))
    return min(limits, key=lambda limit: limit[0], default=None)


def _expired(after: Millis) -> Outcome:
    reason = f"expired: not started within {describe(after)}"
    return Outcome(end=End.EXPIRED, reason=reason)


def _ran_too_often(most: int) -> str:
    return f"it started {most:,} times and has not ended (max_runs)"


def deadline_passed(record: Record) -> Outcome:
    """Return how a job ends whose deadline has passed."""
    reason = f"deadline of {describe(record.options.deadline_ms or 0)} passed"
    return Outcome(end=End.DEADLINE, reason=reason)


def cancelled(why: str) -> Outcome:
    """Return how a job ends that somebody cancelled."""
    return Outcome(end=End.CANCELLED, reason=cancel_reason(why))


def decide(
    claim: Claim,
    outcome: Outcome,
    *,
    random: Callable[[], float],
    now: Millis,
    unknown_limit_ms: Millis = UNKNOWN_LIMIT_MS,
    max_stalls: int = MAX_STALLS,
) -> Decision:
    """Decide what shall become of a claimed job.

    A try that returned completes it. `Fail`, a cancellation, a deadline fail it. A snooze or
    release is not counted. A failure that is final is not tried again. An unknown name is put back with a growing delay and fails after
    `unknown_limit_ms`. Anything else is tried again while attempts are left, after the job's
    backoff, unless its deadline would pass before. The death of its process is a crash and no
    attempt: it runs again, next in its queue, until it has crashed more than `max_stalls` times.
    No job starts more often than `max_runs`.
    """
    record = claim.record
    match outcome.end:
        case End.RETURNED:
            return _made(claim, outcome, Action.COMPLETE)
        case End.FAILED:
            spent = record.attempts_made + 1 >= record.options.attempts
            return _made(claim, outcome, Action.FAIL, exhausted=spent)
        case End.CANCELLED | End.DEADLINE:
            return _made(claim, outcome, Action.FAIL)
        case End.EXPIRED | End.MAX_RUNS:
            return _made(claim, outcome, Action.FAIL, counted=False)
        case End.SNOOZED:
            snooze = _made(claim, outcome, Action.SNOOZE, outcome.delay_ms, counted=False)
            return _within_runs(record, snooze)
        case End.RELEASED:
            return _made(claim, outcome, Action.RELEASE, counted=False)
        case End.AWAITS:
            return _made(claim, outcome, Action.AWAIT, counted=False)
        case End.CRASHED:
            return _crashed(claim, outcome, max_stalls)
        case End.UNKNOWN:
            return _unknown(claim, outcome, unknown_limit_ms)
        case End.RAISED | End.TIMED_OUT:
            again = _again(claim, outcome, random)
            return _within_runs(record, _in_time(claim, again, now))


def _within_runs(record: Record, decision: Decision) -> Decision:
    """Fail a job now that would start more often than it may."""
    if decision.action is Action.FAIL or record.runs - record.unknown < record.options.most_runs:
        return decision
    reason = _ran_too_often(record.options.most_runs)
    if decision.reason:
        reason = f"{reason}: {decision.reason}"
    return msgspec.structs.replace(
        decision, action=Action.FAIL, end=End.MAX_RUNS, reason=reason, delay_ms=0
    )


def _in_time(claim: Claim, decision: Decision, now: Millis) -> Decision:
    """Fail a job now whose next try would begin after its deadline."""
    record = claim.record
    limit = record.options.deadline_ms
    if decision.action is not Action.RETRY or limit is None:
        return decision
    if now + decision.delay_ms < begins(record) + limit:
        return decision
    reason = f"deadline of {describe(limit)} leaves no time for another try: {decision.reason}"
    return msgspec.structs.replace(
        decision, action=Action.FAIL, end=End.DEADLINE, reason=reason, delay_ms=0
    )


def _again(claim: Claim, outcome: Outcome, random: Callable[[], float]) -> Decision:
    record = claim.record
    options = record.options
    if record.attempts_made + 1 >= options.attempts:
        return _made(claim, outcome, Action.FAIL, exhausted=True)
    if outcome.final:
        return _made(claim, outcome, Action.FAIL)
    backoff = options.backoff
    if backoff is None:
        return _made(claim, outcome, Action.RETRY)
    if isinstance(backoff, Custom):
        if outcome.backoff_ms is None:
            return _made(claim, outcome, Action.FAIL)
        return _made(claim, outcome, Action.RETRY, outcome.backoff_ms)
    return _made(claim, outcome, Action.RETRY, delay(backoff, record.attempt, random))


def _crashed(claim: Claim, outcome: Outcome, limit: int) -> Decision:
    """Charge a crash to the job that ran: a process of its own has no bystanders."""
    record = claim.record
    once = outcome.once or record.options.on_crash == "fail"
    stalls, fatal = charge(record.stalls, alone=True, limit=limit, once=once)
    if fatal:
        outcome = msgspec.structs.replace(outcome, reason=stalled_reason(outcome.reason))
    decision = _made(claim, outcome, Action.FAIL if fatal else Action.RELEASE, counted=False)
    return msgspec.structs.replace(decision, stalls=stalls)


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
        fault=_fault(record, outcome, action),
        **flags,
    )


def _fault(record: Record, outcome: Outcome, action: Action) -> Cause | None:
    """Return why an attempt failed; None: it did not, or somebody cancelled it."""
    if action not in (Action.FAIL, Action.RETRY) or outcome.end is End.CANCELLED:
        return None
    return outcome.fault or cause(outcome.end.word, record.name, outcome.reason or "")
