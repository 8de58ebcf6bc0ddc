"""What public methods take, return and raise can be imported from a public module."""

import builtins
import importlib
import inspect
import re
import typing
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import toril
from toril import errors

PUBLIC = ("toril", "toril.errors", "toril.events", "toril.hooks", "toril.sync", "toril.types")
# Parts of an app that its command line and its workers use, not documented for others.
INTERNAL = {
    "Container",
    "Session",
    "Processor",
    "Registry",
    "Signature",
    "Returns",
    "Add",
    "Enqueuer",
    "Definition",
    "Handler",
    "Host",
}
_ENDINGS = ("Error", "Failed", "Lost", "Found", "Full", "State", "Unavailable", "Arguments")
_ERROR = re.compile(r"\b([A-Z][A-Za-z]+)\b")


def importable() -> set[object]:
    found: set[object] = set()
    for name in PUBLIC:
        module = importlib.import_module(name)
        for each in getattr(module, "__all__", None) or vars(module):
            value = getattr(module, each, None)
            if isinstance(value, type):
                found.add(value)
    return found


def within(hint: Any, seen: set[int]) -> Iterator[type[Any]]:
    """Yield the classes of ours in an annotation."""
    if id(hint) in seen:
        return
    seen.add(id(hint))
    if isinstance(hint, type) and hint.__module__.startswith("toril"):
        yield hint
    for each in (get_origin(hint), *get_args(hint)):
        if isinstance(each, list):
            for one in each:
                yield from within(one, seen)
        elif each is not None:
            yield from within(each, seen)


def public_functions(kind: type[Any]) -> Iterator[tuple[str, Any]]:
    for name, member in inspect.getmembers(kind):
        function = member.fget if isinstance(member, property) else member
        if not name.startswith("_") and inspect.isfunction(function):
            yield f"{kind.__name__}.{name}", function


def everything() -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for kind in importable():
        if isinstance(kind, type) and kind.__module__.startswith("toril"):
            found += public_functions(kind)
    return [*found, ("current_job", toril.current_job), ("handles", toril.handles)]


def test_what_public_methods_take_and_return_is_public() -> None:
    public, missing = importable(), set[str]()
    for name, function in everything():
        hints = typing.get_type_hints(function)
        for kind in (each for hint in hints.values() for each in within(hint, set())):
            own = not kind.__name__.startswith("_") and kind.__name__ not in INTERNAL
            if own and kind not in public:
                missing.add(f"{name}: {kind.__module__}.{kind.__name__}")

    assert sorted(missing) == []


def test_what_public_methods_raise_is_public() -> None:
    ours = {name for name, value in vars(errors).items() if isinstance(value, type)}
    unknown = set[str]()
    for name, function in everything():
        _, _, raises = (inspect.getdoc(function) or "").partition("Raises   ")
        words = [word for word in _ERROR.findall(raises) if word.endswith(_ENDINGS)]
        unknown |= {f"{name}: {word}" for word in words if word not in ours | set(dir(builtins))}

    assert sorted(unknown) == []
