"""`toril worker`: says what it serves, serves it, and stops when it is told to.

Never here: how jobs are run, and what signals do.
"""

import asyncio
import difflib
import importlib
import importlib.util
import os
from collections.abc import Callable, Iterator, Sequence
from importlib.metadata import version
from typing import Any

from toril._model.times import describe
from toril._run.app import Toril
from toril._run.handlers import Handler
from toril._run.schedule import Schedule
from toril._run.stopping import leave, serve
from toril._run.worker import Worker
from toril._run.worker_options import WorkerOptions
from toril.errors import ConfigError


def make_worker(app: Toril, options: WorkerOptions) -> Worker:
    """Make the worker that was asked for: of its queues, or of all that have a handler.

    Raises   ConfigError: nothing could be served, a queue has no handler, or a bad option.
    """
    handled = app.registry.queues()
    if not handled:
        raise ConfigError(
            "the app has no task, processor or handler: a worker would do nothing",
            field="tasks",
            hint="put @app.task over a function, or import the module that does",
        )
    worker = app.worker(**options)
    for queue in worker.queues:
        if queue not in handled:
            raise _unhandled(queue, handled)
    return worker


def _unhandled(queue: str, handled: Sequence[str]) -> ConfigError:
    near = difflib.get_close_matches(queue, handled, n=1)
    guess = f"did you mean {near[0]!r}? " if near else ""
    return ConfigError(
        f"queue {queue!r} has no handler in this app",
        field="queues",
        value=queue,
        hint=f"{guess}queues with one: {', '.join(handled)}",
    )


def run_worker(app: Toril, worker: Worker, ready: Callable[[], None]) -> int:
    """Work until a signal comes, and give the exit code: 0 when every job ended in time.

    Shape    ready is called when the store is open.
    """
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        code = runner.run(_work(app, worker, ready))
        if code:
            # Code that does not end must not keep the process; its jobs were put back.
            leave(code)
    return code


async def _work(app: Toril, worker: Worker, ready: Callable[[], None]) -> int:
    async with app:
        ready()
        return await serve([worker])


def describe_worker(app: Toril, worker: Worker) -> Iterator[str]:
    """Give the lines that say what a worker serves."""
    yield f"toril {version('toril')} · worker {worker.name} · pid {os.getpid()}"
    yield f"store: {app.context.store.url}"
    for queue, most in worker.shares.items():
        yield f"queue: {queue}, {most} at once"
        for handler in app.registry.handlers(queue):
            yield f"  {_describe_handler(handler)}"
    for (queue, schedule_id), schedule in app.schedules.declared.items():
        if queue in worker.queues:
            yield f"schedule: {schedule_id} in {queue}{_next_run(schedule)}"
    grace = describe(round(worker.settings.grace_s * 1000))
    yield f"Ctrl-C or SIGTERM stops it; what runs then has {grace} to end."


def _describe_handler(handler: Handler) -> str:
    name = handler.name if handler.name is not None else "(any name)"
    cap = f", {handler.concurrency} at once" if handler.concurrency else ""
    where = ", in a thread" if handler.in_thread else ""
    where = ", in a process" if handler.isolation is not None else where
    return f"{name}  →  {handler.title}{where}{cap}"


def _next_run(schedule: Schedule) -> str:
    following = schedule.preview(1)
    return f", next at {following[0]:%Y-%m-%d %H:%M:%S} UTC" if following else ", no run is left"


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Give what makes uvloop's loop, where that is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    uvloop: Any = importlib.import_module("uvloop")
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
