"""finish: what is stored of an outcome, who may settle a job, and what a batch does."""

from collections.abc import Callable

import msgspec
import pytest

from tests.support.kit import (
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    await_children,
    complete,
    crash,
    fail,
    ref_of,
    release,
    snooze,
)
from toril._model.decide import Decision, End
from toril._model.record import Try
from toril._model.states import State
from toril.errors import JobNotFound, LockLost
from toril.events import Completed, Delayed, Failed, RetriesExhausted, Waiting

Decide = Callable[..., Decision]

# What is stored.


async def test_a_completed_job_has_its_result_and_time(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim(worker="w-1")
    kit.tick(40)

    assert await kit.settle(complete(claim, '{"ok":true}')) == "completed"

    record = await kit.record(ref_of(claim))
    assert (record.state, record.result) == (State.COMPLETED, '{"ok":true}')
    assert (record.started_ms, record.finished_ms, record.worker) == (T0, T0 + 40, "w-1")
    assert (record.attempts_made, record.runs, record.reason) == (1, 1, None)


async def test_none_is_a_result(kit: Kit) -> None:
    await kit.add()

    assert (await kit.record(await kit.run(result="null"))).result == "null"


async def test_a_completed_job_is_announced_with_its_result(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.hush()

    await kit.settle(complete(kit.held[ref], '{"ok":true}'))

    event = (await kit.hear())[0]
    assert event == Completed(
        id=event.id, queue=QUEUE, at_ms=T0, job_id=ref.id, result={"ok": True}, prev="active"
    )


async def test_a_failed_job_has_its_reason_and_time(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim()
    kit.tick(40)

    assert await kit.settle(fail(claim, "no such user")) == "failed"

    record = await kit.record(ref_of(claim))
    assert (record.state, record.reason, record.result) == (State.FAILED, "no such user", None)
    assert (record.finished_ms, record.attempts_made) == (T0 + 40, 1)


async def test_a_failed_job_is_announced_with_its_reason(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.hush()

    await kit.settle(fail(kit.held[ref], "no such user"))

    failed, exhausted, *_ = await kit.hear()
    assert failed == Failed(
        id=failed.id, queue=QUEUE, at_ms=T0, job_id=ref.id, reason="no such user", prev="active"
    )
    assert exhausted == RetriesExhausted(
        id=exhausted.id, queue=QUEUE, at_ms=T0, job_id=ref.id, attempts_made=1
    )


async def test_a_job_retried_later_is_delayed_from_the_time_of_the_write(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, attempts=2)
    await kit.hush()
    kit.tick(40)

    assert await kit.settle(again(kit.held[ref], 2 * SECOND)) == "delayed"

    record = await kit.record(ref)
    assert (record.state, record.attempts_made) == (State.DELAYED, 1)
    assert (record.delay_ms, record.due_ms) == (2 * SECOND, T0 + 40 + 2 * SECOND)
    assert record.reason == "boom"
    [event] = await kit.hear()
    assert event == Delayed(
        id=event.id, queue=QUEUE, at_ms=T0 + 40, job_id=ref.id, due_ms=T0 + 40 + 2 * SECOND
    )


async def test_a_job_retried_at_once_waits(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, attempts=2)
    await kit.hush()

    assert await kit.settle(again(kit.held[ref])) == "waiting"

    record = await kit.record(ref)
    assert (record.state, record.attempts_made, record.finished_ms) == (State.WAITING, 1, None)
    [event] = await kit.hear()
    assert event == Waiting(id=event.id, queue=QUEUE, at_ms=T0, job_id=ref.id, prev="active")


@pytest.mark.parametrize("decide", [again, release])
async def test_a_job_with_a_priority_goes_back_to_it(kit: Kit, decide: Decide) -> None:
    ref = await kit.make(State.ACTIVE, priority=5, attempts=2)

    assert await kit.settle(decide(kit.held[ref])) == "prioritized"

    assert await kit.state(ref) == State.PRIORITIZED


async def test_a_snooze_counts_no_attempt(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    assert await kit.settle(snooze(kit.held[ref], SECOND)) == "delayed"

    record = await kit.record(ref)
    assert (record.attempts_made, record.runs, record.due_ms) == (0, 1, T0 + SECOND)


async def test_a_crash_is_counted_as_one_and_not_as_an_attempt(kit: Kit) -> None:
    ref = await kit.add()
    for stalls in (1, 2):
        claim = await kit.claim()
        assert claim.record.stalls == stalls - 1
        decision = crash(claim, stalls)
        assert await kit.settle(decision) == "waiting"
        # Carried out once, also where the first answer was lost.
        assert await kit.settle(decision) == "waiting"

    record = await kit.record(ref)
    assert (record.stalls, record.attempts_made) == (2, 0)
    assert [(each.end, each.reason) for each in record.tries] == [("stalled", "killed")] * 2


async def test_a_release_counts_no_attempt(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    assert await kit.settle(release(kit.held[ref])) == "waiting"

    record = await kit.record(ref)
    assert (record.state, record.attempts_made, record.runs) == (State.WAITING, 0, 1)


async def test_an_unknown_name_is_counted_apart(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    await kit.settle(snooze(kit.held[ref], end=End.UNKNOWN, unknown=True))

    record = await kit.record(ref)
    assert (record.attempts_made, record.unknown) == (0, 1)


async def test_a_job_with_nothing_to_wait_for_goes_on(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.hush()

    assert await kit.settle(await_children(kit.held[ref])) == "active"

    assert await kit.state(ref) == State.ACTIVE
    assert await kit.hear() == []
    assert await kit.settle(complete(kit.held[ref])) == "completed"


async def test_a_job_that_awaits_children_counts_no_attempt(kit: Kit) -> None:
    ref = await kit.make(State.WAITING_CHILDREN)

    assert (await kit.record(ref)).attempts_made == 0


async def test_a_decision_without_the_stores_handle_is_as_good(kit: Kit) -> None:
    await kit.add()
    decision = msgspec.structs.replace(complete(await kit.claim()), handle=None)

    assert await kit.settle(decision) == "completed"


# The tries that did not complete, and their stacks.


async def test_a_failed_try_is_recorded(kit: Kit) -> None:
    await kit.add(attempts=2)
    claim = await kit.claim(worker="w-1")
    kit.tick(40)
    await kit.settle(again(claim, reason="no route"))

    assert (await kit.record(ref_of(claim))).tries == (
        Try(run=1, worker="w-1", started_ms=T0, ended_ms=T0 + 40, end="failed", reason="no route"),
    )


async def test_each_way_to_end_a_try_has_its_word(kit: Kit) -> None:
    ref = await kit.add(attempts=9)
    await kit.settle(again(await kit.claim()))
    await kit.settle(again(await kit.claim(), end=End.TIMED_OUT))
    await kit.settle(release(await kit.claim()))
    await kit.crash()
    await kit.settle(snooze(await kit.claim()))

    ends = [one.end for one in (await kit.record(ref)).tries]

    assert ends == ["failed", "timeout", "released", "stalled", "snoozed"]


async def test_the_try_that_completes_is_not_recorded(kit: Kit) -> None:
    ref = await kit.add(attempts=2)
    await kit.settle(again(await kit.claim()))
    await kit.run()

    assert [one.run for one in (await kit.record(ref)).tries] == [1]


async def test_the_last_failure_is_recorded_too(kit: Kit) -> None:
    ref = await kit.add(attempts=2)
    await kit.settle(again(await kit.claim()))
    await kit.run_to_failure(reason="for good")

    tries = (await kit.record(ref)).tries
    assert [(one.run, one.reason) for one in tries] == [(1, "boom"), (2, "for good")]


async def test_the_stacks_of_failed_tries_are_kept_newest_last(kit: Kit) -> None:
    ref = await kit.add(attempts=3)
    await kit.settle(again(await kit.claim(), stack="first"))
    await kit.settle(again(await kit.claim(), stack="second"))
    await kit.settle(fail(await kit.claim(), stack="third"))

    assert (await kit.record(ref)).stack == ("first", "second", "third")


async def test_only_so_many_stacks_are_kept(kit: Kit) -> None:
    ref = await kit.add(attempts=3, keep_stack=2)
    await kit.settle(again(await kit.claim(), stack="first"))
    await kit.settle(again(await kit.claim(), stack="second"))
    await kit.settle(fail(await kit.claim(), stack="third"))

    assert (await kit.record(ref)).stack == ("second", "third")


async def test_stacks_are_bounded_by_default(kit: Kit) -> None:
    ref = await kit.add(attempts=500)
    stacks = [f"{number} " + "x" * 60_000 for number in range(6)]
    for stack in stacks:
        await kit.settle(again(await kit.claim(), stack=stack))
    assert (await kit.record(ref)).stack == tuple(stacks[-4:])

    for number in range(102):
        await kit.settle(again(await kit.claim(), stack=f"{number}"))
    assert (await kit.record(ref)).stack == tuple(f"{number}" for number in range(2, 102))


async def test_the_newest_stack_is_kept_whatever_its_size(kit: Kit) -> None:
    ref = await kit.add(attempts=5)
    await kit.settle(again(await kit.claim(), stack="first"))
    await kit.settle(again(await kit.claim(), stack="x" * 300_000))

    assert (await kit.record(ref)).stack == ("x" * 300_000,)


async def test_no_stack_is_kept_when_none_is_wanted(kit: Kit) -> None:
    ref = await kit.add(keep_stack=0)
    await kit.settle(fail(await kit.claim(), stack="first"))

    assert (await kit.record(ref)).stack == ()


async def test_a_completed_job_still_tells_of_its_failed_tries(kit: Kit) -> None:
    ref = await kit.add(attempts=2)
    await kit.settle(again(await kit.claim(), stack="first"))
    await kit.run()

    record = await kit.record(ref)
    assert (record.state, record.stack, record.attempts_made) == (State.COMPLETED, ("first",), 2)


# Who may settle a job.


@pytest.mark.parametrize("decide", [complete, fail, again, snooze, release, await_children])
async def test_a_wrong_token_changes_nothing(kit: Kit, decide: Decide) -> None:
    ref = await kit.make(State.ACTIVE)
    before = await kit.record(ref)
    await kit.hush()

    with pytest.raises(LockLost):
        await kit.settle(decide(kit.held[ref], token="somebody else's"))

    assert await kit.record(ref) == before
    assert await kit.hear() == []


async def test_who_was_recovered_from_cannot_settle(kit: Kit) -> None:
    await kit.add()
    late = await kit.crash()

    with pytest.raises(LockLost):
        await kit.settle(complete(late))


async def test_the_new_owners_result_stands(kit: Kit) -> None:
    ref = await kit.add()
    late = await kit.crash()
    owner = await kit.claim()

    with pytest.raises(LockLost):
        await kit.settle(complete(late, '"late"'))
    await kit.settle(complete(owner, '"mine"'))

    assert (await kit.record(ref)).result == '"mine"'


async def test_an_earlier_run_cannot_settle_under_the_same_token(kit: Kit) -> None:
    """A worker may use one token for many claims: the lock is that of the run."""
    await kit.add(attempts=2)
    first = await kit.claim(token="mine")
    await kit.settle(again(first))
    await kit.claim(token="yours")

    with pytest.raises(LockLost):
        await kit.settle(complete(first))


async def test_a_job_that_never_was_is_not_found(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim()
    nowhere = msgspec.structs.replace(complete(claim), id="nowhere", handle=None)

    with pytest.raises(JobNotFound):
        await kit.settle(nowhere)


# A decision that was carried out already is answered as before.


@pytest.mark.parametrize(
    ("decide", "word"),
    [(complete, "completed"), (fail, "failed"), (again, "waiting"), (snooze, "delayed")],
)
async def test_a_repeated_decision_is_answered_as_before(
    kit: Kit, decide: Decide, word: str
) -> None:
    ref = await kit.make(State.ACTIVE, attempts=3)
    decision = decide(kit.held[ref])
    await kit.settle(decision)
    before = await kit.record(ref)
    await kit.hush()

    assert await kit.settle(decision) == word

    assert await kit.record(ref) == before
    assert await kit.hear() == []


async def test_a_decision_that_stands_twice_in_a_call_is_carried_out_once(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    decision = complete(kit.held[ref])

    assert (await kit.finish(decision, decision)).words == ("completed", "completed")

    assert (await kit.record(ref)).attempts_made == 1
    assert (await kit.told_of(ref)).count("completed") == 1


@pytest.mark.parametrize("first", [complete, fail, again, snooze, release])
async def test_a_second_decision_in_the_same_call_has_lost_the_lock(
    kit: Kit, first: Decide
) -> None:
    ref = await kit.make(State.ACTIVE, attempts=3)
    claim = kit.held[ref]
    other = complete if first is fail else fail

    word, refusal = (await kit.finish(first(claim), other(claim))).words

    assert isinstance(word, str)
    assert isinstance(refusal, LockLost)
    assert await kit.state(ref) == State(word)


# Batches.


async def test_one_lost_lock_does_not_refuse_its_neighbours(kit: Kit) -> None:
    await kit.add_many(3)
    one, two, three = (await kit.ask(3)).jobs

    words = (await kit.finish(complete(one), fail(two, token="stale"), fail(three))).words

    assert (words[0], words[2]) == ("completed", "failed")
    assert isinstance(words[1], LockLost)
    assert await kit.counts() == {"completed": 1, "active": 1, "failed": 1}


async def test_one_call_may_do_a_bit_of_everything(kit: Kit) -> None:
    await kit.add_many(5, attempts=2)
    a, b, c, d, e = (await kit.ask(5)).jobs

    done = await kit.finish(complete(a), fail(b), again(c), again(d, SECOND), release(e))

    assert done.words == ("completed", "failed", "waiting", "delayed", "waiting")
    assert await kit.claim_order() == [e.record.id, c.record.id]


async def test_jobs_of_several_queues_are_settled_in_one_call(kit: Kit) -> None:
    await kit.add(queue="a")
    await kit.add(queue="b")

    done = await kit.finish(complete(await kit.claim("a")), complete(await kit.claim("b")))

    assert done.words == ("completed", "completed")
    assert await kit.counts("a") == {"completed": 1}
    assert await kit.counts("b") == {"completed": 1}


async def test_a_batch_of_250_is_settled(kit: Kit) -> None:
    await kit.add_many(250)
    claims = (await kit.ask(250)).jobs

    done = await kit.finish(*[complete(claim) for claim in claims])

    assert done.words == ("completed",) * 250
    assert await kit.counts() == {"completed": 250}


async def test_nothing_to_settle_is_fine(kit: Kit) -> None:
    assert (await kit.finish()).words == ()


# Settling and claiming in one call.


async def test_the_next_job_is_claimed_in_the_same_call(kit: Kit) -> None:
    _, second = await kit.add_many(2)

    done = await kit.finish(complete(await kit.claim()), then=[kit.wanted(token="next")])

    [answer] = done.claimed
    assert [ref_of(claim) for claim in answer.jobs] == [second]
    assert answer.jobs[0].token == "next"
    assert await kit.counts() == {"completed": 1, "active": 1}


async def test_what_was_released_may_be_claimed_in_the_same_call(kit: Kit) -> None:
    ref = await kit.add()

    done = await kit.finish(release(await kit.claim()), then=[kit.wanted()])

    assert [ref_of(claim) for claim in done.claimed[0].jobs] == [ref]


async def test_room_made_by_finishing_is_used_in_the_same_call(kit: Kit) -> None:
    await kit.configure(concurrency=1)
    await kit.add_many(2)

    done = await kit.finish(complete(await kit.claim()), then=[kit.wanted()])

    assert len(done.claimed[0].jobs) == 1


async def test_a_refused_decision_does_not_refuse_the_claim(kit: Kit) -> None:
    await kit.add_many(2)

    done = await kit.finish(complete(await kit.claim(), token="stale"), then=[kit.wanted()])

    assert isinstance(done.words[0], LockLost)
    assert len(done.claimed[0].jobs) == 1


async def test_each_request_of_the_call_has_its_answer(kit: Kit) -> None:
    await kit.add(queue="a")
    await kit.add(queue="b")
    wanted = [kit.wanted(queue="b"), kit.wanted(queue="a")]

    done = await kit.finish(complete(await kit.claim("a")), then=wanted)

    assert [(one.queue, len(one.jobs)) for one in done.claimed] == [("b", 1), ("a", 0)]
