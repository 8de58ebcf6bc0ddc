"""Where in the code something is defined, and whether that code has run again.

Notebook cells, autoreload and reloaded modules define everything once more: the newest definition
holds. Two definitions in one run of a file are a mistake. Never here: what is defined.
"""

import inspect
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from types import FrameType
from typing import Any

from .callables import layers_of

log = logging.getLogger("toril.app")

# The modules of toril whose frames are left out.
_OURS = "toril._"


@dataclass(frozen=True, slots=True, eq=False)
class Definition:
    """A line of code, and the run of its module that it belongs to."""

    file: str
    line: int
    names: dict[str, Any]
    spec: object

    @property
    def module(self) -> object:
        """The name of its module."""
        return self.names.get("__name__")

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"

    def ran_again(self, earlier: "Definition") -> bool:
        """Return whether this is the earlier place once more, perhaps changed meanwhile."""
        if self.module != earlier.module:
            return False
        if self.file != earlier.file or self.line == earlier.line:
            return True
        same_run = self.names is earlier.names and self.spec is earlier.spec
        return not (same_run and os.path.exists(self.file))


def place_of(function: Callable[..., Any]) -> Definition | None:
    """Return where a function is written; None: it is not written in Python."""
    for each in reversed(list(layers_of(function))):
        code, names = getattr(each, "__code__", None), getattr(each, "__globals__", None)
        if code is not None and names is not None:
            return Definition(code.co_filename, code.co_firstlineno, names, names.get("__spec__"))
    return None


def place_of_class(kind: type[Any]) -> Definition | None:
    """Return where the methods of a class are written."""
    found = [place for each in vars(kind).values() if callable(each) and (place := place_of(each))]
    return min(found, key=lambda place: place.line, default=None)


def calling() -> Definition | None:
    """Return the line that called toril."""
    frame: FrameType | None = inspect.currentframe()
    while frame is not None:
        if not str(frame.f_globals.get("__name__")).startswith(_OURS):
            names = frame.f_globals
            return Definition(
                frame.f_code.co_filename, frame.f_lineno, names, names.get("__spec__")
            )
        frame = frame.f_back
    return None


def replaces(what: str, new: Definition | None, earlier: Definition | None) -> bool:
    """Return whether a definition is one that has run again, and log that it replaces the earlier."""
    if new is None or earlier is None or not new.ran_again(earlier):
        return False
    log.warning(
        "app.redefined %s at %s replaces the one from %s; workers that run keep that until they "
        "start again",
        what,
        new,
        earlier,
        extra={"what": what, "place": str(new)},
    )
    return True
