"""The dead letter of a final failure, written in the step in which the job fails."""

from datetime import datetime
from typing import Any

import msgspec
import pytest

from tests.contract.helpers import QUEUE, T0, Kit, again, complete, fail, new
from toril._model.options import Keep
from toril._model.record import Ref
from toril._model.report import Query
from toril._model.states import State

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
