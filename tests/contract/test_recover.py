"""recover: jobs of workers that are gone come back, are counted, and fail when it is too much."""

from collections.abc import Callable

import pytest

from tests.support.kit import (
    KIDS,
    LOCK,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    complete,
    fail,
    ids,
    new,
    ref_of,
    release,
    snooze,
)
from toril._model.decide import Decision
from toril._model.options import Dedup
from toril._model.record import Claim, Try
from toril._model.states import State
from toril._store.values import Recovered
from toril.errors import LockLost
from toril.events import Stalled, Waiting


async def test_a_job_whose_lock_ran_out_is_taken_back(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    kit.tick(LOCK + 1)

    assert await kit.store.recover([QUEUE], now=kit.now) == [
        Recovered(queue=QUEUE, id=ref.id, stalls=1)
    ]

    record = await kit.record(ref)
    assert (record.state, record.stalls, record.attempts_made) == (State.WAITING, 1, 0)


async def test_a_job_whose_lock_holds_is_left_alone(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    kit.tick(LOCK - 1)

    assert await kit.recover(QUEUE) == []
    assert await kit.state(ref) == State.ACTIVE


async def test_it_waits_then_is_said_to_have_stalled(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.hush()
    kit.tick(LOCK + 1)
    await kit.recover(QUEUE)

    waiting, stalled = await kit.hear()
    assert waiting == Waiting(
        id=waiting.id, queue=QUEUE, at_ms=kit.now, job_id=ref.id, prev="active"
    )
    assert stalled == Stalled(id=stalled.id, queue=QUEUE, at_ms=kit.now, job_id=ref.id)


async def test_it_is_next(kit: Kit) -> None:
    first, second = await kit.add_many(2)
    await kit.crash()

    assert await kit.claim_order() == ids([first, second])


async def test_a_prioritized_job_is_next_and_keeps_its_priority(kit: Kit) -> None:
    slow = await kit.make(State.ACTIVE, priority=9)
    kit.tick(LOCK + 1)
    urgent = await kit.add(priority=1)
    await kit.recover(QUEUE)

    assert (await kit.record(slow)).priority == 9
    assert await kit.claim_order() == ids([slow, urgent])


async def test_the_try_that_was_lost_is_recorded(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim(worker="w-1")
    kit.tick(LOCK + 1)
    await kit.recover(QUEUE)

    [lost] = (await kit.record(ref_of(claim))).tries
    assert lost == Try(
        run=1,
        worker="w-1",
        started_ms=T0,
        ended_ms=T0 + LOCK + 1,
        end="stalled",
        reason=lost.reason,
    )


async def test_the_late_owner_has_lost_it(kit: Kit) -> None:
    await kit.add()
    late = await kit.crash()

    with pytest.raises(LockLost):
        await kit.settle(complete(late))
    with pytest.raises(LockLost):
        await kit.update(ref_of(late), progress="50", token=late.token)


async def test_the_next_run_is_counted_the_attempt_is_the_same(kit: Kit) -> None:
    await kit.add()
    await kit.crash()

    record = (await kit.claim()).record
    assert (record.runs, record.attempt, record.stalls) == (2, 1, 1)


async def test_every_job_that_was_left_behind_is_taken_back_once(kit: Kit) -> None:
    await kit.add_many(3)
    await kit.ask(3)
    kit.tick(LOCK + 1)

    assert sorted(await kit.recover(QUEUE)) == ["1", "2", "3"]
    assert await kit.recover(QUEUE) == []


async def test_only_the_queues_that_were_named_are_looked_at(kit: Kit) -> None:
    for queue in ("a", "b"):
        await kit.make(State.ACTIVE, queue=queue)
    kit.tick(LOCK + 1)

    assert [one.queue for one in await kit.store.recover(["b"], now=kit.now)] == ["b"]


async def test_no_names_mean_every_queue(kit: Kit) -> None:
    for queue in ("a", "b"):
        await kit.make(State.ACTIVE, queue=queue)
    kit.tick(LOCK + 1)

    taken = await kit.store.recover([], now=kit.now)

    assert sorted(one.queue for one in taken) == ["a", "b"]


async def test_a_job_in_a_paused_queue_is_taken_back_and_waits(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.pause()
    kit.tick(LOCK + 1)

    assert await kit.recover(QUEUE) == [ref.id]
    assert (await kit.ask()).jobs == ()


# Too often.


async def test_without_mercy_the_first_stall_is_fatal(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    kit.tick(LOCK + 1)

    taken = await kit.store.recover([QUEUE], max_stalls=0, now=kit.now)

    assert taken == [Recovered(queue=QUEUE, id=ref.id, stalls=1, fatal=True)]


async def test_the_next_claim_is_told_to_fail_it(kit: Kit) -> None:
    await kit.add()
    await kit.crash(max_stalls=0)

    claim = await kit.claim()

    assert "stalled more than allowable limit" in (claim.record.deferred or "")


async def test_it_is_then_failed_as_any_other(kit: Kit) -> None:
    await kit.add()
    await kit.crash(max_stalls=0)
    claim = await kit.claim()
    await kit.settle(fail(claim, claim.record.deferred or ""))

    record = await kit.record(ref_of(claim))
    assert (record.state, record.stalls, record.deferred) == (State.FAILED, 1, None)
    assert "stalled more than allowable limit" in (record.reason or "")


async def test_a_few_stalls_are_forgiven(kit: Kit) -> None:
    await kit.add()
    for _ in range(2):
        await kit.crash(max_stalls=3)

    record = (await kit.claim()).record
    assert (record.stalls, record.deferred) == (2, None)


async def test_a_job_held_to_run_alone_is_not_charged_before_it_begins(kit: Kit) -> None:
    await kit.add()
    for _ in range(4):
        await kit.crash(max_stalls=3)

    record = (await kit.claim()).record
    assert (record.stalls, record.runs, record.deferred) == (2, 5, None)


async def test_a_bystander_is_forgiven_as_often_as_it_takes(kit: Kit) -> None:
    """Another job of the same worker may have crashed it: only who ran alone is to blame."""
    await kit.add()
    for _ in range(5):
        await kit.crash(max_stalls=1)

    assert (await kit.claim()).record.deferred is None


async def test_who_crashed_alone_over_the_limit_is_to_blame(kit: Kit) -> None:
    await kit.add()
    await kit.crash(max_stalls=1)
    claim = await kit.claim()
    await kit.update(ref_of(claim), alone=True, token=claim.token)
    kit.tick(LOCK + 1)

    taken = await kit.store.recover([QUEUE], max_stalls=1, now=kit.now)

    assert [(one.stalls, one.fatal) for one in taken] == [(2, True)]


async def test_who_crashed_alone_within_the_limit_is_forgiven(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim()
    await kit.update(ref_of(claim), alone=True, token=claim.token)
    kit.tick(LOCK + 1)

    taken = await kit.store.recover([QUEUE], max_stalls=1, now=kit.now)

    assert [one.fatal for one in taken] == [False]


@pytest.mark.parametrize("end", [again, snooze, release, lambda claim: again(claim, SECOND)])
async def test_who_ran_alone_once_is_not_to_blame_for_a_later_run_beside_others(
    kit: Kit, end: Callable[[Claim], Decision]
) -> None:
    await kit.add(attempts=5)
    for _ in range(2):
        await kit.crash()
    claim = await kit.claim()
    await kit.update(ref_of(claim), alone=True, token=claim.token)
    await kit.settle(end(claim))
    kit.tick(SECOND)

    late = await kit.crash()

    assert (await kit.record(ref_of(late))).stalls == 2


async def test_of_many_that_crash_together_again_and_again_only_who_ran_alone_fails(
    kit: Kit,
) -> None:
    """As a worker does it that dies of one of them: the first to be tried alone is another."""
    refs = await kit.add_many(3)
    for _ in range(2):
        await kit.ask(3)
        kit.tick(LOCK + 1)
        await kit.recover(QUEUE)
    for _ in range(2):
        jobs = {claim.record.id: claim for claim in (await kit.ask(3)).jobs}
        await kit.update(refs[1], alone=True, token=jobs[refs[1].id].token)
        kit.tick(LOCK + 1)
        await kit.recover(QUEUE)

    found = {claim.record.id: claim.record for claim in (await kit.ask(3)).jobs}
    assert {id: record.stalls for id, record in found.items()} == {"1": 2, "2": 4, "3": 2}
    assert [id for id, record in found.items() if record.deferred] == ["2"]


async def test_a_child_that_was_taken_back_still_holds_its_parent(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), new(queue=KIDS))
    await kit.crash(KIDS)

    assert await kit.state(root) == State.WAITING_CHILDREN


async def test_attempts_and_stalls_are_counted_apart(kit: Kit) -> None:
    await kit.add(attempts=3)
    await kit.crash()

    record = await kit.record(await kit.run())

    assert (record.attempts_made, record.stalls, record.runs) == (1, 1, 2)


# A worker that is known to have died.

HOW = "worker w-1 was killed by SIGKILL"


async def test_the_jobs_of_a_dead_worker_are_taken_back_though_their_locks_stand(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim(worker="w-1")

    taken = await kit.store.recover([QUEUE], dead={"w-1": HOW}, now=kit.now)

    assert taken == [Recovered(queue=QUEUE, id=claim.record.id, stalls=1)]
    assert await kit.state(ref_of(claim)) == State.WAITING


async def test_the_jobs_of_other_workers_are_left_alone(kit: Kit) -> None:
    await kit.add_many(2)
    dead, other = await kit.claim(worker="w-1"), await kit.claim(worker="w-2")

    taken = await kit.store.recover([QUEUE], dead={"w-1": HOW}, now=kit.now)

    assert [one.id for one in taken] == [dead.record.id]
    assert await kit.settle(complete(other)) == "completed"


async def test_the_lock_of_a_dead_worker_holds_nobody_off(kit: Kit) -> None:
    await kit.add()
    late = await kit.claim(worker="w-1")
    await kit.store.recover([QUEUE], dead={"w-1": HOW}, now=kit.now)
    again = await kit.claim(worker="w-2")

    with pytest.raises(LockLost):
        await kit.settle(complete(late))
    assert await kit.settle(complete(again)) == "completed"


async def test_how_a_worker_died_is_the_reason_of_the_try_that_was_lost(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim(worker="w-1")
    await kit.store.recover([QUEUE], dead={"w-1": HOW}, now=kit.now)

    [lost] = (await kit.record(ref_of(claim))).tries
    assert (lost.end, lost.worker, lost.reason) == ("stalled", "w-1", HOW)


async def test_how_a_worker_died_stands_in_the_final_failure(kit: Kit) -> None:
    await kit.add()
    await kit.claim(worker="w-1")
    await kit.store.recover([QUEUE], max_stalls=0, dead={"w-1": HOW}, now=kit.now)

    claim = await kit.claim()
    assert claim.record.deferred == f"job stalled more than allowable limit: {HOW}"


async def test_of_a_worker_that_let_its_lock_lapse_that_is_said(kit: Kit) -> None:
    await kit.add()
    claim = await kit.claim(worker="w-1")
    kit.tick(LOCK + 1)
    await kit.recover(QUEUE)

    [lost] = (await kit.record(ref_of(claim))).tries
    assert lost.reason == "worker w-1 was not heard of: it died, or stood still"


# Jobs that must not run twice.


async def test_a_job_that_fails_on_a_crash_is_to_fail_at_its_first(kit: Kit) -> None:
    await kit.add(on_crash="fail")
    await kit.claim(worker="w-1")

    taken = await kit.store.recover([QUEUE], dead={"w-1": HOW}, now=kit.now)

    assert [(one.stalls, one.fatal) for one in taken] == [(1, True)]
    assert HOW in ((await kit.claim()).record.deferred or "")


async def test_a_job_that_fails_on_a_crash_does_so_when_its_lock_ran_out(kit: Kit) -> None:
    await kit.add(on_crash="fail")
    await kit.crash()

    assert (await kit.claim()).record.deferred is not None


async def test_options_in_a_jobs_data_are_not_taken_for_its_own(kit: Kit) -> None:
    await kit.add(dedup=Dedup('"on_crash":"fail"'), data='{"on_crash":"fail"}')
    await kit.crash()

    assert (await kit.claim()).record.deferred is None
