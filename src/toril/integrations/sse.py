"""What every web framework needs: a job's progress as server-sent events, and errors as answers.

Never here: the response of a framework.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from toril._jobs.job import Job
from toril._model.states import FINISHED, State
from toril.errors import (
    BadArguments,
    ConfigError,
    JobNotFound,
    QueueFull,
    StoreUnavailable,
    TorilError,
)
from toril.events import Completed, Event, Failed, JobEvent, Progress, Removed

HEARTBEAT_S = 15.0
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}


_STATUS: tuple[tuple[type[TorilError], int], ...] = (
    (JobNotFound, 404),
    (QueueFull, 429),
    (StoreUnavailable, 503),
    (ConfigError, 422),
    (BadArguments, 422),
)
ANSWERED = tuple(kind for kind, _ in _STATUS)
"""The errors that are the answer to a request."""


def answer_to(error: Exception) -> tuple[int, str]:
    """Return the status and the text with which a request is answered that raised this."""
    status = next(code for kind, code in _STATUS if isinstance(error, kind))
    # Of a store that is away the text may name hosts.
    return status, "the job store cannot be reached" if status == 503 else str(error)


def there(job: Job[Any] | None) -> Job[Any]:
    """Return the job.

    Raises   JobNotFound: it is None.
    """
    if job is None:
        raise JobNotFound("there is no such job")
    return job


def message(kind: str, data: object) -> str:
    """Return one event as it is sent to a browser."""
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"


async def job_messages(job: Job[Any], *, heartbeat: float = HEARTBEAT_S) -> AsyncIterator[str]:
    """Yield the progress of a job as server-sent events, and at last how it ended.

    The events are `progress` (the value), `completed` (the result), `failed` (the reason) and
    `removed`. A job that has ended yields its end at once. Between events a comment is sent every
    `heartbeat` seconds, so that proxies keep the connection.
    """
    async with job.events() as stream:
        last = ""
        async for last in _so_far(job):
            yield last
            if not last.startswith("event: progress"):
                return
        events = aiter(stream)
        following: asyncio.Future[JobEvent] = asyncio.ensure_future(anext(events))
        try:
            while True:
                done, _ = await asyncio.wait({following}, timeout=heartbeat)
                if not done:
                    yield ": waiting\n\n"
                    continue
                event = following.result()
                text, ended = _text_of(event)
                # Progress may have been both read and heard.
                if text and text != last:
                    yield text
                    last = text
                if ended:
                    return
                following = asyncio.ensure_future(anext(events))
        finally:
            following.cancel()


async def _so_far(job: Job[Any]) -> AsyncIterator[str]:
    """Yield what a job has reported before, and its end if it has ended."""
    try:
        await job.refresh()
    except JobNotFound:
        yield message("removed", None)
        return
    if job.last_progress is not None:
        yield message("progress", job.last_progress)
    if job.record.state not in FINISHED:
        return
    if job.record.state is State.COMPLETED:
        yield message("completed", await job.result())
    else:
        yield message("failed", job.error or "")


def _text_of(event: Event) -> tuple[str, bool]:
    """Return what is sent of an event, and whether the job has ended."""
    match event:
        case Progress():
            return message("progress", event.data), False
        case Completed():
            return message("completed", event.result), True
        case Failed():
            return message("failed", event.reason), True
        case Removed():
            return message("removed", None), True
        case _:
            return "", False
