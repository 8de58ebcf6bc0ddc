"""The program of a child process: one handler, imported once, and one job at a time.

A worker starts it (`process`). The user's code has the main thread, as it would in a script of its
own; a thread listens to the worker. Never here: what becomes of a job, and the store.
"""

import asyncio
import contextvars
import faulthandler
import importlib
import inspect
import logging
import os
import queue
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Awaitable, Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar, cast

import msgspec

from toril._handlers.callables import title_of
from toril._handlers.dependencies import Container, Source, container_of
from toril._handlers.handlers import Handler, make_handler
from toril._handlers.isolation_options import find, import_main
from toril._handlers.processors import method_of, methods_of
from toril._handlers.returns import Returns
from toril._handlers.scopes import Needs, WorkerScope
from toril._handlers.signature import Signature
from toril._handlers.soft_timeout import SoftLimit, is_soft_timeout
from toril._handlers.task import Task, caller, filler
from toril._jobs import environment
from toril._jobs.background_loop import run as run_on_portal
from toril._jobs.job import CURRENT, Job
from toril._jobs.limits import Limits
from toril._jobs.process_role import HERE
from toril._jobs.session import Session
from toril._model.checks import MAX_WHOLE
from toril._model.record import Claim
from toril._model.times import Millis
from toril._store.protocol import Store
from toril.errors import ConfigError, TaskError

from . import memory
from .forks import flush, leave_fork
from .outcome import Ended, out_of_time, raised, reason_of, returned, stack_of, where
from .pipe import ParentPipe, PipeStore
from .protocol import (
    Broken,
    Cancel,
    Grown,
    Hello,
    JobDone,
    Ready,
    Run,
    Stuck,
    ToChild,
    mark,
    read_order,
)

U = TypeVar("U")

WATCH_S = 0.5
# After the pipe has closed an idle child may end in an orderly way, but not for ever.
END_S = 2.0
CLOSE_S = 1.0
_PR_SET_PDEATHSIG = 1
MAIN_THREAD = threading.main_thread().ident or 0

Find = Callable[[str], Handler]
Functions = tuple[Callable[..., Any], ...]


def main() -> None:
    """Run jobs until the worker wants the end, or is gone."""
    link, hello = _open_pipes()
    marks = Marks(hello.secret)
    HERE.child = True
    environment.hush()
    for url, prefix, *there in hello.moves:
        environment.move((url, prefix), (there[0], there[1]))
    faulthandler.enable(all_threads=False)
    for number in (signal.SIGINT, signal.SIGTERM):
        # The worker decides when its children end. Not SIG_IGN, which programs that a handler
        # starts would inherit.
        signal.signal(number, _nothing)
    _die_with(hello.parent)
    sys.path[:], sys.argv[:] = hello.path, hello.argv
    with asyncio.Runner() as runner:
        handlers = _import(hello, runner, link)
        if handlers is not None:
            _show_logs(hello.log_level)
            ChildProgram(link, handlers.find, runner, marks).live(watch=hello.watch)
            handlers.close()


def _nothing(*_: object) -> None:
    """Let a signal pass."""


def _open_pipes() -> tuple[ParentPipe, Hello]:
    """Take the standard input and output for the worker; what is printed goes to the error output.

    The descriptors are dup()ed, so programs that a handler starts do not inherit them.
    """
    read, write = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    for stream in (sys.stdout, sys.stderr):
        cast("Any", stream).reconfigure(line_buffering=True, errors="backslashreplace")
    file = os.fdopen(read, "rb", buffering=1 << 16)
    hello = read_order(file.readline())
    if not isinstance(hello, Hello):
        sys.exit("this is started by a worker, to run jobs for it")
    return ParentPipe(file, write), hello


def _die_with(parent: int) -> None:
    """Let the system end this process with its worker, where it can; the pipe tells too."""
    if not sys.platform.startswith("linux"):
        return
    with suppress(ImportError, OSError, AttributeError):
        # Some builds of Python have no ctypes.
        importlib.import_module("ctypes").CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _show_logs(level: int | None) -> None:
    """Write the log lines that the worker would, unless the user's code has seen to that."""
    if level is not None and not logging.root.handlers:
        logging.basicConfig(level=level, format="%(levelname)-8s %(name)s %(message)s")


# The handler.


def _import(hello: Hello, runner: asyncio.Runner, link: ParentPipe) -> "Handlers | None":
    """Import the handler and call the container factory, or tell the worker why that failed."""
    HERE.importing = True
    try:
        if hello.main is not None:
            HERE.script = True
            import_main(hello.main)
            HERE.script = False
        handlers = _handlers(hello, runner)
    except BaseException as error:
        reason = f"{type(error).__name__}: {reason_of(error)}"
        link.send(Broken(reason=reason, stack=stack_of(error)))
        return None
    finally:
        HERE.importing = False
    link.send(Ready(rss=memory.own()))
    return handlers


def _handlers(hello: Hello, runner: asyncio.Runner) -> "Handlers":
    made: Mapping[type, object] = {}
    if hello.init is not None:
        made = _provided(_await(runner, find(hello.init)()), str(hello.init))
    found: object = find(hello.target)
    handlers = Handlers(runner, tuple(map(find, hello.around)), tuple(map(find, hello.lifespans)))
    if isinstance(found, type):
        handlers.add_class(found, container_of(found).extended(made))
    elif isinstance(found, Task):
        task = cast("Task[..., Any]", found)
        handlers.add(task.handler({}), task.container.extended(made))
    else:
        function = cast("Callable[..., Any]", found)
        container = container_of(function).extended(made)
        handler = _handler(function, function)
        if hello.target.kind == "task":
            injected = container.injected(function)
            signature = Signature(function, title=hello.target.name, injected=injected)
            handler = _of_task(function, signature)
        handlers.add(handler, container)
    return handlers


def _provided(made: object, where: str) -> Mapping[type, object]:
    if made is None:
        return {}
    if isinstance(made, Mapping):
        return cast("Mapping[type, object]", made)
    raise ConfigError(
        f"init={where!r} returned a {type(made).__name__}",
        field="init",
        value=made,
        hint="return a mapping of types to values, or nothing",
    )


def _await(runner: asyncio.Runner, value: Any) -> Any:
    return runner.run(value) if asyncio.iscoroutine(value) else value


def _handler(function: Callable[..., Any], call: Callable[..., Any]) -> Handler:
    return make_handler(function, queue="child", name=None, options={}, call=call)


def _of_task(function: Callable[..., Any], signature: Signature) -> Handler:
    handler = _handler(function, caller(function, signature))
    returns = Returns(signature, title=title_of(function))
    return replace(handler, encode=returns.write, fill=filler(function, signature))


def _same(value: Any, _: Job[Any]) -> Any:
    return value


class Handlers:
    """What runs jobs here, with what it depends on: all of that is made once, at the start."""

    def __init__(self, runner: asyncio.Runner, around: Functions, lifespans: Functions) -> None:
        self._runner = runner
        self._around = around
        self._lifespans = lifespans
        self._scope = WorkerScope()
        self._by_name: dict[str | None, Handler] = {}
        self._title = ""

    def add(self, handler: Handler, container: Container) -> None:
        """Let a function run the jobs."""
        needs = self._needs(container, handler.function, is_task=handler.fill is not None)
        self._start(container, needs.sources)
        self._by_name[None] = self._bound(handler, needs)

    def add_class(self, kind: type[Any], container: Container) -> None:
        """Let an instance of a class run the jobs, each method those of its name."""
        self._title = kind.__qualname__
        methods = methods_of(kind)
        needs = {
            method: self._needs(container, method_of(kind, method), is_task=False)
            for method in methods
        }
        own = container.instance(kind)
        self._start(container, [own, *(each for found in needs.values() for each in found.sources)])
        instance = self._scope.made(own)
        for method, name in methods.items():
            handler = _handler(getattr(kind, method), getattr(instance, method))
            handler = replace(handler, function=getattr(instance, method))
            self._by_name[name] = self._bound(handler, needs[method])

    def _needs(self, container: Container, function: Callable[..., Any], *, is_task: bool) -> Needs:
        around = tuple(container.middleware(each) for each in self._around)
        return Needs(around, container.of(function, is_task=is_task))

    def _start(self, container: Container, sources: Iterable[Source]) -> None:
        lifespans = [container.lifespan(each) for each in self._lifespans]
        self._runner.run(self._scope.start([*lifespans, *sources]))

    def _bound(self, handler: Handler, needs: Needs) -> Handler:
        return self._scope.bind(handler, needs, self._runner) if needs else handler

    def find(self, job_name: str) -> Handler:
        """Return what runs the jobs of this name.

        Raises   TaskError: a class has no method for it.
        """
        handler = self._by_name.get(job_name) or self._by_name.get(None)
        if handler is None:
            raise TaskError(f"{self._title} has no method for jobs named {job_name!r}")
        return handler

    def close(self) -> None:
        """End what they depend on; the worker does not wait for long."""
        self._runner.run(self._scope.close(CLOSE_S))


# Its jobs.


class ChildJob(Job[Any]):
    """The job as its handler sees it in a child: what it asks and tells goes to the worker."""

    __slots__ = ("told",)

    def __init__(self, context: Session, claim: Claim) -> None:
        super().__init__(context, claim.record, claim)
        self.told = False

    def _send_over(self, send: "Callable[[], asyncio.Future[U]]") -> Awaitable[U]:
        self.told = True
        return super()._send_over(send)


class Marks:
    """Report to the worker which job begins, between the lines that jobs print.

    The descriptor is a copy: a handler may close or replace the error output.
    """

    def __init__(self, secret: str) -> None:
        self._descriptor = os.dup(2)
        self._mark = mark(secret)
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._close)

    def begin(self, number: int) -> None:
        """Write a mark; one of this size is written whole or not at all."""
        with suppress(OSError):
            while True:
                try:
                    os.write(self._descriptor, self._mark + b"%d\n" % number)
                except BlockingIOError:
                    # A handler has made the pipe non-blocking, and it is full.
                    select.select([], [self._descriptor], [])
                else:
                    return

    def _close(self) -> None:
        with suppress(OSError):
            os.close(self._descriptor)


class ChildProgram:
    """Run the jobs that the worker sends, one after another."""

    def __init__(
        self, link: ParentPipe, handlers: Find, runner: asyncio.Runner, marks: Marks
    ) -> None:
        self._link = link
        self._marks = marks
        self._handlers = handlers
        self._runner = runner
        self._loop = runner.get_loop()
        self._orders: queue.SimpleQueue[Run | None] = queue.SimpleQueue()
        self._over = threading.Event()
        self._pid = os.getpid()
        self._number = 0
        self._job: ChildJob | None = None
        self._task: asyncio.Task[Any] | None = None
        self._soft: SoftLimit | None = None
        # The worker knows the limits, and holds what comes from here against them.
        loop = run_on_portal(_this_loop())
        self._context = Session(cast("Store", PipeStore(link)), Limits(MAX_WHOLE), loop=loop)

    def live(self, *, watch: bool) -> None:
        """Run jobs until the pipe closes."""
        threading.Thread(target=self._listen, name="toril-pipe", daemon=True).start()
        if watch:
            threading.Thread(target=self._watch, name="toril-memory", daemon=True).start()
        while (order := self._orders.get()) is not None:
            self._run(order)
        self._over.set()

    def _run(self, order: Run) -> None:
        self._marks.begin(order.number)
        job = ChildJob(self._context, Claim(order.record, order.token, 0))
        self._job, self._number = job, order.number
        ended = contextvars.copy_context().run(self._attempt, job, order.soft_ms)
        self._job, self._task, self._soft = None, None, None
        flush()
        self._link.send(JobDone(number=order.number, outcome=ended.outcome, rss=memory.own()))

    def _attempt(self, job: ChildJob, soft_ms: Millis | None) -> Ended:
        CURRENT.set(job)
        try:
            handler = self._handlers(job.name)
            if handler.is_async:
                return self._runner.run(self._attempt_async(handler, job, soft_ms))
            with _alarm(job, soft_ms):
                value = handler.call(job)
            if inspect.isawaitable(value):
                # A plain function around a coroutine function: the body has not run yet.
                rest = replace(handler, is_async=True, call=partial(_same, value))
                return self._runner.run(self._attempt_async(rest, job, soft_ms))
            ended = returned(handler, value)
        except BaseException as error:
            ended = _raised(error)
        leave_fork(self._pid, ended.error)
        if job.told:
            run_on_portal(job.written())
        return ended

    async def _attempt_async(
        self, handler: Handler, job: ChildJob, soft_ms: Millis | None
    ) -> Ended:
        CURRENT.set(job)
        self._task = task = asyncio.current_task()
        if soft_ms is not None and task is not None:
            soft = self._soft = SoftLimit(handler, soft_ms)
            handler = soft.handler
            self._loop.call_later(soft_ms / 1000, self._tell, soft, job)
        if job.cancelled.is_set():
            self._cancel_task(job, "it was told to end before it began")
        try:
            ended = returned(handler, await handler.call(job))
        except BaseException as error:
            ended = _raised(error)
        leave_fork(self._pid, ended.error)
        with suppress(asyncio.CancelledError):
            await job.written()
        if is_soft_timeout(ended.error) and soft_ms is not None:
            return out_of_time(ended, "soft timeout", soft_ms)
        return ended

    # In the thread that listens.

    def _listen(self) -> None:
        try:
            while (frame := self._read()) is not None:
                if isinstance(frame, Run):
                    self._orders.put(frame)
                elif isinstance(frame, Cancel):
                    self._cancel(frame)
        except BaseException:
            # A child that does not hear its worker would stand still.
            traceback.print_exc()
            os._exit(1)
        if self._job is not None:
            # The worker is gone: whatever this job does now, somebody else will do again.
            os._exit(1)
        self._orders.put(None)
        time.sleep(END_S)
        os._exit(0)

    def _read(self) -> ToChild | None:
        try:
            return self._link.read()
        except (OSError, ValueError, msgspec.DecodeError):
            return None

    def _cancel(self, order: Cancel) -> None:
        job = self._job
        if job is not None and order.number == self._number:
            if order.reason is not None:
                job.told_to_end(order.reason)
            job.cancelled.set()
            self._link.send(Stuck(number=order.number, stack=where(MAIN_THREAD)))
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._cancel_task, job, order.why)

    def _cancel_task(self, job: ChildJob, why: str) -> None:
        if self._task is not None and job is self._job:
            if self._soft is not None:
                self._soft.spare()
            self._task.cancel(why)

    def _tell(self, soft: SoftLimit, job: ChildJob) -> None:
        if self._task is not None and job is self._job and not job.cancelled.is_set():
            soft.tell(self._task, job)

    # In the thread that watches the memory.

    def _watch(self) -> None:
        while not self._over.wait(WATCH_S):
            used = memory.own()
            if self._job is not None and used is not None:
                self._link.send(Grown(rss=used))


def _raised(error: BaseException) -> Ended:
    ended = raised(error)
    if not isinstance(error, MemoryError):
        return ended
    # The frames still hold what the handler had.
    used = memory.shown(memory.own() or 0)
    reason = f"{ended.outcome.reason} (RSS {used})"
    return ended._replace(outcome=msgspec.structs.replace(ended.outcome, reason=reason))


@contextmanager
def _alarm(job: ChildJob, soft_ms: Millis | None) -> Generator[None, None, None]:
    """Set the flag of a job in blocking code when its soft time limit passes."""
    if soft_ms is None:
        yield
        return
    timer = threading.Timer(soft_ms / 1000, job.cancelled.set)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


async def _this_loop() -> asyncio.AbstractEventLoop:
    return asyncio.get_running_loop()
