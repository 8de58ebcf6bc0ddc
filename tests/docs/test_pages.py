"""Every block of code in the user documentation runs, and prints what the page says.

The blocks of a page share one namespace, one event loop and one folder, so that a later block goes
on where the earlier one ended.
"""

import ast
import asyncio
import inspect
import os
import re
import shutil
import signal
import subprocess
import sys
import types
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import missing, shared_server
from toril import Toril

from .pages import PAGES, ROOT, Block, blocks, name_of

SHELL_S = 30
"""Seconds that a command of a page may take."""
KINDS = {
    "python", "console", "text", "yaml", "toml", "typescript", "javascript", "ini", "lua",
    "dockerfile",
}  # fmt: skip
ALONE = {"guides/telemetry"}
"""Pages that change what a whole process has, such as its log handlers: each runs in one of its own."""
REDIS = re.compile(r"redis://[\w.:@-]+/\d+")

pytestmark = pytest.mark.timeout(90)


class Runner:
    """Runs the blocks of one page in a folder, with a namespace of their own."""

    def __init__(self, page: Path, folder: Path, names: dict[str, Any]) -> None:
        self.page = page
        self.folder = folder
        self.names = names

    def at(self, block: Block) -> str:
        return f"{self.page.relative_to(ROOT)}:{block.line}"

    async def run(self, block: Block) -> None:
        text = self._with_servers(block)
        if block.file is not None:
            file = self.folder / block.file
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        elif block.kind == "python":
            printed = await self._run_python(block, text)
            wanted = said(text)
            assert wanted is None or fits(wanted, printed), f"{self.at(block)} printed\n{printed}"
        elif block.until is not None:
            await asyncio.to_thread(self._run_until, block, text)
        elif block.kind == "console":
            for command, output in commands(text):
                printed = await asyncio.to_thread(self._run_command, command)
                assert not output.strip() or fits(output, printed), (
                    f"{self.at(block)} $ {command} printed\n{printed}"
                )

    def _with_servers(self, block: Block) -> str:
        """Return the text of a block with the servers of the tests in it."""
        if block.needs is None:
            return block.text
        modules = ROOT / "tests" / "interop" / "node_modules"
        if block.needs == "node" and not (self.folder / "node_modules").exists():
            if shutil.which("node") is None or not modules.exists():
                missing("node with bullmq (make setup)")
            (self.folder / "node_modules").symlink_to(modules)
        # Each page has a database of its own on the server.
        number = 1 + PAGES.index(self.page) % 15
        url = shared_server().url.removesuffix("/0") + f"/{number}"
        return REDIS.sub(url, block.text)

    async def _run_python(self, block: Block, text: str) -> str:
        """Run a block as a notebook would, with `await` at the top level; return what it printed."""
        # Keeps line numbers: an error names the line of the page.
        source = "\n" * (block.line - 1) + text
        code = compile(source, self.page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        out = StringIO()
        with redirect_stdout(out):
            made = eval(code, self.names)
            if inspect.isawaitable(made):
                await made
        return out.getvalue()

    def _environment(self) -> dict[str, str]:
        paths = (str(Path(sys.executable).parent), os.environ["PATH"])
        found = {**os.environ, "PATH": os.pathsep.join(paths), "NO_COLOR": "1", "COLUMNS": "100"}
        found.pop("PYTHONDONTWRITEBYTECODE", None)  # compiling at each start takes a third of it
        return found | {"PYTHONUNBUFFERED": "1"}

    def _run_command(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            timeout=SHELL_S,
            check=False,
        )
        assert done.returncode == 0, f"$ {command}\n{done.stdout}"
        return done.stdout

    def _run_until(self, block: Block, text: str) -> None:
        """Run a command that goes on until it is stopped; stop it as a person would."""
        ((command, _),) = commands(text)
        process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert process.stdout is not None
        shown = ""
        try:
            for line in process.stdout:  # the time limit of the test ends this
                shown += line
                if block.until and block.until in line:
                    break
            else:
                pytest.fail(f"{self.at(block)} $ {command} ended, having printed\n{shown}")
            process.send_signal(signal.SIGTERM)
            rest, _ = process.communicate(timeout=SHELL_S)
            assert process.returncode == 0, f"{self.at(block)} $ {command}\n{shown}{rest}"
        finally:
            process.kill()
            process.wait()


@contextmanager
def a_module(name: str) -> Iterator[types.ModuleType]:
    """Have a module of this name while a page runs: tasks are found by their module."""
    module = types.ModuleType(name)
    sys.modules[name] = module
    try:
        yield module
    finally:
        del sys.modules[name]


def commands(text: str) -> Iterator[tuple[str, str]]:
    """Split a console block into commands and what each must print."""
    parts = re.split(r"^\$ ", text, flags=re.MULTILINE)
    for part in parts[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def fits(shown: str, printed: str) -> bool:
    """Compare what a page shows with what was printed; `…` stands for any text."""
    words = re.escape(" ".join(shown.split())).replace("…", ".*")
    return re.fullmatch(words, " ".join(printed.split()), re.DOTALL) is not None


def said(text: str) -> str | None:
    """Return what the comments of a block say that it prints: `print(...)  # this`."""
    lines = [line.partition("  # ")[2] for line in text.splitlines() if "print(" in line]
    return "\n".join(lines) if lines and all(lines) else None


def run_alone(name: str) -> None:
    """Run the test of one page in a process of its own."""
    here = {key: value for key, value in os.environ.items() if "XDIST" not in key}
    test = f"{Path(__file__).relative_to(ROOT)}::test_the_code_of_a_page_runs[{name}]"
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", test],
        cwd=ROOT,
        env={**here, "PYTEST_PAGE": name},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


@pytest.mark.parametrize("page", PAGES, ids=name_of)
async def test_the_code_of_a_page_runs(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name_of(page) in ALONE and os.environ.get("PYTEST_PAGE") != name_of(page):
        await asyncio.to_thread(run_alone, name_of(page))
        return
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in ("TORIL_URL", "TORIL_PREFIX"):
        monkeypatch.delenv(name, raising=False)
    before = set(sys.modules)
    with a_module(f"page_{re.sub(r'[^a-z]', '_', name_of(page))}") as module:
        runner = Runner(page, tmp_path, vars(module))
        try:
            for block in blocks(page):
                if block.why_not is None:
                    await runner.run(block)
        finally:
            for app in [value for value in runner.names.values() if isinstance(value, Toril)]:
                await app.close()
            for name in set(sys.modules) - before:
                if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
                    del sys.modules[name]


def test_the_comparison_can_fail() -> None:
    assert fits("1 job …", "1 job added")
    assert not fits("1 job …", "2 jobs added")
    assert said("print(1)  # 2") == "2"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_block_that_does_not_run_says_why(page: Path) -> None:
    for block in blocks(page):
        assert block.kind in KINDS, f"{page.name}:{block.line}: {block.kind}"
        if block.why_not is not None:
            assert len(block.why_not) > 8, f"{page.name}:{block.line}"
        if block.kind in {"typescript", "javascript"} and block.file is None:
            assert block.why_not is not None, f"{page.name}:{block.line} is not run by anything"
