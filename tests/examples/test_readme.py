"""What the README shows runs as pasted."""

import re
import subprocess
import sys
from pathlib import Path

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


def test_the_program_prints_what_the_readme_says(tmp_path: Path) -> None:
    (program,) = PROGRAMS
    said = re.search(r"\$ python hello.py\n(.*?)\n```", README)

    assert said is not None
    assert said.group(1) == run(program, tmp_path).strip()
