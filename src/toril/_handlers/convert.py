"""Types that JSON has no word for: which values can be made of it, which annotations say nothing.

Never here: what a task's parameters are (`signature`), and writing values (`payload`).
"""

import types
from collections.abc import Callable, Iterator
from pathlib import PurePath
from typing import Any, Literal, Union, cast, get_args, get_origin

from msgspec import inspect as described


class UnreadableType(Exception):
    """A value of this type cannot be made of JSON; msgspec lets this error through."""


def convert(kind: Any, value: Any) -> Any:
    """Make what msgspec does not know: pydantic's models, paths, subclasses of str, int and float.

    Raises   Unreadable: it is another type.
    """
    if kind is object:
        return value
    if _is_path(kind):
        return kind(value)
    base = _base_of(kind)
    if base is not None:
        return kind(_checked(base, value))
    if hasattr(kind, "model_validate"):
        return _validated(kind, value)
    raise UnreadableType(f"{kind!r} cannot be read from JSON")


def convert_argument(kind: Any, value: Any) -> Any:
    """Make it as `convert` does, and let msgspec say where it could not be made."""
    try:
        return convert(kind, value)
    except UnreadableType as error:
        raise TypeError(str(error)) from error


def _converts(kind: Any) -> bool:
    known = kind is object or hasattr(kind, "model_validate")
    return known or _is_path(kind) or _base_of(kind) is not None


def _is_path(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, PurePath)


def _base_of(kind: Any) -> type[Any] | None:
    """Return which of str, int and float a class is derived from."""
    if not isinstance(kind, type) or hasattr(kind, "model_validate"):
        return None
    return next((base for base in (str, int, float) if issubclass(kind, base)), None)


def _checked(base: type[Any], value: Any) -> Any:
    if type(value) is base or (base is float and type(value) is int):
        return value
    raise TypeError(f"Expected `{base.__name__}`, got `{type(value).__name__}`")


def _validated(kind: Any, value: Any) -> Any:
    """Read a pydantic model as it was dumped: under its own names, with what is computed."""
    computed: Any = getattr(kind, "model_computed_fields", {})
    if computed and isinstance(value, dict):
        named = cast("dict[str, Any]", value)
        value = {name: each for name, each in named.items() if name not in computed}
    validate: Callable[..., Any] = kind.model_validate
    try:
        return validate(value, by_alias=True, by_name=True)
    except TypeError:
        # Before pydantic 2.11 the model alone says by which names it is read.
        return validate(value)


def loosened(hint: Any) -> Any:
    """Return an annotation without `object`, which says as little as Any, and fits in no union."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is object:
        return Any
    if origin is Union or origin is types.UnionType:
        members = [loosened(each) for each in args]
        return Any if Any in members else Union[tuple(members)]  # noqa: UP007  # made of values
    if origin is Literal or not isinstance(origin, type) or object not in _parts(args):
        return hint
    parts: Any = tuple(loosened(each) for each in args)
    made: Any = origin
    return made[parts]


def _parts(args: tuple[Any, ...]) -> Iterator[Any]:
    for each in args:
        yield each
        yield from _parts(get_args(each))


def unreadable(hint: Any) -> str | None:
    """Return the names of the type in an annotation that keeps every value of it from being read, or None."""
    return _unreadable(described.type_info(hint), set())


def _unreadable(node: described.Type, seen: set[int]) -> str | None:
    if id(node) in seen:
        return None
    seen.add(id(node))
    if isinstance(node, described.CustomType):
        cls: Any = node.cls
        return None if _converts(cls) else str(getattr(cls, "__qualname__", cls))
    return next(filter(None, (_unreadable(each, seen) for each in _needed(node))), None)


def _needed(node: described.Type) -> Iterator[described.Type]:
    """Return what a value of a type surely has in it; what may be omitted keeps nothing back."""
    match node:
        case described.Metadata():
            yield node.type
        case described.TupleType():
            yield from node.item_types
        case described.DictType():
            yield node.value_type
        case described.CollectionType():
            yield node.item_type
        case (
            described.StructType()
            | described.DataclassType()
            | described.TypedDictType()
            | described.NamedTupleType()
        ):
            yield from (field.type for field in node.fields if field.required)
        case _:
            pass
