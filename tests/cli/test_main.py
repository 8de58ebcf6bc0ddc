"""What the command line says of itself."""

import importlib.util
import shlex
import subprocess
import sys
from importlib.metadata import version

import pytest

from toril import ConfigError
from toril.cli import main

from .desk import Desk


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
def test_a_command_without_a_standard_stream_ends_as_it_does_with_it(
    desk: Desk, words: str, code: int, closed: str
) -> None:
    enqueue = "from toril import *; Toril('sqlite:///jobs.db').queue('q').add_sync('a', 1)"
    subprocess.run([sys.executable, "-c", enqueue], cwd=desk.folder, check=True)
    python = shlex.quote(sys.executable)
    ended = subprocess.run(
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
        main.demo(None)

    assert str(caught.value) == 'the demo needs Pillow (pip install "toril[demo]")'
