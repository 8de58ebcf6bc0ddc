"""Processors: classes with one method per job name, or one method for all names.

Their instances are made when a worker starts, so what they depend on can be anything that lives
as long as a worker. Never here: where dependencies come from (`dependencies`).
"""

import inspect
import types
import weakref
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeVar, Unpack, cast

from toril._jobs.job import Job
from toril._jobs.listeners import JOB_EVENTS, LOCAL_EVENTS, Listener, LocalEvent, check_event
from toril.errors import ConfigError, TaskError

from .definitions import place_of_class
from .dependencies import Container, remember
from .handlers import Handler, HandlerOptions, make_handler
from .isolation_options import take_isolation
from .user_code import is_own_module

F = TypeVar("F", bound=Callable[..., Any])

_MARK = "__toril_handles__"
_LISTENS = "__toril_listens__"

# What was marked with @handles, and which classes became processors of whatever app: so that a
# class that was forgotten can be noticed.
_marked: "weakref.WeakSet[Callable[..., Any]]" = weakref.WeakSet()
_registered: "weakref.WeakSet[type[Any]]" = weakref.WeakSet()


@dataclass(frozen=True, slots=True)
class _Handles:
    name: str | None
    options: HandlerOptions


def handles(name: str | None = None, **options: Unpack[HandlerOptions]) -> Callable[[F], F]:
    """Decorate the method of a processor that handles jobs with this name; None: any other name."""

    def mark(function: F) -> F:
        # Under @staticmethod or @classmethod it is their function that the class is asked for.
        marked = _function(function)
        setattr(marked, _MARK, _Handles(name, options))
        _marked.add(marked)
        return function

    return mark


def listens(event: LocalEvent) -> Callable[[F], F]:
    """Decorate a method of a processor that is called for an event of its queue in its worker.

    It gets what a listener of `worker.on(event)` gets, and runs on the instance that handles the
    jobs. Of events about jobs it hears those of its queue.

    Raises:
        ConfigError: There is no such event.

    Example:
        ```python
        @app.processor("mail")
        class Mail:
            def __init__(self, alerts: Alerts) -> None:
                self.alerts = alerts

            async def process(self, job: Job) -> None: ...

            @listens("failed")
            async def tell(self, job: Job, error: BaseException) -> None:
                await self.alerts.send(f"{job.name} failed: {error}")
        ```
    """
    check_event(event, LOCAL_EVENTS, None)

    def mark(function: F) -> F:
        marked = _function(function)
        setattr(marked, _LISTENS, (*getattr(marked, _LISTENS, ()), event))
        return function

    return mark


class Processor:
    """A registered processor class: its queue, its methods, and the instance a worker makes."""

    def __init__(
        self, queue: str, kind: type[Any], options: HandlerOptions, container: Container
    ) -> None:
        self.queue = queue
        self.kind = kind
        # For the class it bounds the queue, for a method its name: so it is no method's default.
        self.concurrency = options.get("concurrency")
        self._options = options.copy()
        self._options["concurrency"] = None
        self.methods = dict(_methods(kind))
        self.listening = tuple(_listening(kind))
        self.place = place_of_class(kind)
        if not self.methods:
            raise ConfigError(
                f"processor {kind.__qualname__} handles nothing",
                field="processor",
                value=kind,
                hint='mark its methods with @handles("name"), or write `async def process(self, job)`',
            )
        _registered.add(kind)
        remember(kind, container)

    def handlers(self, instance: object = None) -> list[Handler]:
        """Return its methods as handlers: to run on this instance, or without one to be listed."""
        return [self._handler(method, instance) for method in self.methods]

    def _handler(self, method: str, instance: object) -> Handler:
        handled = self.methods[method]
        options = cast("HandlerOptions", {**self._options, **handled.options})
        handler = make_handler(
            getattr(self.kind, method),
            queue=self.queue,
            name=handled.name,
            options=options,
            call=self._at_rest if instance is None else getattr(instance, method),
            # A child makes an instance of its own: what it has to find is the class.
            isolation=take_isolation(options, self.kind),
        )
        own = method_of(self.kind, method) if instance is None else getattr(instance, method)
        return replace(handler, function=own)

    def listeners(self, instance: object) -> list[tuple[str, Listener, str | None]]:
        """Return its listeners: the event, the method of this instance, and the queue."""
        return [
            (event, getattr(instance, name), self.queue if event in JOB_EVENTS else None)
            for name, event in self.listening
        ]

    @property
    def isolated(self) -> bool:
        """Whether only child processes need an instance."""
        return not self.listening and all(
            handler.isolation is not None for handler in self.handlers()
        )

    def _at_rest(self, job: Job[Any]) -> Any:
        raise TaskError(f"{self.kind.__qualname__} runs {job!r} only in app.worker(...)")


def methods_of(kind: type[Any]) -> Mapping[str, str | None]:
    """Return the methods of a class that handle jobs, each with the job name it handles."""
    return {method: handled.name for method, handled in _methods(kind)}


def method_of(kind: type[Any], method: str) -> Callable[..., Any]:
    """Return a method as its instances have it, to read its parameters."""
    if isinstance(inspect.getattr_static(kind, method), staticmethod | classmethod):
        return cast("Callable[..., Any]", getattr(kind, method))
    return types.MethodType(getattr(kind, method), object())


def unregistered() -> list[str]:
    """Return the names of the user's classes that use @handles and are not registered.

    Classes of toril itself and of installed packages are omitted: they may be there for others.
    """
    registered = {id(function) for kind in list(_registered) for function in _functions(kind)}
    orphans = {
        f"{function.__module__}.{function.__qualname__.rpartition('.')[0]}"
        for function in list(_marked)
        if id(function) not in registered
        and "." in function.__qualname__
        and is_own_module(function.__module__)
    }
    return sorted(orphans)


def _methods(kind: type[Any]) -> Iterator[tuple[str, _Handles]]:
    found = False
    for name in dict.fromkeys(_names(kind)):
        handled: object = getattr(_function(inspect.getattr_static(kind, name)), _MARK, None)
        if isinstance(handled, _Handles):
            found = True
            yield name, handled
    if not found and callable(getattr(kind, "process", None)):
        yield "process", _Handles(None, HandlerOptions())


def _listening(kind: type[Any]) -> Iterator[tuple[str, str]]:
    for name in dict.fromkeys(_names(kind)):
        for event in getattr(_function(inspect.getattr_static(kind, name)), _LISTENS, ()):
            yield name, event


def _names(kind: type[Any]) -> Iterator[str]:
    # In the order in which they are written, base classes first.
    for base in reversed(kind.__mro__):
        yield from vars(base)


def _functions(kind: type[Any]) -> Iterator[object]:
    for base in kind.__mro__:
        yield from map(_function, vars(base).values())


def _function(member: Any) -> Any:
    """Return the function of a static or class method."""
    return getattr(member, "__func__", member)
