"""The budgets of docs/design.md, held against the source. Raise one only where you say why."""

import importlib
import tomllib
from collections.abc import Callable

import pytest

from tests.arch import imports, shape, stored, surface
from tests.arch.source import ROOT, Module, modules

# Reads and parses the whole source; how long that takes is no promise of toril's.
pytestmark = pytest.mark.timeout(120)

Rule = Callable[[list[Module]], list[str]]


def report(findings: list[str]) -> str:
    return "\n" + "\n".join(findings)


def page(path: str) -> str:
    assert (ROOT / path).exists(), f"{path} is missing"
    return (ROOT / path).read_text("utf-8")


@pytest.fixture(scope="module")
def source() -> list[Module]:
    return modules()


@pytest.mark.parametrize(
    "rule", [*imports.RULES, *shape.RULES, *stored.RULES], ids=lambda rule: rule.__name__
)
def test_the_source_keeps(rule: Rule, source: list[Module]) -> None:
    findings = rule(source)

    assert not findings, report(findings)


def test_the_public_names_are_few_and_ours() -> None:
    findings = surface.public_names(importlib.import_module("toril"))

    assert not findings, report(findings)


def test_the_page_of_states_is_the_table_of_states() -> None:
    document = importlib.import_module("toril._model.states").document()

    findings = surface.generated_page("docs/states.md", page("docs/states.md"), document)

    assert not findings, report(findings)


@pytest.mark.parametrize("path", ["docs/design.md", "CONTRIBUTING.md"])
def test_the_drawing_of_the_floors_is_the_table_of_the_floors(path: str) -> None:
    assert imports.drawing() in page(path), f"{path}: paste this:\n{imports.drawing()}"


def test_the_readme_is_short() -> None:
    findings = surface.readme_is_short(page("README.md"))

    assert not findings, report(findings)


def test_the_package_shows_the_readme() -> None:
    project = tomllib.loads(page("pyproject.toml"))["project"]

    assert project.get("readme") == "README.md", "pyproject.toml: [project] has no readme"
