"""Values on their way to JSON text: what can be stored is written, the rest refused by its path.

Never here: what a task's parameters are (`signature`), and anything that is not about one value.
"""

import math
from collections.abc import Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import Any, NoReturn, cast

import msgspec

from toril._model.record import Ref
from toril._model.stored import Unreadable, reader
from toril.errors import ConfigError, JobError

from .json_roundtrip import field_names, is_model

MAX_DEPTH = 100
"""How deep a payload may be nested: every JSON reader takes as much."""

MASKED = (
    "a {} is stored as asterisks, and a job's data is clear text: leave it out, or give its field "
    "a serializer that returns the secret"
)

NOT_UTF8 = (
    "the text cannot be encoded as UTF-8, as it has half of a surrogate pair: replace it, for "
    'example with text.encode("utf-8", "replace").decode()'
)

_PLAIN = frozenset({str, int, float, bool, type(None)})
_TEXT = frozenset({str})
_HARMLESS = frozenset({str, int, bool, type(None)})


class _Unsupported(TypeError):
    def __init__(self, value: object, why: str) -> None:
        super().__init__(why)
        self.value = value


def _foreign(value: Any) -> object:
    """Turn what msgspec does not know into what it does.

    That is an instance of a subclass of str, int or float, a path, or a pydantic model.
    """
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, int):
        return int.__int__(value)
    if isinstance(value, float):
        return float.__float__(value)
    if isinstance(value, PurePath):
        return str(value)
    if is_model(value):
        return _dumped(value)
    raise _Unsupported(value, _why_not(value))


def _dumped(model: Any) -> object:
    try:
        text: str = model.model_dump_json()
        plain: object = msgspec.json.decode(text)
    except Exception as error:
        raise _Unsupported(model, " ".join(str(error).split())) from error
    for _, inner, _ in _walk(model, "", models=True):
        if _is_masked(inner, text):
            raise _Unsupported(inner, MASKED.format(type(inner).__qualname__))
    short = _shortened(model, plain)
    if short is not None:
        kind = type(short).__qualname__
        raise _Unsupported(
            short,
            f"this {kind} would lose the fields that its declared type does not have: declare "
            f"{kind} there, or SerializeAsAny",
        )
    return plain


def _shortened(model: object, plain: object) -> object | None:
    """Find a model inside another one of whose fields the JSON form lacks some."""
    stack: list[tuple[object, object]] = [(model, plain)]
    while stack:
        inner, form = stack.pop()
        if isinstance(form, dict):
            fields = cast("dict[str, object]", form)
            if is_model(inner) and inner is not model and _lacks(inner, fields):
                return inner
            stack.extend((each, fields[name]) for name, each in _named(inner) if name in fields)
        elif isinstance(form, list) and isinstance(inner, list | tuple):
            items = cast("list[object]", inner)
            forms = cast("list[object]", form)
            pairs = zip(items, forms, strict=False)
            stack.extend(pair for pair in pairs if type(pair[0]) not in _PLAIN)
    return None


def _lacks(model: Any, form: dict[str, object]) -> bool:
    kind: Any = type(cast("object", model))
    declared = cast("Mapping[str, object]", kind.model_fields)
    if declared.keys() <= form.keys():
        return False
    # Excluded fields and aliases are as the model wants them.
    own: object = _decode(model.model_dump_json())
    return isinstance(own, dict) and not cast("dict[str, object]", own).keys() <= form.keys()


def _named(value: object) -> Iterable[tuple[str, object]]:
    names = field_names(value)
    if names is not None:
        return [(name, getattr(value, name, None)) for name in names]
    return cast("Mapping[str, object]", value).items() if isinstance(value, Mapping) else ()


def _is_masked(value: Any, text: str) -> bool:
    """Return whether this is a secret of which the text has only the asterisks."""
    reveal: Callable[[], object] | None = getattr(value, "get_secret_value", None)
    if reveal is None or isinstance(value, type):
        return False
    shown = str(value)
    return shown != reveal() and msgspec.json.encode(shown).decode() in text


def _why_not(value: Any) -> str:
    kind: type[Any] = type(cast("object", value))
    if hasattr(kind, "get_secret_value"):
        return MASKED.format(kind.__qualname__)
    if isinstance(value, Coroutine):
        return "a coroutine is not a value: await it"
    hint = ""
    if hasattr(kind, "tolist"):
        hint = ": pass value.tolist()"
    elif isinstance(value, Iterable):
        hint = ": pass a list"
    return f"{kind.__qualname__} is not JSON-serialisable{hint}"


_encode = msgspec.json.Encoder(enc_hook=_foreign).encode
_decode = msgspec.json.Decoder().decode


_read = reader()


def decode(text: str, what: str, job: Ref) -> Any:
    """Return a stored JSON value of a job; `what` names it in the error.

    Raises   JobError: it is not JSON, or is nested too deeply.
    """
    try:
        return _read(text)
    except Unreadable as error:
        raise JobError(
            f"the {what} of job {job.id!r} of queue {job.queue!r} cannot be read: {error}",
            queue=job.queue,
            job_id=job.id,
        ) from error


def encode(value: object, *, where: str, max_size: int | None = None) -> str:
    """Return a value as JSON text that is read back as the same JSON; `where` names it in errors.

    Takes what JSON has, and dataclasses, datetimes, UUIDs, enums, decimals, bytes (as base64),
    paths, msgspec structs, attrs classes and pydantic models: what is read back is their JSON form.

    Units    max_size in bytes.
    Raises   ConfigError: the path of what cannot be stored; the size, when it is too large.
    """
    if value is None:
        return "null"
    text = write(value, where=where)
    if not _is_flat(value) and not _comes_back(value, text):
        _inspect(value, where)
    if max_size is not None:
        check_size(text, max_size, where=where)
    return text


def _is_flat(value: Any) -> bool:
    """Return whether a value is plain JSON without anything nested, at the speed of C."""
    kind: Any = type(cast("object", value))
    if kind is dict:
        return set(map(type, value)) <= _TEXT and set(map(type, value.values())) <= _PLAIN
    return kind in _PLAIN or (kind is list and set(map(type, value)) <= _PLAIN)


def _comes_back(value: object, text: str) -> bool:
    # At the speed of C, so that only what holds rich values is walked through.
    try:
        return bool(_decode(text) == value)
    except Exception:
        # Somebody's own comparison.
        return False


def write(value: object, *, where: str) -> str:
    """Return a value as JSON text as `encode` does, for a reader that knows the types.

    Sets pass as arrays, and keys that are not text as text.
    """
    try:
        text = _encode(value).decode()
    except _Unsupported as error:
        _refuse_keys(value, where, error.value)
        _refuse(_path_of(error.value, value, where), error.value, str(error), error)
    except RecursionError as error:
        # Either it holds itself or it is too deep; the walk tells which.
        _inspect(value, where)
        _refuse(where, value, "it is nested too deeply", error)
    except UnicodeEncodeError as error:
        _refuse(_path_of_fault(value, where), value, NOT_UTF8, error)
    except Exception as error:
        _refuse(_path_of_fault(value, where), value, str(error), error)
    # msgspec writes null for what is no number, so only a text with null can hide one.
    if "null" in text:
        refuse_no_numbers(value, where)
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_deep(_decode(text), MAX_DEPTH):
        _refuse(where, type(value), f"it is nested more than {MAX_DEPTH} levels deep")
    return text


def _is_deep(value: object, levels: int) -> bool:
    if isinstance(value, dict):
        inner: Iterable[object] = cast("dict[str, object]", value).values()
    elif isinstance(value, list):
        inner = cast("list[object]", value)
    else:
        return False
    return levels == 0 or any(_is_deep(each, levels - 1) for each in inner)


def check_size(text: str, max_size: int, *, where: str, field: str = "max_size") -> None:
    """Refuse a text of more than `max_size` bytes; `field` names the option that sets the limit.

    Raises   ConfigError: it names both sizes.
    """
    size = len(text) if text.isascii() else len(text.encode())
    if size > max_size:
        raise ConfigError(
            f"{where} has {size:,} bytes, {field}={max_size:,} are allowed",
            field=field,
            value=size,
            hint="store the data elsewhere and pass a reference to it, or raise "
            f"{field} of the app or the queue",
        )


def _inspect(value: object, where: str) -> None:
    """Refuse sets, loops and keys that are not text."""
    for path, inner, above in _walk(value, where):
        if isinstance(inner, set | frozenset):
            _refuse(path, None, "a set has no order and JSON has no sets: pass a sorted list")
        if id(inner) in above:
            _refuse(path, type(inner), "it contains itself")
        if len(above) > MAX_DEPTH:
            _refuse(where, type(value), f"it is nested more than {MAX_DEPTH} levels deep")
        _check_keys(inner, path)


def _refuse_keys(value: object, where: str, wanted: object) -> None:
    """Refuse what cannot be written if it is a key."""
    for path, inner, _ in _walk(value, where):
        if isinstance(inner, Mapping) and any(
            key is wanted for key in cast("Mapping[object, object]", inner)
        ):
            _check_keys(cast("object", inner), path)


def _check_keys(value: object, path: str) -> None:
    if isinstance(value, Mapping):
        for key in cast("Mapping[object, object]", value):
            if not isinstance(key, str):
                kind = type(key).__qualname__
                _refuse(path, key, f"the key {key!r} is of type {kind}, and JSON keys are text")


def refuse_no_numbers(value: object, where: str) -> None:
    """Refuse NaN and infinity, of which JSON text says null.

    Raises   ConfigError: the path.
    """
    for path, inner, _ in _walk(value, where, models=True):
        if isinstance(inner, float) and not math.isfinite(inner):
            _refuse(path, inner, "JSON has no such number: pass None or text")


Step = tuple[str, object, tuple[int, ...]]


def _walk(value: object, where: str, *, models: bool = False) -> Iterator[Step]:
    """Yield everything in a value with its path and the ids of what it is in.

    Lazily, so that a value that contains itself can be refused while it is walked. `models`: also
    what is in pydantic models.
    """
    stack: list[Step] = [(where, value, ())]
    while stack:
        path, inner, above = stack.pop()
        yield path, inner, above
        if type(inner) in _PLAIN or len(above) > MAX_DEPTH or (is_model(inner) and not models):
            continue
        within = (*above, id(inner))
        stack.extend((child_path, child, within) for child_path, child in _parts(inner, path))


def _parts(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    names = field_names(value)
    if names is not None:
        for name in names:
            yield f"{path}.{name}", getattr(value, name, None)
    elif isinstance(value, Mapping):
        for key, item in cast("Mapping[object, Any]", value).items():
            yield f"{path}.{key}" if isinstance(key, str) else f"{path}[{key!r}]", item
    elif isinstance(value, list | tuple):
        items = cast("list[Any]", value)
        # A long list of plain values is passed over at the speed of C.
        if not set(map(type, items)) <= _HARMLESS:
            yield from ((f"{path}[{index}]", item) for index, item in enumerate(items))


def _path_of(wanted: object, value: object, where: str) -> str:
    every = _walk(value, where, models=True)
    return next((path for path, inner, _ in every if inner is wanted), where)


def _path_of_fault(value: object, where: str) -> str:
    """Find the innermost part that cannot be written."""
    for path, inner, above in _walk(value, where):
        if len(above) <= MAX_DEPTH and type(inner) in _PLAIN and not _can_be_written(inner):
            return path
        if isinstance(inner, Mapping):
            for key in cast("Mapping[object, object]", inner):
                if isinstance(key, str) and not _can_be_written(key):
                    return f"{path}: the key {key!r}"
        elif isinstance(inner, list | tuple):
            # A list of plain values is not walked through.
            for index, item in enumerate(cast("list[object]", inner)):
                if isinstance(item, str) and not _can_be_written(item):
                    return f"{path}[{index}]"
    return where


def _can_be_written(value: object) -> bool:
    try:
        _encode(value)
    except Exception:
        return False
    return True


def _refuse(path: str, value: object, reason: str, cause: Exception | None = None) -> NoReturn:
    raise ConfigError(f"{path}: {reason}", field=path, value=value) from cause
