"""The suite is put to the test: each seeded bug, put into a copy of the source, is caught."""

import asyncio
import os
import re
import shutil
import sys
import time
from asyncio.subprocess import PIPE, STDOUT
from pathlib import Path

import pytest

from tests.robustness.torture.bugs import BUGS, KINDS, Bug

pytestmark = pytest.mark.chaos

ROOT = Path(__file__).parents[3]
FAILED = re.compile(r"^FAILED \S+", re.MULTILINE)


async def run_scenarios(source: Path, *scenarios: str) -> tuple[int, str]:
    """Run scenarios on a copy of the source, in a process of its own."""
    # Its tests must not wait for a room that this one has to itself.
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--timeout", "20"),
        *("--tb", "line", "--show-capture", "no", *scenarios),
        stdout=PIPE,
        stderr=STDOUT,
        cwd=ROOT,
        env={
            **own,
            "PYTHONPATH": str(source),
        },
    )
    out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out.decode("utf-8", "replace")


def copy_of_source(folder: Path) -> Path:
    source = folder / "src"
    # With what is compiled: only the file that gets a bug must be compiled again.
    shutil.copytree(ROOT / "src", source)
    return source


def test_every_kind_of_bug_is_tried() -> None:
    assert {bug.kind for bug in BUGS} - {None} == set(KINDS)


@pytest.mark.timeout(120)
async def test_without_a_bug_every_scenario_passes(tmp_path: Path) -> None:
    """Else what is caught below would not be the bug."""
    source = copy_of_source(tmp_path)
    code, told = await run_scenarios(source, *dict.fromkeys(bug.scenario for bug in BUGS))

    assert code == 0, told[-3000:]


@pytest.mark.timeout(60)
@pytest.mark.parametrize("bug", BUGS, ids=lambda bug: bug.name.replace(" ", "-"))
async def test_a_bug_is_caught(
    bug: Bug, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = copy_of_source(tmp_path)
    bug.put_into(source)
    began = time.monotonic()

    code, told = await run_scenarios(source, bug.scenario)

    with capsys.disabled():
        scenario = bug.scenario.rpartition("::")[2]
        seconds = time.monotonic() - began
        print(f"\n{bug.name}: caught by {scenario} in {seconds:.1f} s", end="")  # noqa: T201
    # 1: tests failed. Anything else means that it never came to be tested.
    assert code == 1, told[-3000:]
    assert FAILED.findall(told), told[-3000:]
    assert re.search(bug.says, told), told[-3000:]
