"""Jobs from the shell: `toril add` and `toril call`."""

import json

import pytest

from tests.support.desk import Desk
from toril import Toril

from .stock import Stock

TASKS = """
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task(queue="mail")
async def send(to: str, copies: int = 1, note: str | None = None) -> str:
    if copies > 9:
        raise ValueError("too many")
    return f"{to} {copies} {note}"
"""


async def test_a_job_is_added_with_its_options(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add("first", {})

    ended = place.toril(
        "add", "mail", "send", '{"to": "ada"}',
        "--id", "a1", "--delay", "1h", "--priority", "3", "--attempts", "4", "--backoff", "2s",
        "--timeout", "5s", "--tag", "x", "--header", "trace=7",
    )  # fmt: skip

    assert (ended.code, ended.out) == (0, "added mail:a1\n"), ended.err
    async with place.queue() as queue:
        job = await queue.job("a1")
        assert job is not None
        assert (job.name, job.data, job.record.options.priority) == ("send", {"to": "ada"}, 3)
        assert job.headers == {"trace": "7"}
        assert job.record.options.attempts == 4
        assert job.record.options.timeout_ms == 5_000
        assert await job.state() == "delayed"
    again = place.toril("add", "mail", "send", "--id", "a1")
    assert again.out == "exists already: mail:a1\n"


async def test_a_queue_is_created_only_if_that_is_asked_for(desk: Desk) -> None:
    where = ["--url", "sqlite:///new.db"]
    refused = desk.run("add", "mail", "send", *where)
    created = desk.run("add", "mail", "send", "--create", "--json", *where)
    misspelt = desk.run("add", "mial", "send", *where)

    assert refused.code == 2
    assert "nothing at sqlite:///" in refused.err
    assert json.loads(created.out) == {"queue": "mail", "id": "1", "created": True}
    assert misspelt.code == 2
    assert "did you mean 'mail'?" in misspelt.err
    assert "--create" in misspelt.err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{'to': 1}"], "DATA is not JSON"),
        (["{}", "--at", "tomorrow"], "at='tomorrow' is not a time"),
        (["{}", "--header", "trace"], "--header trace: write NAME=VALUE"),
        (["{}", "--priority", "-1"], "priority"),
        (["{}", "--delay", "soon"], "delay"),
    ],
)
def test_what_cannot_be_added_is_one_line(desk: Desk, words: list[str], said: str) -> None:
    ended = desk.run("add", "mail", "send", *words, "--create", "--url", "sqlite:///new.db")

    assert ended.code == 2
    assert said in ended.err
    assert "Traceback" not in ended.err


async def test_a_task_is_called_with_arguments_of_its_types(desk: Desk) -> None:
    desk.write("tasks.py", TASKS)

    ended = desk.run("call", "tasks:send", "--arg", "to=007", "--arg", "copies=2", "--id", "bond")
    whole = desk.run("call", "tasks.py:send", "--args", '{"to": "ada"}', "--json")

    assert (ended.code, ended.out) == (0, "added mail:bond\n"), ended.err
    assert json.loads(whole.out)["created"] is True
    async with Toril(f"sqlite:///{desk.folder / 'jobs.db'}") as app:
        job = await app.queue("mail").job("bond")
        assert job is not None
        assert (job.name, job.data) == ("send", {"to": "007", "copies": 2})


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tasks:sent", "--arg", "to=ada"], "did you mean 'send'?"),
        (["tasks"], "name it, such as shop.mail:send"),
        (["tasks:send"], "to"),
        (["tasks:send", "--arg", "to=a", "--arg", "copies=many"], "copies"),
        (["tasks:send", "--arg", "whom=a"], "whom"),
        (["tasks:send", "--args", "[1]"], "--args is not a JSON object"),
        (["loose:send"], "name the app that includes it: --app"),
    ],
)
def test_a_call_that_does_not_fit_stores_nothing(desk: Desk, words: list[str], said: str) -> None:
    desk.write("tasks.py", TASKS)
    loose = 'from toril import Blueprint, Toril\napp = Toril("sqlite:///jobs.db")\n'
    desk.write("loose.py", loose + "b = Blueprint()\n\n@b.task\ndef send(to: str) -> None: ...\n")

    ended = desk.run("call", *words)

    assert ended.code == 2, ended.out
    assert said in ended.err
    assert "Traceback" not in ended.err
    assert not (desk.folder / "jobs.db").exists()


async def test_a_call_waits_for_the_result_of_its_job(desk: Desk) -> None:
    desk.write("tasks.py", TASKS)
    with desk.start("worker", "tasks.py") as worker:
        try:
            assert worker.stderr is not None
            assert any("worker.ready" in line for line in worker.stderr)
            done = desk.run("call", "tasks:send", "--arg", "to=ada", "--wait", "5s")
            failed = desk.run(
                "call", "tasks:send", "--arg", "to=a", "--arg", "copies=10", "--wait", "5s"
            )
        finally:
            worker.kill()

    assert (done.code, done.out) == (0, '"ada 1 None"\n'), done.err
    assert failed.code == 1
    assert "too many" in failed.err
