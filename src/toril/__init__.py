"""Background jobs for Python: BullMQ's model, with nothing to install beside it.

Three names are enough to start with: an app (`Toril`), a task (`@app.task`), and a worker
(`toril worker module:app`). The names are in `_public`, and are imported when the first of them is
used: `toril --version` and modules such as `toril.errors` need none. Type checkers read `__init__.pyi`.
"""

import importlib as _importlib


def __getattr__(name: str) -> object:
    """Return a public name; the first one imports them all."""
    if name.startswith("__") and name != "__all__":
        raise AttributeError(f"module 'toril' has no attribute {name!r}")
    # Not `from toril import _public`: that would ask this function first.
    public = _importlib.import_module("toril._public")
    found = globals()
    found.update({each: getattr(public, each) for each in ("__all__", *public.__all__)})
    # Modules such as toril.errors have become attributes by this import, too.
    if name not in found:
        raise AttributeError(f"module 'toril' has no attribute {name!r}")
    return found[name]


def __dir__() -> list[str]:
    __getattr__("__all__")
    return sorted(globals())
