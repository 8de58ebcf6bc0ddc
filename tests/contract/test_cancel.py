"""update, with a reason to cancel: who waits fails at once, of who runs the wish is noted."""

import asyncio
from collections.abc import Callable, Iterator

import pytest

from tests.contract.family import kid, tally
from tests.support.kit import (
    HOUR,
    KIDS,
    LOCK,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    await_children,
    complete,
    fail,
    new,
    ref_of,
    release,
    snooze,
)
from tests.support.shipping import packed, parcel, ship
from toril._model.decide import Decision
from toril._model.options import Dedup, Keep
from toril._model.record import Claim, Ref
from toril._model.report import JobPatch
from toril._model.schedule import Rule
from toril._model.states import State
from toril._store.protocol import Renewer, Store
from toril._store.values import ScheduleDraft
from toril.errors import JobNotFound, LockLost, ScheduleOwned, WrongState
from toril.events import Failed

WAITING = (State.WAITING, State.PRIORITIZED, State.DELAYED, State.WAITING_CHILDREN)
NOT_COMPLETING: dict[str, Callable[[Claim], Decision]] = {
    "fails": fail,
    "is tried again": again,
    "is tried again later": lambda claim: again(claim, HOUR),
    "is snoozed": snooze,
    "is released": release,
}


@pytest.fixture
def renewer(store: Store) -> Iterator[Renewer]:
    renewer = store.renewer()
    yield renewer
    renewer.close()


async def asked(renewer: Renewer, *held: Claim) -> dict[Ref, str]:
    locks = [(ref_of(claim), claim.token) for claim in held]
    return await asyncio.to_thread(renewer.asked, locks)


async def told(kit: Kit, why: str = "not needed") -> Claim:
    """Claim a job of which somebody then says that it shall end."""
    ref = await kit.make(State.ACTIVE, attempts=5)
    await kit.update(ref, cancel=why)
    return kit.held[ref]


# Who waits.


@pytest.mark.parametrize("state", WAITING)
async def test_who_waits_fails_with_the_reason_and_without_an_attempt(
    kit: Kit, state: State
) -> None:
    ref = await kit.make(state, attempts=5)
    tries = (await kit.record(ref)).tries
    kit.tick(SECOND)

    await kit.update(ref, cancel="not needed")

    record = await kit.record(ref)
    assert (record.state, record.reason) == (State.FAILED, "cancelled: not needed")
    assert (record.cancelled, record.attempts_made) == ("not needed", 0)
    assert (record.finished_ms, record.deferred, record.tries) == (T0 + SECOND, None, tries)


async def test_no_reason_is_one_too(kit: Kit) -> None:
    ref = await kit.add()

    await kit.update(ref, cancel="")

    record = await kit.record(ref)
    assert (record.reason, record.cancelled) == ("cancelled", "")


@pytest.mark.parametrize("state", WAITING)
async def test_the_event_says_where_the_job_was(kit: Kit, state: State) -> None:
    ref = await kit.make(state)
    await kit.hush()

    await kit.update(ref, cancel="not needed")

    [event] = await kit.hear()
    assert isinstance(event, Failed)
    assert (event.job_id, event.reason, event.prev) == (ref.id, "cancelled: not needed", state)


async def test_a_cancelled_job_is_never_claimed(kit: Kit) -> None:
    ref = await kit.make(State.DELAYED)
    await kit.update(ref, cancel="")
    kit.tick(HOUR)

    assert await kit.claim_order() == []


async def test_a_cancelled_job_gives_its_dedup_key_back(kit: Kit) -> None:
    first = await kit.add(dedup=Dedup("key"))
    await kit.update(first, cancel="")

    second = await kit.add(dedup=Dedup("key"))

    assert second != first


@pytest.mark.parametrize("keep", [Keep(count=1), Keep(count=1, age_ms=HOUR)])
async def test_a_cancelled_job_is_kept_as_long_as_its_own_options_say(kit: Kit, keep: Keep) -> None:
    refs = [await kit.add(keep_failed=keep) for _ in range(3)]
    for ref in refs:
        await kit.update(ref, cancel="")

    assert [await kit.state(ref) for ref in refs] == [None, None, State.FAILED]


async def test_cancelling_counts_as_a_failure(kit: Kit) -> None:
    ref = await kit.add()
    await kit.update(ref, cancel="")

    assert (await kit.store.metrics(QUEUE, "failed")).total == 1


async def test_a_queue_with_dead_letters_gets_one_of_a_cancelled_job(kit: Kit) -> None:
    await kit.configure(dead_letter="letters")
    ref = await kit.add()
    await kit.update(ref, cancel="not needed")

    letter = await kit.claim("letters")

    assert '"cancelled: not needed"' in letter.record.data


# Who runs.


async def test_who_holds_the_lock_is_told_and_nobody_else(kit: Kit, renewer: Renewer) -> None:
    other = await kit.make(State.ACTIVE)
    claim = await told(kit, "not needed")

    assert await asked(renewer, kit.held[other], claim) == {ref_of(claim): "not needed"}
    assert await asked(renewer, kit.held[other]) == {}


async def test_nobody_is_told_of_nothing(kit: Kit, renewer: Renewer) -> None:
    ref = await kit.make(State.ACTIVE)

    assert await asked(renewer, kit.held[ref]) == {}
    assert await asked(renewer) == {}


async def test_jobs_of_several_queues_are_asked_for_at_once(kit: Kit, renewer: Renewer) -> None:
    one, two = await kit.make(State.ACTIVE), await kit.make(State.ACTIVE, queue=KIDS)
    await kit.update(two, cancel="")

    assert await asked(renewer, kit.held[one], kit.held[two]) == {two: ""}


@pytest.mark.parametrize("decide", NOT_COMPLETING.values(), ids=NOT_COMPLETING)
async def test_it_fails_for_good_however_its_try_ends(
    kit: Kit, decide: Callable[[Claim], Decision]
) -> None:
    claim = await told(kit)

    assert await kit.settle(decide(claim)) == "failed"

    record = await kit.record(ref_of(claim))
    assert (record.state, record.reason) == (State.FAILED, "cancelled: not needed")
    assert record.cancelled == "not needed"
    [ended] = record.tries
    assert (ended.end, ended.reason) == ("cancelled", "cancelled: not needed")
    assert await kit.claim_order() == []


@pytest.mark.parametrize("children", [0, 1])
async def test_it_fails_for_good_instead_of_waiting_for_children(kit: Kit, children: int) -> None:
    claim = await told(kit)
    for _ in range(children):
        await kit.add_group(kid(parent=ref_of(claim)))

    assert await kit.settle(await_children(claim)) == "failed"


async def test_the_same_decision_again_is_answered_as_before(kit: Kit) -> None:
    claim = await told(kit)
    await kit.settle(again(claim, HOUR))

    assert await kit.settle(again(claim, HOUR)) == "failed"
    assert len((await kit.record(ref_of(claim))).tries) == 1


async def test_who_completes_before_it_hears_of_it_has_completed(
    kit: Kit, renewer: Renewer
) -> None:
    claim = await told(kit)

    assert await kit.settle(complete(claim, '"done"')) == "completed"

    record = await kit.record(ref_of(claim))
    assert (record.state, record.result) == (State.COMPLETED, '"done"')
    assert (record.cancelled, record.deferred) == (None, None)
    assert await asked(renewer, claim) == {}


async def test_who_has_ended_is_not_asked_again(kit: Kit, renewer: Renewer) -> None:
    claim = await told(kit)
    await kit.settle(fail(claim))

    assert await asked(renewer, claim) == {}


async def test_who_is_taken_back_fails_at_its_next_claim(kit: Kit) -> None:
    first = await told(kit)
    kit.tick(LOCK + 1)
    await kit.recover(QUEUE)

    claim = await kit.claim()

    assert ref_of(claim) == ref_of(first)
    assert claim.record.deferred == "cancelled: not needed"
    assert claim.record.cancelled == "not needed"


async def test_the_failure_of_a_child_does_not_hide_the_wish(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add_group(kid(parent=parent, parent_on_fail="fail"))
    await kit.update(parent, cancel="not needed")
    await kit.run_to_failure(KIDS)

    assert await kit.settle(release(kit.held[parent])) == "failed"
    assert (await kit.record(parent)).reason == "cancelled: not needed"


# Again.


@pytest.mark.parametrize("state", [State.WAITING, State.ACTIVE])
async def test_a_retry_forgets_that_the_job_was_cancelled(
    kit: Kit, renewer: Renewer, state: State
) -> None:
    ref = await kit.make(state)
    await kit.update(ref, cancel="not needed")
    if state is State.ACTIVE:
        await kit.settle(fail(kit.held[ref]))

    await kit.retry(ref)

    claim = await kit.claim()
    assert (claim.record.cancelled, claim.record.deferred) == (None, None)
    assert await asked(renewer, claim) == {}
    assert await kit.settle(again(claim)) == "waiting"


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
async def test_who_has_finished_cannot_be_cancelled(kit: Kit, state: State) -> None:
    ref = await kit.make(state)

    with pytest.raises(WrongState, match=f"it is {state}, not waiting or running"):
        await kit.update(ref, cancel="")


async def test_nobody_can_be_cancelled_who_is_not_there(kit: Kit) -> None:
    await kit.add()

    with pytest.raises(JobNotFound):
        await kit.update(Ref(QUEUE, "nobody"), cancel="")


async def test_with_a_token_only_its_holder_can_cancel(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    with pytest.raises(LockLost):
        await kit.update(ref, cancel="", token="somebody else's")


async def test_the_next_run_of_a_schedule_cannot_be_cancelled(kit: Kit) -> None:
    rule = Rule(every_ms=HOUR)
    draft = ScheduleDraft(queue=QUEUE, id="hourly", name="x", rule=rule, next_ms=T0 + HOUR)
    armed = (await kit.store.put_schedule(draft, now=kit.now)).job_id

    with pytest.raises(ScheduleOwned, match="drop the schedule instead"):
        await kit.update(Ref(QUEUE, armed or ""), cancel="")
    assert await kit.counts() == {"delayed": 1}


async def test_one_refusal_leaves_the_others_alone(kit: Kit) -> None:
    done, waits = await kit.make(State.COMPLETED), await kit.add()
    patches = [
        JobPatch(queue=QUEUE, id=done.id, cancel=""),
        JobPatch(queue=QUEUE, id=waits.id, cancel=""),
        JobPatch(queue=QUEUE, id=done.id, progress="50"),
    ]

    answers = await kit.store.update(patches, now=kit.now)

    assert [type(answer) for answer in answers] == [WrongState, type(None), type(None)]
    assert (await kit.record(done)).progress == "50"
    assert await kit.counts() == {"completed": 1, "failed": 1}


# In a family.


async def test_a_parent_is_told_of_a_cancelled_child_as_of_any_failure(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid(parent_on_fail="fail"))

    await kit.update(child, cancel="not needed")

    claim = await kit.claim()
    assert (ref_of(claim), await tally(kit, root)) == (root, {"failed": 1})
    assert child.id in (claim.record.deferred or "")


async def test_a_parent_that_goes_on_without_it_does_so(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid(parent_on_fail="ignore"))

    await kit.update(child, cancel="not needed")

    claim = await kit.claim()
    assert (ref_of(claim), claim.record.deferred) == (root, None)


async def test_the_children_of_a_cancelled_parent_stay_and_may_end(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid(parent_on_fail="fail"))
    await kit.update(root, cancel="not needed")

    await kit.run_to_failure(KIDS)

    record = await kit.record(root)
    assert (record.state, record.reason) == (State.FAILED, "cancelled: not needed")
    assert await kit.state(child) is State.FAILED
    assert await kit.claim_order() == []


# Between stores.


async def test_who_was_cancelled_is_so_in_another_store_too(kit: Kit) -> None:
    gone = parcel(State.FAILED, reason="cancelled: not needed", cancelled="not needed")

    await ship(kit, gone)

    assert (await packed(kit, gone.ref)).record.cancelled == "not needed"
