"""Replaying dead letters: which jobs run again, what becomes of the letters, what is refused."""

from collections.abc import Callable
from typing import Any

import pytest

from toril import Job, JobLocked, JobNotFound, Queue, Toril
from toril.errors import JobError, WrongState

DATA = {"to": "a@b.c"}


@pytest.fixture
def emails(app: Toril) -> Queue:
    return app.queue("emails", attempts=2, dead_letter="dead")


@pytest.fixture
def dead(app: Toril, emails: Queue) -> Queue:
    return app.queue("dead")


async def refuse(job: Job[Any]) -> None:
    raise ConnectionError("the provider is down")


async def send(job: Job[Any]) -> str:
    return f"sent {job.data}"


async def fail(app: Toril, handler: Callable[[Job[Any]], Any] = refuse) -> None:
    await app.worker("emails", handler).run_until_idle()


async def letter_ids(dead: Queue) -> list[str]:
    return [letter.id async for letter in dead.jobs()]


async def test_the_job_that_failed_runs_again_with_all_its_attempts(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    job = await emails.add("welcome", DATA)
    await fail(app)

    (again,) = await dead.replay()

    assert (again.ref, again.record.state) == (job.ref, "waiting")
    assert (again.attempts_made, again.attempts_left) == (0, 1)


async def test_its_letter_goes_when_it_has_completed_and_not_before(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add("welcome", DATA)
    await fail(app)
    (again,) = await dead.replay()
    assert await letter_ids(dead) == ["1"]

    await app.worker("emails", send).run_until_idle()

    assert await again.result() == f"sent {DATA}"
    assert await letter_ids(dead) == []


async def test_a_job_that_is_gone_is_added_anew_and_its_letter_removed(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add("welcome", DATA, priority=3, keep=False, delay="1ms", dedup="a@b.c")
    async with app.worker("emails", refuse) as worker:
        await worker.drained(delayed=True)

    (again,) = await dead.replay()

    assert (again.id, again.name, again.data) == ("2", "welcome", DATA)
    assert (again.record.state, again.record.options.attempts) == ("prioritized", 2)
    assert await letter_ids(dead) == []


async def test_a_job_with_an_id_of_its_own_is_added_under_it(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add("welcome", DATA, id="user-42", keep=False)
    await fail(app)

    (again,) = await dead.replay()

    assert again.id == "user-42"


async def test_a_second_letter_of_the_same_gone_job_stays_until_the_first_has_run(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    for number in (1, 2):
        await emails.add("welcome", number, id="user-42", keep=False)
        await fail(app)

    assert [job.data for job in await dead.replay()] == [1]
    assert await letter_ids(dead) == ["2"]


async def test_only_the_letters_that_are_named_are_replayed(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add_many([("welcome", number) for number in range(3)])
    await fail(app)

    replayed = await dead.replay("3", "1")

    assert sorted(job.data for job in replayed) == [0, 2]
    assert (await emails.counts()).failed == 1


async def test_the_oldest_come_first_up_to_the_limit(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add_many([("welcome", number) for number in range(3)])
    await fail(app)

    assert [job.data for job in await dead.replay(limit=2)] == [0, 1]


async def test_those_that_run_again_already_are_left_out(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add_many([("welcome", number) for number in range(3)])
    await fail(app)
    await dead.replay(limit=1)

    assert [job.data for job in await dead.replay(limit=1)] == [1]
    assert [job.data for job in await dead.replay()] == [2]
    assert await dead.replay() == []


@pytest.mark.parametrize("keep", [True, False])
async def test_hundreds_are_replayed_in_one_call(
    app: Toril, emails: Queue, dead: Queue, keep: bool
) -> None:
    await emails.add_many([("welcome", n, {"attempts": 1, "keep": keep}) for n in range(600)])
    await app.worker("emails", refuse, concurrency=100).run_until_idle()
    assert (await dead.counts()).waiting == 600

    replayed = await dead.replay()

    assert sorted(job.data for job in replayed) == list(range(600))
    assert (await emails.counts()).waiting == 600


async def test_letters_of_several_queues_go_back_to_theirs(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    texts = app.queue("texts", dead_letter="dead")
    await emails.add("welcome", DATA)
    await texts.add("code", DATA)
    await app.worker(["emails", "texts"], refuse).run_until_idle()

    replayed = await dead.replay()

    assert sorted((job.queue, job.name) for job in replayed) == [
        ("emails", "welcome"),
        ("texts", "code"),
    ]


# What is refused.


@pytest.mark.parametrize("named", [True, False])
async def test_a_job_that_is_no_letter(emails: Queue, named: bool) -> None:
    await emails.add("welcome", DATA)

    with pytest.raises(JobError, match=r"'1' \('welcome'\) of queue 'emails' is no dead letter"):
        await emails.replay(*(["1"] if named else []))


async def test_a_job_that_only_has_the_name_of_a_letter(emails: Queue) -> None:
    await emails.add("failed-job", DATA)

    with pytest.raises(JobError, match="is no dead letter"):
        await emails.replay("1")


async def test_a_letter_that_is_not_there(dead: Queue) -> None:
    with pytest.raises(JobNotFound, match="no letter '7' in queue 'dead'"):
        await dead.replay("7")


async def test_a_letter_whose_job_runs_again_already(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add("welcome", DATA)
    await fail(app)
    await dead.replay("1")

    with pytest.raises(WrongState, match="its job emails:1 is waiting, not failed"):
        await dead.replay("1")


async def test_when_one_that_is_named_cannot_run_none_of_them_does(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add_many([("welcome", number) for number in range(2)])
    await fail(app)
    await dead.replay("2")

    with pytest.raises(WrongState, match="emails:2 is waiting"):
        await dead.replay("1", "2")
    assert (await emails.counts()).failed == 1


async def test_a_letter_that_somebody_reads_and_whose_job_is_gone(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    await emails.add("welcome", DATA, keep=False)
    await fail(app)
    replayed: list[BaseException] = []

    async def read(letter: Job[Any]) -> None:
        with pytest.raises(JobLocked, match="a worker is reading it") as caught:
            await dead.replay(letter.id)
        replayed.append(caught.value)

    await app.worker("dead", read).run_until_idle()

    assert len(replayed) == 1
    assert (await emails.counts()).total == 0


async def test_a_letter_that_a_newer_one_has_overtaken_while_it_was_read(
    app: Toril, emails: Queue, dead: Queue
) -> None:
    job = await emails.add("welcome", DATA)
    await fail(app)

    async def read(letter: Job[Any]) -> None:
        if letter.id == "1":
            await job.retry()
            await fail(app)

    async with app.worker("dead", read) as worker:
        await worker.drained()

    with pytest.raises(WrongState, match="failed another time since, and has the letter dead:2"):
        await dead.replay("1")
