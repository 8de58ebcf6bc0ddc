"""Whether a value comes back from its JSON text as it was, and where it does not.

Never here: writing and reading values (`payload`, `models`, `signature`).
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

_TEXT, _NUMBER, _FLAG, _NOTHING = range(4)
_KINDS: dict[type, int] = {
    str: _TEXT,
    int: _NUMBER,
    float: _NUMBER,
    bool: _FLAG,
    type(None): _NOTHING,
}
_ABSENT = object()
LOST = object()
"""A placeholder for a value that does not come back at all."""


def _kind(value: object) -> Any:
    return type(value)


def _is(value: object, *kinds: type[Any]) -> bool:
    return isinstance(value, kinds)


class Difference(NamedTuple):
    """Where a value does not come back as it was, and what it was and is there (or LOST)."""

    path: str
    given: object
    back: object


def difference(given: Any, back: Any, path: str, *, loose: bool) -> Difference | None:
    """Find the first place where a value differs from what was read from its text; None: nowhere.

    A list may come back as a tuple, an instance of a subclass of str, int, float, list or dict as
    one of those, and JSON values as whatever the annotation makes of them. `loose`: the annotation
    takes any JSON value, so a rich value may come back as its JSON form.
    """
    if given is back:
        return None
    if _kind(given) in _KINDS:
        return _of_plain(given, back, path)
    return _of_fields(given, back, path, loose) or _of_items(given, back, path, loose)


def _of_plain(given: Any, back: Any, path: str, *, exact: bool = False) -> Difference | None:
    # Something else was made of it, as the annotation wants, unless that is plain too.
    kind = _KINDS.get(_kind(back))
    if kind is None or (given == back and type(given) is type(back)):
        return None
    if kind == _NUMBER == _KINDS[type(given)] and (given == back or _are_nan(given, back)):
        return None
    # A parameter's own validators may change a value, but they may not make another kind of it.
    if not exact and kind == _KINDS[type(given)]:
        return None
    return Difference(path, given, back)


def _are_nan(given: Any, back: Any) -> bool:
    return bool(math.isnan(given) and math.isnan(back))


def _of_fields(given: Any, back: Any, path: str, loose: bool) -> Difference | None:
    """Compare objects with fields: dataclasses, pydantic's models, structs, attrs classes."""
    names = field_names(given)
    if names is None:
        return None
    if field_names(back) is None or not _are_kin(type(given), type(back)):
        is_json = loose and isinstance(back, dict | list)
        return None if is_json else Difference(path, given, back)
    for name in names:
        value, again = getattr(given, name, _ABSENT), getattr(back, name, _ABSENT)
        where = f"{path}.{name}"
        if again is _ABSENT and value is not _ABSENT:
            return Difference(where, value, LOST)
        if type(value) in _KINDS:
            found = _of_plain(value, again, where, exact=True)
        else:
            found = difference(value, again, where, loose=loose)
        if found is not None:
            return found
    return None


def field_names(value: Any) -> Iterable[str] | None:
    """Return the names of an object's fields; None: it has none that are declared."""
    kind = _kind(value)
    if isinstance(value, msgspec.Struct):
        return value.__struct_fields__
    if is_model(value):
        return (*kind.model_fields, *(getattr(value, "__pydantic_extra__", None) or ()))
    if dataclasses.is_dataclass(kind):
        return [field.name for field in dataclasses.fields(kind)]
    attributes = getattr(kind, "__attrs_attrs__", None)
    return None if attributes is None else [each.name for each in attributes]


def is_model(value: object) -> bool:
    """Return whether a value is an instance of a pydantic model."""
    return hasattr(type(value), "model_fields") and hasattr(type(value), "model_dump_json")


def _are_kin(one: Any, other: Any) -> bool:
    return one is other or _origin(one) is _origin(other)


def _origin(kind: Any) -> Any:
    # A generic model is another class for each parameter that it is given.
    generic: Mapping[str, Any] = getattr(kind, "__pydantic_generic_metadata__", {})
    return generic.get("origin") or kind


def _of_items(given: Any, back: Any, path: str, loose: bool) -> Difference | None:
    if field_names(given) is not None:
        return None
    if _is(given, Mapping):
        return _of_mapping(given, back, path, loose)
    if _is(given, list, tuple):
        if not _is(back, list, tuple):
            # The annotation makes something else of an array, a set for instance.
            return None if type(given) in (list, tuple) else _of_leaf(given, back, path, loose)
        if len(given) != len(back):
            return Difference(path, given, back)
        pairs = enumerate(zip(given, back, strict=True))
        every = (difference(a, b, f"{path}[{n}]", loose=loose) for n, (a, b) in pairs)
        return next((each for each in every if each is not None), None)
    return _of_leaf(given, back, path, loose)


def _of_mapping(given: Any, back: Any, path: str, loose: bool) -> Difference | None:
    if not _is(back, Mapping):
        # The annotation makes an object of it.
        return None if isinstance(given, dict) else _of_leaf(given, back, path, loose)
    for key, value in given.items():
        where = f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]"
        if key not in back:
            return Difference(where, value, LOST)
        found = difference(value, back[key], where, loose=loose)
        if found is not None:
            return found
    return None


def _of_leaf(given: Any, back: Any, path: str, loose: bool) -> Difference | None:
    if _is(given, AbstractSet) and not _is(back, AbstractSet):
        return Difference(path, given, back)
    if _is(given, datetime) and _is(back, datetime) and given.tzinfo and back.tzinfo:
        # In an hour that a clock repeats, times of two zones are never equal.
        given, back = given.astimezone(UTC), back.astimezone(UTC)
    same = equal(given, back)
    if same or (loose and type(back) in _KINDS):
        return None
    if same is None and type(given) is type(back):
        return None
    return Difference(path, given, back)


def equal(given: Any, back: Any) -> bool | None:
    """Compare two values; None: they cannot be compared."""
    if _kind(given).__eq__ is object.__eq__:
        return None
    try:
        return bool(given == back)
    except Exception:
        return None
