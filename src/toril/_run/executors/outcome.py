"""How a try ended, in plain values: what a handler returned or raised becomes an `Outcome`."""

import asyncio
import os.path
import sys
import traceback
from itertools import dropwhile, takewhile
from types import TracebackType
from typing import Any, NamedTuple, cast

from toril._model.decide import End, Outcome
from toril._model.options import BackoffFunction
from toril._model.times import Duration, Millis, describe, to_ms
from toril._run.guard import let_signals_pass, text_of
from toril._run.handlers import Handler
from toril._run.job import Job
from toril.errors import (
    AwaitChildren,
    BadArguments,
    ConfigError,
    Fail,
    RateLimited,
    Release,
    Signal,
    Snooze,
)

MAX_REASON = 8_192
MAX_STACK = 32_768
# What waits before the next try when a backoff function fails: the attempt must not be lost.
NO_BACKOFF_MS: Millis = 1_000

_EXECUTORS = os.path.dirname(__file__) + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


class Ended(NamedTuple):
    """The end of a try: its outcome, and what local listeners are handed."""

    outcome: Outcome
    value: object = None
    error: BaseException | None = None


NOT_RUN = Ended(Outcome(end=End.RELEASED))


def returned(handler: Handler, value: object) -> Ended:
    """Turn what a handler returned into the end of its try; what is no JSON fails it."""
    try:
        text = handler.encode(value)
    except Exception as error:
        kind = type(value).__name__
        reason = f"the handler returned a {kind} that cannot be stored as JSON: {text_of(error)}"
        return Ended(_failure(End.RAISED, _bounded(reason), None), error=error)
    return Ended(Outcome(end=End.RETURNED, result=text), value)


def raised(error: BaseException) -> Ended:
    """Turn what a handler raised into the end of its try."""
    signal = _signal_in(error)
    if signal is None:
        end = End.FAILED if isinstance(error, BadArguments) else End.RAISED
        return Ended(_failure(end, reason_of(error), stack_of(error)), error=error)
    try:
        return Ended(_steered(signal), error=error)
    except ConfigError as bad:
        return Ended(_failure(End.RAISED, reason_of(bad), stack_of(bad)), error=bad)


def _steered(signal: Signal) -> Outcome:
    match signal:
        case Fail():
            return _failure(End.FAILED, _bounded(signal.reason), stack_of(signal))
        case Snooze():
            return Outcome(
                end=End.SNOOZED, delay_ms=_wait(signal.delay), reason=_bounded(signal.reason)
            )
        case RateLimited():
            return Outcome(end=End.RELEASED, rate_limit_ms=_wait(signal.delay))
        case Release():
            return Outcome(end=End.RELEASED)
        case AwaitChildren():
            return Outcome(end=End.AWAITS)
        case _:
            return _failure(End.RAISED, reason_of(signal), stack_of(signal))


def out_of_time(ended: Ended, which: str, limit_ms: Millis) -> Ended:
    """Say that a try ended because of a time limit, whatever it raised then."""
    reason = f"it did not end within its {which} of {describe(limit_ms)}"
    outcome = Outcome(end=End.TIMED_OUT, reason=reason, stack=ended.outcome.stack)
    return Ended(outcome, error=TimeoutError(reason))


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
    """Say why a try failed: the error's message, its type where it has none or is no Exception."""
    name = type(error).__name__
    message = text_of(error)
    if isinstance(error, asyncio.CancelledError):
        return f"the handler raised {name} itself{message and f': {message}'}"
    if not isinstance(error, Exception):
        message = f"the handler raised {name}{message and f': {message}'}"
    return _bounded(message) or name


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
        text = f"{text[:half]}\n  … {len(text) - MAX_STACK} characters left out …\n{text[-half:]}"
    return _sound(text)


def where(thread: int) -> str | None:
    """Format where the handler is that a thread runs, from the first frame of the user's own.

    None: nothing runs there.
    """
    top = sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]
    if top is None:
        return None
    frames = traceback.StackSummary.extract(traceback.walk_stack(top), lookup_lines=False)
    user = list(takewhile(lambda frame: not frame.filename.startswith(_EXECUTORS), frames))[::-1]
    user = list(dropwhile(lambda frame: frame.filename.startswith(_OURS), user))
    if not user:
        return None
    return _cut("".join(["Stack (most recent call last):\n", *traceback.format_list(user)]))


def _is_ours(frames: TracebackType) -> bool:
    return frames.tb_frame.f_code.co_filename.startswith(_OURS)


def _signal_in(error: BaseException) -> Signal | None:
    """Find the signal, also where a task group wrapped it and nothing else."""
    while isinstance(error, BaseExceptionGroup):
        inside = cast("BaseExceptionGroup[BaseException]", error).exceptions
        if len(inside) != 1:
            return None
        error = inside[0]
    return error if isinstance(error, Signal) else None


def _failure(end: End, reason: str, stack: str | None) -> Outcome:
    return Outcome(end=end, reason=reason, stack=stack)


def _wait(delay: object) -> Millis:
    given: Duration = delay  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]  # checked by to_ms
    return to_ms(given, field="delay")


def _bounded(text: str | None) -> str:
    text = text or ""
    if len(text) > MAX_REASON:
        text = f"{text[:MAX_REASON]}… ({len(text)} characters)"
    return _sound(text)


def _sound(text: str) -> str:
    # Lone surrogates come from file names and cannot be stored as UTF-8.
    return text if text.isascii() else text.encode(errors="replace").decode()
