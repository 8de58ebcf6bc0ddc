"""Pages, docstrings and messages use plain technical English.

The list has the worst habits only; CONTRIBUTING says how to write. A word is added here when it
has been removed everywhere.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from .pages import ALL, DOCS, ROOT, name_of, prose

WORST = {
    r"(?<!`)\banew\b(?!`)": "again, or restart",
    r"\bso (?:many|long|often|much)\b(?! (?:as|that))": "this many, how long, how often",
    r"\bat most so\b": "at most N",
    r"\btold of\b": "reported, logged",
    r"\bby itself\b": "on its own, separately, automatically",
    r"\bleft out\b": "omitted, if not given",
    r"\btak(?:e|es|ing) the place of\b": "replace, instead of",
    r"\btak(?:e|es|ing) away\b|\btaken away\b": "remove",
    r"\bstands? (?:in|for|under|at|behind)\b(?! \[)": "is in, means",
    r"\bwhat is such\b": "say what it is",
    r"\bwill do\b": "works, is enough",
    r"\bin vain\b": "without result",
    r"\bbe it\b": "whether",
    r"\bthough jobs run\b": "even while jobs run",
    r"\bfor good and all\b": "permanently",
    r"\bis told so\b": "is reported, is logged",
    r"\bto (?:be|it) sure\b": "",
}
DOCSTRING = {
    r"^(?:Give|Say) (?:the|whether|where|how|what|which|a|it|its|an|each|all)\b": "Return ...",
}
TEXTS = [
    *(page for page in ALL if "vi" not in page.relative_to(DOCS).parts),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "UPGRADING.md")),
]


def found(text: str, patterns: dict[str, str]) -> Iterator[str]:
    """Find the worst habits in a text."""
    for pattern, better in patterns.items():
        for match in re.finditer(pattern, text, re.IGNORECASE):
            around = " ".join(text[max(0, match.start() - 30) : match.end() + 30].split())
            yield f"...{around}... (better: {better})"


def strings(module: Path) -> Iterator[tuple[int, str, bool]]:
    """Find the docstrings and messages of a module, with their lines."""
    tree = ast.parse(module.read_text("utf-8"))
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value, id(node) in docstrings


def hits(module: Path) -> list[str]:
    """Return what is wrong with the texts of a module."""
    return [
        f"{module.relative_to(ROOT)}:{line}: {hit}"
        for line, text, is_docstring in strings(module)
        for hit in found(text, {**WORST, **DOCSTRING} if is_docstring else WORST)
    ]


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.stem)
def test_pages_use_plain_words(page: Path) -> None:
    text = prose(page) if page in ALL else page.read_text("utf-8")
    text = text.partition("| write | instead of |")[0]  # the list of CONTRIBUTING
    assert list(found(re.sub(r"`[^`\n]*`", "", text), WORST)) == []


def test_docstrings_and_messages_use_plain_words() -> None:
    modules = sorted((ROOT / "src" / "toril").rglob("*.py"))
    assert [hit for module in modules for hit in hits(module)] == []


def test_the_rules_fire() -> None:
    assert list(found("it starts anew", WORST))
    assert list(found("At most so many.", WORST))
    assert list(found("Give the queue.", DOCSTRING))
    assert not list(found("as so many others", {"x": ""}))
    assert name_of(ALL[0])
