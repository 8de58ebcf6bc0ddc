"""How a try ended, in plain values: what a handler returned or raised becomes an `Outcome`."""

import asyncio
import os.path
import sys
import traceback
from collections.abc import Iterator
from itertools import dropwhile, takewhile
from types import TracebackType
from typing import Any, NamedTuple, cast

import msgspec

from toril._handlers.handlers import Handler
from toril._handlers.retry_rule import kinds_of
from toril._handlers.signature import Misfit
from toril._handlers.user_code import TORIL_FRAMES, is_own
from toril._jobs.guard import let_signals_pass, text_of
from toril._jobs.job import Job
from toril._jobs.reasons import bounded, reason_text, sound
from toril._model.decide import End, Outcome
from toril._model.faults import Cause, cause
from toril._model.options import BackoffFunction
from toril._model.times import Duration, Millis, describe, to_ms
from toril.errors import AwaitChildren, ConfigError, Fail, RateLimited, Release, Signal, Snooze

MAX_STACK = 32_768
# What waits before the next try when a backoff function fails: the attempt must not be lost.
NO_BACKOFF_MS: Millis = 1_000

NO_REASON = "failed on request"
# Which signal counts where several were raised together.
_WEIGHT: tuple[type[Signal], ...] = (Fail, RateLimited, Snooze, Release, AwaitChildren, Signal)

_THIS_PACKAGE = os.path.dirname(__file__) + os.sep


class Ended(NamedTuple):
    """The end of a try: its outcome, and what local listeners are handed."""

    outcome: Outcome
    value: object = None
    error: BaseException | None = None


NOT_RUN = Ended(Outcome(end=End.RELEASED))


def returned(handler: Handler, value: object) -> Ended:
    """Turn what a handler returned into the end of its attempt.

    A value that cannot be stored fails the job for good: its work is done, and another attempt
    would do it again.
    """
    try:
        return Ended(Outcome(end=End.RETURNED, result=handler.encode(value)), value)
    except BaseException as error:
        let_signals_pass(error)
        reason = f"{handler.title} returned a value that cannot be stored: {reason_text(error)}"
        return Ended(_failure(End.FAILED, bounded(reason), None, error), error=error)


def raised(error: BaseException) -> Ended:
    """Turn what a handler raised into the end of its attempt."""
    signal = _signal_in(error)
    if signal is not None:
        return _steered(signal, error)
    end = End.RAISED
    if isinstance(error, Misfit):
        # Only the job's own arguments: an error about another call is an error like any other.
        end = End.UNKNOWN if error.shape else End.FAILED
    return Ended(_failure(end, reason_of(error), stack_of(error), error), error=error)


def _steered(signal: Signal, error: BaseException) -> Ended:
    try:
        return Ended(_outcome_of(signal), error=error)
    except Exception as bad:
        # A delay that is none, or a subclass without the fields of its base.
        end = End.FAILED if isinstance(signal, Fail) else End.RAISED
        return Ended(_failure(end, reason_of(bad), stack_of(bad), bad), error=bad)


def _outcome_of(signal: Signal) -> Outcome:
    match signal:
        case Fail():
            reason = reason_text(signal.reason) or NO_REASON
            return _failure(End.FAILED, reason, stack_of(signal), signal)
        case Snooze():
            return Outcome(
                end=End.SNOOZED, delay_ms=_wait(signal.delay), reason=reason_text(signal.reason)
            )
        case RateLimited():
            return Outcome(end=End.RELEASED, rate_limit_ms=_wait(signal.delay))
        case Release():
            return Outcome(end=End.RELEASED)
        case AwaitChildren():
            return Outcome(end=End.AWAITS)
        case _:
            return _failure(End.RAISED, reason_of(signal), stack_of(signal), signal)


def out_of_time(ended: Ended, which: str, limit_ms: Millis) -> Ended:
    """Say that a try ended because of a time limit, whatever it raised then."""
    reason = f"it did not end within its {which} of {describe(limit_ms)}"
    was = ended.outcome.fault
    found = None if was is None else cause(TimeoutError.__name__, was.place, reason)
    error = TimeoutError(reason)
    outcome = Outcome(
        end=End.TIMED_OUT,
        reason=reason,
        stack=ended.outcome.stack,
        fault=found,
        kinds=kinds_of(error),
    )
    return Ended(outcome, error=error)


def custom_backoff(
    function: BackoffFunction | None, attempt: int, error: BaseException, job: Job[Any]
) -> tuple[Millis | None, BaseException | None]:
    """Ask the user's own backoff function; where it cannot answer, say why, and wait a little."""
    try:
        if function is None:
            raise ConfigError(
                f"job {job.name!r} of queue {job.queue!r} has a backoff of its own, and this "
                "worker has no function for it",
                field="backoff",
                hint="give the task or the worker backoff=your_function",
            )
        wait = function(attempt, error, job)
        return (None if wait is None else to_ms(wait, field="backoff")), None
    except BaseException as fault:
        let_signals_pass(fault)
        return NO_BACKOFF_MS, fault


def reason_of(error: BaseException) -> str:
    """Return why a try failed: the error's message, its type where it has none or is no Exception."""
    name = type(error).__name__
    message = text_of(error)
    if isinstance(error, asyncio.CancelledError):
        return bounded(f"the handler raised {name} itself{message and f': {message}'}")
    if not isinstance(error, Exception):
        message = f"the handler raised {name}{message and f': {message}'}"
    return bounded(message) or name


def stack_of(error: BaseException) -> str:
    """Format an error's traceback from the first frame that is not the runtime's own."""
    frames = error.__traceback__
    while frames is not None and _is_ours(frames):
        frames = frames.tb_next
    try:
        text = "".join(traceback.format_exception(type(error), error, frames))
    except BaseException as fault:
        let_signals_pass(fault)
        # An error whose own text cannot be made, or a source file that cannot be read.
        text = f"{type(error).__name__} (its traceback cannot be formatted)\n"
    return _cut(text)


def _cut(text: str) -> str:
    if len(text) > MAX_STACK:
        half = MAX_STACK // 2
        text = f"{text[:half]}\n  … {len(text) - MAX_STACK} characters omitted …\n{text[-half:]}"
    return sound(text)


def where(thread: int) -> str | None:
    """Format where the handler is that a thread runs, from the first frame of the user's own.

    None: nothing runs there.
    """
    top = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    if top is None:
        return None
    frames = traceback.StackSummary.extract(traceback.walk_stack(top), lookup_lines=False)
    user = list(takewhile(lambda frame: not frame.filename.startswith(_THIS_PACKAGE), frames))[::-1]
    user = list(dropwhile(lambda frame: frame.filename.startswith(TORIL_FRAMES), user))
    if not user:
        return None
    return _cut("".join(["Stack (most recent call last):\n", *traceback.format_list(user)]))


def _is_ours(frames: TracebackType) -> bool:
    return frames.tb_frame.f_code.co_filename.startswith(TORIL_FRAMES)


def _signal_in(error: BaseException) -> Signal | None:
    """Find the signal that was raised, also in exception groups.

    `Fail` counts whatever was raised beside it. Other signals count where nothing but signals was
    raised: the first one in the order of `_WEIGHT`.
    """
    every = list(_leaves(error))
    signals = [each for each in every if isinstance(each, Signal)]
    for kind in _WEIGHT:
        for signal in signals:
            if isinstance(signal, kind) and (kind is Fail or len(signals) == len(every)):
                return signal
    return None


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in cast("BaseExceptionGroup[BaseException]", error).exceptions:
            yield from _leaves(each)
    else:
        yield error


def _failure(end: End, reason: str, stack: str | None, error: BaseException) -> Outcome:
    kinds = tuple(dict.fromkeys(kind for each in _leaves(error) for kind in kinds_of(each)))
    found = cause_of(error, reason)
    return Outcome(end=end, reason=reason, stack=stack, fault=found, kinds=kinds)


def ruled(handler: Handler | None, ended: Ended) -> Ended:
    """Mark an attempt as the last one where the handler declares that its error is not tried again."""
    rule, outcome = handler and handler.retry, ended.outcome
    if not rule or not outcome.kinds or rule.allows(outcome.kinds):
        return ended
    return ended._replace(outcome=msgspec.structs.replace(outcome, final=True))


def cause_of(error: BaseException, reason: str) -> Cause:
    """Return the cause of a failure: the error's type, and where in the user's code it was raised.

    Where none of the frames is the user's own, it is the innermost one that is not toril's.
    """
    place = own = ""
    frames = error.__traceback__
    while frames is not None:
        code = frames.tb_frame.f_code
        if not code.co_filename.startswith(TORIL_FRAMES):
            module = frames.tb_frame.f_globals.get("__name__", "")
            place = f"{module}:{code.co_qualname}"
            own = place if is_own(code.co_filename) else own
        frames = frames.tb_next
    return cause(type(error).__name__, own or place, reason)


def _wait(delay: object) -> Millis:
    given: Duration = delay  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # checked by to_ms
    return to_ms(given, field="delay")
