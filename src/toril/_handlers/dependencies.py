"""What functions depend on: what `Depends` marks, provided types and the job, read from their signatures.

Never here: making what they depend on, and ending it (`scopes`).
"""

import inspect
import types
import typing
import weakref
from collections.abc import (
    Callable,
    Mapping,
)
from contextlib import suppress
from dataclasses import dataclass, field, replace
from inspect import Parameter as Plain
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin

from toril.errors import ConfigError

from .annotations import hints_of, is_job
from .callables import title_of, yields
from .definitions import Definition, calling, replaces
from .depends import DependsOn, Lifetime, check_scope, read_depends

T = TypeVar("T")


# What a function needs.


@dataclass(frozen=True, slots=True)
class Given:
    """A value that exists already."""

    value: object


@dataclass(frozen=True, slots=True, eq=False)
class Dependency:
    """A callable to be called once per worker or once per attempt; `key` says which are the same.

    `role` is what errors call it.
    """

    key: object
    call: Callable[..., Any]
    scope: Lifetime
    parameters: "tuple[Parameter, ...]"
    role: Literal["dependency", "lifespan", "middleware"] = "dependency"

    @property
    def title(self) -> str:
        """Its name, as errors show it."""
        return title_of(self.call)


Source = Dependency | Given | Literal["job"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter to fill in, and where its value comes from."""

    name: str
    source: Source
    positional: bool = False


def arrange(
    parameters: tuple[Parameter, ...], values: Mapping[str, object]
) -> tuple[list[object], dict[str, object]]:
    """Return the arguments of a call that fills in these parameters."""
    args = [values[each.name] for each in parameters if each.positional]
    return args, {each.name: values[each.name] for each in parameters if not each.positional}


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    """Return annotations; one that cannot be resolved is Any, or its text if that marks it."""
    made = cast("Any", function)
    owner = made.__init__ if isinstance(function, type) else function
    hints, faults = hints_of(owner)
    if faults:
        found = inspect.get_annotations(inspect.unwrap(getattr(owner, "__func__", owner)))
        texts = {name: found.get(name) for name in faults}
        hints |= {name: text for name, text in texts.items() if "Depends(" in str(text)}
    return hints


def marked(function: Callable[..., Any]) -> frozenset[str]:
    """Return the names of the parameters marked with `Depends`, as a default or in the annotation."""
    hints = _hints(function)
    found = _signature(function)
    if found is None:
        return frozenset()
    return frozenset(
        name for name, each in found.items() if _marker(each, hints.get(name)) is not None
    )


def _signature(function: Callable[..., Any]) -> Mapping[str, Plain] | None:
    try:
        return inspect.signature(function).parameters
    except (ValueError, TypeError):
        return None


def _marker(parameter: Plain, hint: Any) -> DependsOn | None:
    default = read_depends(parameter.default)
    if default is not None:
        return default
    if isinstance(hint, str) and "Depends(" in hint:
        raise ConfigError(
            f"the annotation {hint!r} of parameter {parameter.name!r} cannot be evaluated",
            field=parameter.name,
            value=hint,
            hint="import what it names at run time, not only for type checkers",
        )
    if get_origin(hint) is not Annotated:
        return None
    return next((found for each in get_args(hint)[1:] if (found := read_depends(each))), None)


def _bare(hint: Any) -> Any:
    """Return the type of an annotation without Annotated and None."""
    if get_origin(hint) is Annotated:
        return _bare(get_args(hint)[0])
    if get_origin(hint) in (typing.Union, types.UnionType):
        members = [each for each in get_args(hint) if each is not types.NoneType]
        return _bare(members[0]) if len(members) == 1 else hint
    return hint


@dataclass(frozen=True, slots=True)
class _Provided:
    value: object
    scope: Lifetime | None
    place: Definition | None = None


class Container:
    """The types that an app provides, and what functions need according to that."""

    def __init__(self) -> None:
        self._provided: dict[Any, _Provided] = {}
        # What a test gives instead, by type or by the function of `Depends`.
        self._overrides: dict[Any, Any] = {}
        self._followed: Mapping[Any, Any] = {}
        # Functions that are made once per worker wherever they are asked for.
        self._lifespans: set[object] = set()
        # Types that tasks take as arguments, each with the first of these tasks.
        self._arguments: dict[Any, str] = {}

    def provide(
        self, kind: type[T], value: T | Callable[..., Any], *, scope: Lifetime | None = None
    ) -> None:
        """Let parameters annotated `kind` have this value, or what this factory makes.

        Raises:
            ConfigError: The type is provided already, or a task takes it as an argument.
        """
        check_scope(scope)
        name = getattr(kind, "__qualname__", str(kind))
        place = calling()
        earlier = self._provided.get(kind)
        if earlier is not None and not replaces(f"provided {name}", place, earlier.place):
            raise ConfigError(f"{name} is provided twice", field="provide", value=kind)
        if kind in self._arguments:
            raise ConfigError(
                f"{name} is an argument of the task {self._arguments[kind]}",
                field="provide",
                value=kind,
                hint=f"call app.provide({name}, ...) before the task is defined",
            )
        self._provided[kind] = _Provided(value, scope, place)

    def provides(self, kind: Any) -> bool:
        """Return whether it provides this type."""
        return kind in self._provided

    def last(self, function: Callable[..., Any]) -> None:
        """Let what a function makes live as long as the worker, unless `Depends` says otherwise."""
        self._lifespans.add(_key(function))

    def scope_of(self, call: Callable[..., Any]) -> Lifetime | None:
        """Return how long what it makes lives; None: that depends on what it is."""
        return "worker" if _key(call) in self._lifespans else None

    def override(self, what: Any, value: Any) -> None:
        """Give another value for a type, or for a function of `Depends`, until `restore`."""
        self._overrides[what] = value

    def restore(self) -> None:
        """Return to the values of the app."""
        self._overrides.clear()

    def instead_of(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """Return what to call for a dependency: what a test gives, or the function itself."""
        if not self._overrides and not self._followed:
            return call
        key = _key(call)
        found: Callable[..., Any] = self._overrides.get(key) or self._followed.get(key, call)
        return found

    def follow(self, overrides: Mapping[Any, Any]) -> None:
        """Let this mapping of a web framework replace functions of `Depends`, too."""
        self._followed = overrides

    def extended(self, more: Mapping[type, object]) -> "Container":
        """Return a container that provides these values too; they win."""
        other = Container()
        other._lifespans = self._lifespans
        other._provided = self._provided | {kind: _Provided(v, None) for kind, v in more.items()}
        return other

    def injected(self, function: Callable[..., Any]) -> frozenset[str]:
        """Return the names of the parameters of a task that are no arguments: dependencies and provided types."""
        hints = _hints(function)
        kinds = {name: _bare(hint) for name, hint in hints.items() if name != "return"}
        found = set(marked(function))
        for name, kind in kinds.items():
            # A task's `path: str` is an argument, whatever constructors are given for str.
            if not isinstance(kind, type) or kind.__module__ == "builtins" or is_job(kind):
                continue
            if kind in self._provided:
                found.add(name)
            elif name not in found:
                self._arguments.setdefault(kind, title_of(function))
        return frozenset(found)

    def find(self, kind: Any) -> _Provided | None:
        """Return what is provided for an annotation, if anything."""
        try:
            if kind in self._overrides:
                return _Provided(self._overrides[kind], None)
            return self._provided.get(kind)
        except TypeError:  # an annotation that has no hash is no type
            return None

    # Reading signatures.

    def instance(self, kind: type[Any]) -> Dependency:
        """Return a class as something to make once per worker.

        Raises:
            ConfigError: Nothing provides a parameter of its constructor.
        """
        return _Reader(self).dependency(kind, "worker", "worker")

    def lifespan(self, function: Callable[..., Any]) -> Dependency:
        """Return a lifespan as something to make once per worker; `Depends` finds what it yields.

        Raises:
            ConfigError: Nothing provides a parameter.
        """
        self.last(function)
        return replace(_Reader(self).dependency(function, "worker", "worker"), role="lifespan")

    def middleware(self, function: Callable[..., Any]) -> Dependency:
        """Return middleware as something to make once per attempt.

        Raises:
            ConfigError: Nothing provides a parameter.
        """
        return replace(_Reader(self).middleware(function), role="middleware")

    def of(self, function: Callable[..., Any], *, is_task: bool) -> tuple[Parameter, ...] | None:
        """Return what a worker fills in for a function; None: nothing, or its job and no more.

        Raises:
            ConfigError: Nothing provides a parameter.
        """
        return (self._of_task(function) or None) if is_task else self._of_handler(function)

    def _of_task(self, function: Callable[..., Any]) -> tuple[Parameter, ...]:
        wanted = self.injected(function)
        every = _Reader(self).parameters(function, "job", arguments=True)
        return tuple(each for each in every if each.name in wanted)

    def _of_handler(self, function: Callable[..., Any]) -> tuple[Parameter, ...] | None:
        if _signature(function) is None:
            return None
        every = _Reader(self).handler(function)
        return every if any(each.source != "job" for each in every) else None


# The containers of the apps that functions and classes belong to, for child processes, which find
# the function alone.
_containers: "weakref.WeakKeyDictionary[Any, Container]" = weakref.WeakKeyDictionary()


def remember(owner: Any, container: Container) -> None:
    """Note whose function or class this is, where that can be noted."""
    with suppress(TypeError):
        _containers[owner] = container


def container_of(owner: Any) -> Container:
    """Return the container of the app that a function or class belongs to, else an empty one."""
    try:
        return _containers.get(owner) or Container()
    except TypeError:
        return Container()


@dataclass(slots=True)
class _Reader:
    """Reads the signatures of a function and of everything that it depends on."""

    container: Container
    path: list[Callable[..., Any]] = field(default_factory=list["Callable[..., Any]"])

    def handler(self, function: Callable[..., Any]) -> tuple[Parameter, ...]:
        """Read the parameters of a handler: its first one that nothing else fills is the job."""
        found = self.parameters(function, "job", arguments=True)
        filled = {each.name for each in found}
        open_ = [
            each
            for each in (_signature(function) or {}).values()
            if each.name not in filled
            and each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)
        ]
        takes_job = any(each.source == "job" for each in found)
        if open_ and not takes_job and open_[0].kind is not Plain.KEYWORD_ONLY:
            first = open_.pop(0)
            only = first.kind is Plain.POSITIONAL_ONLY
            found = (Parameter(first.name, "job", only), *found)
        for each in open_:
            if each.default is each.empty:
                raise _missing(function, each.name, _hints(function).get(each.name))
        return found

    def middleware(self, function: Callable[..., Any]) -> Dependency:
        """Read middleware: as of a handler, its first parameter that nothing else fills is the job."""
        return Dependency(_key(function), function, "job", self.handler(function))

    def parameters(
        self, function: Callable[..., Any], within: Lifetime, *, arguments: bool = False
    ) -> tuple[Parameter, ...]:
        """Read what fills in the parameters; with `arguments` others than these may be left."""
        hints, found = _hints(function), list[Parameter]()
        for name, each in (_signature(function) or {}).items():
            if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
                continue
            source = self._source(function, each, hints.get(name), within)
            only = each.kind is each.POSITIONAL_ONLY
            if source is not None:
                found.append(Parameter(name, source, only))
            elif arguments:
                continue
            elif each.default is each.empty:
                raise _missing(function, name, hints.get(name))
            elif only:
                found.append(Parameter(name, Given(each.default), only))
        return tuple(found)

    def _source(
        self, owner: Callable[..., Any], parameter: Plain, hint: Any, within: Lifetime
    ) -> Source | None:
        marker, kind = _marker(parameter, hint), _bare(hint)
        if marker is not None:
            call = marker.call or kind
            if marker.call is None and self.container.provides(kind):
                marker = None
            elif not callable(call):
                raise _missing(owner, parameter.name, hint)
            else:
                return self.dependency(call, marker.scope, within)
        provided = self.container.find(kind)
        if provided is not None:
            return self._provided(kind, provided, within)
        if not is_job(kind):
            return None
        if within == "worker":
            raise ConfigError(
                f"{title_of(owner)} is made once per worker, and its parameter "
                f"{parameter.name!r} asks for a job",
                field=parameter.name,
                value=hint,
                hint='give it Depends(..., scope="job"), or take the job in the handler',
            )
        return "job"

    def _provided(self, kind: Any, provided: _Provided, within: Lifetime) -> Source:
        value = provided.value
        if _is_instance(value, kind) or not callable(value):
            return Given(value)
        return self.dependency(value, provided.scope, within)

    def dependency(
        self, call: Callable[..., Any], scope: Lifetime | None, within: Lifetime
    ) -> Dependency:
        """Read something to call, and decide how long what it makes lives."""
        scope = scope or self.container.scope_of(call)
        call = self.container.instead_of(call)
        if any(call == each for each in self.path):
            names = " → ".join(title_of(each) for each in (*self.path, call))
            raise ConfigError(f"dependencies need each other: {names}", field="Depends", value=call)
        if scope == "job" and within == "worker":
            owner = f" of {title_of(self.path[-1])}" if self.path else ""
            raise ConfigError(
                f"dependency {title_of(call)}{owner} has scope='job', and what asks for it is made "
                "once per worker",
                field="scope",
                value=scope,
                hint="ask for it in the handler, or leave the scope out",
            )
        self.path.append(call)
        try:
            parameters = self.parameters(call, scope or within)
        finally:
            self.path.pop()
        if scope is None:
            scope = "job" if within == "job" and _is_short(call, parameters) else "worker"
        return Dependency(_key(call), call, scope, parameters)


def _is_short(call: Callable[..., Any], parameters: tuple[Parameter, ...]) -> bool:
    """Return whether what a callable makes is for one job: it yields, or needs what is."""
    return yields(call) or any(
        each.source == "job" or (isinstance(each.source, Dependency) and each.source.scope == "job")
        for each in parameters
    )


def _is_instance(value: object, kind: Any) -> bool:
    try:
        return isinstance(value, kind)
    except TypeError:  # a protocol or a generic type, which cannot be asked
        return False


def _key(call: Callable[..., Any]) -> object:
    try:
        hash(call)
    except TypeError:
        return id(call)
    return call


def _missing(owner: Any, name: str, kind: Any) -> ConfigError:
    bare = _bare(kind)
    what = getattr(bare, "__name__", None) or (str(bare) if kind is not None else "a value")
    return ConfigError(
        f"nothing provides parameter {name!r} ({what}) of {title_of(owner)}",
        field=name,
        value=kind,
        hint=f"call app.provide({what}, value_or_factory), or write {name}=Depends(make_it)",
    )
