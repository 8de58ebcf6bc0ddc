"""Rules on the Lua of the Redis store: short, named, and as its head says."""

import re
from collections.abc import Iterator
from pathlib import Path

from tests.arch.source import ROOT
from toril._store.redis.core import scripts
from toril.events import KINDS

FOLDER = ROOT / "src/toril/_store/redis/lua"
WIRE = ROOT / "docs/wire.md"
SCRIPT_LINES = 120
FUNCTION_LINES = 40

_FUNCTION = re.compile(r"^(?:local )?function ([\w.]+)")
_NUMBERED = re.compile(r"\b(KEYS|ARGV)\b")
_EMITTED = re.compile(r'event\.emit\([^,]+, "([a-z-]+)"')
_GIVEN = re.compile(r"\barg\.(\w+)")
_ROWS = re.compile(r"\beach\.(\w+)")
_FACT = re.compile(r"W-\d+")


def files(folder: Path = FOLDER) -> list[Path]:
    return sorted(folder.rglob("*.lua"))


def _at(file: Path, line: int, text: str) -> str:
    return f"{file.parent.name}/{file.name}:{line}: {text}"


def _functions(lines: list[str]) -> Iterator[tuple[str, int, int]]:
    """Give the functions of a file that begin at its margin: name, first line, lines."""
    name, start = "", 0
    for number, line in enumerate(lines, 1):
        match = _FUNCTION.match(line)
        if match:
            name, start = match[1], number
        elif line == "end" and name:
            yield name, start, number - start - 1
            name = ""


def short(found: list[Path]) -> list[str]:
    """A script fits on two screens, a function on one."""
    findings: list[str] = []
    for file in found:
        lines = file.read_text("utf-8").splitlines()
        if file.parent.name != "lib" and len(lines) > SCRIPT_LINES:
            findings.append(_at(file, 1, f"{len(lines)} lines, {SCRIPT_LINES} are allowed"))
        findings += [
            _at(file, start, f"{name} has {size} lines, {FUNCTION_LINES} are allowed")
            for name, start, size in _functions(lines)
            if size > FUNCTION_LINES
        ]
    return findings


def named(found: list[Path]) -> list[str]:
    """Keys and arguments have names; only what the loader writes counts them."""
    return [
        _at(file, number, f"{match[1]} stands in a script; declare it in the head")
        for file in found
        for number, line in enumerate(file.read_text("utf-8").splitlines(), 1)
        if (match := _NUMBERED.search(line))
    ]


def cited(found: list[Path]) -> list[str]:
    """Every script cites facts of the wire, and the page has them."""
    known = set(_FACT.findall(WIRE.read_text("utf-8")))
    findings: list[str] = []
    for file in found:
        head = scripts.read_head(file.read_text("utf-8"))
        if file.parent.name != "lib" and not head.wire:
            findings.append(_at(file, 1, "its head cites no fact of docs/wire.md"))
        findings += [
            _at(file, 1, f"docs/wire.md has no {fact}") for fact in head.wire if fact not in known
        ]
    return findings


def announced(found: list[Path]) -> list[str]:
    """A head names the events that its file emits, and each is one that readers know."""
    findings: list[str] = []
    for file in found:
        text = file.read_text("utf-8")
        declared = set(scripts.read_head(text).emits)
        emitted = set(_EMITTED.findall(text))
        findings += [
            _at(file, 1, f"emits {kind}, and its head does not say so")
            for kind in sorted(emitted - declared)
        ]
        findings += [
            _at(file, 1, f"no event is called {kind}") for kind in sorted(declared - set(KINDS))
        ]
    return findings


def given() -> list[str]:
    """What a script and its libraries read is what its head declares."""
    findings: list[str] = []
    for name in scripts.names():
        script = scripts.load(name)
        body = script.text.split("\n", 1)[1]
        missing = set(_GIVEN.findall(body)) - set(script.args)
        missing |= set(_ROWS.findall(body)) - set(script.each)
        findings += [
            f"{name}.lua: {word} is read, and its head does not declare it"
            for word in sorted(missing)
        ]
    return findings


RULES = [short, named, cited, announced]
