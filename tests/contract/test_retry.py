"""retry: finished jobs run again."""

import pytest

from tests.support.kit import QUEUE, SECOND, Kit, again, ids
from toril._model.record import Ref
from toril._model.states import FINISHED, State
from toril.errors import JobNotFound, WrongState
from toril.events import Waiting


@pytest.mark.parametrize("state", FINISHED)
async def test_a_finished_job_waits_again(kit: Kit, state: State) -> None:
    ref = await kit.make(state)
    await kit.hush()

    assert (await kit.retry(ref)).ids == (ref.id,)

    [event] = await kit.hear()
    assert event == Waiting(id=event.id, queue=QUEUE, at_ms=kit.now, job_id=ref.id, prev=str(state))


@pytest.mark.parametrize("state", FINISHED)
async def test_its_outcome_is_forgotten(kit: Kit, state: State) -> None:
    ref = await kit.make(state)

    await kit.retry(ref)

    record = await kit.record(ref)
    assert (record.result, record.reason, record.finished_ms) == (None, None, None)


async def test_its_attempts_go_on(kit: Kit) -> None:
    ref = await kit.make(State.FAILED, attempts=1)

    await kit.retry(ref)

    assert (await kit.claim()).record.attempt == 2
    assert (await kit.record(ref)).runs == 2


async def test_its_attempts_begin_anew_when_asked(kit: Kit) -> None:
    ref = await kit.add(attempts=2)
    await kit.settle(again(await kit.claim()))
    await kit.run_to_failure()

    await kit.retry(ref, reset_attempts=True)

    assert (await kit.claim()).record.attempt == 1


async def test_it_goes_to_the_end(kit: Kit) -> None:
    failed = await kit.make(State.FAILED)
    other = await kit.add()
    await kit.retry(failed)

    assert await kit.claim_order() == ids([other, failed])


async def test_it_keeps_its_priority(kit: Kit) -> None:
    failed = await kit.make(State.FAILED, priority=5)
    same, after = await kit.add(priority=5), await kit.add(priority=6)
    await kit.retry(failed)

    assert await kit.claim_order() == ids([same, failed, after])


async def test_it_is_not_delayed_again(kit: Kit) -> None:
    ref = await kit.add(delay_ms=SECOND)
    kit.tick(SECOND)
    await kit.run_to_failure()

    await kit.retry(ref)

    assert await kit.state(ref) == State.WAITING


async def test_the_tries_before_stay_readable(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)
    await kit.retry(ref)
    await kit.run_to_failure(reason="again")

    assert [one.reason for one in (await kit.record(ref)).tries] == ["boom", "again"]


async def test_all_failed_jobs_are_retried_in_their_order(kit: Kit) -> None:
    refs = await kit.add_many(3)
    for _ in refs:
        await kit.run_to_failure()
        kit.tick(SECOND)
    await kit.add()
    await kit.run()

    selected = await kit.retry(queue=QUEUE, states=(State.FAILED,))

    assert selected.ids == tuple(ids(refs))
    assert await kit.counts() == {"waiting": 3, "completed": 1}
    assert await kit.claim_order() == ids(refs)


async def test_a_selection_is_bounded_and_says_that_there_is_more(kit: Kit) -> None:
    for _ in range(3):
        await kit.add()
        await kit.run_to_failure()

    first = await kit.retry(queue=QUEUE, states=(State.FAILED,), limit=2)
    second = await kit.retry(queue=QUEUE, states=(State.FAILED,), limit=2)

    assert (len(first.ids), first.more) == (2, True)
    assert (len(second.ids), second.more) == (1, False)


async def test_only_those_that_finished_by_then_are_retried(kit: Kit) -> None:
    old = await kit.make(State.FAILED)
    until = kit.now
    kit.tick(SECOND)
    await kit.make(State.FAILED)

    selected = await kit.retry(queue=QUEUE, states=(State.FAILED,), before_ms=until)

    assert selected.ids == (old.id,)


async def test_one_refused_id_leaves_the_others_alone(kit: Kit) -> None:
    failed = await kit.make(State.FAILED)
    waiting = await kit.add()

    selected = await kit.retry(waiting, failed, Ref(QUEUE, "nowhere"))

    assert selected.ids == (failed.id,)
    assert isinstance(selected.refused[waiting.id], WrongState)
    assert isinstance(selected.refused["nowhere"], JobNotFound)
