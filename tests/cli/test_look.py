"""Looking at a store from the shell: the same answers from a file and from a server."""

import asyncio
import json
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.crew import wait_for
from tests.support.desk import Desk
from toril import Job

from .stock import EVIL, Stock, fail, known, stock


async def fill(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add_many([("send", {"n": n}) for n in range(3)])
        await queue.add("digest", {}, delay="1h")
        await queue.add("send", {}, id="urgent", priority=1)


def bare(text: str) -> None:
    """Check that nothing in a text moves a terminal."""
    unseen = [each for each in text if not each.isprintable() and each != "\n"]
    assert unseen == []
    assert "\u202e" not in text


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_none(
    file: Stock, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    asyncio.run(fill(file))
    _, plain = file.typed("job", "mail:urgent", environment={name: value})
    _, coloured = file.typed("job", "mail:urgent")

    assert ("\x1b[1m" in plain, "\x1b[1m" in coloured) == (False, True)


# Queues.


async def test_queues_shows_counts_in_columns_that_line_up(place: Stock) -> None:
    await fill(place)

    ended = place.toril("queues")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines() == [
        "queue  waiting  prioritized  delayed  workers",
        "mail         3            1        1        0",
    ]


async def test_queues_tells_scripts_every_count_and_setting(place: Stock) -> None:
    await fill(place)
    async with place.queue() as queue:
        await queue.limit(concurrency=4, rate="10/s", max_waiting=9)
        await queue.pause()

    [told] = place.json("queues")

    assert (told["queue"], told["counts"]["ready"], told["counts"]["total"]) == ("mail", 4, 5)
    assert (told["paused"], told["concurrency"], told["rate_max"]) == (True, 4, 10)
    assert told["max_waiting"] == 9


async def test_a_queue_that_is_paused_or_limited_says_so(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.limit(concurrency=4, rate="10/s", max_waiting=5_000)
        await queue.pause()

    assert (
        "paused, at most 4 at once, at most 10 in 1 s, at most 5,000 wait"
        in place.toril("queues").out
    )


# Jobs.


@pytest.mark.parametrize(
    ("words", "ids"),
    [
        ("", ["1", "2", "3", "urgent", "4"]),
        ("--state waiting,delayed --name send", ["1", "2", "3"]),
        ("--state waiting --limit 2 --newest", ["3", "2"]),
    ],
)
async def test_jobs_lists_what_was_asked_for(place: Stock, words: str, ids: list[str]) -> None:
    await fill(place)

    assert [job["id"] for job in place.json("jobs", "mail", *words.split())] == ids


async def test_jobs_says_of_each_what_matters_in_its_state(place: Stock) -> None:
    await fill(place)
    async with place.app() as app:
        await fail(app, "lost", queue="letters")

    lines = place.toril("jobs", "mail").out.splitlines()

    assert lines[0].split() == ["id", "name", "state", "added", "tries", "what"]
    assert "due in 59m" in lines[-1]
    assert "priority 1" in lines[-2]
    assert "no such address" in place.toril("jobs", "letters").out


async def test_a_queue_without_such_jobs_has_none(place: Stock) -> None:
    await fill(place)

    ended = place.toril("jobs", "mail", "--state", "failed")

    assert (ended.code, ended.out, ended.err) == (0, "", "no jobs\n")
    assert place.json("jobs", "mail", "--state", "failed") == []


# One job.


async def test_job_shows_why_it_failed_and_what_it_wrote(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "lost")

    out = place.toril("job", "mail", "lost").out

    assert "state     failed\n" in out
    assert 'data      {"to":"ann"}\n' in out
    assert "attempts  1 of 1 used, started once\n" in out
    assert "progress  50\n" in out
    assert "reason    no such address\n" in out
    assert "tries     1. failed after" in out
    assert "stack     Traceback (most recent call last):\n" in out
    assert "logs      first line\n          no such address\n" in out


async def test_job_tells_scripts_all_that_is_kept(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "lost")

    told = place.json("job", "mail:lost")

    assert (told["state"], told["reason"], told["ending"]) == ("failed", "no such address", None)
    assert told["data"] == {"to": "ann"}
    assert told["logs"] == {"total": 2, "lines": ["first line", "no such address"]}
    assert [each["end"] for each in told["tries"]] == ["failed"]
    assert "ValueError" in told["stack"][0]
    assert told["created_at"].endswith("Z")


async def test_job_shows_its_children_and_its_parent(place: Stock) -> None:
    async with place.app() as app:
        tree = await app.flow("mail", "album", children=[("pictures", "resize", {"n": 1})]).add()
        child = tree.children[0].job

    assert f"pictures:{child.id}  resize  pending" in place.toril("job", "mail", tree.job.id).out
    assert f"parent    mail:{tree.job.id}" in place.toril("job", "pictures", child.id).out


async def test_job_shows_the_last_lines_of_a_long_log(place: Stock) -> None:
    async with place.queue() as queue:
        job = await queue.add("send", {})
        for number in range(30):
            await job.log(f"line {number}")

    out = place.toril("job", "mail", job.id, "--log-lines", "3").out

    assert "logs      (27 earlier lines)\n          line 27\n          line 28\n" in out


async def test_job_says_that_it_was_cancelled(place: Stock) -> None:
    async with place.queue() as queue:
        await (await queue.add("send", {}, id="dear")).cancel("too dear")

    out = place.toril("job", "mail:dear").out

    assert "state      failed (cancelled)\n" in out
    assert "cancelled  too dear\n" in out


async def test_job_says_that_it_expired(place: Stock) -> None:
    async def work(job: Job[Any]) -> None: ...

    async with place.app() as app:
        job = await app.queue("mail").add("send", {}, id="late", expires=timedelta(milliseconds=1))
        await asyncio.sleep(0.01)
        async with app.worker("mail", work):
            async for event in job.events("0"):
                if event.kind == "failed":
                    break

    assert "failed (expired)" in place.toril("job", "mail:late").out


async def test_a_job_with_colons_in_its_id_is_found(place: Stock) -> None:
    async with place.app() as app:
        made = await app.schedules.put("nightly", queue="image:small", name="x", every="1h")

    assert place.json("job", f"image:small:{made.job_id}")["schedule"] == "nightly"


# Workers and schedules.


async def test_workers_shows_who_works_on_what(place: Stock) -> None:
    async def work(job: Job[Any]) -> None: ...

    async with place.app() as app:
        await app.queue("mail").add("send", {})
        async with app.worker("mail", work, name="ann", concurrency=3):
            await known(app)
            [told] = await asyncio.to_thread(place.json, "workers")
            shown = await asyncio.to_thread(place.toril, "workers", "--queue", "mail")

    assert (told["queues"], told["concurrency"], told["alive"]) == (["mail"], 3, True)
    assert shown.out.splitlines()[1].split()[-4:-2] != []
    assert "alive" in shown.out


async def test_a_schedule_is_paused_and_resumed(place: Stock) -> None:
    async with place.app() as app:
        await app.schedules.put("nightly", queue="mail", name="digest", cron="0 3 * * *")

    asked = ("schedules", "pause", "nightly", "--by", "ann", "--reason", "provider down")
    assert place.toril(*asked).out == "paused nightly of mail\n"
    assert "paused by ann: provider down" in place.toril("schedules").out
    assert place.toril("schedules", "resume", "nightly").out == "resumed nightly of mail\n"
    assert "paused" not in place.toril("schedules").out
    unknown, action = place.toril("schedules", "pause", "x"), place.toril("schedules", "stop", "x")
    assert (unknown.code, action.code) == (2, 2)
    assert "no queue has a schedule 'x'" in unknown.err


async def test_schedules_shows_the_rule_and_the_next_run(place: Stock) -> None:
    async with place.app() as app:
        await app.schedules.put("nightly", queue="mail", name="digest", cron="0 3 * * *")
        await app.schedules.put("yearly", queue="mail", name="digest", cron="0 3 1 1 *")

    out = place.toril("schedules").out

    assert "0 3 * * * (UTC)  in " in out
    told = place.json("schedules", "--queue", "mail")
    assert [each["rule"]["cron"] for each in told if each["id"] == "nightly"] == ["0 3 * * *"]


# Events.


async def test_events_tells_what_happened_since_one(place: Stock) -> None:
    await fill(place)

    ended = place.toril("events", "mail", "--after", "0", "--count", "2", "--json")

    first, second = (json.loads(line) for line in ended.out.splitlines())
    assert (first["kind"], first["job_id"], first["name"]) == ("added", "1", "send")
    rest = place.toril("events", "mail", "--after", first["id"], "--count", "1")
    assert rest.out.startswith(f"{second['id']}  ")


async def test_events_follows_until_ctrl_c(place: Stock) -> None:
    await fill(place)
    following = place.desk.start("events", "mail", "--after", "0", "--json", *place.where)
    assert following.stdout is not None
    lines = [await asyncio.to_thread(following.stdout.readline) for _ in range(10)]
    async with place.queue() as queue:
        await queue.add("send", {}, id="new")
    while '"new"' not in lines[-1]:
        lines.append(await asyncio.to_thread(following.stdout.readline))

    following.send_signal(signal.SIGINT)
    _, err = await asyncio.to_thread(following.communicate, timeout=10)

    assert following.returncode == 130
    assert err == ""


# What is refused.


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("jobs", "mial"), 2, "there is no queue 'mial' at sqlite:///"),
        (("jobs", "mail", "--state", "lost"), 2, "state has no 'lost'"),
        (("job", "mail"), 2, "which job? (write mail ID, or mail:ID)"),
        (("job", "mail", "99"), 1, "there is no job '99' in queue 'mail'"),
        (("workers", "--queue", "mial"), 2, "did you mean 'mail'?"),
        (("events", "mail", "--after", "soon"), 2, "after='soon' is not the id of an event"),
    ],
)
async def test_what_is_not_there_is_one_line(
    file: Stock, words: tuple[str, ...], code: int, message: str
) -> None:
    await fill(file)

    ended = file.toril(*words)

    assert (ended.code, ended.out) == (code, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize("words", [("queues",), ("jobs", "mail"), ("job", "mail:1"), ("workers",)])
def test_looking_makes_no_file(desk: Desk, words: tuple[str, ...]) -> None:
    ended = desk.run(*words)

    assert ended.code == 2
    assert "there is nothing at sqlite:///" in ended.err
    assert list(desk.folder.iterdir()) == []


async def test_a_word_that_can_be_no_queue_is_one_that_is_not_there(place: Stock) -> None:
    await fill(place)

    ended = place.toril("job", "other:1")

    assert (ended.code, ended.out) == (2, "")
    assert "there is no queue 'other:1'" in ended.err


async def test_a_queue_that_is_served_and_empty_is_there(place: Stock) -> None:
    async with place.app() as app, app.worker("mail", wait):
        await known(app)
        shown = await asyncio.to_thread(place.json, "queues")
        paused = await asyncio.to_thread(place.toril, "pause", "mail")

    assert [(each["queue"], each["workers"]) for each in shown] == [("mail", 1)]
    assert (paused.code, paused.out) == (0, "paused mail\n")


SLOW = """
import asyncio
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task(name="slow", queue="mail")
async def slow() -> None:
    print("started", flush=True)
    await asyncio.sleep(60)
"""


@pytest.mark.chaos
@pytest.mark.skipif(sys.platform == "win32", reason="there only the time tells")
def test_a_worker_that_was_killed_is_not_said_to_live(file: Stock) -> None:
    file.desk.write("app.py", SLOW)

    async def add() -> None:
        async with file.queue() as queue:
            await queue.add("slow", {})

    asyncio.run(add())
    with file.desk.start("worker", "app.py") as process:
        assert process.stdout is not None
        while "started" not in process.stdout.readline():
            pass
        wait_for(lambda: file.json("workers"), "the worker")
        (living,) = file.json("workers")
        process.kill()

    (killed,) = file.json("workers")
    assert (living["alive"], killed["alive"]) == (True, False)


async def wait(job: Job[Any]) -> None:
    """Do nothing."""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_full_disk_behind_the_output_is_one_line(file: Stock) -> None:
    asyncio.run(fill(file))
    with open("/dev/full", "w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "toril", "jobs", "mail", *file.where],
            cwd=file.desk.folder,
            env=file.desk.environment,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            timeout=15,
            check=False,
        )

    assert ended.returncode == 1
    assert ended.stderr.splitlines() == [
        "error: what was to be said could not be written: No space left on device"
    ]


async def test_looking_at_a_queue_that_is_not_there_makes_none(place: Stock) -> None:
    await fill(place)

    assert place.toril("jobs", "other").code == 2
    assert [each["queue"] for each in place.json("queues")] == ["mail"]


def test_a_server_that_is_away_is_one_line_without_the_password(desk: Desk) -> None:
    ended = desk.run("queues", "--url", "redis://ann:secret@127.0.0.1:1")

    assert (ended.code, ended.out) == (1, "")
    assert "Connection refused" in ended.err
    assert "secret" not in ended.err
    assert ended.err.count("\n") == 1


async def test_an_app_says_where_its_jobs_are(desk: Desk, app: Path) -> None:
    await fill(stock(desk, "sqlite"))

    ended = desk.run("queues", "--app", "app.py")

    assert ended.out.splitlines()[1].startswith("mail ")
    assert desk.run("queues", "--app", "app.py", "--url", "x").code == 2


async def test_the_environment_says_where_the_jobs_are(place: Stock) -> None:
    await fill(place)
    named = {"TORIL_URL": place.url, "TORIL_PREFIX": place.prefix}

    out = await asyncio.to_thread(
        subprocess.check_output,
        [sys.executable, "-m", "toril", "jobs", "mail", "--state", "delayed"],
        env={**place.desk.environment, **named},
        encoding="utf-8",
        timeout=15,
    )

    assert out.splitlines()[1].startswith("4   digest  delayed")


# Texts of others.


@pytest.mark.parametrize("words", ["jobs mail", "job mail 1", "events mail --after 0 --count 2"])
async def test_nothing_in_a_job_moves_the_terminal(place: Stock, words: str) -> None:
    async with place.app() as app:
        await app.queue("mail").add(EVIL, {"text": EVIL, EVIL: 1})

    for more in ([], ["--json"]):
        ended = place.toril(*words.split(), *more)

        assert ended.code == 0
        assert "gnp.exe" in ended.out
        bare(ended.out)


async def test_nothing_in_an_error_or_a_log_moves_the_terminal(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "lost", why=EVIL)

    out = place.toril("job", "mail", "lost").out

    assert out.count("gnp.exe") >= 4
    bare(out)


async def test_nothing_in_a_job_moves_a_real_terminal(file: Stock) -> None:
    async with file.app() as app:
        await fail(app, "lost", why=EVIL)

    for words in (("jobs", "mail"), ("job", "mail", "lost")):
        code, shown = file.typed(*words)

        assert code == 0
        assert "[bold]b[/bold] :smile:" in shown
        assert "\x1b[2J" not in shown
        assert "\x1b]0" not in shown
        assert "\u202e" not in shown


async def test_a_narrow_terminal_costs_only_the_last_column(file: Stock) -> None:
    async with file.app() as app:
        await fail(app, "lost", why="no such address " * 20)

    code, shown = file.typed("jobs", "mail", columns=70)

    line = shown.splitlines()[1]
    assert code == 0
    assert line.startswith("lost  send  ")
    assert "1/1" in line
    assert "no such address" in line
    assert line.rstrip().endswith("…")


async def test_a_line_that_is_very_long_is_cut(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add("n" * 4_000, {"text": "x" * 100_000})

    assert max(map(len, place.toril("jobs", "mail").out.splitlines())) < 300
    shown = place.toril("job", "mail", "1").out
    assert max(map(len, shown.splitlines())) < 2_200
    assert "more characters; all of it with --json" in shown
    assert len(place.json("job", "mail", "1")["data"]["text"]) == 100_000


async def test_an_error_that_quotes_what_was_typed_is_harmless(file: Stock) -> None:
    await fill(file)

    ended = file.toril("job", "mail", "\x1b[2Jx")

    assert ended.code == 1
    bare(ended.err)


async def test_wide_letters_keep_the_columns_in_line(file: Stock) -> None:
    async with file.queue() as queue:
        await queue.add("送る", {}, id="a")
        await queue.add("send", {}, id="b")

    _, wide, narrow = file.toril("jobs", "mail").out.splitlines()

    assert wide.index("waiting") + 2 == narrow.index("waiting")
