"""Importing the modules of an app by a pattern. Never here: what is done with what they define."""

import importlib
import pkgutil
from collections.abc import Iterator
from fnmatch import fnmatchcase
from types import ModuleType

from toril._model.checks import check_text
from toril._model.suggest import did_you_mean
from toril.errors import ConfigError


def import_matching(pattern: str) -> list[ModuleType]:
    """Import every module whose dotted name matches a pattern, such as "shop.*" or "shop.*.jobs".

    Raises   ConfigError: none does, or the package before the first wildcard is not there.
    """
    if not check_text(pattern, "patterns").strip("."):
        raise ConfigError(
            f"patterns={pattern!r} names no module",
            field="patterns",
            value=pattern,
            hint='such as "shop.*" or "shop.*.jobs"',
        )
    head = pattern.partition("*")[0]
    if head == pattern:
        return [_import(pattern, pattern)]
    base = _import(head.rpartition(".")[0] or head, pattern)
    names = [name for name in _below(base) if fnmatchcase(name, pattern)]
    if not names:
        raise ConfigError(
            f"no module matches {pattern!r}",
            field="patterns",
            value=pattern,
            hint=f"modules of {base.__name__}: {', '.join(_below(base)) or 'none'}",
        )
    return [importlib.import_module(name) for name in names]


def _import(name: str, pattern: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not (name == error.name or name.startswith(f"{error.name}.")):
            raise
        near = did_you_mean(name, (each.name for each in pkgutil.iter_modules()))
        raise ConfigError(
            f"there is no module {error.name!r}", field="patterns", value=pattern, hint=near or ""
        ) from error


def _below(package: ModuleType) -> Iterator[str]:
    """Return the dotted names of the modules in a package, of those in its packages too."""
    for found in pkgutil.iter_modules(getattr(package, "__path__", []), f"{package.__name__}."):
        yield found.name
        if found.ispkg:
            yield from _below(importlib.import_module(found.name))
