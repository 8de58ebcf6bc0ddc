"""Type checkers accept what is right and refuse what is wrong in `public_api.py`."""

import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def check(*command: str) -> str:
    """Run a checker, and give what it complains about."""
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=HERE.parents[1], capture_output=True, text=True
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


@pytest.mark.timeout(180)  # a checker reads all that is imported, and may start cold
def test_mypy_agrees() -> None:
    assert check("mypy", str(HERE / "public_api.py")) == ""


@pytest.mark.timeout(180)
def test_pyright_agrees() -> None:
    pytest.importorskip("pyright")

    project = str(HERE / "pyrightconfig.json")
    assert check("pyright", "--pythonpath", sys.executable, "--project", project) == ""
