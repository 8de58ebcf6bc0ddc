"""What an app attaches to all of its workers: listeners, lifespans, and middleware.

Never here: running any of it.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from toril._jobs.listeners import Listener
from toril.errors import ConfigError

from .callables import title_of, yields
from .definitions import place_of, replaces
from .isolation_options import Target, importable

T = TypeVar("T", "AppListener", "Lifespan", "Middleware")


@dataclass(frozen=True, slots=True)
class AppListener:
    """A listener of an event, of all queues or of one."""

    function: Listener
    event: Any
    queue: str | None = None


@dataclass(frozen=True, slots=True)
class Lifespan:
    """A generator that runs as long as a worker; with `children` in each child process too."""

    function: Callable[..., Any]
    children: bool = False


@dataclass(frozen=True, slots=True)
class Middleware:
    """A generator that runs around each attempt, of all queues or of one; in `children`, too."""

    function: Callable[..., Any]
    queue: str | None = None
    children: bool = True


@dataclass(slots=True)
class AppHooks:
    """What an app attaches to its workers, in the order in which it was attached."""

    listeners: list[AppListener] = field(default_factory=list[AppListener])
    lifespans: list[Lifespan] = field(default_factory=list[Lifespan])
    middleware: list[Middleware] = field(default_factory=list[Middleware])

    def around(self, queue: str) -> list[Callable[..., Any]]:
        """Return the middleware of a queue, the outermost first."""
        return [each.function for each in self.middleware if each.queue in (None, queue)]

    def targets(self, queue: str) -> tuple[tuple[Target, ...], tuple[Target, ...]]:
        """Return where child processes find the middleware of a queue, and the lifespans.

        Raises   ConfigError: no other process can import one of them.
        """
        lifespans = [each.function for each in self.lifespans if each.children]
        around = [each for each in self.middleware if each.children]
        here = [each.function for each in around if each.queue in (None, queue)]
        return _targets(here), _targets(lifespans)


def _targets(functions: Iterable[Callable[..., Any]]) -> tuple[Target, ...]:
    return tuple(importable(function) for function in functions)


def attach(hooks: list[T], new: T) -> T | None:
    """Add a hook, and return the one that it replaces because its code has run again."""
    for earlier in hooks:
        if _is_same(earlier, new) and replaces(
            f"hook {title_of(new.function)}", place_of(new.function), place_of(earlier.function)
        ):
            hooks[hooks.index(earlier)] = new
            return earlier
    hooks.append(new)
    return None


def _is_same(earlier: T, new: T) -> bool:
    if earlier.function is new.function:
        return False
    event, queue = getattr(new, "event", None), getattr(new, "queue", None)
    return (
        title_of(earlier.function) == title_of(new.function)
        and getattr(earlier, "event", None) == event
        and getattr(earlier, "queue", None) == queue
    )


def check_yields(function: object, what: str) -> None:
    """Check that a function yields, as lifespans and middleware do.

    Raises   ConfigError: it does not.
    """
    if callable(function) and yields(function):
        return
    shown = title_of(function) if callable(function) else repr(function)
    raise ConfigError(
        f"{what} {shown} must yield once",
        field=what,
        value=function,
        hint="write a generator function: the code before its `yield` runs first, the rest at the end",
    )
