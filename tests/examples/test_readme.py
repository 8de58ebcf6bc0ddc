"""What the README shows runs as pasted."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def run(program: str, folder: Path) -> str:
    """Run a program as a newcomer would, in a folder of its own, and give what it prints."""
    file = folder / "program.py"
    file.write_text(program, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(file)], cwd=folder, capture_output=True, text=True, timeout=15
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_readme_has_two_programs() -> None:
    assert len(PROGRAMS) == 2


def test_the_first_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    said = re.search(r"\$ python hello.py\n(.*?)\n```", README)

    assert said is not None
    assert said.group(1) == run(PROGRAMS[0], tmp_path).strip()


def test_the_second_program_sends_every_mail(tmp_path: Path) -> None:
    lines = run(PROGRAMS[1], tmp_path).splitlines()

    assert sorted(lines) == ["1 sent", "2 sent", "3 sent", "4 sent"]


@pytest.mark.parametrize("name", sorted(set(re.findall(r"\]\(([\w./-]+)\)", README))))
def test_what_the_readme_points_to_is_there(name: str) -> None:
    assert (ROOT / name).exists()
