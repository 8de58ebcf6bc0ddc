"""From what was typed to the app that it names: a module or a file, and a name in it.

Never here: what is done with the app.
"""

import importlib
import os
import pkgutil
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from toril._app.app import Toril
from toril._handlers.task import Task
from toril._model.suggest import did_you_mean
from toril._model.urls import hide, hide_line, is_like_server
from toril.errors import ConfigError, TorilError


def load_app(target: str) -> Toril:
    """Import a module or a file, and give the app in it.

    Shape    target: `module:app`, `path/to/file.py:app`, or either without a name where there is
             only one app.
    Raises   ConfigError: no such module or file, it cannot be imported, no app, or several.
    """
    if is_like_server(target):
        raise _refused("it is the URL of a server, not an app", hide(target), "is --url missing?")
    place, _, name = _split(target)
    module = _import(_module_name(place), place)
    _check_is_it(module, place)
    return _named(module, name, place) if name else _only_one(module, place)


def load_task(target: str) -> tuple[Task[..., Any], ModuleType]:
    """Import a module or a file, and give the task in it that is named, and the module.

    Shape    target: `module:task` or `path/to/file.py:task`.
    Raises   ConfigError: no such module or file, it cannot be imported, or no such task.
    """
    place, _, name = _split(target)
    if not name:
        raise _refused("which task of it?", place, "name it, such as shop.mail:send")
    module = _import(_module_name(place), place)
    _check_is_it(module, place)
    found: object = getattr(module, name, None)
    if isinstance(found, Task):
        return cast("Task[..., Any]", found), module
    tasks = [each for each, value in vars(module).items() if isinstance(value, Task)]
    near = did_you_mean(name, tasks) or (
        f"its tasks: {', '.join(tasks)}" if tasks else "put @app.task over a function"
    )
    raise _refused(f"there is no task {name!r} in it", place, near)


def app_of(module: ModuleType, place: str) -> Toril:
    """Return the only app in a module.

    Raises   ConfigError: there is none, or several.
    """
    return _only_one(module, place)


def _split(target: str) -> tuple[str, str, str]:
    # A drive letter of Windows is followed by a colon too.
    head, colon, name = target.rpartition(":")
    if not colon or "/" in name or "\\" in name:
        return target, "", ""
    return head, colon, name


# The module.


def _module_name(place: str) -> str:
    """Return the dotted name under which a place is imported, and let it be found."""
    if all(part.isidentifier() for part in place.split(".")) and not place.endswith(".py"):
        _search_first(Path.cwd())
        return place
    file = Path(place).resolve()
    if not place or not file.is_file():
        raise _missing_file(file, place)
    if not os.access(file, os.R_OK, effective_ids=os.access in os.supports_effective_ids):
        raise _refused("it cannot be read", place, "this user has no right to read it")
    # A file inside packages is imported as part of them, so that its relative imports work.
    parts, folder = [file.stem], file.parent
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    _search_first(folder)
    return ".".join(part for part in parts if part != "__init__")


def _check_is_it(module: ModuleType, place: str) -> None:
    """Notice a file whose name another module had before."""
    file, found = Path(place), getattr(module, "__file__", None)
    if not file.is_file() or (found is not None and file.samefile(found)):
        return
    raise _refused(
        f"its name is that of another module, {module.__name__!r}", place, "rename the file"
    )


def _search_first(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def _missing_file(file: Path, place: str) -> ConfigError:
    if file.is_dir():
        problem = "it is a folder" if place else "it names neither a file nor a module"
        return _refused(problem, place, "name the file that makes the app, such as app.py")
    if file.exists():
        return _refused("it is no regular file", place, "name a Python file")
    if not file.parent.is_dir():
        return _refused("there is no such folder", place, f"looked for {file.parent}")
    near = did_you_mean(file.name, (each.name for each in file.parent.glob("*.py")))
    return _refused("there is no such file", place, near or f"looked in {file.parent}")


def _import(name: str, place: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name and (name == error.name or name.startswith(f"{error.name}.")):
            raise _missing_module(error.name, place) from error
        raise _broken(error, place) from error
    except SystemExit as error:
        raise _refused(
            f"importing it ended the process{_where(error)}",
            place,
            'put what the script does under: if __name__ == "__main__":',
        ) from error
    except TorilError as error:
        raise _refused(f"{error}{_where(error)}", place) from error
    except Exception as error:
        raise _broken(error, place) from error


def _missing_module(missing: str, place: str) -> ConfigError:
    parent, _, last = missing.rpartition(".")
    folders = (
        list(getattr(sys.modules.get(parent), "__path__", [])) if parent else [str(Path.cwd())]
    )
    near = did_you_mean(last, (module.name for module in pkgutil.iter_modules(folders)))
    where = f"looked in {folders[0]}" if folders else f"{parent} is no package"
    return _refused(f"there is no module {missing!r}", place, near or where)


def _broken(error: Exception, place: str) -> ConfigError:
    hint = "the error is in that file, not in toril"
    if isinstance(error, ModuleNotFoundError) and error.name:
        hint = f"is {error.name.partition('.')[0]!r} installed in {sys.prefix}?"
    if isinstance(error, SyntaxError):
        line = f" at {_short(error.filename or place)}:{error.lineno}"
        return _refused(f"it is not valid Python: {error.msg}{line}", place, hint)
    message = " ".join(str(error).split())
    return _refused(
        f"importing it failed: {type(error).__name__}: {message}{_where(error)}", place, hint
    )


def _where(error: BaseException) -> str:
    """Return where the user's own code raised an error: file, line, and what stands there."""
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if _is_theirs(frame.filename)]
    if not theirs:
        return ""
    last = theirs[-1]
    return f" at {_short(last.filename)}:{last.lineno}" + (
        f": {hide_line(last.line)}" if last.line else ""
    )


def _is_theirs(file: str) -> bool:
    ours = str(Path(__file__).resolve().parents[1])
    outside = (ours, sys.base_prefix, sys.prefix)
    return not file.startswith("<") and not file.startswith(outside)


def _short(file: str) -> str:
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


# The app in it.


def _named(module: ModuleType, name: str, place: str) -> Toril:
    found: object = module
    for part in name.split("."):
        if not hasattr(found, part):
            raise _no_such_app(module, name, place)
        found = getattr(found, part)
    if isinstance(found, Toril):
        return found
    raise _refused(
        f"{name!r} is a {type(found).__name__}, not a Toril app", place, _apps_hint(module)
    )


def _only_one(module: ModuleType, place: str) -> Toril:
    apps = _apps(module)
    different = {id(app): app for app in apps.values()}
    if len(different) == 1:
        return next(iter(different.values()))
    if not different:
        raise _refused("there is no Toril app in it", place, "write app = Toril() at its top level")
    names = " or ".join(f"{place}:{name}" for name in apps)
    raise _refused("there are several apps in it", place, f"say which one: {names}")


def _no_such_app(module: ModuleType, name: str, place: str) -> ConfigError:
    near = did_you_mean(name, vars(module), cutoff=0.75)
    hint = _apps_hint(module) if _apps(module) else near
    return _refused(f"there is no {name!r} in it", place, hint or _apps_hint(module))


def _apps_hint(module: ModuleType) -> str:
    names = ", ".join(repr(name) for name in _apps(module))
    return f"its apps: {names}" if names else "write app = Toril() at its top level"


def _apps(module: ModuleType) -> dict[str, Toril]:
    return {name: value for name, value in vars(module).items() if isinstance(value, Toril)}


# Words.


def _refused(problem: str, place: str, hint: str | None = None) -> ConfigError:
    return ConfigError(f"{place or 'target'}: {problem}", field="target", value=place, hint=hint)
