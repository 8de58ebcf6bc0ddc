"""`toril worker`: says what it serves, serves it, and stops when it is told to.

Never here: how jobs are run, what signals do, and several processes (supervisor).
"""

import asyncio
import importlib
import importlib.util
import os
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from typing import Any

import typer

from toril._app.app import Toril
from toril._handlers.handlers import Handler
from toril._handlers.schedules import Schedule
from toril._model.suggest import did_you_mean
from toril._model.times import describe
from toril._worker.options import WorkerOptions
from toril._worker.worker import Worker
from toril.errors import ConfigError, TorilError

from .console import show_error
from .load import load_app
from .probes import ProbeAddress, ProbeAnswer, probes
from .shutdown import Ending, leave, serve
from .side_effects import side_effects_told


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
    guess = did_you_mean(queue, handled, after=" ")
    return ConfigError(
        f"queue {queue!r} has no handler in this app",
        field="queues",
        value=queue,
        hint=f"{guess}queues with one: {', '.join(handled)}",
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a worker is asked to be; it goes from a supervisor to its processes as it is.

    Shape    target: where the app is. queues: those that have a handler if there are none.
             concurrency, lock, stalled_interval, max_stalls: a worker's own if not given.
             url, prefix: where the jobs are, instead of where the app says. imports: modules
             that are imported besides, such as "shop.*". burst: end when its queues are empty.
    """

    target: str
    queues: Sequence[str] = ()
    concurrency: int | None = None
    grace: str = "25s"
    name: str = ""
    lock: str = ""
    stalled_interval: str = ""
    max_stalls: int | None = None
    url: str = field(default="", repr=False)
    prefix: str = ""
    imports: Sequence[str] = ()
    burst: bool = False

    def __post_init__(self) -> None:
        if self.concurrency is not None and self.concurrency < 1:
            raise ConfigError(
                f"concurrency={self.concurrency} must be at least 1",
                field="concurrency",
                value=self.concurrency,
            )


def load_worker(asked: Asked) -> tuple[Toril, Worker]:
    """Load the app, and make the worker that was asked for.

    Raises   ConfigError: there is no such app, it has nothing to do, or a bad option.
    """
    with side_effects_told(asked.target):
        app = load_app(asked.target)
        if asked.imports:
            app.autodiscover(*asked.imports)
    if asked.url or asked.prefix:
        app.move_to(asked.url or None, asked.prefix or None)
    options = WorkerOptions(grace=asked.grace, concurrency=asked.concurrency)
    if asked.queues:
        options["queues"] = asked.queues
    return app, make_worker(app, options | _given(asked))


def _given(asked: Asked) -> WorkerOptions:
    """Return the options that were typed; what was omitted is for the worker to say."""
    options = WorkerOptions()
    if asked.name:
        options["name"] = asked.name
    if asked.lock:
        options["lock"] = asked.lock
    if asked.stalled_interval:
        options["stalled_interval"] = asked.stalled_interval
    if asked.max_stalls is not None:
        options["max_stalls"] = asked.max_stalls
    return options


def run_worker(asked: Asked, health: ProbeAddress | None) -> int:
    """Work until a signal comes, and give the exit code: 0 when every job ended in time."""
    app, worker = load_worker(asked)
    code = looped(_work(app, worker, health, burst=asked.burst))
    if code:
        # Code that does not end must not keep the process; its jobs were put back.
        leave(code)
    return code


def looped(work: Coroutine[object, object, int]) -> int:
    """Run this on an event loop of its own, uvloop's where that is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(work)


async def _work(app: Toril, worker: Worker, health: ProbeAddress | None, *, burst: bool) -> int:
    until_empty = _UntilEmpty(worker)

    @asynccontextmanager
    async def attend(ending: Ending) -> AsyncGenerator[None]:
        async with AsyncExitStack() as beside:
            if health is not None:
                look = partial(_verdict, worker)
                await beside.enter_async_context(probes(health, look, say_health))
            if burst:
                await beside.enter_async_context(until_empty.watched(ending))
            yield

    async with app:
        typer.echo("\n".join(describe_worker(app, worker)))
        code = await serve([worker], attend)
    if until_empty.error is None:
        return code
    show_error(until_empty.error)
    return 1


class _UntilEmpty:
    """Asks for the end of a worker when its queues are empty; `error`: what kept them from that."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._ready = asyncio.Event()
        self.error: TorilError | None = None

    @asynccontextmanager
    async def watched(self, ending: Ending) -> AsyncGenerator[None]:
        self._worker.on("ready")(self._ready.set)
        watching = asyncio.create_task(self._watch(ending))
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self, ending: Ending) -> None:
        await self._ready.wait()
        try:
            await self._worker.drained()
        except TorilError as error:
            self.error = error
        ending.ask()


def say_health(url: str) -> None:
    """Log the address of the probes."""
    typer.echo(f"health: {url}/live and {url}/ready")


def _verdict(worker: Worker, path: str) -> ProbeAnswer:
    health = worker.health()
    well = health.live if path == "/live" else health.ready
    facts: dict[str, object] = {
        "ok": well,
        "reason": None if well else health.reason,
        "worker": worker.id,
        "queues": worker.queues,
        "running": health.running,
    }
    return ProbeAnswer(well, facts)


def describe_worker(app: Toril, worker: Worker) -> Iterator[str]:
    """Return the lines that say what a worker serves."""
    yield f"toril {version('toril')} · worker {worker.name} · pid {os.getpid()}"
    yield f"store: {app.store_url}"
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
    """Return what makes uvloop's loop, where that is installed."""
    if importlib.util.find_spec("uvloop") is None:
        return None
    uvloop: Any = importlib.import_module("uvloop")
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
