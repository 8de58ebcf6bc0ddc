"""What a start costs: `import toril` and `toril --version` import little, in little time."""

import os
import subprocess
import sys

import pytest

# What takes time: compiled libraries, the event loop, the command line's libraries, the stores.
HEAVY = ("apsw", "asyncio", "msgspec", "pydantic", "redis", "rich", "toril._store", "typer")
IMPORT_S, VERSION_S = 0.12, 0.25
LOADED = "import sys; print(*sys.modules, sep='\\n')"


def loaded(code: str) -> set[str]:
    """Return the modules that are there after this code."""
    out = subprocess.run(
        [sys.executable, "-c", f"{code}\n{LOADED}"], capture_output=True, check=True
    )
    return set(out.stdout.decode().split())


def seconds(*words: str) -> float:
    """Return the least processor time of five starts: others on the machine make it longer."""
    spent = []
    for _ in range(5):
        before = os.times()
        subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
        after = os.times()
        spent.append(
            after.children_user
            + after.children_system
            - before.children_user
            - before.children_system
        )
    return min(spent)


@pytest.mark.parametrize(
    "code",
    [
        "import toril",
        "import sys; sys.argv[1:] = ['--version']; from toril.cli.main import run; run()",
    ],
    ids=["import", "version"],
)
def test_a_start_imports_nothing_that_takes_long(code: str) -> None:
    assert [name for name in HEAVY if name in loaded(code)] == []


def test_importing_toril_is_quick() -> None:
    assert seconds("-c", "import toril") < IMPORT_S


def test_the_version_is_shown_at_once() -> None:
    assert seconds("-m", "toril", "--version") < VERSION_S


@pytest.mark.parametrize(
    "code",
    [
        "from toril import *; assert Toril.__module__ == 'toril'",
        "import toril; assert 'Toril' in dir(toril); assert toril.errors.TorilError is toril.TorilError",
        "import toril; assert not hasattr(toril, 'Torill'); assert hasattr(toril, 'Toril')",
        "import toril, pickle; assert pickle.loads(pickle.dumps(toril.Dedup('x'))) == toril.Dedup('x')",
        "from toril.errors import TorilError; import toril; assert toril.TorilError is TorilError",
    ],
)
def test_names_are_there_when_they_are_used(code: str) -> None:
    subprocess.run([sys.executable, "-c", code], check=True)
