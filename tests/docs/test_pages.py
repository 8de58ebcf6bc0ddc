"""Every block of code in the user documentation runs, and prints what the page says.

The blocks of a page share one namespace, one event loop and one folder, so that a later block goes
on where the earlier one ended.
"""

import ast
import asyncio
import inspect
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from toril import Toril

from .pages import PAGES, ROOT, Block, blocks

SHELL_S = 30
"""Seconds that a command of a page may take."""

pytestmark = pytest.mark.timeout(60)


@contextmanager
def a_module(name: str) -> Iterator[types.ModuleType]:
    """Have a module of this name while a page runs: tasks are found by their module."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        yield module
    finally:
        del sys.modules[name]


async def run_python(block: Block, page: Path, names: dict[str, Any]) -> str:
    """Run a block as a notebook would, with `await` at the top level; return what it printed."""
    # Keeps line numbers: an error names the line of the page.
    source = "\n" * (block.line - 1) + block.text
    code = compile(source, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    out = StringIO()
    with redirect_stdout(out):
        made = eval(code, names)
        if inspect.isawaitable(made):
            await made
    return out.getvalue()


def commands(block: Block) -> Iterator[tuple[str, str]]:
    """Split a console block into commands and what each must print."""
    parts = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    for part in parts[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def run_command(command: str, folder: Path) -> str:
    paths = (str(Path(sys.executable).parent), os.environ["PATH"])
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, "PATH": os.pathsep.join(paths), "NO_COLOR": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        timeout=SHELL_S,
        check=False,
    )
    assert done.returncode == 0, f"$ {command}\n{done.stdout}"
    return done.stdout


def fits(shown: str, printed: str) -> bool:
    """Compare what a page shows with what was printed; `…` stands for any text."""
    words = re.escape(" ".join(shown.split())).replace("…", ".*")
    return re.fullmatch(words, " ".join(printed.split()), re.DOTALL) is not None


def said(block: Block) -> str | None:
    """Return what the comments of a block say that it prints: `print(...)  # this`."""
    lines = [line.partition("  # ")[2] for line in block.text.splitlines() if "print(" in line]
    return "\n".join(lines) if lines and all(lines) else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
async def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("TORIL_URL", "TORIL_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    before = set(sys.modules)
    with a_module(f"page_{page.stem.replace('-', '_')}") as module:
        names = vars(module)
        try:
            for block in blocks(page):
                if block.why_not is not None:
                    continue
                if block.file is not None:
                    file = tmp_path / block.file
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(block.text + "\n")
                elif block.kind == "python":
                    printed = await run_python(block, page, names)
                    wanted = said(block)
                    assert wanted is None or fits(wanted, printed), (
                        f"{page.relative_to(ROOT)}:{block.line} printed\n{printed}"
                    )
                elif block.kind == "console":
                    for command, output in commands(block):
                        printed = await asyncio.to_thread(run_command, command, tmp_path)
                        assert not output.strip() or fits(output, printed), (
                            f"{page.relative_to(ROOT)}:{block.line} $ {command} printed\n{printed}"
                        )
        finally:
            for app in [value for value in names.values() if isinstance(value, Toril)]:
                await app.close()
            for name in set(sys.modules) - before:
                if getattr(sys.modules[name], "__file__", None) and str(tmp_path) in str(
                    sys.modules[name].__file__
                ):
                    del sys.modules[name]


def test_the_comparison_can_fail() -> None:
    assert fits("1 job …", "1 job added")
    assert not fits("1 job …", "2 jobs added")
    assert said(Block("python", "print(1)  # 2", 1, None)) == "2"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}-{page.stem}")
def test_a_block_that_does_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in {
            "python",
            "console",
            "text",
            "yaml",
            "toml",
            "typescript",
            "ini",
            "lua",
        }
        if block.why_not is not None:
            assert len(block.why_not) > 8, f"{page.name}:{block.line}"
