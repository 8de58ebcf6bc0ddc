"""Jobs whose deadline, or time to start, passes while nobody claims them."""

from typing import Any

import pytest

from tests.contract.family import kid, tally
from tests.support.kit import (
    KIDS,
    LOCK,
    QUEUE,
    SECOND,
    Kit,
    again,
    await_children,
    complete,
    new,
    snooze,
)
from tests.support.shipping import let_move, packed, parcel, ship
from toril._model.options import Dedup, JobOptions, Keep
from toril._model.record import Ref
from toril._model.states import State
from toril.events import Failed

LIMIT = 10 * SECOND
DEADLINE = "deadline of 10 s passed"
WAITS = (State.WAITING, State.PRIORITIZED, State.DELAYED, State.WAITING_CHILDREN)


async def over(kit: Kit, *queues: str) -> None:
    """Let the time of everything pass, and let somebody look."""
    kit.tick(LIMIT)
    assert await kit.recover(*(queues or (QUEUE,))) == []


async def ended(kit: Kit, ref: Ref) -> tuple[State, str | None, str | None]:
    record = await kit.record(ref)
    return record.state, record.reason, record.end


# What becomes of them.


async def test_a_wish_to_cancel_comes_before_a_limit_that_has_passed(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, deadline_ms=LOCK + LIMIT)
    await kit.update(ref, cancel="not needed")
    kit.tick(LOCK + 1)
    await kit.recover(QUEUE)
    assert await kit.state(ref) == State.WAITING
    before = await kit.record(ref)

    kit.tick(LIMIT)
    await kit.recover(QUEUE)

    assert await ended(kit, ref) == (State.FAILED, "cancelled: not needed", "cancelled")
    assert (await kit.record(ref)).runs == before.runs


@pytest.mark.parametrize("state", WAITS)
async def test_a_deadline_ends_a_job_wherever_it_waits(kit: Kit, state: State) -> None:
    ref = await kit.make(state, deadline_ms=LIMIT)
    await kit.hush()
    kit.tick(LIMIT - 1)
    await kit.recover(QUEUE)
    assert await kit.state(ref) == state

    kit.tick(1)
    await kit.recover(QUEUE)

    assert await ended(kit, ref) == (State.FAILED, DEADLINE, "deadline")
    [event] = [each for each in await kit.hear() if isinstance(each, Failed)]
    assert (event.job_id, event.reason, event.prev) == (ref.id, DEADLINE, state)
    assert await kit.counts() == {"failed": 1}


@pytest.mark.parametrize("paused", [False, True])
async def test_a_job_that_is_not_started_in_time_expires(kit: Kit, paused: bool) -> None:
    ref = await kit.add(expires_ms=LIMIT)
    if paused:
        await kit.pause()
    await over(kit)

    reason = "expired: not started within 10 s"
    assert await ended(kit, ref) == (State.FAILED, reason, "expired")
    assert (await kit.record(ref)).attempts_made == 0
    if paused:
        await kit.resume()
    assert (await kit.ask()).jobs == ()


async def test_a_job_that_has_started_does_not_expire_afterwards(kit: Kit) -> None:
    ref = await kit.add(expires_ms=LIMIT, deadline_ms=3 * LIMIT)
    await kit.settle(snooze(await kit.claim(), 2 * LIMIT))
    await over(kit)
    assert await kit.state(ref) == State.DELAYED

    await over(kit)
    await over(kit)
    assert (await kit.record(ref)).end == "deadline"


async def test_a_job_that_runs_is_its_workers(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, deadline_ms=LIMIT)
    await over(kit)
    assert await kit.state(ref) == State.ACTIVE

    await kit.settle(again(kit.held[ref], 30 * SECOND))
    kit.tick(5 * SECOND)
    await kit.recover(QUEUE)
    assert (await kit.record(ref)).end == "deadline"


async def test_the_reason_and_the_tries_of_earlier_starts_stay(kit: Kit) -> None:
    ref = await kit.add(deadline_ms=LIMIT, attempts=3)
    await kit.settle(again(await kit.claim(), 2 * LIMIT))
    await over(kit)

    record = await kit.record(ref)
    assert [(each.run, each.end) for each in record.tries] == [(1, "failed"), (2, "deadline")]
    assert (record.attempts_made, record.worker) == (1, None)


async def test_a_job_without_limits_waits_for_ever(kit: Kit) -> None:
    ref = await kit.add(timeout_ms=1)
    kit.tick(1_000 * LIMIT)
    await kit.recover(QUEUE)

    assert await kit.state(ref) == State.WAITING


# Parents.


async def test_a_parent_whose_deadline_passes_leaves_its_children_as_they_are(kit: Kit) -> None:
    root, child = await kit.add_flow(new(deadline_ms=LIMIT), kid())
    await over(kit)

    assert await ended(kit, root) == (State.FAILED, DEADLINE, "deadline")
    assert await kit.state(child) == State.WAITING
    await kit.run(KIDS)
    assert await tally(kit, root) == {"completed": 1}
    assert await kit.state(root) == State.FAILED


@pytest.mark.parametrize(
    ("policy", "state"), [("fail", "fails"), ("ignore", "runs"), ("wait", "blocked")]
)
async def test_a_child_that_is_overdue_counts_as_failed(kit: Kit, policy: str, state: str) -> None:
    root, _ = await kit.add_flow(new(), kid(deadline_ms=LIMIT, parent_on_fail=policy))
    await over(kit, KIDS)

    record = await kit.record(root)
    if state == "blocked":
        assert record.state is State.WAITING_CHILDREN
        assert (await kit.store.children(root)).items[0].value == DEADLINE
    else:
        assert record.state is State.WAITING
        assert (record.deferred is not None) == (state == "fails")


async def test_a_grandparent_hears_of_a_parent_that_is_overdue(kit: Kit) -> None:
    middle = new(
        queue="middle", id="mid", parent_on_fail="fail", deadline_ms=LIMIT, expects_children=True
    )
    root, mid = await kit.add_flow(new(), middle)
    await kit.add_group(kid(parent=mid))
    await over(kit, "middle")

    assert "mid" in ((await kit.record(root)).deferred or "")


async def test_a_parent_that_waits_for_children_it_added_itself_is_overdue(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE, deadline_ms=LIMIT)
    await kit.add_group(kid(parent=parent))
    await kit.settle(await_children(kit.held[parent]))
    await over(kit)

    assert (await kit.record(parent)).end == "deadline"


# What hangs on a job that ends so.


async def test_an_overdue_job_frees_its_key_and_leaves_a_letter(kit: Kit) -> None:
    await kit.configure(dead_letter="letters")
    ref = await kit.add(deadline_ms=LIMIT, dedup=Dedup("key"))
    await over(kit)

    assert await kit.counts("letters") == {"waiting": 1}
    assert (await kit.add(dedup=Dedup("key"))) != ref


async def test_an_overdue_job_that_is_not_kept_goes(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid(deadline_ms=LIMIT, keep_failed=Keep(count=0)))
    await over(kit, KIDS)

    assert await kit.find(child) is None
    assert await kit.state(root) == State.WAITING


async def test_an_overdue_job_that_is_retried_is_overdue_again(kit: Kit) -> None:
    ref = await kit.add(deadline_ms=LIMIT)
    await over(kit)
    await kit.retry(ref)
    assert await kit.state(ref) == State.WAITING
    await kit.recover(QUEUE)

    assert [each.end for each in (await kit.record(ref)).tries] == ["deadline"] * 2


@pytest.mark.parametrize("fate", ["completes", "is removed", "is drained"])
async def test_a_later_job_of_the_same_id_has_no_limit_of_the_first(kit: Kit, fate: str) -> None:
    ref = await kit.add(id="x", deadline_ms=LIMIT, keep_completed=Keep(count=0))
    if fate == "completes":
        await kit.settle(complete(await kit.claim()))
    elif fate == "is removed":
        await kit.remove(ref)
    else:
        await kit.sweep("drain", State.WAITING)
    await kit.add(id="x")
    await over(kit)

    assert await kit.state(ref) == State.WAITING


async def test_other_queues_are_left_alone(kit: Kit) -> None:
    mine, other = await kit.add(deadline_ms=LIMIT), await kit.add(queue=KIDS, deadline_ms=LIMIT)
    await over(kit)
    assert (await kit.state(mine), await kit.state(other)) == (State.FAILED, State.WAITING)

    await kit.recover()
    assert await kit.state(other) == State.FAILED


async def test_many_overdue_jobs_end_with_one_look(kit: Kit) -> None:
    await kit.add_many(700, deadline_ms=LIMIT)
    await over(kit)

    assert await kit.counts() == {"failed": 700}


# Added in other ways.


async def test_a_job_that_was_added_long_ago_is_overdue_at_once(kit: Kit) -> None:
    ref = await kit.add(deadline_ms=LIMIT, created_ms=kit.now - LIMIT)
    await kit.recover(QUEUE)

    assert (await kit.record(ref)).end == "deadline"


async def test_a_duplicate_that_was_kept_has_its_limit(kit: Kit) -> None:
    dedup = Dedup("key", keep_last=True)
    await kit.add(dedup=dedup)
    first = await kit.claim()
    await kit.add(dedup=dedup, deadline_ms=LIMIT)
    await kit.settle(complete(first))
    await over(kit)

    assert await kit.counts() == {"completed": 1, "failed": 1}


async def test_a_job_that_came_from_another_store_keeps_its_limit(kit: Kit) -> None:
    sent: Any = parcel(State.WAITING, options=JobOptions(deadline_ms=LIMIT), created_ms=kit.now)
    await ship(kit, sent)
    assert (await packed(kit, sent.ref)).record.options.deadline_ms == LIMIT
    await over(kit)

    assert (await kit.record(sent.ref)).end == "deadline"


async def test_a_job_that_was_moved_away_is_not_looked_for(kit: Kit) -> None:
    ref = await kit.add(deadline_ms=LIMIT)
    await let_move(kit, ref)
    await over(kit)

    assert await kit.counts() == {}


# Looking at one job.


async def test_whoever_asks_ends_one_job(kit: Kit) -> None:
    one, two = await kit.add(deadline_ms=LIMIT), await kit.add(deadline_ms=LIMIT)
    await kit.update(one, overdue=True)
    assert await kit.state(one) == State.WAITING

    kit.tick(LIMIT)
    await kit.update(one, overdue=True)
    assert (await kit.state(one), await kit.state(two)) == (State.FAILED, State.WAITING)


async def test_whoever_asks_changes_nothing_else(kit: Kit) -> None:
    active = await kit.make(State.ACTIVE, deadline_ms=LIMIT)
    kit.tick(LIMIT)
    await kit.update(active, overdue=True)
    assert await kit.state(active) == State.ACTIVE

    kit.tick(LOCK)
    assert await kit.recover(QUEUE) == [active.id]
    await kit.recover(QUEUE)
    assert await kit.state(active) in (State.WAITING, State.FAILED)
