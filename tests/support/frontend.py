"""What tests of the dashboard's pages need: Node, the packages of `frontend`, a browser."""

import os
import shutil
from pathlib import Path
from typing import NoReturn

import pytest

FRONTEND = Path(__file__).parents[2] / "frontend"
STATIC = Path(__file__).parents[2] / "src" / "toril" / "dashboard" / "static"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def node() -> str:
    """Find Node, with the packages of the pages; without them skip at home and fail in CI."""
    found = shutil.which("node")
    if found is None:
        _lack("node is not on PATH: make test puts one there")
    if not (FRONTEND / "node_modules" / "esbuild").exists():
        _lack("npm packages are missing: make setup")
    return found


def browser() -> str:
    """Find a Chromium; without one skip at home and fail in CI."""
    for name in _BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    _lack(f"no browser is on PATH: {', '.join(_BROWSERS)}")


def pages_are_built() -> None:
    """Skip at home and fail in CI where the pages were not built."""
    if not (STATIC / "index.html").exists():
        _lack("the pages are not built: make setup")


def _lack(what: str) -> NoReturn:
    if os.environ.get("CI"):
        pytest.fail(f"dashboard: {what}")
    pytest.skip(f"dashboard: {what}")
