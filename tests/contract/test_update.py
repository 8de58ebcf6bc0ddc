"""update: data, progress, delay, priority, and letting go of a parent or a dedup key."""

import pytest

from tests.support.kit import QUEUE, SECOND, T0, Kit, ids
from toril._model.report import JobPatch
from toril._model.states import State
from toril.errors import JobNotFound, LockLost, WrongState
from toril.events import Delayed, Progress

# Data and progress.


async def test_data_is_replaced(kit: Kit) -> None:
    ref = await kit.add(data="1")

    await kit.update(ref, data='{"a":2}')

    assert (await kit.record(ref)).data == '{"a":2}'


async def test_progress_is_any_json_and_is_announced_decoded(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.hush()

    await kit.update(ref, progress='{"page":3}')

    assert (await kit.record(ref)).progress == '{"page":3}'
    [event] = await kit.hear()
    assert event == Progress(id=event.id, queue=QUEUE, at_ms=T0, job_id=ref.id, data={"page": 3})


async def test_every_report_of_progress_is_announced_in_order(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    patches = [JobPatch(queue=QUEUE, id=ref.id, progress=str(n)) for n in (0, 50, 100)]

    assert await kit.store.update(patches, now=kit.now) == [None] * 3

    told = [event.data for event in await kit.hear() if isinstance(event, Progress)]
    assert told == [0, 50, 100]


async def test_what_is_not_named_stays(kit: Kit) -> None:
    ref = await kit.add(data="1", priority=3)
    before = await kit.record(ref)

    await kit.update(ref)

    assert await kit.record(ref) == before


# Delay.


async def test_a_new_delay_counts_from_now(kit: Kit) -> None:
    ref = await kit.add(delay_ms=SECOND)
    await kit.hush()
    kit.tick(500)

    await kit.update(ref, delay_ms=9 * SECOND)

    record = await kit.record(ref)
    assert (record.delay_ms, record.due_ms) == (9 * SECOND, T0 + 500 + 9 * SECOND)
    [event] = await kit.hear()
    assert event == Delayed(
        id=event.id, queue=QUEUE, at_ms=T0 + 500, job_id=ref.id, due_ms=T0 + 500 + 9 * SECOND
    )


async def test_a_shorter_delay_brings_a_job_forward(kit: Kit) -> None:
    late = await kit.add(delay_ms=9 * SECOND)
    early = await kit.add(delay_ms=5 * SECOND)
    await kit.update(late, delay_ms=SECOND)
    kit.tick(9 * SECOND)

    assert await kit.claim_order() == ids([late, early])


async def test_the_delay_of_a_job_that_waits_cannot_be_changed(kit: Kit) -> None:
    with pytest.raises(WrongState):
        await kit.update(await kit.add(), delay_ms=SECOND)


# Priority.


async def test_a_waiting_job_is_given_a_priority(kit: Kit) -> None:
    moved, plain = await kit.add_many(2)
    await kit.hush()

    await kit.update(moved, priority=3)

    record = await kit.record(moved)
    assert (record.state, record.priority) == (State.PRIORITIZED, 3)
    assert await kit.hear() == []
    assert await kit.claim_order() == ids([plain, moved])


async def test_a_prioritized_job_is_given_none(kit: Kit) -> None:
    moved = await kit.add(priority=3)
    plain = await kit.add()

    await kit.update(moved, priority=0)

    assert await kit.state(moved) == State.WAITING
    assert await kit.claim_order() == ids([plain, moved])


async def test_a_new_priority_means_the_end_of_its_class(kit: Kit) -> None:
    moved = await kit.add(priority=1)
    other = await kit.add(priority=5)
    await kit.update(moved, priority=5)

    assert await kit.claim_order() == ids([other, moved])


async def test_lifo_means_the_front_of_its_class(kit: Kit) -> None:
    first = await kit.add(priority=5)
    moved = await kit.add(priority=9)
    await kit.update(moved, priority=5, lifo=True)

    assert await kit.claim_order() == ids([moved, first])


async def test_lifo_without_a_priority_means_the_front_of_the_queue(kit: Kit) -> None:
    first, moved = await kit.add_many(2)
    await kit.update(moved, priority=0, lifo=True)

    assert await kit.claim_order() == ids([moved, first])


async def test_a_delayed_job_has_its_new_priority_when_it_is_due(kit: Kit) -> None:
    ref = await kit.add(delay_ms=SECOND)
    await kit.update(ref, priority=3)
    assert await kit.state(ref) == State.DELAYED

    await kit.promote(ref)

    assert await kit.state(ref) == State.PRIORITIZED


# Who may, and batches.


async def test_the_lock_is_asked_for_when_a_token_is_given(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    await kit.update(ref, progress="1", token=kit.held[ref].token)
    with pytest.raises(LockLost):
        await kit.update(ref, progress="2", token="stale")

    assert (await kit.record(ref)).progress == "1"


async def test_a_refused_patch_changes_nothing_of_it(kit: Kit) -> None:
    ref = await kit.add(data="1")

    with pytest.raises(WrongState):
        await kit.update(ref, data="2", delay_ms=SECOND)

    assert (await kit.record(ref)).data == "1"


async def test_a_job_that_is_not_there_is_not_found(kit: Kit) -> None:
    [error] = await kit.store.update([JobPatch(queue=QUEUE, id="nowhere", data="1")])

    assert isinstance(error, JobNotFound)
    assert "nowhere" in str(error)


async def test_one_refused_patch_leaves_its_neighbours_alone(kit: Kit) -> None:
    ref = await kit.add()

    answers = await kit.store.update(
        [
            JobPatch(queue=QUEUE, id="nowhere", data="1"),
            JobPatch(queue=QUEUE, id=ref.id, data="2"),
        ],
        now=kit.now,
    )

    assert isinstance(answers[0], JobNotFound)
    assert answers[1] is None
    assert (await kit.record(ref)).data == "2"


async def test_progress_stays_when_a_job_has_finished(kit: Kit) -> None:
    ref = await kit.add()
    await kit.update(ref, progress="100")

    await kit.run()

    assert (await kit.record(ref)).progress == "100"
