"""`toril torture`, as a reader runs it, from its first line to its exit code."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.robustness.torture.test_bugs import copy_of_source
from tests.support.desk import Desk
from tests.support.servers import RedisServer

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
    pytest.mark.timeout(60),
]
# So that workers, and nobody else, fall over as they start.
NO_ROOM = """
    import sys
    if "toril.cli.torture" in sys.orig_argv:
        sys.exit("no room")
"""
ANY_LOCK = ("jobs.lock_until <= ?1", "jobs.lock_until > 0 * ?1")


@pytest.fixture(autouse=True)
def temporary(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have it make its own folder where the others are, so that what is left shows."""
    monkeypatch.setenv("TMPDIR", str(desk.folder))


def tortured(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    out, err = process.communicate(timeout=45)
    return process.returncode, out, err


def torture(desk: Desk, *words: str) -> tuple[int, str, str]:
    with desk.start("torture", *words) as process:
        return tortured(process)


def left_by(desk: Desk) -> list[str]:
    """Give what stands in the folder, but for the doorbells whose path was too long for theirs."""
    return [each.name for each in desk.folder.iterdir() if each.suffix != ".bell"]


def workers_of(url: str) -> list[str]:
    """List the worker processes of a store, whose URL stands in no command line."""
    found: list[str] = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            variables = (process / "environ").read_bytes().decode(errors="replace").split("\0")
            if "toril.cli.torture" in words and f"TORIL_URL={url}" in variables:
                assert url not in words
                found.append(process.name)
    return found


def until_none_works(url: str) -> None:
    deadline = time.monotonic() + 10
    while workers_of(url):
        assert time.monotonic() < deadline, f"these go on: {workers_of(url)}"
        time.sleep(0.02)


def has_workers(url: str) -> None:
    deadline = time.monotonic() + 20
    while len(workers_of(url)) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_storm_on_a_file_tells_what_became_of_the_jobs_and_leaves_nothing(desk: Desk) -> None:
    code, out, err = torture(desk, "--kills", "2", "--url", "sqlite:///mine.db", "--seed", "1")

    first, counts, verdict = out.splitlines()
    assert (code, err) == (0, "")
    assert first == "killing 2 workers, seed 1"
    assert counts.endswith("of 2 kills hit a running job")
    assert verdict == (
        "0 lost, 0 stuck, 0 finished twice, 0 run again without a kill: every promise was kept"
    )
    assert left_by(desk) == []


def test_a_storm_on_a_server_leaves_nothing_that_stays(desk: Desk) -> None:
    with RedisServer() as server:
        code, out, _ = torture(desk, "--kills", "1", "--url", server.url)
        with server.client() as client:
            left = [key for key in client.scan_iter("torture-*") if client.ttl(key) == -1]

    assert (code, out.endswith("every promise was kept\n"), left) == (0, True, [])


def test_a_broken_promise_is_told_and_is_the_exit_code(desk: Desk, tmp_path: Path) -> None:
    source = copy_of_source(tmp_path / "copy")
    file = source / "toril" / "_store/sqlite/sql/claim.sql"
    file.write_text(file.read_text("utf-8").replace(*ANY_LOCK), "utf-8")
    command = (sys.executable, "-m", "toril", "torture", "--kills", "2")
    with subprocess.Popen(
        command,
        cwd=desk.folder,
        env={**desk.environment, "PYTHONPATH": str(source)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        code, out, err = tortured(process)

    assert code == 1
    assert out.endswith("A PROMISE WAS BROKEN\n")
    assert "error: run again without a kill: job " in err


@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_whoever_ends_it_ends_its_workers(desk: Desk, how: signal.Signals, code: int) -> None:
    url = f"sqlite:///{desk.folder}/mine.db"
    with desk.start("torture", "--url", url) as process:
        has_workers(url)
        process.send_signal(how)
        ended, out, err = tortured(process)
    until_none_works(url)

    assert (ended, err) == (code, "")
    assert out.startswith("killing 40 workers, seed ")
    # Who is killed cannot tidy up.
    assert how is signal.SIGKILL or left_by(desk) == []


def test_workers_that_cannot_start_are_told_of(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.write("hook/sitecustomize.py", NO_ROOM)
    path = os.pathsep.join([str(desk.folder / "hook"), os.environ.get("PYTHONPATH", "")])
    monkeypatch.setenv("PYTHONPATH", path)
    code, _, err = torture(desk, "--kills", "2")

    assert (code, err) == (2, "error: a worker ended on its own with 1: SystemExit: no room\n")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--kills", "0"), "Invalid value for '--kills'"),
        (("--url", "foo://x"), "no store is called 'foo'"),
        (("--url", "redis://127.0.0.1:1"), "Connection refused"),
        (("--url", "sqlite:////nowhere/jobs.db"), "the folder /nowhere does not exist"),
    ],
)
def test_what_cannot_be_done_is_refused(desk: Desk, words: tuple[str, ...], told: str) -> None:
    code, _, err = torture(desk, *words)

    assert code == 2
    assert told in err
