"""The dead letter of a final failure, written in the step in which the job fails."""

import itertools
from datetime import datetime
from typing import Any

import msgspec
import pytest

from tests.support.kit import QUEUE, T0, Kit, again, complete, fail, new
from toril._model.options import Keep
from toril._model.record import Ref
from toril._model.report import Query
from toril._model.states import State
from toril.events import Removed

DEAD = "dead-letter"


@pytest.fixture
async def kit(kit: Kit) -> Kit:
    await kit.configure(dead_letter=DEAD)
    return kit


async def letters(kit: Kit) -> list[dict[str, Any]]:
    page = await kit.store.find(Query(queue=DEAD))
    return [msgspec.json.decode(job.data) for job in page.jobs]


async def test_a_final_failure_leaves_a_letter(kit: Kit) -> None:
    await kit.add("welcome", data='{"to":"a@b.c"}', attempts=1, priority=2)
    claim = await kit.claim()
    await kit.settle(fail(claim, "no such user", stack="Traceback"))

    [job] = (await kit.store.find(Query(queue=DEAD))).jobs
    assert (job.name, job.state) == ("failed-job", State.WAITING)
    letter = msgspec.json.decode(job.data)
    assert letter["originalJob"] == {
        "id": claim.record.id,
        "name": "welcome",
        "queue": QUEUE,
        "data": {"to": "a@b.c"},
        "opts": {"attempts": 1, "priority": 2},
    }
    assert letter["error"]["message"] == "no such user"
    assert "Traceback" in str(letter["error"]["stack"])
    failed_at = datetime.fromisoformat(letter["failedAt"])
    assert failed_at.timestamp() * 1000 == T0
    assert set(letter) == {"originalJob", "error", "failedAt"}


async def test_the_letter_waits_for_a_worker_of_its_own(kit: Kit) -> None:
    await kit.make(State.FAILED)

    assert (await kit.claim(DEAD)).record.name == "failed-job"
    assert await kit.kinds(DEAD) == ["added", "waiting", "active"]


async def test_only_the_last_failure_leaves_one(kit: Kit) -> None:
    await kit.add(attempts=3)
    await kit.settle(again(await kit.claim()))
    await kit.settle(again(await kit.claim()))
    assert await letters(kit) == []

    await kit.run_to_failure()

    assert len(await letters(kit)) == 1


async def test_a_job_that_fails_on_request_leaves_one(kit: Kit) -> None:
    await kit.add(attempts=3)
    await kit.settle(fail(await kit.claim(), exhausted=False))

    assert len(await letters(kit)) == 1


async def test_a_completed_job_leaves_none(kit: Kit) -> None:
    await kit.make(State.COMPLETED)

    assert await letters(kit) == []


async def test_a_failure_that_is_repeated_leaves_one(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    decision = fail(kit.held[ref])
    await kit.settle(decision)
    await kit.settle(decision)

    assert len(await letters(kit)) == 1


async def test_a_failure_that_is_refused_leaves_none(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.finish(fail(kit.held[ref], token="stale"))

    assert await letters(kit) == []


async def test_each_failure_of_a_batch_leaves_its_own(kit: Kit) -> None:
    await kit.add_many(3)
    one, two, three = (await kit.ask(3)).jobs
    await kit.finish(fail(one), complete(two), fail(three))

    found = [letter["originalJob"]["id"] for letter in await letters(kit)]
    assert found == [one.record.id, three.record.id]


async def test_a_failed_job_that_is_not_kept_leaves_one(kit: Kit) -> None:
    await kit.add(keep_failed=Keep(count=0))
    await kit.run_to_failure()

    assert await kit.counts() == {}
    assert len(await letters(kit)) == 1


async def test_a_queue_without_one_leaves_none(kit: Kit) -> None:
    await kit.configure(dead_letter=None)
    await kit.make(State.FAILED)

    assert await kit.counts(DEAD) == {}


async def test_a_letter_is_no_child_of_the_flow(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), new(queue=QUEUE, parent_on_fail="ignore"))
    await kit.run_to_failure()

    assert (await kit.store.children(root)).ignored == 1
    assert await kit.counts(DEAD) == {"waiting": 1}


async def test_a_dead_letter_queue_of_its_own_makes_no_circle(kit: Kit) -> None:
    await kit.configure(queue=DEAD, dead_letter=DEAD)
    await kit.make(State.FAILED)
    await kit.run_to_failure(DEAD)

    assert await kit.counts(DEAD) == {"failed": 1}


async def test_the_original_stays_where_it_failed(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)

    assert await kit.state(Ref(QUEUE, ref.id)) == State.FAILED


# The way back: a job knows its letter as long as it stands.


async def letter_of(kit: Kit, ref: Ref) -> Ref:
    """Say where the letter of a job is; it must have one."""
    letter = (await kit.record(ref)).letter
    assert letter is not None
    queue, _, id = letter.rpartition(":")
    return Ref(queue, id)


async def test_the_job_and_its_letter_name_each_other(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)

    letter = await letter_of(kit, ref)

    assert letter.queue == DEAD
    original = msgspec.json.decode((await kit.record(letter)).data)["originalJob"]
    assert Ref(original["queue"], original["id"]) == ref


async def test_a_job_that_failed_without_leaving_one_names_none(kit: Kit) -> None:
    await kit.configure(dead_letter=None)

    assert (await kit.record(await kit.make(State.FAILED))).letter is None


async def test_running_again_alone_leaves_the_letter_where_it_is(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)
    letter = await letter_of(kit, ref)
    await kit.retry(ref)
    await kit.claim()

    assert await kit.state(letter) == State.WAITING
    assert await letter_of(kit, ref) == letter


async def test_the_letter_of_a_job_that_completes_after_all_is_withdrawn(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)
    letter = await letter_of(kit, ref)
    await kit.retry(ref)
    await kit.hush()

    await kit.run()

    assert await kit.find(letter) is None
    assert (await kit.record(ref)).letter is None
    [event] = await kit.hear(DEAD)
    assert isinstance(event, Removed)
    assert (event.job_id, event.prev) == (letter.id, "waiting")


async def test_a_job_that_fails_anew_has_its_newest_letter_only(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)
    first = await letter_of(kit, ref)
    await kit.retry(ref)
    await kit.hush()

    await kit.run_to_failure(reason="still down")

    second = await letter_of(kit, ref)
    assert second != first
    assert await kit.find(first) is None
    assert [letter["error"]["message"] for letter in await letters(kit)] == ["still down"]
    assert await kit.kinds(DEAD) == ["removed", "added", "waiting"]


async def test_a_letter_that_was_dealt_with_is_withdrawn_too(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)
    letter = await letter_of(kit, ref)
    await kit.run(DEAD)
    await kit.retry(ref)
    await kit.hush()

    await kit.run()

    assert await kit.find(letter) is None
    [event] = await kit.hear(DEAD)
    assert isinstance(event, Removed)
    assert event.prev == "completed"


async def test_a_letter_that_somebody_reads_is_not_withdrawn(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)
    reading = await kit.claim(DEAD)
    await kit.retry(ref)

    await kit.run()

    assert await kit.settle(complete(reading)) == "completed"
    assert await kit.counts(DEAD) == {"completed": 1}


async def test_a_letter_that_was_removed_leaves_its_job_none_and_harms_no_later_end(
    kit: Kit,
) -> None:
    ref = await kit.make(State.FAILED)
    await kit.remove(await letter_of(kit, ref))
    assert (await kit.record(ref)).letter is None
    await kit.retry(ref)

    await kit.run()

    assert await kit.state(ref) == State.COMPLETED


async def test_each_of_many_that_complete_withdraws_its_own_letter(kit: Kit) -> None:
    refs = await kit.add_many(3)
    for _ in refs:
        await kit.run_to_failure()
    await kit.retry(*refs[:2])

    one, two = (await kit.ask(2)).jobs
    await kit.finish(complete(one), complete(two))

    assert [letter["originalJob"]["id"] for letter in await letters(kit)] == [refs[2].id]


# A letter that fails itself.


async def chain(kit: Kit, *queues: str) -> int:
    """Let each queue send its letters to the next one, and fail all jobs until none is left."""
    for queue, target in itertools.pairwise(queues):
        await kit.configure(queue=queue, dead_letter=target)
    await kit.add(queue=queues[0], data='{"to":"a@b.c"}')
    failed = 0
    for _ in range(4):
        for queue in dict.fromkeys(queues):
            while (await kit.counts(queue)).get("waiting"):
                await kit.run_to_failure(queue)
                failed += 1
    return failed


@pytest.mark.parametrize("length", [1, 2, 3, 5])
async def test_a_letter_never_comes_back_to_a_queue_that_it_came_through(
    kit: Kit, length: int
) -> None:
    queues = [f"q{n}" for n in range(length)]

    assert await chain(kit, *queues, queues[0]) == length


async def test_a_chain_that_leads_into_a_ring_ends(kit: Kit) -> None:
    assert await chain(kit, "a", "b", "c", "d", "b") == 4


async def test_a_letter_of_a_letter_goes_on_to_the_next_queue(kit: Kit) -> None:
    assert await chain(kit, "a", "b", "c") == 3
    [letter] = (await kit.store.find(Query(queue="c"))).jobs
    outer = msgspec.json.decode(letter.data)["originalJob"]
    assert (outer["queue"], outer["data"]["originalJob"]["queue"]) == ("b", "a")


async def test_a_letter_that_is_retried_and_fails_again_makes_no_ring(kit: Kit) -> None:
    await chain(kit, "a", "b", "a")
    [letter] = (await kit.store.find(Query(queue="b"))).jobs
    await kit.retry(Ref("b", letter.id))
    await kit.run_to_failure("b")

    assert await kit.counts("a") == {"failed": 1}


@pytest.mark.parametrize("data", ["{}", "[1]", '{"originalJob":5}', '"failed-job"', "null"])
async def test_a_job_that_is_only_called_like_a_letter_leaves_one(kit: Kit, data: str) -> None:
    await kit.configure(queue="b", dead_letter="a")
    await kit.add("failed-job", queue="b", data=data)
    await kit.run_to_failure("b")

    assert await kit.counts("a") == {"waiting": 1}
