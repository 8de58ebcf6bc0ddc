"""claim: which job comes next, under which lock, and when none does."""

from tests.support.kit import (
    HOUR,
    LOCK,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    complete,
    ids,
    ref_of,
    release,
    snooze,
)
from toril._model.states import State
from toril._store.values import Claimed, ClaimRequest
from toril.events import Active, Waiting

# The lock.


async def test_a_claimed_job_is_active_under_a_token(kit: Kit) -> None:
    await kit.add("welcome", data="1")

    claim = await kit.claim(token="mine", lock_ms=LOCK, worker="w-1")

    assert claim.token == "mine"
    assert claim.lock_until == T0 + LOCK
    assert claim.record.state == State.ACTIVE
    assert (claim.record.name, claim.record.data) == ("welcome", "1")
    assert (claim.record.worker, claim.record.started_ms) == ("w-1", T0)
    assert (claim.record.runs, claim.record.attempts_made, claim.record.attempt) == (1, 0, 1)


async def test_what_was_claimed_is_what_is_stored(kit: Kit) -> None:
    ref = await kit.add()

    claim = await kit.claim(worker="w-1")

    assert await kit.record(ref) == claim.record


async def test_a_claim_is_announced(kit: Kit) -> None:
    ref = await kit.add(priority=3)
    await kit.hush()

    await kit.claim()

    [event] = await kit.hear()
    assert event == Active(id=event.id, queue=QUEUE, at_ms=T0, job_id=ref.id, prev="waiting")


async def test_a_claimed_job_is_not_claimed_again(kit: Kit) -> None:
    await kit.make(State.ACTIVE)

    assert (await kit.ask()).jobs == ()


async def test_the_jobs_of_one_call_share_its_token(kit: Kit) -> None:
    await kit.add_many(3)

    answer = await kit.ask(3, token="mine")

    assert [claim.token for claim in answer.jobs] == ["mine"] * 3


async def test_the_answer_tells_the_time(kit: Kit) -> None:
    assert (await kit.ask()).now_ms == T0


async def test_an_unknown_queue_has_nothing(kit: Kit) -> None:
    assert await kit.ask(queue="nowhere") == Claimed(queue="nowhere", now_ms=T0)
    assert await kit.store.queues() == []


# The order.


async def test_first_in_first_out(kit: Kit) -> None:
    refs = await kit.add_many(4)

    assert await kit.claim_order() == ids(refs)


async def test_a_batch_comes_in_the_same_order(kit: Kit) -> None:
    refs = await kit.add_many(5)

    first, second = await kit.ask(3), await kit.ask(3)

    assert [claim.record.id for claim in first.jobs] == ids(refs[:3])
    assert [claim.record.id for claim in second.jobs] == ids(refs[3:])


async def test_lifo_jobs_come_first_and_the_newest_of_them_first(kit: Kit) -> None:
    plain = await kit.add()
    older = await kit.add(lifo=True)
    newer = await kit.add(lifo=True)
    last = await kit.add()

    assert await kit.claim_order() == ids([newer, older, plain, last])


async def test_no_priority_is_first_then_one_then_upwards_and_ties_are_fifo(kit: Kit) -> None:
    await kit.pause()
    a, b, c, d, e = [await kit.add(priority=number) for number in (5, 1, 0, 3, 1)]
    await kit.resume()

    assert await kit.claim_order() == ids([c, b, e, d, a])


async def test_a_batch_runs_over_from_waiting_to_prioritized(kit: Kit) -> None:
    second = await kit.add(priority=1)
    first = await kit.add()

    answer = await kit.ask(2)

    assert [ref_of(claim) for claim in answer.jobs] == [first, second]


async def test_a_released_job_is_next(kit: Kit) -> None:
    one, two = await kit.add_many(2)

    await kit.settle(release(await kit.claim()))

    assert await kit.claim_order() == ids([one, two])


async def test_a_released_job_is_next_of_its_priority(kit: Kit) -> None:
    one, two = await kit.add_many(2, priority=5)
    urgent = await kit.add(priority=1)
    await kit.settle(complete(await kit.claim()))

    await kit.settle(release(await kit.claim()))

    assert await kit.claim_order() == ids([one, two])
    assert await kit.state(urgent) == State.COMPLETED


async def test_a_job_retried_at_once_goes_to_the_end(kit: Kit) -> None:
    one, two = await kit.add_many(2)

    await kit.settle(again(await kit.claim()))

    assert await kit.claim_order() == ids([two, one])


async def test_a_lifo_job_retried_at_once_is_next(kit: Kit) -> None:
    plain = await kit.add()
    lifo = await kit.add(lifo=True)

    await kit.settle(again(await kit.claim()))

    assert await kit.claim_order() == ids([lifo, plain])


async def test_a_job_retried_at_once_goes_to_the_end_of_its_priority(kit: Kit) -> None:
    one, two = await kit.add_many(2, priority=5)
    later = await kit.add(priority=6)

    await kit.settle(again(await kit.claim()))

    assert await kit.claim_order() == ids([two, one, later])


# Delayed jobs.


async def test_a_delayed_job_is_left_alone_until_it_is_due(kit: Kit) -> None:
    await kit.add(delay_ms=SECOND)
    kit.tick(SECOND - 1)

    answer = await kit.ask()

    assert answer.jobs == ()
    assert answer.next_ms == T0 + SECOND


async def test_a_delayed_job_is_claimed_when_it_is_due(kit: Kit) -> None:
    ref = await kit.add(delay_ms=SECOND)
    kit.tick(SECOND)

    claim = await kit.claim()

    assert ref_of(claim) == ref
    assert (claim.record.delay_ms, claim.record.due_ms) == (0, None)


async def test_a_due_job_waits_then_runs(kit: Kit) -> None:
    ref = await kit.add(delay_ms=SECOND)
    await kit.hush()
    kit.tick(SECOND)

    await kit.claim()

    waiting, active = await kit.hear()
    assert waiting == Waiting(
        id=waiting.id, queue=QUEUE, at_ms=kit.now, job_id=ref.id, prev="delayed"
    )
    assert active.kind == "active"


async def test_delayed_jobs_come_in_the_order_in_which_they_are_due(kit: Kit) -> None:
    late, soon, tie_one, tie_two = [await kit.add(delay_ms=delay) for delay in (300, 100, 200, 200)]
    kit.tick(SECOND)

    assert await kit.claim_order() == ids([soon, tie_one, tie_two, late])


async def test_a_due_job_stands_behind_those_that_wait(kit: Kit) -> None:
    due = await kit.add(delay_ms=SECOND)
    waiting = await kit.add()
    kit.tick(SECOND)

    assert await kit.claim_order() == ids([waiting, due])


async def test_a_due_lifo_job_stands_behind_those_that_wait(kit: Kit) -> None:
    due = await kit.add(delay_ms=SECOND, lifo=True)
    waiting = await kit.add()
    kit.tick(SECOND)

    assert await kit.claim_order() == ids([waiting, due])


async def test_a_due_job_takes_its_place_by_priority(kit: Kit) -> None:
    due = await kit.add(delay_ms=SECOND, priority=2)
    before, after = [await kit.add(priority=number) for number in (1, 3)]
    kit.tick(SECOND)

    assert await kit.claim_order() == ids([before, due, after])


async def test_what_is_due_is_ready_even_in_a_paused_queue(kit: Kit) -> None:
    ref = await kit.add(delay_ms=SECOND)
    await kit.pause()
    kit.tick(SECOND)

    assert (await kit.ask()).jobs == ()

    assert await kit.state(ref) == State.WAITING


async def test_the_next_due_time_is_that_of_the_soonest(kit: Kit) -> None:
    await kit.add(delay_ms=HOUR)
    await kit.add(delay_ms=SECOND)

    assert (await kit.ask()).next_ms == T0 + SECOND


async def test_a_snoozed_job_comes_back(kit: Kit) -> None:
    ref = await kit.add()
    await kit.settle(snooze(await kit.claim(), SECOND))
    kit.tick(SECOND)

    assert await kit.claim_order() == [ref.id]


# Names that are not wanted now.


async def test_skipped_names_are_passed_over_and_keep_their_place(kit: Kit) -> None:
    big = await kit.add("big")
    small = await kit.add("small")

    assert ref_of(await kit.claim(skip=frozenset({"big"}))) == small
    assert ref_of(await kit.claim()) == big


async def test_skipped_names_are_passed_over_among_prioritized_jobs(kit: Kit) -> None:
    await kit.add("big", priority=1)
    small = await kit.add("small", priority=2)

    assert ref_of(await kit.claim(skip=frozenset({"big"}))) == small


async def test_at_most_64_jobs_are_looked_at(kit: Kit) -> None:
    await kit.add_many(64, "big")
    await kit.add("small")

    assert (await kit.ask(skip=frozenset({"big"}))).jobs == ()


async def test_the_64th_job_is_still_looked_at(kit: Kit) -> None:
    await kit.add_many(63, "big")
    small = await kit.add("small")

    assert ref_of(await kit.claim(skip=frozenset({"big"}))) == small


async def test_skipping_takes_as_many_as_are_allowed(kit: Kit) -> None:
    for name in ("big", "small", "big", "small"):
        await kit.add(name)

    answer = await kit.ask(10, skip=frozenset({"big"}))

    assert [claim.record.name for claim in answer.jobs] == ["small", "small"]


# A paused queue, and one with a concurrency.


async def test_a_paused_queue_gives_nothing(kit: Kit) -> None:
    ref = await kit.add()
    await kit.pause()

    answer = await kit.ask()

    assert (answer.jobs, answer.blocked) == ((), "paused")
    assert await kit.state(ref) == State.WAITING


async def test_a_resumed_queue_goes_on(kit: Kit) -> None:
    ref = await kit.add()
    await kit.pause()
    await kit.resume()

    assert ref_of(await kit.claim()) == ref


async def test_pausing_leaves_an_active_job_alone(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim()
    await kit.pause()

    assert await kit.settle(complete(claim)) == "completed"


async def test_concurrency_counts_the_active_jobs_of_all_workers(kit: Kit) -> None:
    await kit.configure(concurrency=3)
    await kit.add_many(5)

    one, two = await kit.ask(2), await kit.ask(2)
    three = await kit.ask(2)

    assert [len(answer.jobs) for answer in (one, two, three)] == [2, 1, 0]
    assert three.blocked == "concurrency"


async def test_a_finished_job_makes_room(kit: Kit) -> None:
    await kit.configure(concurrency=1)
    await kit.add_many(2)
    await kit.settle(complete(await kit.claim()))

    assert (await kit.claim()).record.id == "2"


async def test_without_concurrency_there_is_no_bound(kit: Kit) -> None:
    await kit.configure(concurrency=1)
    await kit.add_many(3)
    await kit.configure(concurrency=None)

    assert len((await kit.ask(3)).jobs) == 3


# Several requests in one call.


async def test_each_request_has_its_own_answer(kit: Kit) -> None:
    await kit.add(queue="a")
    await kit.add(queue="c")
    requests = [ClaimRequest(queue=name, limit=5, token="mine") for name in ("a", "b", "c")]

    answers = await kit.store.claim(requests, now=kit.now)

    assert [(answer.queue, len(answer.jobs)) for answer in answers] == [
        ("a", 1),
        ("b", 0),
        ("c", 1),
    ]


async def test_a_paused_queue_does_not_hold_up_another(kit: Kit) -> None:
    for queue in ("a", "b"):
        await kit.add(queue=queue)
    await kit.pause("a")
    requests = [ClaimRequest(queue=name, limit=1, token="mine") for name in ("a", "b")]

    first, second = await kit.store.claim(requests, now=kit.now)

    assert (len(first.jobs), len(second.jobs)) == (0, 1)


async def test_a_batch_of_250_is_claimed(kit: Kit) -> None:
    refs = await kit.add_many(250)

    answer = await kit.ask(250)

    assert [ref_of(claim) for claim in answer.jobs] == refs
    assert await kit.counts() == {"active": 250}


# A second try.


async def test_the_second_try_has_its_number(kit: Kit) -> None:
    await kit.add(attempts=2)
    await kit.settle(again(await kit.claim()))
    kit.tick(SECOND)

    claim = await kit.claim(worker="w-2")

    assert (claim.record.runs, claim.record.attempts_made, claim.record.attempt) == (2, 1, 2)
    assert (claim.record.worker, claim.record.started_ms) == ("w-2", T0 + SECOND)
