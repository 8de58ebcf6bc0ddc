"""The pytest plugin, in a project of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.desk import Desk

APP = """
from toril import Toril
app = Toril("redis://127.0.0.1:1/0")

@app.task
async def double(number: int) -> int:
    return 2 * number
"""

TESTS = """
import pytest
from toril import sync
from toril.testing import Harness
from shop import double

@pytest.mark.parametrize("number", range(4))
async def test_manual(toril_jobs: Harness, number: int) -> None:
    job = await double.enqueue(number)
    assert len(toril_jobs.enqueued) == 1
    await toril_jobs.drain()
    assert await job.result() == 2 * number

@pytest.mark.toril(mode="inline")
def test_inline(toril_jobs: Harness) -> None:
    assert sync.run(double.enqueue_sync(4).result()) == 8
"""


def pytest_in(desk: Desk, *words: str) -> tuple[int, str]:
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "toril.pytest_plugin", "-p", "no:cacheprovider", *words],
        cwd=desk.folder, env=desk.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ended.returncode, ended.stdout + ended.stderr


@pytest.fixture
def project(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.write("shop.py", APP)
    desk.write("test_shop.py", TESTS)
    desk.write(
        "pytest.ini",
        "[pytest]\ntoril_app = shop:app\nasyncio_mode = auto\npythonpath = .\n"
        "addopts = --strict-markers\n",
    )
    return desk


@pytest.mark.timeout(60)  # it starts three interpreters, beside whatever else runs
def test_a_project_tests_its_jobs_without_a_server_and_in_parallel(project: Desk) -> None:
    code, out = pytest_in(project, "-q", "-n", "2")

    assert code == 0, out
    assert "5 passed" in out


def test_without_an_app_it_says_what_to_set(project: Desk) -> None:
    project.write("pytest.ini", "[pytest]\nasyncio_mode = auto\npythonpath = .\n")
    code, out = pytest_in(project, "-q", "-k", "inline")

    assert code == 1
    assert "write toril_app = shop.jobs:app into the pytest configuration" in out


def test_it_costs_nothing_where_it_is_not_used() -> None:
    look = "import sys, toril.pytest_plugin; print(*(m for m in sys.modules if 'toril._' in m))"
    ended = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)

    assert ended.stdout.strip() == ""
