"""What processors depend on: values and factories by type, and `Depends` on a callable.

Never here: which classes are processors.
"""

import inspect
import typing
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from toril.errors import ConfigError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Depends:
    """A parameter's default that says what to call for its value."""

    call: Callable[..., Any]


def Depends(call: Callable[..., Awaitable[T] | T]) -> T:
    """Say that a parameter's value is what `call` returns; async callables are awaited.

    It is called once per worker, with its own parameters provided in the same way.
    """
    # What stands in the signature is the marker; the type checker sees the value.
    return cast("T", _Depends(call))


class Container:
    """Give instances of classes with what their constructors ask for."""

    def __init__(self) -> None:
        self._provided: dict[type, object] = {}

    def provide(self, kind: type[T], value: T | Callable[[], T]) -> None:
        """Let parameters annotated `kind` have this value, or what this factory makes.

        Raises   ConfigError: the type is provided already.
        """
        if kind in self._provided:
            raise ConfigError(f"{kind.__qualname__} is provided twice", field="provide", value=kind)
        self._provided[kind] = value

    def scope(self, more: Mapping[type, object] | None = None) -> "Scope":
        """Begin a scope, such as a worker: what is made in it is made once; `more` goes first."""
        return Scope({**self._provided, **(more or {})})


class Scope:
    """Make instances, and keep what they share."""

    def __init__(self, provided: dict[type, object]) -> None:
        self._provided = provided
        self._made: dict[object, object] = {}

    async def make(self, kind: type[T]) -> T:
        """Make an instance of a class, providing its constructor's parameters.

        Raises   ConfigError: nothing provides a parameter; it names class, parameter and fix.
        """
        if kind not in self._made:
            self._made[kind] = kind(**await self._arguments(kind, kind.__init__))
        return cast("T", self._made[kind])

    async def _call(self, function: Callable[..., Any]) -> object:
        if function not in self._made:
            value = function(**await self._arguments(function, function))
            self._made[function] = await value if inspect.isawaitable(value) else value
        return self._made[function]

    async def _arguments(self, owner: Any, function: Callable[..., Any]) -> dict[str, object]:
        hints = _hints(function)
        given: dict[str, object] = {}
        for name, parameter in inspect.signature(owner).parameters.items():
            default = parameter.default
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            if isinstance(default, _Depends):
                given[name] = await self._call(default.call)
            elif hints.get(name) in self._provided:
                given[name] = await self._value(hints[name])
            elif default is parameter.empty:
                raise _missing(owner, name, hints.get(name))
        return given

    async def _value(self, kind: type) -> object:
        value = self._provided[kind]
        if isinstance(value, kind) or not callable(value):
            return value
        return await self._call(value)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function)
    except (NameError, TypeError):
        return inspect.get_annotations(function)


def _missing(owner: Any, name: str, kind: Any) -> ConfigError:
    what = getattr(kind, "__name__", None) or (str(kind) if kind is not None else "a value")
    return ConfigError(
        f"nothing provides parameter {name!r} ({what}) of {owner.__qualname__}",
        field=name,
        value=kind,
        hint=f"call app.provide({what}, value_or_factory), or write {name}=Depends(make_it)",
    )
