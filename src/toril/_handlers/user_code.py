"""Which source files are the user's own, and which are toril's."""

import os
import sys
import sysconfig
from pathlib import Path

# The file names of toril's own frames begin with this: every package of it but the demo is private.
TORIL_FRAMES = os.path.join(os.path.dirname(os.path.dirname(__file__)), "_")

# Folders of the interpreter, of its environment, and of toril.
_NOT_OWN = (
    *{sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")},
    str(Path(__file__).resolve().parents[1]),
)


def is_own(file: str) -> bool:
    """Return whether a Python file is the user's own: not Python's, not installed, not toril's."""
    path = Path(file)
    return (
        path.suffix == ".py"
        and "site-packages" not in path.parts
        and not any(path.is_relative_to(folder) for folder in _NOT_OWN)
    )


def is_own_module(name: str) -> bool:
    """Return whether a module is the user's own; one without a file is, as in a notebook."""
    file = getattr(sys.modules.get(name), "__file__", None)
    return file is None or is_own(file)
