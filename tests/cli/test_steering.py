"""`toril limit`, `replay`, `schedules drop|run`, and `toril worker --burst` and its environment."""

import os
import subprocess
import sys

import pytest
from typer.main import get_command

from tests.support.desk import Desk
from toril import Toril
from toril._jobs.environment import KNOWN
from toril.cli import root

from .stock import Stock

NIGHTLY = {"queue": "mail", "name": "report", "cron": "0 2 * * *"}
APP = """
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task(queue="mail")
async def send(n: int) -> int:
    if n == 0:
        raise ValueError("none to send")
    return n
"""


async def test_limits_are_shown_changed_and_removed(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add("send", {})

    shown = place.toril("limit", "mail")
    changed = place.json("limit", "mail", "--rate", "200/60s", "--concurrency", "5")
    removed = place.toril("limit", "mail", "--rate", "none")
    wrong = place.toril("limit", "mail", "--max-waiting", "many")

    assert shown.out == "mail: concurrency none, rate none, max_waiting none\n"
    assert changed == {"queue": "mail", "concurrency": 5, "rate": "200/1m", "max_waiting": None}
    assert removed.out == "mail: concurrency 5, rate none, max_waiting none\n"
    assert (wrong.code, wrong.err) == (
        2,
        "error: max_waiting='many' is not a whole number (or none)\n",
    )
    async with place.queue() as queue:
        settings = await queue.settings()
        assert (settings.concurrency, settings.rate_max) == (5, None)


async def test_dead_letters_are_replayed(place: Stock) -> None:
    async with place.app() as app:
        queue = app.queue("mail", dead_letter="dead")

        @queue.handler()
        async def fail(job: object) -> None:
            raise ValueError("no server")

        jobs = await queue.add_many([("send", {"n": n}) for n in range(3)])
        await app.worker(queues=["mail"]).run_until_idle()

    unsaid = place.toril("replay", "dead")
    one = place.json("replay", "dead", "1")
    rest = place.toril("replay", "dead", "--all")

    assert (unsaid.code, unsaid.err) == (
        2,
        "error: which dead letters to replay? (give their ids, or --all)\n",
    )
    assert one["done"] == 1
    assert rest.out.startswith("replayed 2 jobs of dead: mail:"), rest.err
    async with place.queue() as queue:
        assert {await each.state() async for each in queue.jobs()} == {"waiting"}
        assert (await queue.counts()).waiting == len(jobs)


async def test_a_schedule_runs_now_and_is_dropped(place: Stock) -> None:
    async with place.app() as app:
        await app.schedules.put("nightly", **NIGHTLY)

    listed = place.json("schedules")
    started = place.toril("schedules", "run", "nightly")
    misspelt = place.toril("schedules", "run", "nighty")
    unasked = place.toril("schedules", "drop", "nightly")
    dropped = place.toril("schedules", "drop", "nightly", "--yes")

    assert [each["id"] for each in listed] == ["nightly"]
    assert started.out.startswith("added job mail:"), started.err
    assert (misspelt.code, unasked.code) == (2, 2)
    assert "did you mean 'nightly'?" in misspelt.err
    assert "nobody is there to be asked" in unasked.err
    assert dropped.out == "removed nightly of mail\n"
    async with place.app() as app:
        assert await app.schedules.list() == []
        assert (await app.queue("mail").counts()).waiting == 1


async def test_a_burst_ends_when_nothing_waits(desk: Desk) -> None:
    desk.write("app.py", APP)
    async with Toril(f"sqlite:///{desk.folder / 'jobs.db'}") as app:
        await app.queue("mail").add_many([("send", {"n": n}) for n in range(4)])
        await app.queue("mail").add("send", {"n": 9}, delay="1h")

        ended = desk.run("worker", "app.py", "--burst")

        counts = await app.queue("mail").counts()
    assert ended.code == 0, ended.err
    assert (counts.completed, counts.failed, counts.delayed) == (3, 1, 1)


async def test_a_burst_that_cannot_end_says_why(desk: Desk) -> None:
    desk.write("app.py", APP)
    async with Toril(f"sqlite:///{desk.folder / 'jobs.db'}") as app:
        await app.queue("mail").add("send", {"n": 1})
        await app.queue("mail").pause()

        ended = desk.run("worker", "app.py", "--burst")

    assert ended.code == 1
    assert "paused" in ended.err


def test_a_burst_has_one_process(desk: Desk) -> None:
    desk.write("app.py", APP)

    ended = desk.run("worker", "app.py", "--burst", "--processes", "2")

    assert ended.code == 2
    assert "leave --processes and --reload out" in ended.err


async def test_the_environment_sets_what_is_not_typed(desk: Desk) -> None:
    desk.write("app.py", APP)
    told = {
        "TORIL_APP": "app.py",
        "TORIL_WORKER_CONCURRENCY": "7",
        "TORIL_WORKER_NAME": "blue",
        "TORIL_WORKER_GRACE": "3s",
    }

    ended = subprocess.run(  # noqa: ASYNC221
        [sys.executable, "-m", "toril", "worker", "--burst", "--grace", "4s"],
        cwd=desk.folder,
        env=desk.environment | told,
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    assert "worker blue" in ended.stdout
    assert "queue: mail, 7 at once" in ended.stdout
    assert "has 4 s to end" in ended.stdout
    assert "TORIL_WORKER" not in ended.stderr


def test_every_variable_of_the_worker_is_known() -> None:
    worker = get_command(root.cli).commands["worker"]  # type: ignore[attr-defined]
    read = {each.envvar for each in worker.params if each.envvar}

    assert read == set(KNOWN) - {"TORIL_URL", "TORIL_PREFIX", "TORIL_DASHBOARD_AUTH"}


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_completes_commands(desk: Desk, shell: str) -> None:
    words = {
        "bash": {"COMP_WORDS": "toril wor", "COMP_CWORD": "1"},
        "zsh": {"_TYPER_COMPLETE_ARGS": "toril wor"},
        "fish": {"_TYPER_COMPLETE_ARGS": "toril wor", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
    }[shell]
    asked = {"_TORIL_COMPLETE": f"complete_{shell}", **words}

    ended = subprocess.run(
        [sys.executable, "-m", "toril"],
        env=os.environ | asked,
        capture_output=True,
        text=True,
        check=False,
    )

    assert "worker" in ended.stdout, ended.stderr
    assert "doctor" not in ended.stdout
