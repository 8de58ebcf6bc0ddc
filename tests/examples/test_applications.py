"""Each application is observed on each store: every line of its scenarios is PASS."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
APPLICATIONS = sorted(each.parent.name for each in EXAMPLES.glob("*/observe.py"))


@pytest.mark.serial  # its lines have times
@pytest.mark.timeout(150)
@pytest.mark.parametrize("store", ["sqlite", "redis"])
@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_line_of_an_application_is_observed(name: str, store: str) -> None:
    ended = subprocess.run(
        [sys.executable, str(EXAMPLES / name / "observe.py"), "--store", store],
        env={**os.environ, "PYTHONUTF8": "1"},
        capture_output=True,
        encoding="utf-8",
        timeout=140,
        check=False,
    )

    lines = [line for line in ended.stdout.splitlines() if line.startswith(("PASS", "FAIL"))]
    assert [line for line in lines if line.startswith("FAIL")] == [], ended.stderr
    assert (ended.returncode, len(lines) >= 10) == (0, True), ended.stderr


def test_the_applications_are_there() -> None:
    assert {"demo", "downloads", "flashcards", "mailer"} == set(APPLICATIONS)
