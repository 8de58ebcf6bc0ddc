"""The annotations of a function: resolved one by one, so that one bad name does not spoil the rest.

Never here: which values fit an annotation (`convert`).
"""

import builtins
import functools
import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from toril._jobs.job import Job

_BARE = (Any, object, list, dict, tuple, set, frozenset)


def hints_of(function: Callable[..., object]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the annotations of a function, and for each that cannot be resolved the reason.

    An annotation that cannot be resolved is returned as Any, or as Job where it names that.
    """
    owner = _annotated(function)
    try:
        return typing.get_type_hints(owner, include_extras=True), {}
    except Exception:
        # Some name does not exist at run time: it is imported for type checkers only, local to
        # another function, or defined further down. One annotation at a time tells which.
        pass
    hints: dict[str, Any] = {}
    faults: dict[str, str] = {}
    for name, annotation in inspect.get_annotations(owner).items():
        hints[name], fault = _resolved(annotation, owner)
        if fault is not None:
            faults[name] = fault
    return hints, faults


def is_job(hint: object) -> bool:
    """Return whether a parameter with this annotation takes the job: Job, Job[int], Job | None."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, types.UnionType):
        members = [each for each in get_args(hint) if each is not types.NoneType]
        return bool(members) and all(is_job(each) for each in members)
    return hint is Job or get_origin(hint) is Job


def is_open(hint: object) -> bool:
    """Return whether an annotation, or a field of a type in it, takes any JSON value."""
    return any(each in _BARE or isinstance(each, typing.TypeVar) for each in within(hint))


def within(hint: object) -> Iterator[Any]:
    """Yield every type and every piece of metadata in an annotation, also in fields of types."""
    # By identity, as not everything can be hashed; kept, so that no identity is used twice.
    seen: dict[int, Any] = {}
    todo: list[Any] = [hint]
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen[id(each)] = each
        origin, args = get_origin(each), get_args(each)
        yield Any if not args and _is_bare(each) else each
        if origin is typing.Literal:
            continue
        todo.extend(args)
        if has_fields(origin):
            todo.append(origin)
        todo.extend(_fields(each))


def _is_bare(hint: Any) -> bool:
    """Return whether this is a container that does not say what is in it, such as `Sequence`."""
    kind = get_origin(hint) or hint
    return isinstance(kind, type) and kind.__module__ == "collections.abc"


def has_fields(kind: Any) -> bool:
    """Return whether this is a class with typed fields."""
    return isinstance(kind, type) and bool(getattr(kind, "__annotations__", None))


def _fields(kind: Any) -> Iterator[Any]:
    """Yield the annotations of a class that has typed fields."""
    if not has_fields(kind):
        return
    try:
        yield from typing.get_type_hints(kind, include_extras=True).values()
    except Exception:
        # Whoever reads values of this class says what is wrong with it.
        return


def _annotated(function: Callable[..., object]) -> Any:
    """Return the plain function behind a partial, or behind an object that can be called."""
    while isinstance(function, functools.partial):
        function = function.func
    if inspect.isroutine(function) or isinstance(function, type):
        return function
    return function if hasattr(function, "__annotations__") else type(function).__call__


def _resolved(annotation: object, owner: Any) -> tuple[Any, str | None]:
    source = inspect.unwrap(owner)
    names = _Names(getattr(source, "__globals__", {}), _nonlocals_of(source))
    holder = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        hint: Any = typing.get_type_hints(
            holder, names.known, typing.cast("Any", names), include_extras=True
        )["it"]
    except Exception as error:
        return Any, f"{type(error).__name__}: {error}"
    if names.missing and not is_job(hint):
        return Any, f"{', '.join(names.missing)} cannot be found at run time"
    return hint, None


def _nonlocals_of(function: Any) -> dict[str, Any]:
    """Return the variables of outer functions that a function uses."""
    found: dict[str, Any] = {}
    names = getattr(getattr(function, "__code__", None), "co_freevars", ())
    for name, cell in zip(names, getattr(function, "__closure__", None) or (), strict=False):
        try:
            found[name] = cell.cell_contents
        except ValueError:
            continue
    return found


class _Unknown(type):
    """The type of what represents a name that cannot be found."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Job if name == "Job" else cls

    def __getitem__(cls, item: object) -> Any:
        return cls


class _Missing(metaclass=_Unknown):
    """A placeholder for a name that cannot be found; `something.Job` is taken for toril's Job."""


class _Names(Mapping[str, Any]):
    """The names that an annotation may use; those that are missing are noted."""

    def __init__(self, known: dict[str, Any], nonlocals: Mapping[str, Any]) -> None:
        self.known = known
        self.missing: list[str] = []
        self._nonlocals = nonlocals

    def __getitem__(self, name: str) -> Any:
        for names in (self._nonlocals, self.known, vars(builtins)):
            if name in names:
                return names[name]
        if name == "Job":
            return Job
        self.missing.append(name)
        return _Missing

    def __iter__(self) -> Iterator[str]:
        return iter(self.known)

    def __len__(self) -> int:
        return len(self.known)
