"""What the command line says of itself."""

import asyncio
import importlib.util
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest
from typer.main import get_command

from tests.support.desk import Desk
from toril import ConfigError, Toril
from toril.cli import root


def test_the_version_is_the_packages(desk: Desk) -> None:
    ended = desk.run("--version")

    assert (ended.code, ended.out) == (0, f"toril {version('toril')}\n")


def test_the_help_lists_the_commands(desk: Desk) -> None:
    ended = desk.run("--help")

    assert ended.code == 0
    assert "worker" in ended.out
    assert "demo" in ended.out


def test_an_option_that_does_not_exist_ends_without_a_traceback(desk: Desk) -> None:
    ended = desk.run("worker", "app.py", "--queus", "mail")

    assert ended.code == 2
    assert "--queues" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.skipif(sys.platform == "win32", reason="`>&-` is a shell's")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(("words", "code"), [("queues", 0), ("drain q", 2)])
async def test_a_command_without_a_standard_stream_ends_as_it_does_with_it(
    desk: Desk, words: str, code: int, closed: str
) -> None:
    async with Toril(f"sqlite:///{desk.folder / 'jobs.db'}") as app:
        await app.queue("q").add("a", 1)
    python = shlex.quote(sys.executable)
    ended = subprocess.run(  # noqa: ASYNC221 - nothing else is to run
        ["/bin/sh", "-c", f"exec {python} -m toril {words} --url sqlite:///jobs.db {closed}"],
        cwd=desk.folder,
        env=desk.environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == code, ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_folder_of_pictures_that_is_not_there_is_one_line(desk: Desk) -> None:
    ended = desk.run("demo", "--images", "nowhere")

    assert (ended.code, ended.err) == (
        2,
        "error: images='nowhere' does not exist (give a folder with pictures in it)\n",
    )


def test_the_demo_without_pillow_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)

    with pytest.raises(ConfigError) as caught:
        root.demo(None)

    assert str(caught.value) == 'the demo needs Pillow (pip install "toril[demo]")'


# Every command with what its exit code is on a store that has two jobs.
STARTS = {
    "queues": 0,
    "jobs mail": 0,
    "job mail:1": 0,
    "workers": 0,
    "schedules": 0,
    "schedules drop nightly --yes": 2,
    "add mail send": 0,
    "call nowhere:send": 2,
    "limit mail --rate 5/s": 0,
    "replay mail --all": 1,
    "events mail --after 0 --count 2": 0,
    "top": 0,
    "errors": 0,
    "mark v2": 0,
    "pause mail": 0,
    "resume mail": 0,
    "retry mail --all --yes": 0,
    "promote mail --all --yes": 0,
    "cancel mail 1 --yes": 0,
    "remove mail 2 --yes": 0,
    "clean mail --yes": 0,
    "drain mail --yes": 0,
    "obliterate mail --yes": 0,
    "doctor": 1,
    "backup copy.db": 0,
    "move sqlite:///jobs.db sqlite:///other.db --yes": 0,
    "worker nowhere.py": 2,
    "init --name class": 2,
    "dev --help": 0,
    "dashboard --host 0.0.0.0": 2,
    "metrics --once": 0,
    "torture --kills none": 2,
    "demo --images nowhere": 2,
}


@pytest.mark.parametrize("words", STARTS)
async def test_a_command_runs_in_a_process_that_a_shell_starts(desk: Desk, words: str) -> None:
    """The other tests fork theirs from one that has imported toril (`tests/support/warm.py`)."""
    async with Toril(f"sqlite:///{desk.folder / 'jobs.db'}") as app:
        await app.queue("mail").add_many([("send", {}), ("send", {})])
    url = (
        []
        if words.startswith(("worker ", "dev", "demo", "torture", "move", "call", "init"))
        else ["--url", "sqlite:///jobs.db"]
    )

    with desk.start(*words.split(), *url) as process:
        out, err = await asyncio.to_thread(process.communicate, timeout=15)

    assert process.returncode == STARTS[words], (out, err)
    assert "Traceback" not in err


def test_every_command_is_started_once() -> None:
    commands = get_command(root.cli).commands  # type: ignore[attr-defined]
    assert {words.split()[0] for words in STARTS} == set(commands)
