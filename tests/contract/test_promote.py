"""promote: delayed jobs are ready now."""

from tests.support.kit import HOUR, QUEUE, SECOND, Kit, ids, snooze
from toril._model.record import Ref
from toril._model.states import State
from toril.errors import JobNotFound, WrongState
from toril.events import Waiting


async def test_a_promoted_job_waits(kit: Kit) -> None:
    ref = await kit.make(State.DELAYED)
    await kit.hush()

    assert (await kit.promote(ref)).ids == (ref.id,)

    record = await kit.record(ref)
    assert (record.state, record.delay_ms, record.due_ms) == (State.WAITING, 0, None)
    [event] = await kit.hear()
    assert event == Waiting(id=event.id, queue=QUEUE, at_ms=kit.now, job_id=ref.id, prev="delayed")


async def test_it_goes_to_the_end(kit: Kit) -> None:
    promoted = await kit.make(State.DELAYED)
    other = await kit.add()
    await kit.promote(promoted)

    assert await kit.claim_order() == ids([other, promoted])


async def test_it_goes_by_its_priority(kit: Kit) -> None:
    promoted = await kit.make(State.DELAYED, priority=2)
    before, after = await kit.add(priority=1), await kit.add(priority=3)
    await kit.promote(promoted)

    assert await kit.claim_order() == ids([before, promoted, after])


async def test_a_job_between_two_tries_is_promoted(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.settle(snooze(kit.held[ref], HOUR))

    await kit.promote(ref)

    assert await kit.claim_order() == [ref.id]


async def test_all_delayed_jobs_are_promoted_soonest_first(kit: Kit) -> None:
    late, soon = [await kit.add(delay_ms=delay) for delay in (HOUR, SECOND)]

    selected = await kit.promote(queue=QUEUE, states=(State.DELAYED,))

    assert set(selected.ids) == {soon.id, late.id}
    assert await kit.claim_order() == ids([soon, late])


async def test_a_selection_is_bounded_and_says_that_there_is_more(kit: Kit) -> None:
    await kit.add_many(3, delay_ms=SECOND)

    first = await kit.promote(queue=QUEUE, states=(State.DELAYED,), limit=2)
    second = await kit.promote(queue=QUEUE, states=(State.DELAYED,), limit=2)

    assert (len(first.ids), first.more) == (2, True)
    assert (len(second.ids), second.more) == (1, False)


async def test_one_refused_id_leaves_the_others_alone(kit: Kit) -> None:
    waiting = await kit.add()
    delayed = await kit.make(State.DELAYED)

    selected = await kit.promote(waiting, delayed, Ref(QUEUE, "nowhere"))

    assert selected.ids == (delayed.id,)
    assert isinstance(selected.refused[waiting.id], WrongState)
    assert isinstance(selected.refused["nowhere"], JobNotFound)
