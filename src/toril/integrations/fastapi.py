"""FastAPI and Starlette: an app's lifespan, queues by `Depends`, errors as answers, live progress.

Tasks and handlers take FastAPI's own `Depends` as well: a dependency lives as long as one attempt of
a job, and `dependency_overrides` of the web app hold for jobs, too.
"""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any, Unpack, cast

from starlette.applications import Starlette
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from toril._app.app import Toril
from toril._app.queue import Queue
from toril._jobs.job import Job
from toril._worker.options import WorkerOptions
from toril.errors import ConfigError

from .sse import ANSWERED, HEADERS, HEARTBEAT_S, answer_to, job_messages, there

__all__ = ["add_error_handlers", "get_toril", "lifespan", "queue", "stream_job"]

WebLifespan = Callable[[Any], AbstractAsyncContextManager[Any]]


def lifespan(
    jobs: Toril,
    *,
    worker: bool = False,
    inner: WebLifespan | None = None,
    **options: Unpack[WorkerOptions],
) -> WebLifespan:
    """Return the lifespan of a web app: it opens the jobs, and runs a worker if it is asked to.

    Args:
        jobs: The app whose jobs the web app adds.
        worker: Run the jobs in this process, too; else start `toril worker` beside it.
        inner: A lifespan of your own, which runs within.
        **options: Options of the worker, such as `grace="5s"`.

    Example:
        ```python
        web = FastAPI(lifespan=lifespan(jobs, worker=settings.run_worker))
        ```
    """

    @asynccontextmanager
    async def run(web: Starlette) -> AsyncGenerator[Any]:
        web.state.toril = jobs
        overrides = getattr(web, "dependency_overrides", None)
        if isinstance(overrides, dict):
            jobs.follow_overrides(cast("Mapping[Any, Any]", overrides))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(jobs)
            # Before the worker, so that its handlers find what this makes.
            state = await stack.enter_async_context(inner(web)) if inner is not None else None
            if worker:
                await stack.enter_async_context(jobs.worker(**options))
            yield state

    return run


def get_toril(connection: HTTPConnection) -> Toril:
    """Return the jobs of the web app: `jobs: Annotated[Toril, Depends(get_toril)]`.

    Raises:
        ConfigError: The web app has no `lifespan(jobs)`.
    """
    found = getattr(connection.app.state, "toril", None)
    if not isinstance(found, Toril):
        raise ConfigError(
            "the web app has no jobs", field="lifespan", hint="FastAPI(lifespan=lifespan(jobs))"
        )
    return found


def queue(name: str) -> Callable[[HTTPConnection], Queue]:
    """Return what gives a queue by its name: `mail: Annotated[Queue, Depends(queue("mail"))]`."""

    def get_queue(connection: HTTPConnection) -> Queue:
        return get_toril(connection).queue(name)

    return get_queue


def stream_job(job: Job[Any] | None, *, heartbeat: float = HEARTBEAT_S) -> StreamingResponse:
    """Return a response that sends a job's progress and its end, as they happen.

    The events are `progress`, `completed`, `failed` and `removed`; see `EventSource` in a browser.

    Raises:
        JobNotFound: The job is None.

    Example:
        ```python
        @web.get("/jobs/{job_id}/events")
        async def follow(job_id: str, mail: Annotated[Queue, Depends(queue("mail"))]):
            return stream_job(await mail.job(job_id))
        ```
    """
    messages = job_messages(there(job), heartbeat=heartbeat)
    return StreamingResponse(messages, media_type="text/event-stream", headers=HEADERS)


def add_error_handlers(web: Starlette) -> None:
    """Answer requests that raise an error of toril: a missing job with 404, a bad value with 422,
    a full queue with 429, and a store that cannot be reached with 503.
    """

    async def answer(_: Request, error: Exception) -> Response:
        status, text = answer_to(error)
        return JSONResponse({"detail": text}, status)

    for kind in ANSWERED:
        web.add_exception_handler(kind, answer)
