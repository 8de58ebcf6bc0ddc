"""`toril init`: a project that works as it is written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.desk import Desk
from toril import Toril

LAYOUT = {"shop/queues", "shop/jobs", "shop/workers", "scripts", "tests"}
BIN = Path(sys.executable).parent


def shell(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    path = f"{BIN}{os.pathsep}{os.environ['PATH']}"
    kept = {name: value for name, value in os.environ.items() if "TORIL" not in name}
    return subprocess.run(
        words, cwd=folder, env={**kept, "PATH": path}, capture_output=True, text=True, check=False
    )


@pytest.mark.timeout(60)
async def test_a_new_project_runs_and_its_tests_pass(desk: Desk) -> None:
    ended = desk.run("init", "shop")
    shop = desk.folder / "shop"

    assert ended.code == 0, ended.err
    assert all((shop / folder).is_dir() for folder in LAYOUT)
    tests = shell(shop, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")
    assert "2 passed" in tests.stdout, tests.stdout + tests.stderr
    async with Toril(f"sqlite:///{shop / 'toril.db'}", warn_unserved=False) as app:
        job = await app.queue("mail").add("welcome", {"to": "ada@example.com"})
        worker = shell(shop, "scripts/start-worker", "--burst")
        assert worker.returncode == 0, worker.stderr
        assert await job.result(timeout=5) == "welcome, ada@example.com"


def test_nothing_is_overwritten(desk: Desk) -> None:
    desk.write("README.md", "mine")

    ended = desk.run("init", ".", "--name", "shop")

    assert ended.code == 2
    assert "README.md exists already, and nothing was written" in ended.err
    assert [each.name for each in desk.folder.iterdir()] == ["README.md"]


@pytest.mark.parametrize(("folder", "name"), [("my-shop", "my_shop"), ("Shop 2", "shop_2")])
def test_the_package_is_named_after_the_folder(desk: Desk, folder: str, name: str) -> None:
    assert desk.run("init", folder).code == 0

    assert (desk.folder / folder / name / "queues" / "__init__.py").is_file()


@pytest.mark.parametrize("words", [["2024"], ["shop", "--name", "class"]])
def test_a_name_that_cannot_be_imported_is_refused(desk: Desk, words: list[str]) -> None:
    ended = desk.run("init", *words)

    assert ended.code == 2
    assert "is not the name of a package" in ended.err
