"""Rules on what toril shows: its public names, and the pages that are made from the code."""

from types import FunctionType, ModuleType

NAMES = 43
README_LINES = 120


def public_names(toril: ModuleType) -> list[str]:
    """``__all__`` is short, true, and names only what is ours."""
    listed: list[str] = list(getattr(toril, "__all__", []))
    if not listed:
        return ["toril/__init__.py: __all__ is missing"]
    shown = {name for name in listed if not name.startswith("_")}
    there = {name for name, value in vars(toril).items() if _is_public(toril, name, value)}
    wrong = [f"toril.{name} is public but not in __all__" for name in sorted(there - shown)]
    wrong += [f"toril.__all__ lists {n}, which is not there" for n in listed if not _has(toril, n)]
    wrong += [
        f"toril.{name} comes from {home}" for name in shown if (home := _foreign(toril, name))
    ]
    if len(listed) > NAMES:
        wrong.append(f"toril.__all__ has {len(listed)} names, {NAMES} are allowed")
    if len(set(listed)) < len(listed):
        wrong.append("toril.__all__ lists a name twice")
    return wrong


def _has(toril: ModuleType, name: str) -> bool:
    return hasattr(toril, name)


def _is_public(toril: ModuleType, name: str, value: object) -> bool:
    # A submodule becomes an attribute when anybody imports it.
    own_module = isinstance(value, ModuleType) and value.__name__ == f"{toril.__name__}.{name}"
    # pytest adds names with "@" to the modules of its plugins.
    return not name.startswith(("_", "@")) and not own_module


def _foreign(toril: ModuleType, name: str) -> str | None:
    """Where a class or function comes from, if not from us. Aliases and constants do not say."""
    value = getattr(toril, name, None)
    if not isinstance(value, type | FunctionType):
        return None
    home = value.__module__
    return None if home == "toril" or home.startswith("toril.") else home


def generated_page(path: str, written: str, generated: str) -> list[str]:
    """A page made from code says what the code says now."""
    if written.rstrip("\n") == generated.rstrip("\n"):
        return []
    return [f"{path}: stale; run `make docs`"]


def readme_is_short(text: str) -> list[str]:
    """The README is read in one go."""
    lines = len(text.splitlines())
    if lines <= README_LINES:
        return []
    return [f"README.md:{lines}: {lines} lines, {README_LINES} are allowed"]
