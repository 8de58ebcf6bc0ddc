"""What the end of a child does to its parent: the policies, running it again, letting it go."""

import pytest

from tests.contract.family import kid, tally, values
from tests.support.kit import (
    HOUR,
    KIDS,
    Kit,
    again,
    await_children,
    complete,
    fail,
    new,
    ref_of,
    snooze,
)
from toril._model.options import Keep
from toril._model.states import State
from toril.errors import FailedChildren, PendingChildren

# What the failure of a child does, by its policy.


async def test_fail_makes_the_parent_fail_with_a_reason_that_names_the_child(kit: Kit) -> None:
    root, child, _ = await kit.add_flow(new(), kid(parent_on_fail="fail"), kid())
    await kit.run_to_failure(KIDS)

    claim = await kit.claim()

    assert ref_of(claim) == root
    assert claim.record.deferred is not None
    assert child.id in claim.record.deferred
    assert await tally(kit, root) == {"failed": 1, "pending": 1}


async def test_the_reason_is_gone_once_the_parent_has_failed(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), kid(parent_on_fail="fail"))
    await kit.run_to_failure(KIDS)
    claim = await kit.claim()
    await kit.settle(fail(claim, claim.record.deferred or ""))

    record = await kit.record(root)
    assert (record.state, record.deferred) == (State.FAILED, None)


async def test_a_failure_goes_up_level_by_level(kit: Kit) -> None:
    middle = new("middle", id="mid", queue="middle", parent_on_fail="fail", expects_children=True)
    root, mid = await kit.add_flow(new(id="up"), middle)
    await kit.add_group(kid(parent=mid, parent_on_fail="fail"))

    await kit.run_to_failure(KIDS)
    await kit.run_to_failure("middle")

    assert "mid" in ((await kit.claim()).record.deferred or "")
    assert await tally(kit, root) == {"failed": 1}


async def test_fail_ends_the_delay_of_a_parent(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add_group(kid(parent=parent, parent_on_fail="continue"))
    await kit.add_group(kid(parent=parent, parent_on_fail="fail"))
    await kit.settle(await_children(kit.held[parent]))
    await kit.run_to_failure(KIDS)
    claim = await kit.claim()
    assert ref_of(claim) == parent
    await kit.settle(snooze(claim))

    await kit.run_to_failure(KIDS)

    record = await kit.record(parent)
    assert (record.state, record.delay_ms, record.due_ms) == (State.WAITING, 0, None)


async def test_fail_is_not_held_up_by_the_delay_of_a_parent(kit: Kit) -> None:
    root, _ = await kit.add_flow(
        new(delay_ms=HOUR, expects_children=True), kid(parent_on_fail="fail")
    )

    await kit.run_to_failure(KIDS)

    record = await kit.record(root)
    assert (record.state, record.due_ms) == (State.WAITING, None)


async def test_continue_releases_the_parent_at_once(kit: Kit) -> None:
    root, _, _ = await kit.add_flow(new(), kid("a", parent_on_fail="continue"), kid("b"))
    await kit.run_to_failure(KIDS)

    assert (await kit.claim()).record.deferred is None
    assert await values(kit, root) == [("a", "ignored", "boom"), ("b", "pending", None)]


async def test_a_parent_that_continues_is_released_once(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid(parent_on_fail="continue"), kid())
    await kit.hush()
    await kit.run_to_failure(KIDS)
    await kit.run(KIDS)

    assert await kit.told_of(root) == ["waiting"]


async def test_a_parent_that_continues_may_complete_before_the_others_end(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid("a", parent_on_fail="continue"), kid("b"))
    await kit.run_to_failure(KIDS)

    assert await kit.settle(complete(await kit.claim())) == "completed"
    await kit.run(KIDS)
    assert await kit.state(root) == State.COMPLETED
    assert await values(kit, root) == [("a", "ignored", "boom"), ("b", "completed", "null")]


async def test_a_parent_that_continues_may_complete_when_the_failed_child_is_not_kept(
    kit: Kit,
) -> None:
    forget = {"parent_on_fail": "continue", "keep_failed": Keep(count=0)}
    await kit.add_flow(new(), kid("a", **forget), kid("b"))
    await kit.run_to_failure(KIDS)

    assert await kit.settle(complete(await kit.claim())) == "completed"


async def test_a_parent_that_continues_may_wait_for_the_others(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid("a", parent_on_fail="continue"), kid("b"))
    await kit.run_to_failure(KIDS)
    assert await kit.settle(await_children(await kit.claim())) == "waiting-children"

    await kit.run(KIDS)

    claim = await kit.claim()
    assert (ref_of(claim), await kit.settle(complete(claim))) == (root, "completed")


async def test_a_parent_that_continues_fails_with_a_child_that_must_not_fail(kit: Kit) -> None:
    children = kid("a", parent_on_fail="continue"), kid("b", parent_on_fail="fail")
    await kit.add_flow(new(), *children)
    await kit.run_to_failure(KIDS)
    claim = await kit.claim()
    await kit.run_to_failure(KIDS)

    with pytest.raises(FailedChildren):
        await kit.settle(complete(claim))


async def test_an_ignored_failure_does_not_let_a_parent_complete_early(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add_group(kid(parent=parent, parent_on_fail="ignore"), kid(parent=parent))
    await kit.run_to_failure(KIDS)

    with pytest.raises(PendingChildren):
        await kit.settle(complete(kit.held[parent]))


async def test_ignore_goes_on_when_the_others_are_done(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid("a", parent_on_fail="ignore"), kid("b"))
    await kit.run_to_failure(KIDS)
    assert await kit.state(root) == State.WAITING_CHILDREN
    await kit.run(KIDS)

    assert (await kit.claim()).record.deferred is None
    assert await values(kit, root) == [("a", "ignored", "boom"), ("b", "completed", "null")]


async def test_remove_forgets_the_child(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid("a", parent_on_fail="remove"), kid("b"))
    await kit.run_to_failure(KIDS)
    assert await kit.state(root) == State.WAITING_CHILDREN
    await kit.run(KIDS)

    assert await kit.state(root) == State.WAITING
    assert await values(kit, root) == [("b", "completed", "null")]


async def test_a_child_without_a_policy_blocks_and_says_why(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid("a"))
    await kit.run_to_failure(KIDS)

    assert await kit.state(root) == State.WAITING_CHILDREN
    assert await values(kit, root) == [("a", "pending", "boom")]
    await kit.retry(child)
    assert await values(kit, root) == [("a", "pending", None)]


@pytest.mark.parametrize("policy", ["ignore", "remove", "continue"])
async def test_a_last_child_that_fails_releases_the_parent(kit: Kit, policy: str) -> None:
    root, _ = await kit.add_flow(new(), kid(parent_on_fail=policy))
    await kit.run_to_failure(KIDS)

    assert await kit.state(root) == State.WAITING


@pytest.mark.parametrize("policy", ["wait", None])
async def test_wait_blocks_the_parent(kit: Kit, policy: str | None) -> None:
    root, child = await kit.add_flow(new(), kid(parent_on_fail=policy))
    await kit.run_to_failure(KIDS)

    assert await kit.state(child) == State.FAILED
    assert await kit.state(root) == State.WAITING_CHILDREN
    assert await tally(kit, root) == {"pending": 1}


async def test_a_failure_that_will_be_retried_does_nothing_to_the_parent(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), kid(parent_on_fail="fail", attempts=2))
    claim = await kit.claim(KIDS)
    await kit.settle(again(claim))

    assert await kit.state(root) == State.WAITING_CHILDREN
    assert await tally(kit, root) == {"pending": 1}


# A child that is run again.


async def test_a_blocked_parent_goes_on_when_its_child_succeeds_at_last(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid(parent_on_fail="wait"))
    await kit.run_to_failure(KIDS)
    await kit.retry(child)
    await kit.run(KIDS)

    assert await kit.state(root) == State.WAITING


@pytest.mark.parametrize("policy", ["fail", "ignore", "continue"])
async def test_a_failed_child_that_is_retried_is_pending_again(kit: Kit, policy: str) -> None:
    root, child, _ = await kit.add_flow(new(), kid(parent_on_fail=policy), kid())
    await kit.run_to_failure(KIDS)
    state = await kit.state(root)

    await kit.retry(child)

    assert await tally(kit, root) == {"pending": 2}
    assert await kit.state(root) == state


async def test_a_completed_child_that_is_retried_is_pending_again(kit: Kit) -> None:
    root, child, _ = await kit.add_flow(new(), kid(), kid())
    await kit.run(KIDS)

    await kit.retry(child)

    assert await tally(kit, root) == {"pending": 2}
    await kit.run(KIDS)
    assert await kit.state(root) == State.WAITING_CHILDREN


# Detached.


async def test_a_detached_child_is_nobodys(kit: Kit) -> None:
    root, child, _ = await kit.add_flow(new(), kid(), kid())

    await kit.update(child, parent=None)

    assert (await kit.record(child)).parent is None
    assert await tally(kit, root) == {"pending": 1}


async def test_detaching_the_last_child_releases_the_parent(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid())
    await kit.hush()

    await kit.update(child, parent=None)

    assert await kit.state(root) == State.WAITING
    assert await kit.told_of(root) == ["waiting"]
