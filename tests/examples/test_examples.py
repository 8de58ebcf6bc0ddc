"""Each example runs as it is, and prints what its docstring says."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from tests.support.servers import fresh_prefix, servers_here, shared_server

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.py"))


def promised(example: Path) -> str:
    """What the docstring says that it prints; `…` stands for anything."""
    text = ast.get_docstring(ast.parse(example.read_text("utf-8"))) or ""
    return dedent(text.partition("Prints:\n\n")[2]).strip()


def fits(promise: str, printed: str) -> bool:
    pattern = ".*".join(re.escape(part) for part in promise.split("…"))
    return re.fullmatch(pattern, printed.strip()) is not None


@pytest.fixture(params=["as it is", *servers_here()])
def url(request: pytest.FixtureRequest) -> str | None:
    """Name the store that an example shall have instead of its own: the only change it needs."""
    return None if request.param == "as it is" else shared_server(request.param).url


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_prints_what_it_promises(example: Path, url: str | None, tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if "TORIL" not in name}
    program = tmp_path / example.name
    text = example.read_text("utf-8")
    if url is not None:
        text = re.sub(r"Toril\((\":memory:\")?\)", f"Toril({url!r})", text)
        assert url in text, f"{example.name} names its store in another way"
    program.write_text(text, "utf-8")
    environment["TORIL_PREFIX"] = fresh_prefix()

    ended = subprocess.run(
        [sys.executable, str(program)],
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
