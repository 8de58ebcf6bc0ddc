"""What an app attaches to its workers and to its adds, and its alerts: `Toril` inherits these methods.

Never here: running any of it.
"""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from inspect import iscoroutinefunction
from typing import Any, TypeVar, Unpack, overload
from weakref import WeakSet

from toril._handlers.app_hooks import (
    AppHooks,
    AppListener,
    Lifespan,
    Middleware,
    attach,
    check_yields,
)
from toril._handlers.callables import title_of
from toril._handlers.dependencies import Container
from toril._jobs.drafts import BeforeEnqueue
from toril._jobs.enqueue import Enqueuer
from toril._jobs.listeners import APP_EVENTS, AppEvent, Listener, check_event
from toril._model.alert import Alert
from toril._model.record import check_queue_name
from toril._worker.hooks import Happening
from toril._worker.worker import Worker
from toril.errors import ConfigError

from .alerts import AlertOptions, Alerts, AlertTarget, make_watcher

Yields = (
    AsyncIterator[Any]
    | Iterator[Any]
    | AbstractAsyncContextManager[Any]
    | AbstractContextManager[Any]
)
L = TypeVar("L", bound=Listener)
H = TypeVar("H", bound=Happening)
G = TypeVar("G", bound=Callable[..., Yields])
B = TypeVar("B", bound=BeforeEnqueue)


class HookedApp:
    """The hooks of an app; they hold for every worker of it, `toril worker` included."""

    def __init__(self, adder: Enqueuer, container: Container) -> None:
        self.hooks = AppHooks()
        self._adder = adder
        self.container = container
        self._workers: WeakSet[Worker] = WeakSet()
        self._alerts = Alerts(adder.context)

    def _attach(self, worker: Worker) -> None:
        """Let a new worker have the listeners of the app."""
        self._workers.add(worker)
        for each in self.hooks.listeners:
            if each.event != "added":
                worker.listen(each.event, each.function, each.queue)

    @overload
    def on(self, event: AppEvent, *, queue: str | None = None) -> Callable[[L], L]: ...
    @overload
    def on(
        self, event: type[H], *, queue: str | None = None
    ) -> Callable[[Callable[[H], object]], Callable[[H], object]]: ...

    def on(self, event: Any, *, queue: str | None = None) -> Any:
        """Decorate a listener, sync or async, of an event in every worker of this app.

        An event is a name, or a class of records of `toril.hooks`. A sync listener runs at once, on
        the event loop, and must not block. What a listener raises is logged with its name.

        Args:
            event: "active", "completed", "failed", "cancelled", "attempt_failed", "progress",
                "stalled", "lock_lost", "drained", "error", "ready", "closing", "closed"; or
                "added": this process stored a job. Or a class of `toril.hooks`.
            queue: Listen to the jobs of this queue only.

        Raises:
            ConfigError: There is no such event, or it is not about a queue.

        Example:
            ```python
            @app.on("failed")
            async def tell(job: Job, error: BaseException) -> None:
                await send_message(f"{job.name} failed: {error}")
            ```
        """
        check_event(event, APP_EVENTS, queue)

        def keep(listener: L) -> L:
            new = AppListener(listener, event, queue)
            replaced = attach(self.hooks.listeners, new)
            if replaced is not None:
                self._forget_listener(replaced)
            if event == "added":
                self._adder.listeners.add(event, listener, queue)
            else:
                for worker in self._workers:
                    worker.listen(event, listener, queue)
            return listener

        return keep

    def off(self, event: AppEvent | type[Happening], listener: Listener) -> None:
        """Remove a listener from this app and its workers."""
        for each in list(self.hooks.listeners):
            if each.event == event and each.function == listener:
                self.hooks.listeners.remove(each)
                self._forget_listener(each)

    def _forget_listener(self, listener: AppListener) -> None:
        self._adder.listeners.remove(listener.event, listener.function)
        if listener.event != "added":
            for worker in self._workers:
                worker.off(listener.event, listener.function)

    @overload
    def lifespan(self, function: G, /) -> G: ...
    @overload
    def lifespan(self, /, *, children: bool = False) -> Callable[[G], G]: ...

    def lifespan(
        self, function: Callable[..., Any] | None = None, /, *, children: bool = False
    ) -> Any:
        """Decorate a generator function that runs as long as a worker: a start and a stop hook.

        The code before its `yield` runs when a worker process starts, before its first job; the rest
        runs when its last job has ended. Handlers and other dependencies get what it yields by
        `Depends(function)`. Its own parameters are dependencies; `app: Toril` is this app. If the
        first part raises, the worker does not start. What the second part raises is logged.

        Args:
            function: A generator function, sync or async, that yields once.
            children: Run it also in each child process of handlers with `isolation="process"`.

        Raises:
            ConfigError: The function does not yield.

        Example:
            ```python
            @app.lifespan
            async def pool(app: Toril) -> AsyncIterator[Pool]:
                async with create_pool() as pool:
                    yield pool
            ```
        """

        def register(given: G) -> G:
            check_yields(given, "lifespan")
            attach(self.hooks.lifespans, Lifespan(given, children))
            self.container.last(given)
            return given

        return register if function is None else register(function)

    @overload
    def middleware(self, function: G, /) -> G: ...
    @overload
    def middleware(
        self, /, *, queue: str | None = None, children: bool = True
    ) -> Callable[[G], G]: ...

    def middleware(
        self,
        function: Callable[..., Any] | None = None,
        /,
        *,
        queue: str | None = None,
        children: bool = True,
    ) -> Any:
        """Decorate a generator function that runs around each attempt of each handler.

        The code before its `yield` runs before the handler, the rest after it; at the `yield` it
        sees what the handler raises. It runs where the handler runs: on the event loop, in the
        handler's thread, or in its child process. Its first parameter is the job, others are
        dependencies. The one that was attached first is the outermost.

        What it raises fails the attempt; a signal, such as `Snooze`, steers the job.

        Args:
            function: A generator function, sync or async, that yields once. For handlers with
                `isolation="process"` it must be at the top level of a module.
            queue: Surround the handlers of this queue only.
            children: Surround handlers with `isolation="process"`, too.

        Raises:
            ConfigError: The function does not yield.

        Example:
            ```python
            @app.middleware
            def timed(job: Job) -> Iterator[None]:
                began = time.perf_counter()
                try:
                    yield
                finally:
                    seconds.labels(job.name).observe(time.perf_counter() - began)
            ```
        """
        if queue is not None:
            check_queue_name(queue)

        def register(given: G) -> G:
            check_yields(given, "middleware")
            attach(self.hooks.middleware, Middleware(given, queue, children))
            return given

        return register if function is None else register(function)

    def follow_overrides(self, overrides: Mapping[Any, Any]) -> None:
        """Let a mapping replace functions of `Depends`, as it is when a worker starts; for frameworks.

        Args:
            overrides: What to call instead, by the function in `Depends(function)`.
        """
        self.container.follow(overrides)

    def before_enqueue(self, function: B, /) -> B:
        """Decorate a function that sees, and may change, each job before this app stores it.

        It gets a `toril.hooks.JobDraft`, is called where the job is added, and must not block. A
        `TorilError` that it raises refuses the job, and goes to who adds it. Any other error is
        logged with the function's name, and the job is added without the change. Jobs that a
        schedule makes are not seen. `app.on("added")` tells of jobs that were stored.

        Raises:
            ConfigError: It is a coroutine function.

        Example:
            ```python
            @app.before_enqueue
            def add_tenant(draft: JobDraft) -> None:
                draft.headers["tenant"] = current_tenant.get()
            ```
        """
        if iscoroutinefunction(function):
            raise ConfigError(
                f"before_enqueue: {title_of(function)} is a coroutine function",
                field="before_enqueue",
                value=function,
                hint="write it as `def`: it runs where the job is added, and must not wait",
            )
        self._adder.before.append(function)
        return function

    def alert(self, to: AlertTarget, **options: Unpack[AlertOptions]) -> None:
        """Tell somebody when something goes wrong: once, and once more when it is over.

        Workers of this app look, one of them at a time; `watch_alerts` looks in other processes, and
        `check_alerts` at once. Call it before they start.

        Args:
            to: A URL, to which the alert is posted as JSON; "log"; or a function, sync or async,
                that takes a `toril.types.Alert`.
            **options: What is watched.

        Raises:
            ConfigError: Nothing is watched, or a value cannot hold.

        Example:
            ```python
            app.alert(
                "https://hooks.example.com/jobs",
                failure_rate=0.2,
                oldest_waiting="5m",
                dead_letters=1,
                workers_gone="1m",
                missed_schedules="2m",
            )
            ```
        """
        if self._alerts.add(make_watcher(to, options)):
            self.lifespan(self._watch)

    async def _watch(self) -> AsyncIterator[None]:
        async with self._alerts.watching():
            yield

    @asynccontextmanager
    async def watch_alerts(self) -> AsyncGenerator[None]:
        """Look for what `app.alert` watches in this process, too, which has no worker.

        If all workers are gone, none of them can tell: let a web process look, too.

        Example:
            ```python
            async with app.watch_alerts():
                await serve_web()
            ```
        """
        async with self._alerts.watching():
            yield

    async def check_alerts(self) -> list[Alert]:
        """Look once for what `app.alert` watches, and return what is wrong.

        Who is to be told is told, unless a process that watches does so anyway.
        """
        return await self._alerts.look()
