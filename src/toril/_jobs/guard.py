"""Guard against user code that is not a handler: listeners, hooks, backoff functions, logging.

Such code may raise anything, `SystemExit` and `CancelledError` too, and must not harm a job or its
worker. Only what a signal handler raised goes on to the program. Never here: handlers.
"""

import asyncio
import dis
import functools
import logging
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from types import CodeType, TracebackType
from typing import Any

_RAISES = {dis.opmap["RAISE_VARARGS"], dis.opmap["RERAISE"]}


def let_signals_pass(error: BaseException) -> None:
    """Raise the error again if a signal handler raised it: it is meant for the program."""
    if _from_signal(error):
        raise error


def is_cancelled() -> bool:
    """Whether somebody cancelled the running task; code can also just raise `CancelledError`."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def text_of(value: object) -> str:
    """Return the text of a value, such as the message of an error, also if its `__str__` raises."""
    try:
        return str(value)
    except BaseException as fault:
        let_signals_pass(fault)
        return f"{type(value).__name__} (its message cannot be made)"


def repr_of(value: object) -> str:
    """Return the repr of a value, also of one whose `__repr__` raises."""
    try:
        return repr(value)
    except BaseException as fault:
        let_signals_pass(fault)
        return f"<{type(value).__name__} (its repr cannot be made)>"


def write_log(log: logging.Logger, level: int, text: str, *args: object, **more: Any) -> None:
    """Write a log line; a logging handler or filter that raises is named on the error output."""
    try:
        log.log(level, text, *args, **more)
    except BaseException as fault:
        let_signals_pass(fault)
        with suppress(Exception):
            sys.stderr.write(f"toril: cannot log {text.split()[0]}: {repr_of(fault)}\n")


def _from_signal(error: BaseException) -> bool:
    if threading.current_thread() is not threading.main_thread():
        return False
    traces = list(_traces(error.__traceback__))
    if isinstance(error, KeyboardInterrupt) and traces:
        default = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        # Python's own handler leaves no frame. It interrupts between two instructions, so the
        # last one is not a `raise`.
        code, last = traces[-1].tb_frame.f_code, traces[-1].tb_lasti
        if default and code.co_code[last] not in _RAISES:
            return True
    handlers = {_code_of(signal.getsignal(number)) for number in signal.valid_signals()} - {None}
    return any(trace.tb_frame.f_code in handlers for trace in traces)


def _traces(trace: TracebackType | None) -> Iterator[TracebackType]:
    while trace is not None:
        yield trace
        trace = trace.tb_next


def _code_of(handler: Any) -> CodeType | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    handler = getattr(handler, "__func__", handler)
    if callable(handler) and not hasattr(handler, "__code__"):
        handler = type(handler).__call__
    return getattr(handler, "__code__", None)
