"""Flask: an extension, an application context for each job, `flask toril worker`, live progress.

Views block, so they use the blocking calls: `task.enqueue_sync(...)`, `sync.run(...)` and
`sync.iterate(...)`. They work under gunicorn's workers, with `--preload` too.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import click
from flask import Flask, Response, current_app, jsonify
from flask.cli import AppGroup

from toril._app.app import Toril
from toril._jobs.background_loop import iterate
from toril._jobs.job import Job
from toril._serve.console import log_as
from toril._serve.shutdown import serve
from toril._worker.options import WorkerOptions
from toril.errors import ConfigError

from .sse import ANSWERED, HEADERS, HEARTBEAT_S, answer_to, job_messages, there

__all__ = ["FlaskToril", "current_toril", "stream_job"]


class FlaskToril:
    """The extension: gives a Flask app its jobs, and each job an application context.

    Args:
        jobs: The app whose jobs the Flask app adds and handles.
        web: The Flask app; else call `init_app` later.

    Example:
        ```python
        jobs = Toril("sqlite:///jobs.db")
        extension = FlaskToril(jobs)


        def create_app() -> Flask:
            web = Flask(__name__)
            extension.init_app(web)
            return web
        ```
    """

    def __init__(self, jobs: Toril, web: Flask | None = None) -> None:
        self.jobs = jobs
        if web is not None:
            self.init_app(web)

    def init_app(self, web: Flask, *, error_handlers: bool = True) -> None:
        """Attach the jobs to a Flask app.

        Args:
            web: The Flask app.
            error_handlers: Answer views that raise an error of toril: a missing job with 404, a bad
                value with 422, a full queue with 429, and a store that is away with 503.
        """
        web.extensions["toril"] = self.jobs

        def app_context(job: Job[Any]) -> Iterator[None]:
            with web.app_context():
                yield

        self.jobs.middleware(children=False)(app_context)
        web.cli.add_command(_commands)
        if error_handlers:
            for kind in ANSWERED:
                web.register_error_handler(kind, _answer)


def current_toril() -> Toril:
    """Return the jobs of the current Flask app.

    Raises:
        ConfigError: It has no `FlaskToril`.
    """
    found = current_app.extensions.get("toril")
    if not isinstance(found, Toril):
        raise ConfigError(
            "the Flask app has no jobs", field="init_app", hint="FlaskToril(jobs).init_app(web)"
        )
    return found


def _answer(error: Exception) -> tuple[Response, int]:
    status, text = answer_to(error)
    return jsonify(detail=text), status


def stream_job(job: Job[Any] | None, *, heartbeat: float = HEARTBEAT_S) -> Response:
    """Return a response that sends a job's progress and its end, as they happen.

    It holds a thread of the server as long as the browser listens.

    Raises:
        JobNotFound: The job is None.
    """
    messages = iterate(job_messages(there(job), heartbeat=heartbeat))
    return Response(messages, mimetype="text/event-stream", headers=HEADERS)


_commands = AppGroup("toril", help="Run background jobs.")


@_commands.command("worker")
@click.option("--queues", default="", help="Queues to work on, such as a,b. Default: all.")
@click.option("--concurrency", type=int, help="How many jobs of each queue run at once.")
@click.option("--grace", default="25s", help="How long running jobs may take to end.")
@click.option("--log-level", default="info", help="Log level.")
def worker_command(queues: str, concurrency: int | None, grace: str, log_level: str) -> None:
    """Run the jobs of this app until a signal arrives.

    For several processes, use `toril worker`.
    """
    log_as(log_level)
    options = WorkerOptions(grace=grace, concurrency=concurrency)
    names = [name for each in queues.split(",") if (name := each.strip())]
    if names:
        options["queues"] = names
    raise SystemExit(asyncio.run(_work(current_toril(), options)))


async def _work(jobs: Toril, options: WorkerOptions) -> int:
    async with jobs:
        return await serve([jobs.worker(**options)])
