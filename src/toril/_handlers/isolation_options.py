"""Handlers that run in child processes: what may be said of that, and how a child finds them.

Never here: starting a child, and running anything.
"""

import importlib
import inspect
import os
import re
import runpy
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal, TypedDict

import msgspec

from toril._model.suggest import did_you_mean
from toril.errors import ConfigError

MAIN = "__main__"
# The name under which a child imports the script that its parent runs, as multiprocessing does.
CHILDS_MAIN = "__mp_main__"

_UNITS = {
    "": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30,
}  # fmt: skip
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*")
_PATH = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*):([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)")
_IMPORTABLE = "put it at the top level of a module, so that a child process can import it"

Size = int | str


class IsolationOptions(TypedDict, total=False):
    """The options of handlers that run in child processes."""

    isolation: Literal["process"] | None
    """Use "process" to run in a child process. Default: on the event loop, or in a thread."""
    init: str | None
    """A function, "package.module:function", that each child calls once before its first job.
    It may return a mapping of types to values, which processors are made with."""
    max_rss: Size | None
    """Memory of a child, in bytes or as text such as "200MB". If a child exceeds it during a job,
    that attempt fails; if it does so afterwards, the child is replaced. Not on Windows."""
    recycle_after: int | None
    """Replace a child after this many jobs."""


_NAMES = tuple(IsolationOptions.__annotations__)


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """Where a child finds a handler: a module, and a name in it.

    Shape    kind: "task", a function of its own arguments; "handler", a function of a job or a
             processor class. main: how to find the script that is `__main__`, if that is it.
    """

    module: str
    name: str
    kind: Literal["task", "handler"] = "handler"

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


class Main(msgspec.Struct, frozen=True, kw_only=True):
    """The script that a process runs: a module's name (`python -m`), or a file, folder or
    archive.
    """

    module: str | None = None
    file: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Isolation:
    """How a handler runs in child processes; handlers for which all is equal share them.

    Shape    around: the middleware of each attempt, the outermost first. lifespans: generators
             that run as long as the child.
    """

    target: Target
    init: Target | None = None
    max_rss: int | None = None
    recycle_after: int | None = None
    around: tuple[Target, ...] = ()
    lifespans: tuple[Target, ...] = ()

    @property
    def needs_main(self) -> bool:
        """Whether something of it is defined in the script that this process runs."""
        targets = (self.target, self.init, *self.around, *self.lifespans)
        return any(target is not None and target.module == MAIN for target in targets)


def take_isolation(
    options: Mapping[str, Any],
    function: Callable[..., Any],
    kind: Literal["task", "handler"] = "handler",
) -> Isolation | None:
    """Read the options of isolation, and check that a child can find the function or class.

    Raises   ConfigError: a value that cannot hold, an option that needs isolation="process", or
             a function that no other process can import.
    """
    given = {name: options[name] for name in _NAMES if options.get(name) is not None}
    if not given:
        return None
    mode = given.get("isolation")
    if mode is None:
        first = next(iter(given))
        raise ConfigError(
            f"{first}={given[first]!r} says how a child process is used, and none is",
            field=first,
            value=given[first],
            hint='add isolation="process"',
        )
    if mode != "process":
        raise ConfigError(
            f"isolation={mode!r} is not known",
            field="isolation",
            value=mode,
            hint='give "process", or leave it out: `async def` runs on the loop, `def` in a thread',
        )
    return isolate(_target_of(function, kind), given)


def isolate(target: Target, options: Mapping[str, Any]) -> Isolation:
    """Read the options for a target that is known to be one.

    Raises   ConfigError: a value that cannot hold.
    """
    init, limit, jobs = (options.get(name) for name in ("init", "max_rss", "recycle_after"))
    if jobs is not None and (not isinstance(jobs, int) or isinstance(jobs, bool) or jobs < 1):
        raise ConfigError(
            f"recycle_after={jobs!r} must be a number of jobs, at least 1",
            field="recycle_after",
            value=jobs,
        )
    return Isolation(
        target=target,
        init=None if init is None else read_path(init, field="init"),
        max_rss=None if limit is None else _bytes(limit),
        recycle_after=jobs,
    )


def read_path(path: object, *, field: str) -> Target:
    """Read "package.module:name".

    Raises   ConfigError: it is not of that form.
    """
    found = _PATH.fullmatch(path) if isinstance(path, str) else None
    if found is None or found[1].endswith(".py"):
        raise ConfigError(
            f"{field}={path!r} names nothing that can be imported",
            field=field,
            value=path,
            hint='write "package.module:function", as in an import',
        )
    return Target(module=found[1], name=found[2])


def _bytes(size: object) -> int:
    found = _SIZE.fullmatch(str(size)) if not isinstance(size, bool) else None
    unit = _UNITS.get(found[2].upper()) if found else None
    count = round(float(found[1]) * unit) if found and unit else 0
    if not count:
        raise ConfigError(
            f"max_rss={size!r} is no size of memory",
            field="max_rss",
            value=size,
            hint='give bytes, or text such as "200MB" or "2GiB"',
        )
    return count


# In the parent: whether a child could find it.


def importable(function: Callable[..., Any]) -> Target:
    """Return where a child finds a function.

    Raises   ConfigError: no other process can import it.
    """
    target = _target_of(function, "handler")
    check_target(target)
    return target


def _target_of(function: Any, kind: Literal["task", "handler"]) -> Target:
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if inspect.ismethod(function) or not isinstance(module, str) or not isinstance(name, str):
        raise _unimportable(function, "is an object, not a function of a module", _IMPORTABLE)
    if "<lambda>" in name:
        raise _unimportable(name, "is a lambda, which no other process can import", _use_def())
    if "<locals>" in name:
        raise _unimportable(
            name.replace("<locals>.", ""), "is defined inside a function", _IMPORTABLE
        )
    if module == MAIN and find_main() is None:
        raise _unimportable(name, "was typed in, not read from a file", "write it into a module")
    return Target(module=module, name=name, kind=kind)


def _use_def() -> str:
    return "write it as a function at the top level of a module"


def _unimportable(what: object, problem: str, hint: str) -> ConfigError:
    return ConfigError(
        f'isolation="process": {what} {problem}', field="isolation", value=what, hint=hint
    )


def find_main() -> Main | None:
    """Return what script this process runs; None where it is in no file."""
    main = sys.modules[MAIN]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name != MAIN:
        return Main(module=spec.name)
    file: str = getattr(main, "__file__", None) or ""
    # Of a folder or an archive that is run, `__main__` is a file in it.
    path = os.path.abspath(file if spec is None else os.path.dirname(file))
    return Main(file=path) if file and os.path.exists(path) else None


def check_target(target: Target) -> None:
    """Check that a module that is loaded has the name, before a child looks without result.

    Raises   ConfigError: it does not.
    """
    module = sys.modules.get(target.module)
    if module is not None and _inside(module, target.name) is None:
        hint = did_you_mean(target.name, vars(module)) or "keep the name it is defined with"
        raise _unimportable(target, "is not there: its module has no such name", hint)


# In the child.


def find(target: Target) -> Any:
    """Import what a target names.

    Raises   ConfigError: the module has no such name. Whatever importing it raises.
    """
    module = sys.modules.get(CHILDS_MAIN) if target.module == MAIN else None
    module = module or importlib.import_module(target.module)
    found = _inside(module, target.name)
    if found is None:
        hint = 'what is under `if __name__ == "__main__":` is not there in a child'
        if target.module != MAIN:
            hint = did_you_mean(target.name, vars(module)) or f"looked in {module.__file__}"
        raise ConfigError(
            f"{target} is not there: module {target.module!r} has no {target.name!r}",
            field="isolation",
            value=str(target),
            hint=hint,
        )
    return found


def import_main(main: Main) -> None:
    """Run the parent's script once more, as a module that is not `__main__`."""
    if main.module is not None:
        names = runpy.run_module(main.module, run_name=CHILDS_MAIN, alter_sys=True)
    else:
        names = runpy.run_path(main.file or "", run_name=CHILDS_MAIN)
    module = ModuleType(CHILDS_MAIN)
    vars(module).update(names)
    # What the script defines may look itself up under either name.
    sys.modules[CHILDS_MAIN] = sys.modules[MAIN] = module


def _inside(module: ModuleType, name: str) -> Any:
    found: Any = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found
