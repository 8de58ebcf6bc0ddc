"""Each example runs as it is, and prints what its docstring says."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def promised(example: Path) -> str:
    """What the docstring says that it prints; `…` stands for anything."""
    text = ast.get_docstring(ast.parse(example.read_text("utf-8"))) or ""
    return dedent(text.partition("Prints:\n\n")[2]).strip()


def fits(promise: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in promise.split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_promises(example: Path, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "TORIL" not in name}

    ended = subprocess.run(
        [sys.executable, str(example)],
        cwd=tmp_path,
        env={**environment, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=18,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert promised(example), f"{example.name} does not say what it prints"
    assert fits(promised(example), ended.stdout), ended.stdout


def test_there_are_examples_of_the_main_things() -> None:
    assert {"hello", "retries", "flow", "schedule"} <= {path.stem for path in EXAMPLES}
