"""The Lua keeps its rules, and each rule can fail."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.arch import lua
from toril._model import bounds

Rule = Callable[[list[Path]], list[str]]


@pytest.mark.parametrize("rule", lua.RULES, ids=lambda rule: rule.__name__)
def test_the_scripts_keep(rule: Rule) -> None:
    findings = rule(lua.files())

    assert not findings, "\n" + "\n".join(findings)


def test_the_scripts_read_only_what_they_declare() -> None:
    findings = lua.given()

    assert not findings, "\n" + "\n".join(findings)


@pytest.mark.parametrize(
    ("name", "bound"),
    [
        ("local A_CALL", bounds.JOBS_A_CALL),
        ("local LOOK_AHEAD", bounds.LOOK_AHEAD),
        ("  BYTES_A_CLAIM", bounds.CHARACTERS_A_CALL),
    ],
)
def test_the_scripts_have_the_bounds_of_the_model(name: str, bound: int) -> None:
    texts = {file.name: file.read_text("utf-8") for file in lua.files()}
    found = {
        file: int(number)
        for file, text in texts.items()
        for number in re.findall(rf"^{name} = (\d+),?$", text, re.MULTILINE)
    }

    assert found
    assert set(found.values()) == {bound}, found


BAD = {
    lua.short: "-- Do.\n" + "local x = 1\n" * 121,
    lua.named: "-- Do.\nreturn KEYS[1]\n",
    lua.cited: "-- Do.\n--\n-- wire   W-999\nreturn 1\n",
    lua.announced: '-- Do.\n--\n-- wire   W-01\nevent.emit(q, "waiting")\n',
}


@pytest.mark.parametrize("rule", BAD, ids=lambda rule: rule.__name__)
def test_a_rule_can_fail(rule: Rule, tmp_path: Path) -> None:
    file = tmp_path / "verb.lua"
    file.write_text(BAD[rule])

    assert rule([file])


def test_a_long_function_is_found(tmp_path: Path) -> None:
    file = tmp_path / "verb.lua"
    file.write_text("-- Do.\nlocal function f()\n" + "  x = 1\n" * 41 + "end\n")

    assert lua.short([file])
