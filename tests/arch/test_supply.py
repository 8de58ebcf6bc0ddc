"""What CI installs is locked: within the ranges, by hashes, from no server by name."""

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
CI = ROOT / ".ci"
PIN = re.compile(
    r"([A-Za-z0-9._-]+)==(\S+)(?: ; [^\\]+)? ?\\\n((?:    --hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)"
)

if sys.platform == "win32":
    pytest.skip("the lock is for Linux", allow_module_level=True)


@pytest.fixture(scope="module")
def pins() -> dict[str, str]:
    text = (CI / "requirements.txt").read_text()
    body = "".join(line for line in text.splitlines(True) if not line.startswith("#"))
    found = {canonicalize_name(pin[1]): pin[2] for pin in PIN.finditer(body)}
    assert PIN.sub("", body) == "", "a line that is no pin with hashes"
    return found


def ranges() -> list[Requirement]:
    scope: dict[str, Any] = {"__name__": "lock", "__file__": str(CI / "lock.py")}
    exec((CI / "lock.py").read_text(), scope)
    return [Requirement(text) for text in (*scope["ranges"](), scope["ALONE"])]


def test_every_range_has_a_pin_within_it(pins: dict[str, str]) -> None:
    for wanted in ranges():
        pin = pins.get(canonicalize_name(wanted.name))
        assert pin is not None, f"{wanted} is not locked: run make lock"
        assert wanted.specifier.contains(pin), f"{pin} is not in {wanted}: run make lock"


def test_the_lock_names_no_server() -> None:
    text = (CI / "requirements.txt").read_text()
    assert "://" not in text
    assert "index" not in text


def test_node_packages_are_locked_by_hashes_from_no_server_by_name() -> None:
    folder = ROOT / "tests" / "interop"
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    locked = json.loads((folder / "package-lock.json").read_text())["packages"]
    assert locked.pop("")["dependencies"] == wanted, "run make lock"
    for name, package in locked.items():
        assert package["integrity"].startswith("sha512-"), name
        assert "resolved" not in package, name


def test_no_package_of_node_runs_a_program_when_it_is_installed() -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert makefile.count("npm-cli.js") == 1, "use $(NPM)"
    assert "--ignore-scripts" in makefile


def test_the_version_for_which_it_is_locked_is_the_oldest() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == ">=3.11"
    assert "CPython 3.11 linux x86_64 glibc" in (CI / "locked").read_text()
