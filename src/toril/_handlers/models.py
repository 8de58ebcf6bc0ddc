"""Annotations that pydantic reads: its models and types, and constraints such as `Field(gt=0)`.

pydantic is used where the user's own annotations name it, and is not imported otherwise. Never
here: values without an annotation (`payload`).
"""

import importlib
import inspect
from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import msgspec

from .annotations import within

_LIBRARIES = frozenset({"pydantic", "pydantic_core", "pydantic_extra_types", "annotated_types"})
# By these attributes a class takes part in pydantic.
_HOOKS = ("__pydantic_validator__", "__get_pydantic_core_schema__")
# What pydantic calls a value that is missing, or one that nobody asked for.
_SHAPE = frozenset(
    {"missing", "extra_forbidden", "missing_argument", "unexpected_keyword_argument"}
)


class ModelRefusal(Exception):
    """A value does not fit an annotation; `shape`: a field of it is missing or is not expected."""

    def __init__(self, what: str, path: str = "", *, shape: bool = False) -> None:
        super().__init__(f"{path}: {what}" if path else what)
        self.what = what
        self.path = path
        self.shape = shape


def needs_pydantic(hint: object) -> bool:
    """Return whether an annotation names something that only pydantic can read or check."""
    return any(_is_foreign(each) for each in within(hint))


def _is_foreign(thing: Any) -> bool:
    kind: Any = thing if isinstance(thing, type) else type(thing)
    if str(kind.__module__).partition(".")[0] in _LIBRARIES:
        return True
    return any(name in vars(base) for base in kind.__mro__ for name in _HOOKS)


class Adapter:
    """Writes and reads the values of one annotation as pydantic does.

    Raises   Exception: pydantic cannot read this annotation.
    """

    def __init__(self, hint: Any) -> None:
        pydantic: Any = importlib.import_module("pydantic")
        self._errors: type[Exception] = pydantic.ValidationError
        self._adapter: Any = pydantic.TypeAdapter(hint)
        # Before pydantic 2.11 the model alone says by which names it is read.
        names = inspect.signature(self._adapter.validate_json).parameters
        self._any_name = {"by_alias": True, "by_name": True} if "by_name" in names else {}
        self._computed = frozenset(_computed(self._adapter.core_schema))

    def dump(self, value: object) -> bytes:
        """Write a value as the JSON that `load` makes it of again: without computed fields.

        Raises   Refused: pydantic cannot write it.
        """
        try:
            text: bytes = self._adapter.dump_json(
                value, round_trip=True, by_alias=not self._any_name, warnings=False
            )
        except Exception as error:
            raise ModelRefusal(" ".join(str(error).split())) from error
        return text

    def load(self, text: bytes) -> Any:
        """Read a value, by field names or aliases; computed fields may be there.

        Raises   Refused: it does not fit; names the first place.
        """
        try:
            return self._adapter.validate_json(text, **self._any_name)
        except self._errors as error:
            trimmed = self._without_computed(text, _faults(error))
            if trimmed is None:
                raise _refused(_faults(error)) from error
        return self.load(trimmed)

    def _without_computed(self, text: bytes, faults: "list[_Fault]") -> bytes | None:
        """Drop computed fields that a model which forbids other names was dumped with."""
        unwanted = [each.where for each in faults if each.kind == "extra_forbidden"]
        if not unwanted or not all(where[-1] in self._computed for where in unwanted):
            return None
        value: object = msgspec.json.decode(text)
        dropped = [_drop(value, where) for where in unwanted]
        return msgspec.json.encode(value) if all(dropped) else None


class _Fault(NamedTuple):
    kind: str
    where: tuple[str | int, ...]
    what: str


def _faults(error: Any) -> list[_Fault]:
    every = error.errors(include_url=False, include_context=False, include_input=False)
    return [_Fault(each["type"], tuple(each["loc"]), each["msg"]) for each in every]


def _refused(faults: list[_Fault]) -> ModelRefusal:
    first = faults[0]
    what = first.what[:1].lower() + first.what[1:]
    shape = all(each.kind in _SHAPE for each in faults)
    return ModelRefusal(what, ".".join(str(step) for step in first.where), shape=shape)


def _drop(value: Any, where: tuple[str | int, ...]) -> bool:
    """Remove what is found at a place; steps that name a member of a union lead nowhere."""
    for step in where[:-1]:
        if isinstance(value, dict):
            value = cast("dict[object, object]", value).get(step, cast("object", value))
        elif isinstance(value, list) and isinstance(step, int):
            value = cast("list[object]", value)[step]
    if not isinstance(value, dict) or where[-1] not in value:
        return False
    del value[where[-1]]
    return True


def _computed(schema: Any) -> Iterator[str]:
    """Yield the names and aliases of all computed fields in a core schema."""
    todo: list[Any] = [schema]
    seen: set[int] = set()
    while todo:
        each = todo.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, dict):
            found = cast("dict[str, Any]", each)
            if found.get("type") == "computed-field":
                yield from filter(None, (found.get("property_name"), found.get("alias")))
            todo.extend(found.values())
        elif isinstance(each, list | tuple):
            todo.extend(cast("list[Any]", each))


def adapter_of(hint: Any) -> Adapter | None:
    """Return what reads an annotation that names something of pydantic's, where it can.

    It cannot where an annotation mixes pydantic's types with others that only msgspec knows.
    """
    if not needs_pydantic(hint):
        return None
    try:
        return Adapter(hint)
    except Exception:
        return None
