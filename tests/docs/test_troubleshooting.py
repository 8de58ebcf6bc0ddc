"""The page on troubleshooting explains every line that toril writes to the log."""

import ast
import logging
import re
from collections.abc import Iterator

from toril._worker.hooks import _LINES

from .pages import ROOT

LEVELS = {"debug", "info", "warning", "error", "exception", "critical", "log", "write_log"}
NAME = re.compile(r"([a-z]+\.[a-z_]+)\b")


def names() -> Iterator[str]:
    """Find the names with which lines of the log begin."""
    for file in (ROOT / "src" / "toril").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
                continue
            if node.func.attr in LEVELS:
                for given in node.args[:3]:
                    for part in ast.walk(given):
                        if isinstance(part, ast.Constant) and isinstance(part.value, str):
                            yield from NAME.findall(part.value.partition(" ")[0])
    yield from (name for name, level in _LINES.values() if level >= logging.DEBUG)


def test_every_line_of_the_log_is_explained() -> None:
    page = (ROOT / "docs" / "guides" / "troubleshooting.md").read_text()
    found = set(names())
    assert len(found) > 30
    assert sorted(name for name in found if f"`{name}`" not in page) == []
