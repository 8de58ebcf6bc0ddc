"""What kind of callable something is, whatever wraps it: coroutine function, generator, class.

Never here: calling it.
"""

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, cast

from toril.errors import ConfigError


def title_of(function: Callable[..., Any]) -> str:
    """Name a function as listings and errors do: "module.name"."""
    name = getattr(function, "__qualname__", None) or type(function).__qualname__
    return f"{getattr(function, '__module__', '?')}.{name}".replace("<locals>.", "")


def is_async(function: Callable[..., Any]) -> bool:
    """Return whether calling it gives a coroutine; a plain wrapper of one is not asked."""
    return inspect.iscoroutinefunction(_plain(function))


def yields(function: Callable[..., Any]) -> bool:
    """Return whether the function inside all wrappers is a generator, sync or async."""
    return any(_is_generator(each) for each in layers_of(function))


def check_runs(function: Callable[..., Any]) -> None:
    """Check that calling a function runs its body.

    Raises   ConfigError: it is a generator, or a cache around a coroutine function.
    """
    layers = list(layers_of(function))
    title = title_of(layers[-1])
    if any(_is_generator(each) for each in layers):
        raise ConfigError(
            f"{title} is a generator function: calling it does not run its body",
            field="handler",
            value=function,
            hint="return a list instead of yielding",
        )
    if any(hasattr(each, "cache_info") for each in layers) and is_async(layers[-1]):
        raise ConfigError(
            f"{title} is a coroutine function in functools.lru_cache: a cached coroutine can be "
            "awaited only once",
            field="handler",
            value=function,
            hint="cache inside the function instead",
        )


def _plain(function: Any) -> Any:
    """Return the function that a partial, a method or a callable object calls."""
    while True:
        if isinstance(function, functools.partial):
            function = function.func
        elif isinstance(function, staticmethod) or inspect.ismethod(function):
            function = function.__func__
        elif inspect.isroutine(function) or isinstance(function, type):
            return function
        else:
            call = getattr(cast("Any", type(function)), "__call__", None)  # noqa: B004  # it may be a coroutine function
            if not inspect.isfunction(call):
                return function
            return call


def layers_of(function: Any) -> Iterator[Any]:
    """Return a callable and what it wraps, from the outside in."""
    seen: set[int] = set()
    while id(function) not in seen:
        seen.add(id(function))
        yield function
        inner = _plain(function)
        function = getattr(function, "__wrapped__", None) or getattr(inner, "__wrapped__", inner)


def _is_generator(function: Any) -> bool:
    plain = _plain(function)
    return inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain)
