"""Running a handler: on the loop, in a thread or in a child process; it ends in an `Ended`.

One coroutine does it, and it is the only task a running job has. Whatever user code raises stays
inside. Never here: what becomes of the job.
"""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from toril._handlers.handlers import Handler
from toril._jobs.job import CURRENT, Job
from toril._model.decide import End, Outcome

from .outcome import NOT_RUN, Ended, raised, reason_of, returned, where
from .pool import Processes
from .threads import Threads

__all__ = ["NOT_RUN", "Ended", "Executors", "Processes", "Threads", "perform", "raised", "returned"]


class Executors(NamedTuple):
    """Where handlers run that do not run on the loop."""

    threads: Threads
    processes: Processes


async def perform(
    handler: Handler, job: Job[Any], executors: Executors, begun: Callable[[], bool]
) -> Ended:
    """Run one try of a job, and wait until what it reported on its way is stored.

    `begun` is called when the handler itself begins, which may be later than this; it does not
    run when that says no.
    """
    if handler.isolation is not None:
        ended = await executors.processes.run(handler, job, begun)
    elif not begun():
        return NOT_RUN
    else:
        ended = await _attempt(handler, job, executors.threads)
    try:
        await job.written()
    except asyncio.CancelledError:
        return ended  # the handler has ended: it is too late to interrupt it
    return ended


async def _attempt(handler: Handler, job: Job[Any], threads: Threads) -> Ended:
    CURRENT.set(job)
    try:
        if handler.is_async:
            value = await handler.call(job)
        else:
            value = await threads.run(handler.call, job)
            if inspect.isawaitable(value):
                # A plain function around a coroutine function: the body has not run yet.
                with threads.left(job):
                    value = await value
    except BaseException as error:
        thread = threads.thread_of(job)
        if thread is not None:
            # It is left to itself: what matters is where it is.
            outcome = Outcome(end=End.RAISED, reason=reason_of(error), stack=where(thread))
            return Ended(outcome, error=error)
        # Everything, SystemExit and KeyboardInterrupt too: asyncio lets those two through to
        # the loop, and a handler must not end the worker. Returned from here, so that no frame
        # of the traceback refers to the error.
        return raised(error)
    return returned(handler, value)
