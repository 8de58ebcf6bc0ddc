"""`toril move` as a user types it."""

import json

import pytest

from tests.support.desk import Desk
from tests.support.servers import fresh_prefix, shared_server
from toril import Toril


@pytest.fixture
async def full(desk: Desk) -> Desk:
    """A folder with a file that holds some jobs."""
    async with Toril(f"sqlite:///{desk.folder / 'old.db'}") as app:
        await app.queue("mail").add_many([("send", {"n": n}) for n in range(3)])
        await app.queue("mail").add("send", {}, delay="1h")
        await app.queue("image:resize").add("resize", {}, priority=2)
    return desk


def move(desk: Desk, *words: str, target: str = "sqlite:///new.db") -> tuple[int, str, str]:
    ended = desk.run("move", "sqlite:///old.db", target, *words)
    return ended.code, ended.out, ended.err


def test_it_says_what_it_moves_and_what_became_of_it(full: Desk) -> None:
    code, out, err = move(full, "--yes")

    assert (code, err) == (0, "")
    assert out.splitlines() == [
        f"from sqlite:///{full.folder / 'old.db'}",
        f"to   sqlite:///{full.folder / 'new.db'}",
        "queue         waiting  prioritized  delayed  schedules",
        "image:resize        0            1        0          0",
        "mail                3            0        1          0",
        "queue         jobs moved  schedules  left behind",
        "image:resize           1          0            0",
        "mail                   4          0            0",
    ]


def test_a_dry_run_changes_nothing(full: Desk) -> None:
    code, out, _ = move(full, "--dry-run")

    assert code == 0
    assert "jobs moved" not in out
    assert move(full, "--yes", "--json")[1].count('"jobs":4') == 1


def test_without_a_yes_nobody_can_give_it_refuses(full: Desk) -> None:
    code, _, err = move(full)

    assert (code, err) == (2, "error: nobody is there to be asked (add --yes)\n")


def test_the_outcome_can_be_read_by_a_program(full: Desk) -> None:
    code, out, err = move(full, "--yes", "--json", "--queues", "mail")

    assert (code, err) == (0, "")
    assert json.loads(out)["queues"] == [
        {
            "queue": "mail",
            "jobs": 4,
            "schedules": 0,
            "left": 0,
            "problems": [],
            "paused": False,
        }
    ]


def test_a_plan_can_be_read_by_a_program(full: Desk) -> None:
    _, out, _ = move(full, "--dry-run", "--json")

    told = {each["queue"]: each for each in json.loads(out)["queues"]}
    assert (told["mail"]["waiting"], told["image:resize"]["prioritized"]) == (3, 1)


async def test_it_moves_to_a_server_under_another_prefix(full: Desk) -> None:
    prefix, url = fresh_prefix(), shared_server().url

    code, _, err = move(full, "--yes", "--to-prefix", prefix, target=url)

    assert (code, err) == (0, "")
    async with Toril(url, prefix=prefix) as app:
        assert (await app.queue("mail").counts()).total == 4


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("sqlite:///nowhere.db", "sqlite:///new.db"), "there is nothing at sqlite:///"),
        (("sqlite:///old.db", "sqlite:///old.db"), "cannot be moved to itself"),
        (("sqlite:///old.db", ":memory:"), "a store in memory is gone with its process"),
        (("sqlite:///old.db", "redsi://localhost"), "no store is called 'redsi'"),
        (("sqlite:///old.db", "redis://127.0.0.1:1"), "127.0.0.1:1"),
        (("sqlite:///old.db", "sqlite:///new.db", "--queues", "mial"), "no queue 'mial'"),
        (("sqlite:///old.db", "sqlite:///new.db", "--wait", "soon"), "soon"),
    ],
)
def test_what_cannot_work_is_one_line(full: Desk, words: tuple[str, ...], message: str) -> None:
    ended = full.run("move", *words, "--yes")

    assert ended.code == 2
    assert message in ended.err
    assert ended.err.count("\n") == 1
    assert not (full.folder / "nowhere.db").exists()


async def test_a_job_that_is_in_the_way_is_named_and_all_stays_where_it_was(full: Desk) -> None:
    async with Toril(f"sqlite:///{full.folder / 'new.db'}") as app:
        await app.queue("mail").add("send", {"n": "another"})

    code, _, err = move(full, "--yes", "--queues", "mail")

    assert code == 2
    assert "queue 'mail' already has another job '1'" in err
    assert "run it again to go on" in err
    async with Toril(f"sqlite:///{full.folder / 'old.db'}") as app:
        assert (await app.queue("mail").counts()).total == 4
        assert not await app.queue("mail").is_paused()
