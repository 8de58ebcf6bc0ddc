"""Values on their way to JSON text: what can be stored is written, the rest refused by its path.

Never here: what a task's parameters are (`signature`), and anything that is not about one value.
"""

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import PurePath
from typing import Any, NoReturn

import msgspec

from toril.errors import ConfigError

MAX_DEPTH = 100
"""How deep a payload may be nested: every JSON reader takes as much."""

_PLAIN = frozenset({str, int, float, bool, type(None)})
_HARMLESS = frozenset({str, int, bool, type(None)})


class _Unsupported(TypeError):
    def __init__(self, value: object) -> None:
        super().__init__(f"a {type(value).__qualname__} cannot be stored as JSON")
        self.value = value


def _foreign(value: object) -> object:
    """Turn what msgspec does not know into what it does: paths, and pydantic's models."""
    if isinstance(value, PurePath):
        return str(value)
    dump: Callable[..., object] | None = getattr(value, "model_dump", None)
    if dump is None or isinstance(value, type):
        raise _Unsupported(value)
    return dump(mode="json")


_encode = msgspec.json.Encoder(enc_hook=_foreign).encode


def encode(value: object, *, where: str, max_size: int | None = None) -> str:
    """Write a value as JSON text; `where` names it in errors.

    Takes what JSON has, and dataclasses, datetimes, UUIDs, enums, decimals, bytes (as base64),
    paths, msgspec structs, attrs classes and pydantic models.

    Units    max_size in bytes.
    Raises   ConfigError: the path of what cannot be stored; the size, when it is too large.
    """
    if value is None:
        return "null"
    text = write(value, where=where)
    if "[" in text or text.count("{") > MAX_DEPTH:
        _inspect(value, where)
    if max_size is not None:
        check_size(text, max_size, where=where)
    return text


def write(value: object, *, where: str) -> str:
    """Write a value as JSON text, as `encode` does, but let sets pass as arrays."""
    try:
        text = _encode(value).decode()
    except _Unsupported as error:
        _refuse(_path_of(error.value, value, where), error.value, str(error), error)
    except RecursionError as error:
        # Either it holds itself or it is too deep; the walk tells which.
        _inspect(value, where)
        _refuse(where, value, "it is nested too deeply", error)
    except (TypeError, ValueError, OverflowError) as error:
        _refuse(_path_of_fault(value, where), value, str(error), error)
    # msgspec writes null for what is no number, so only a text with null can hide one.
    if "null" in text:
        _refuse_no_numbers(value, where)
    return text


def check_size(text: str, max_size: int, *, where: str) -> None:
    """Refuse a text of more than `max_size` bytes.

    Raises   ConfigError: it names both sizes.
    """
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_size:
        raise ConfigError(
            f"{where} has {size:,} bytes, max_size={max_size:,} are allowed",
            field="max_size",
            value=size,
            hint="store the large part elsewhere and pass its name",
        )


def _inspect(value: object, where: str) -> None:
    """Refuse sets, loops and what is nested too deeply."""
    for path, inner, above in _walk(value, where):
        if isinstance(inner, set | frozenset):
            _refuse(path, None, "a set has no order and JSON has no sets: pass a sorted list")
        if id(inner) in above:
            _refuse(path, type(inner), "it contains itself")
        if len(above) > MAX_DEPTH:
            _refuse(where, type(value), f"it is nested more than {MAX_DEPTH} levels deep")


def _refuse_no_numbers(value: object, where: str) -> None:
    for path, inner, _ in _walk(value, where):
        if isinstance(inner, float) and not math.isfinite(inner):
            _refuse(path, inner, "JSON has no such number: pass None or text")


Step = tuple[str, object, tuple[int, ...]]


def _walk(value: object, where: str) -> Iterator[Step]:
    """Give everything in a value with its path and the ids of what it lies in; lazily, so that a
    value that contains itself can be refused while it is walked.
    """
    stack: list[Step] = [(where, value, ())]
    while stack:
        path, inner, above = stack.pop()
        yield path, inner, above
        if type(inner) in _PLAIN:
            continue
        within = (*above, id(inner))
        stack.extend((child_path, child, within) for child_path, child in _parts(inner, path))


def _kind(value: object) -> type[Any]:
    return type(value)


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    kind = _kind(value)
    if issubclass(kind, Mapping):
        for key, item in value.items():
            yield f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]", item
    elif issubclass(kind, list | tuple):
        # A long list of plain values is passed over at the speed of C.
        if not set(map(type, value)) <= _HARMLESS:
            for index, item in enumerate(value):
                yield f"{path}[{index}]", item
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield f"{path}.{field.name}", getattr(value, field.name, None)
    elif isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield f"{path}.{name}", getattr(value, name)


def _path_of(wanted: object, value: object, where: str) -> str:
    return next((path for path, inner, _ in _walk(value, where) if inner is wanted), where)


def _path_of_fault(value: object, where: str) -> str:
    """Find the innermost part that cannot be written."""
    for path, inner, above in _walk(value, where):
        if len(above) <= MAX_DEPTH and type(inner) in _PLAIN and not _can_be_written(inner):
            return path
    return where


def _can_be_written(value: object) -> bool:
    try:
        _encode(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _refuse(path: str, value: object, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ConfigError(f"{path}: {reason}", field=path, value=value) from cause
