"""Editing from the shell: what is done, what is asked first, what is refused."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

import pytest

from toril import ConfigError, Job
from toril.cli.change import read_until

from .stock import Stock, fail


async def add(place: Stock, count: int = 3, **options: Any) -> None:
    async with place.queue() as queue:
        await queue.add_many([("send", {"n": n}, options) for n in range(count)])


async def states(place: Stock) -> dict[str, str]:
    async with place.queue() as queue:
        return {job.id: job.record.state.value async for job in queue.jobs()}


# A queue.


async def test_a_queue_is_paused_and_resumed(place: Stock) -> None:
    await add(place)

    assert place.toril("pause", "mail").out == "paused mail\n"
    async with place.queue() as queue:
        assert await queue.is_paused()
    assert place.toril("resume", "mail").out == "resumed mail\n"
    async with place.queue() as queue:
        assert not await queue.is_paused()


async def test_a_pause_says_who_why_and_until_when(place: Stock) -> None:
    await add(place)

    place.toril("pause", "mail", "--reason", "provider down", "--until", "30m", "--by", "ann")
    told = place.toril("queues").out

    assert "paused by ann until 20" in told
    assert told.rstrip().endswith(": provider down")
    async with place.queue() as queue:
        note = (await queue.settings()).pause
    assert note is not None
    assert note.until_ms is not None
    assert note.since_ms is not None
    assert note.until_ms - note.since_ms == pytest.approx(30 * 60_000, abs=2_000)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("", None),
        ("30m", "30m"),
        ("14:30", datetime(2026, 12, 1, 14, 30, tzinfo=UTC)),
        ("08:00", datetime(2026, 12, 2, 8, 0, tzinfo=UTC)),
        ("2026-12-24T14:30+00:00", datetime(2026, 12, 24, 14, 30, tzinfo=UTC)),
    ],
)
def test_the_end_of_a_pause_is_a_duration_a_time_or_a_moment(text: str, read: object) -> None:
    assert read_until(text, datetime(2026, 12, 1, 12, 0, tzinfo=UTC)) == read


def test_a_pause_until_what_is_no_time_is_refused() -> None:
    with pytest.raises(ConfigError, match="is not a time"):
        read_until("25:99", datetime(2026, 12, 1, tzinfo=UTC))


async def test_a_queue_that_is_misspelt_is_not_made(place: Stock) -> None:
    await add(place)

    ended = place.toril("pause", "mial")

    assert ended.code == 2
    assert "did you mean 'mail'?" in ended.err
    async with place.app() as app:
        assert await app.queues() == ["mail"]


# Jobs by their ids.


async def test_retry_names_each_refusal(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "lost")
        await app.queue("mail").add("send", {}, id="later", delay="1h")

    ended = place.toril("retry", "mail", "lost", "later", "gone")

    assert (ended.code, ended.out) == (1, "retried 1 job of mail\n")
    assert (
        "refused mail:later: cannot retry job 'later' of queue 'mail': it is delayed" in ended.err
    )
    assert "refused mail:gone: job 'gone' of queue 'mail' does not exist" in ended.err
    assert await states(place) == {"lost": "waiting", "later": "delayed"}


async def test_refusals_can_be_read_by_a_program(place: Stock) -> None:
    await add(place, 1, delay="1h")

    ended = place.toril("promote", "mail", "1", "gone", "--json")

    told = json.loads(ended.out)
    assert (ended.code, ended.err) == (1, "")
    assert (told["done"], told["ids"], list(told["refused"])) == (1, ["1"], ["gone"])


async def test_one_job_is_named_with_its_queue(place: Stock) -> None:
    await add(place, delay="1h")

    ended = place.toril("promote", "mail:2")

    assert (ended.code, ended.out) == (0, "promoted 1 job of mail\n")
    assert await states(place) == {"1": "delayed", "2": "waiting", "3": "delayed"}


async def test_cancel_says_why(place: Stock) -> None:
    await add(place)

    ended = place.toril("cancel", "mail", "1", "--reason", "too dear")

    assert (ended.code, ended.out) == (0, "cancelled 1 job of mail\n")
    async with place.queue() as queue:
        job = await queue.job("1")
        assert job is not None
        assert job.error == "cancelled: too dear"


async def test_a_job_that_runs_is_not_removed(place: Stock) -> None:
    began, end = asyncio.Event(), asyncio.Event()

    async def work(job: Job[Any]) -> None:
        began.set()
        await end.wait()

    async with place.app() as app:
        await app.queue("mail").add("send", {})
        async with app.worker("mail", work):
            await began.wait()
            ended = await asyncio.to_thread(place.toril, "remove", "mail", "1", "--yes")
            end.set()

    assert (ended.code, ended.out) == (1, "removed 0 jobs of mail\n")
    assert ended.err.startswith("refused mail:1: ")


# Jobs by what they are.


async def test_all_that_failed_are_retried(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "a", "b", "c")

    ended = place.toril("retry", "mail", "--all")

    assert (ended.code, ended.out) == (0, "retried 3 jobs of mail\n")
    assert set((await states(place)).values()) == {"waiting"}


async def test_only_such_jobs_are_removed_as_were_asked_for(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add_many([("send", {}), ("digest", {}), ("send", {}), ("send", {})])

    words = ["--state", "waiting", "--name", "send", "--limit", "2"]
    ended = place.toril("remove", "mail", *words, "--all", "--yes")

    assert ended.out == "removed 2 jobs of mail\n"
    assert list(await states(place)) == ["2", "4"]


async def test_jobs_that_are_too_young_stay(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "a", "b")

    words = ["--state", "failed", "--all", "--yes"]

    assert place.json("remove", "mail", *words, "--older", "1h")["done"] == 0
    assert place.json("remove", "mail", *words, "--older", "1ms")["done"] == 2


async def test_many_more_than_one_call_can_take_are_cancelled(place: Stock) -> None:
    await add(place, 700)

    ended = place.toril("cancel", "mail", "--state", "waiting", "--all", "--yes")

    assert ended.out == "cancelled 700 jobs of mail\n"
    async with place.queue() as queue:
        assert (await queue.counts()).failed == 700


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("retry mail", "which jobs to retry?"),
        ("retry mail --state failed", "(add --all)"),
        ("remove mail --all", "in which state?"),
        ("retry mail 1 --all", "ids exclude --all"),
        ("retry mail --all --older soon", "older='soon'"),
        ("clean mail --older soon", "older='soon'"),
    ],
)
async def test_what_is_not_meant_is_not_done(file: Stock, words: str, message: str) -> None:
    await add(file)

    ended = file.toril(*words.split())

    assert (ended.code, ended.out) == (2, "")
    assert message in ended.err
    assert ended.err.count("\n") == 1


# What destroys.


@pytest.mark.parametrize(
    ("words", "would"),
    [
        ("remove mail 1 2", "would remove 2 jobs (1, 2) of mail"),
        ("remove mail --state ready --all", "would remove 7 jobs (1 send, 2 send, 3 send, 4 send,"),
        ("cancel mail --state ready --all", "would cancel 7 jobs (1 send, 2 send, 3 send, 4 send,"),
        ("clean mail --state waiting", "would remove 7 jobs (1 send, 2 send, 3 send, 4 send,"),
        ("drain mail", "would remove 7 jobs (1 send, 2 send, 3 send, 4 send, 5 send, …) of mail"),
        ("obliterate mail", "would remove queue mail with 7 jobs"),
    ],
)
async def test_nobody_to_ask_means_no(file: Stock, words: str, would: str) -> None:
    await add(file, 7)

    ended = file.toril(*words.split())

    assert (ended.code, ended.out) == (2, "")
    assert would in ended.err
    assert "nobody is there to be asked (add --yes)" in ended.err
    assert len(await states(file)) == 7


@pytest.mark.parametrize(("answer", "code", "left"), [("n", 1, 3), ("y", 0, 0)])
async def test_who_is_asked_decides(file: Stock, answer: str, code: int, left: int) -> None:
    await add(file)

    ended, shown = await asyncio.to_thread(file.typed, "drain", "mail", answer=answer)

    assert ended == code
    assert "Remove 3 jobs (1 send, 2 send, 3 send) of mail?" in shown
    assert len(await states(file)) == left


async def test_drain_takes_what_waits_and_on_request_what_is_delayed(place: Stock) -> None:
    await add(place)
    await add(place, 2, delay="1h")

    assert place.toril("drain", "mail", "--yes").out == "removed 3 jobs of mail\n"
    assert place.json("drain", "mail", "--yes", "--delayed")["done"] == 2


async def test_clean_takes_what_is_old(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, "a", "b", "c")

    words = ["--state", "failed", "--yes"]

    assert place.toril("clean", "mail", *words, "--older", "1h").out == "removed 0 jobs of mail\n"
    assert place.toril("clean", "mail", *words, "--limit", "2").out == "removed 2 jobs of mail\n"


async def test_obliterate_takes_the_queue_itself(place: Stock) -> None:
    await add(place)

    ended = place.toril("obliterate", "mail", "--yes")

    assert (ended.code, ended.out) == (0, "removed 3 jobs of mail\n")
    async with place.app() as app:
        assert await app.queues() == []
