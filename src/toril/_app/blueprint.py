"""`Blueprint`: tasks, processors and hooks that are defined without an app, and included in one later.

Never here: what an app does with them; each is a step that is carried out by `app.include`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, Unpack

from toril._handlers.dependencies import Container
from toril._handlers.depends import Lifetime
from toril._handlers.handlers import HandlerOptions
from toril._handlers.schedules import ScheduleOptions
from toril._handlers.task import Task, TaskMaker, TaskOptions
from toril._jobs.job import Job
from toril._jobs.listeners import AppEvent
from toril._jobs.node import Add, Node
from toril.errors import ConfigError, TaskError

from .options import make_task

F = TypeVar("F", bound=Callable[..., Any])
C = TypeVar("C", bound=type[Any])


class Blueprint:
    """Tasks, processors, schedules and hooks of a module that does not know the app.

    Its decorators are those of `Toril`. `app.include(blueprint)` or `app.autodiscover(...)` gives
    them to an app; until then a task can be called, and not enqueued.

    Args:
        name: What errors call it.

    Example:
        ```python
        mail = Blueprint("mail")


        @mail.task(queue="mail")
        async def welcome(to: str) -> None: ...


        app = Toril()
        app.include(mail)
        ```
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self._steps: list[Callable[[Any], object]] = []
        self._container = Container()
        self._app: Any = None
        self._add_jobs: Add | None = None
        self.task = TaskMaker(self._make_task)

    def __repr__(self) -> str:
        return f"<Blueprint {self.name!r}>"

    def _make_task(self, function: Callable[..., Any], options: TaskOptions) -> Task[..., Any]:
        task = make_task(function, options, self._add, self._container)
        self._do(lambda app: app.adopt(task, options))
        return task

    async def _add(self, nodes: Sequence[Node]) -> list[Job[Any]]:
        if self._add_jobs is None:
            raise TaskError(f"{self!r} belongs to no app yet: call app.include(...) first")
        return await self._add_jobs(nodes)

    def _do(self, step: Callable[[Any], object]) -> None:
        self._steps.append(step)
        if self._app is not None:
            step(self._app)

    @property
    def app(self) -> Any:
        """The app that includes it, or None."""
        return self._app

    def bind(self, app: Any, add: Add) -> None:
        """Give everything to an app; called by `app.include`.

        Raises:
            ConfigError: Another app includes it already; and what the steps raise.
        """
        if self._app is app:
            return
        if self._app is not None:
            raise ConfigError(
                f"{self!r} is included in another app already",
                field="blueprint",
                value=self.name,
                hint="make one blueprint for each app, for example in a function",
            )
        self._app, self._add_jobs = app, add
        for step in list(self._steps):
            step(app)

    def _decorator(self, attach: Callable[[Any, Any], object]) -> Callable[[Any], Any]:
        def register(given: Any) -> Any:
            self._do(lambda app: attach(app, given))
            return given

        return register

    def processor(self, queue: str, /, **options: Unpack[HandlerOptions]) -> Callable[[C], C]:
        """Decorate a class that handles a queue; see `app.processor`."""
        return self._decorator(lambda app, kind: app.processor(queue, **options)(kind))

    def handler(
        self, queue: str, name: str | None = None, /, **options: Unpack[HandlerOptions]
    ) -> Callable[[F], F]:
        """Decorate the handler of a queue's jobs; see `app.queue(queue).handler`."""
        return self._decorator(
            lambda app, function: app.queue(queue).handler(name, **options)(function)
        )

    def schedule(self, schedule_id: str, /, **options: Unpack[ScheduleOptions]) -> None:
        """Declare a schedule; see `app.schedule`."""
        self._do(lambda app: app.schedule(schedule_id, **options))

    def provide(self, kind: type[Any], value: Any, *, scope: Lifetime | None = None) -> None:
        """Provide the value of parameters of a type; see `app.provide`.

        Call it before the tasks are defined that have such parameters.
        """
        self._container.provide(kind, value, scope=scope)
        self._do(lambda app: app.provide(kind, value, scope=scope))

    def on(self, event: AppEvent | type[Any], *, queue: str | None = None) -> Callable[[F], F]:
        """Decorate a listener; see `app.on`."""
        return self._decorator(lambda app, listener: app.on(event, queue=queue)(listener))

    def lifespan(self, function: F, /) -> F:
        """Decorate what runs as long as a worker; see `app.lifespan`."""
        self._do(lambda app: app.lifespan(function))
        return function

    def middleware(self, function: F, /) -> F:
        """Decorate what surrounds every handler of the app; see `app.middleware`."""
        self._do(lambda app: app.middleware(function))
        return function

    def before_enqueue(self, function: F, /) -> F:
        """Decorate what sees every job of the app before it is stored; see `app.before_enqueue`."""
        self._do(lambda app: app.before_enqueue(function))
        return function
