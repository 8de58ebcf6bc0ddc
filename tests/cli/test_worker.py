"""`toril worker`, from its first line to its exit code."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.desk import Desk

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")

SLOW = """
import asyncio, sys
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task
async def slow(seconds: float) -> None:
    print("started", flush=True)
    await asyncio.sleep(seconds)
    print("ended", flush=True)

if __name__ == "__main__":
    slow.enqueue_sync(float(sys.argv[1]))
"""
LAST_LINE = "Ctrl-C or SIGTERM stops it"


@contextmanager
def working(desk: Desk, *words: str) -> Iterator[subprocess.Popen[str]]:
    """A worker that has said what it serves."""
    with desk.start("worker", *words) as process:
        try:
            until(process, "worker.ready", process.stderr)
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], text: str, stream: object = None) -> list[str]:
    lines: list[str] = []
    for line in stream or process.stdout:  # type: ignore[attr-defined]
        lines.append(line.rstrip())
        if text in line:
            return lines
    raise AssertionError(
        f"{text!r} never came, but: {lines}, {process.stderr and process.stderr.read()}"
    )


def enqueue(desk: Desk, file: str, *words: str) -> None:
    subprocess.run(
        [sys.executable, file, *words], cwd=desk.folder, env=desk.environment, check=True
    )


@posix
def test_it_says_what_it_serves_and_ends_at_sigterm_with_0(desk: Desk, app: Path) -> None:
    with working(desk, "app.py", "--name", "ada", "--grace", "7s", "--concurrency", "4") as process:
        said = until(process, LAST_LINE)
        process.send_signal(signal.SIGTERM)
        code = process.wait(timeout=10)

    assert code == 0
    assert said[0].endswith(f" · worker ada · pid {process.pid}")
    assert said[1:] == [
        f"store: sqlite:///{desk.folder / 'jobs.db'}",
        "queue: default, 4 at once",
        "  hello  →  app.hello, in a thread",
        "queue: mail, 4 at once",
        "  send  →  app.send, 3 at once",
        "Ctrl-C or SIGTERM stops it; what runs then has 7 s to end.",
    ]


@posix
def test_it_serves_only_the_queues_it_is_given(desk: Desk, app: Path) -> None:
    with working(desk, "app.py", "--queues", "mail") as process:
        said = until(process, LAST_LINE)

    assert [line for line in said if line.startswith("queue:")] == ["queue: mail, 3 at once"]


@posix
def test_it_runs_a_job_that_another_process_added(desk: Desk) -> None:
    desk.write("slow.py", SLOW)
    with working(desk, "slow.py") as process:
        enqueue(desk, "slow.py", "0")
        until(process, "ended")
        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=10) == 0


@posix
def test_a_running_job_may_end_after_its_terminal_was_closed(desk: Desk) -> None:
    desk.write("slow.py", SLOW)
    enqueue(desk, "slow.py", "0.5")
    with working(desk, "slow.py") as process:
        until(process, "started")
        process.send_signal(signal.SIGHUP)
        until(process, "ended")

        assert process.wait(timeout=10) == 0


@posix
def test_a_running_job_may_end_after_sigterm(desk: Desk) -> None:
    desk.write("slow.py", SLOW)
    enqueue(desk, "slow.py", "0.5")
    with working(desk, "slow.py") as process:
        until(process, "started")
        process.send_signal(signal.SIGTERM)
        until(process, "ended")

        assert process.wait(timeout=10) == 0


@posix
def test_a_job_that_outlasts_its_grace_is_put_back_and_the_code_is_1(desk: Desk) -> None:
    desk.write("slow.py", SLOW)
    enqueue(desk, "slow.py", "60")
    with working(desk, "slow.py", "--grace", "100ms") as process:
        until(process, "started")
        process.send_signal(signal.SIGTERM)

        assert process.wait(timeout=10) == 1

    with working(desk, "slow.py", "--grace", "0s") as again:
        until(again, "started")


def test_a_schedule_is_shown_with_its_next_run(desk: Desk) -> None:
    desk.write(
        "nightly.py",
        """
        from toril import Toril
        app = Toril("sqlite:///jobs.db")
        @app.task(cron="0 3 * * *")
        async def backup() -> None: ...
        """,
    )
    with working(desk, "nightly.py") as process:
        said = until(process, LAST_LINE)

    (line,) = (each for each in said if each.startswith("schedule:"))
    assert line.startswith("schedule: backup in default, next at ")
    assert line.endswith(" 03:00:00 UTC")


# What cannot work is one line, and the code is 2.


def one_line(desk: Desk, *words: str) -> str:
    ended = desk.run("worker", *words)
    lines = ended.err.splitlines()
    assert (ended.code, ended.out, len(lines)) == (2, "", 1), ended
    return lines[0]


def test_a_missing_file_is_one_line(desk: Desk, app: Path) -> None:
    assert one_line(desk, "ap.py") == (
        "error: ap.py: there is no such file (did you mean 'app.py'?)"
    )


def test_a_missing_module_is_one_line(desk: Desk, app: Path) -> None:
    assert one_line(desk, "ap:app") == "error: ap: there is no module 'ap' (did you mean 'app'?)"


def test_a_wrong_url_is_one_line(desk: Desk) -> None:
    desk.write("wrong.py", "from toril import Toril\napp = Toril('postgres://x')\n")

    assert "wrong.py:2" in one_line(desk, "wrong.py")


def test_an_app_without_tasks_is_one_line(desk: Desk) -> None:
    desk.write("empty.py", "from toril import Toril\napp = Toril('sqlite:///jobs.db')\n")

    assert one_line(desk, "empty.py") == (
        "error: the app has no task, processor or handler: a worker would do nothing "
        "(put @app.task over a function, or import the module that does)"
    )


def test_a_queue_without_a_handler_names_the_nearest(desk: Desk, app: Path) -> None:
    assert one_line(desk, "app.py", "--queues", "male") == (
        "error: queue 'male' has no handler in this app "
        "(did you mean 'mail'? queues with one: default, mail)"
    )


def test_a_store_that_cannot_be_opened_is_one_line(desk: Desk) -> None:
    desk.write("lost.py", APP_AT.format(url="sqlite:////no/such/folder/jobs.db"))

    assert "/no/such/folder" in one_line(desk, "lost.py")


def test_a_file_that_is_no_store_is_one_line_and_stays_as_it_is(desk: Desk) -> None:
    other = desk.write("diary.db", "Dear diary, " * 100)
    before = other.read_bytes()
    desk.write("lost.py", APP_AT.format(url="sqlite:///diary.db"))

    assert str(other) in one_line(desk, "lost.py")
    assert other.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("--grace", "soon"), "grace='soon'"),
        (("--concurrency", "0"), "concurrency=0"),
        (("--lock", "50ms"), "lock='50ms' is too short"),
        (("--lock", "5"), "lock='5': the text is not a duration (did you mean \"5s\"?"),
        (("--stalled-interval", "0s"), "stalled_interval='0s' is too short"),
        (("--max-stalls", "-1"), "max_stalls=-1"),
        (("--queues", "a::b"), "queue name 'a::b'"),
        (("--log-level", "loud"), "log-level='loud'"),
    ],
)
def test_a_bad_option_is_one_line_that_names_it(
    desk: Desk, app: Path, words: tuple[str, ...], named: str
) -> None:
    assert named in one_line(desk, "app.py", *words)


APP_AT = """
from toril import Toril
app = Toril("{url}")
@app.task
async def work() -> None: ...
"""


BUSY = """
import asyncio
from toril import Toril

app = Toril("sqlite:///jobs.db")
emails = app.queue("emails")

@emails.handler()
async def send(job) -> None: ...

async def main() -> None:
    await emails.add("welcome")
    await app.worker(concurrency=1).run_until_idle()

asyncio.run(main())
"""


def test_what_importing_the_app_does_besides_is_told_with_its_line(desk: Desk) -> None:
    desk.write("shop.py", BUSY)
    lines: list[str] = []
    with desk.start("worker", "shop.py") as process:
        try:
            lines = until(process, "queue: emails", process.stdout)
            lines = until(process, "starts a worker", process.stderr)
        finally:
            process.kill()

    line = BUSY.strip().splitlines().index("asyncio.run(main())") + 1
    told = [line for line in lines if "app.side_effect" in line]
    for what, text in zip(
        ("runs an event loop", "adds jobs", "starts a worker"), told, strict=True
    ):
        assert f"{what} at" in text
        assert f"shop.py:{line}: asyncio.run(main())" in text


def test_the_url_that_was_typed_wins(desk: Desk) -> None:
    desk.write("slow.py", SLOW)
    with working(desk, "slow.py", "--url", "sqlite:///other.db"):
        assert (Path(desk.folder) / "other.db").exists()
        assert not (Path(desk.folder) / "jobs.db").exists()
