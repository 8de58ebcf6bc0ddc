"""Flows: parents that wait for their children, and what a child's end does to its parent."""

import pytest

from tests.contract.family import kid, tally, values
from tests.support.kit import (
    KIDS,
    QUEUE,
    SECOND,
    T0,
    Kit,
    await_children,
    complete,
    fail,
    granted,
    ids,
    new,
    ref_of,
)
from toril._model.flow import TreeNode, plan
from toril._model.options import Dedup, Keep
from toril._model.record import Ref
from toril._model.report import Child, Children
from toril._model.states import State
from toril._store.values import AddAnswer
from toril.errors import FailedChildren, JobExists, ParentNotFound, PendingChildren

# Storing.


async def test_a_parent_waits_for_its_children(kit: Kit) -> None:
    root, a, b = await kit.add_flow(new("upload"), kid("a"), new("b", queue="checks"))

    assert await kit.state(root) == State.WAITING_CHILDREN
    assert await kit.counts() == {"waiting-children": 1}
    assert await kit.counts(KIDS) == {"waiting": 1}
    assert await kit.counts("checks") == {"waiting": 1}
    assert (await kit.record(a)).parent == (await kit.record(b)).parent == root


async def test_a_flow_is_announced_from_the_root_down(kit: Kit) -> None:
    await kit.add_flow(new("upload", id="up"), new("a", id="a"), new("b", id="b", delay_ms=SECOND))

    told = [(event.kind, getattr(event, "job_id", "")) for event in await kit.hear()]

    assert told == [
        ("added", "up"),
        ("waiting-children", "up"),
        ("added", "a"),
        ("waiting", "a"),
        ("added", "b"),
        ("delayed", "b"),
    ]


async def test_a_parent_is_not_claimed(kit: Kit) -> None:
    await kit.add_flow(new(), kid())

    assert (await kit.ask()).jobs == ()


async def test_children_have_their_own_options(kit: Kit) -> None:
    _, a, b = await kit.add_flow(new(), kid(priority=3), kid(delay_ms=SECOND))

    assert await kit.state(a) == State.PRIORITIZED
    assert await kit.state(b) == State.DELAYED


async def test_a_flow_with_a_missing_parent_stores_nothing(kit: Kit) -> None:
    root = new(id="root", expects_children=True, parent=Ref("nowhere", "nobody"))

    with pytest.raises(ParentNotFound):
        await kit.add_group(root, kid(parent=Ref(QUEUE, "root")))

    assert await kit.counts() == {}
    assert await kit.counts(KIDS) == {}


async def test_a_child_that_stands_before_its_parent_is_refused(kit: Kit) -> None:
    group = [kid(parent=Ref(QUEUE, "root")), new(id="root", expects_children=True)]

    refused, stored = await kit.store.add([group, [new()]], now=kit.now)

    assert isinstance(refused, ParentNotFound)
    assert not isinstance(stored, Exception)
    assert await kit.counts(KIDS) == {}


async def test_a_parent_whose_only_child_was_a_duplicate_by_key_does_not_wait(kit: Kit) -> None:
    """Nothing would ever release it."""
    await kit.add(queue=KIDS, dedup=Dedup("key"))

    root, _ = await kit.add_flow(new(), kid(dedup=Dedup("key")))

    assert await kit.state(root) == State.WAITING


async def test_a_flow_of_1000_jobs_is_one_step(kit: Kit) -> None:
    root, *children = await kit.add_flow(new(), *[kid() for _ in range(999)])

    assert len(children) == 999
    assert (await kit.store.children(root)).pending == 999


async def test_three_levels_run_from_the_leaves_up(kit: Kit) -> None:
    tree = TreeNode(
        queue="top",
        name="upload",
        children=(
            TreeNode(
                queue="middle",
                name="optimize",
                children=(
                    TreeNode(queue="low", name="decode"),
                    TreeNode(queue="low", name="resize"),
                ),
            ),
            TreeNode(queue="low", name="check"),
        ),
    )
    names = iter(["up", "opt", "dec", "res", "chk"])
    granted((await kit.store.add([plan(tree, lambda: next(names))], now=kit.now))[0])

    for result in ('"decoded"', '"resized"', '"checked"'):
        assert (await kit.ask(queue="top")).jobs == ()
        await kit.run("low", result=result)
    await kit.run("middle", result='"optimized"')
    claim = await kit.claim("top")

    assert await values(kit, ref_of(claim)) == [
        ("optimize", "completed", '"optimized"'),
        ("check", "completed", '"checked"'),
    ]
    assert await values(kit, Ref("middle", "opt")) == [
        ("decode", "completed", '"decoded"'),
        ("resize", "completed", '"resized"'),
    ]


# Children given to a job that exists.


async def test_an_active_job_may_be_given_children_and_wait_for_them(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add(queue=KIDS, parent=parent)

    assert await kit.settle(await_children(kit.held[parent])) == "waiting-children"
    await kit.run(KIDS)

    assert (await kit.claim()).record.id == parent.id


async def test_a_job_with_open_children_cannot_complete(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add(queue=KIDS, parent=parent)

    with pytest.raises(PendingChildren):
        await kit.settle(complete(kit.held[parent]))

    assert await kit.state(parent) == State.ACTIVE


async def test_a_job_with_open_children_may_fail(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add(queue=KIDS, parent=parent)

    assert await kit.settle(fail(kit.held[parent])) == "failed"


async def test_a_job_with_a_failed_child_cannot_complete(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add(queue=KIDS, parent=parent, parent_on_fail="fail")
    await kit.run_to_failure(KIDS)

    with pytest.raises(FailedChildren):
        await kit.settle(complete(kit.held[parent]))

    assert await kit.state(parent) == State.ACTIVE


async def test_a_job_with_a_failed_child_cannot_wait_for_the_others(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add_group(kid(parent=parent, parent_on_fail="fail"))
    await kit.add_group(kid(parent=parent))
    await kit.run_to_failure(KIDS)

    with pytest.raises(FailedChildren):
        await kit.settle(await_children(kit.held[parent]))

    assert await kit.state(parent) == State.ACTIVE


async def test_a_child_that_ends_in_the_call_in_which_its_parent_waits_releases_it(
    kit: Kit,
) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add(queue=KIDS, parent=parent)
    child = await kit.claim(KIDS)

    await kit.finish(await_children(kit.held[parent]), complete(child))

    assert await kit.state(parent) == State.WAITING


async def test_an_id_that_is_given_again_is_waited_for_again(kit: Kit) -> None:
    """The first of that id has finished and was not kept."""
    parent = await kit.make(State.ACTIVE)
    child = kid(id="mine", parent=parent, keep_completed=Keep(count=0))
    await kit.add_group(child)
    await kit.run(KIDS)
    await kit.add_group(child)

    assert await tally(kit, parent) == {"pending": 1}
    assert await kit.settle(await_children(kit.held[parent])) == "waiting-children"


async def test_a_job_that_has_it_all_does_not_wait(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    await kit.add(queue=KIDS, parent=parent)
    await kit.run(KIDS)

    assert await kit.settle(await_children(kit.held[parent])) == "active"


async def test_an_existing_job_becomes_a_child(kit: Kit) -> None:
    existing = await kit.add(queue=KIDS, id="mine")
    parent = await kit.make(State.ACTIVE)

    assert await kit.add_group(kid(id="mine", parent=parent)) == (AddAnswer("mine", "duplicate"),)

    assert (await kit.record(existing)).parent == parent
    assert await tally(kit, parent) == {"pending": 1}


async def test_a_completed_job_becomes_a_child_with_its_result(kit: Kit) -> None:
    await kit.add(queue=KIDS, id="mine")
    await kit.run(KIDS, result='"done"')

    root, _ = await kit.add_flow(new(), kid(id="mine"))

    assert await kit.state(root) == State.WAITING
    assert [child.value for child in (await kit.store.children(root)).items] == ['"done"']


async def test_a_child_of_another_parent_is_not_taken_over(kit: Kit) -> None:
    parent, _ = await kit.add_flow(new(id="one"), kid(id="mine"))

    with pytest.raises(JobExists):
        await kit.add_flow(new(id="two"), kid(id="mine"))

    assert await kit.find(Ref(QUEUE, "two")) is None
    assert (await kit.record(Ref(KIDS, "mine"))).parent == parent


# Values.


async def test_children_are_listed_in_the_order_they_were_added(kit: Kit) -> None:
    root, *refs = await kit.add_flow(new(), kid("a"), new("b", queue="checks"), kid("c"))

    assert await kit.store.children(root) == Children(
        items=tuple(
            Child(queue=ref.queue, id=ref.id, name=name, outcome="pending")
            for ref, name in zip(refs, "abc", strict=True)
        ),
        pending=3,
    )


async def test_values_stand_in_the_order_of_the_children_not_of_their_ends(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid("a"), kid("b"))
    a, b = (await kit.ask(2, queue=KIDS)).jobs
    await kit.settle(complete(b, "2"))
    await kit.settle(complete(a, "1"))

    assert await values(kit, root) == [("a", "completed", "1"), ("b", "completed", "2")]


async def test_the_value_of_a_child_that_is_not_kept_is_kept(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid("a", keep_completed=Keep(count=0)))
    await kit.run(KIDS, result="1")

    assert await kit.find(child) is None
    assert await kit.state(root) == State.WAITING
    assert await values(kit, root) == [("a", "completed", "1")]


async def test_children_are_counted_and_listed_by_outcome(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid("a"), kid("b", parent_on_fail="ignore"), kid("c"))
    await kit.run(KIDS)
    await kit.run_to_failure(KIDS)

    assert await tally(kit, root) == {"completed": 1, "ignored": 1, "pending": 1}
    found = await kit.store.children(root, outcome="ignored")
    assert [(child.name, child.value) for child in found.items] == [("b", "boom")]


async def test_children_come_in_pages(kit: Kit) -> None:
    root, *refs = await kit.add_flow(new(), *[kid() for _ in range(5)])

    page = await kit.store.children(root, offset=1, limit=2)

    assert [child.id for child in page.items] == ids(refs[1:3])
    assert page.pending == 5


async def test_a_job_without_children_has_none(kit: Kit) -> None:
    assert await kit.store.children(await kit.add()) == Children()


# Release.


async def test_the_last_child_releases_the_parent(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid(), kid())

    await kit.run(KIDS)
    assert await kit.state(root) == State.WAITING_CHILDREN
    await kit.run(KIDS)
    assert await kit.state(root) == State.WAITING


async def test_the_last_two_children_in_one_batch_release_the_parent_once(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid(), kid())
    one, two = (await kit.ask(2, queue=KIDS)).jobs
    await kit.hush()

    await kit.finish(complete(one), complete(two))

    assert await kit.told_of(root) == ["waiting"]
    assert await kit.claim_order() == [root.id]


async def test_a_parent_with_a_priority_is_released_to_it(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(priority=3), kid())
    await kit.run(KIDS)

    assert await kit.state(root) == State.PRIORITIZED


async def test_the_delay_of_a_parent_begins_with_its_release(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(delay_ms=5 * SECOND), kid())
    kit.tick(SECOND)
    await kit.hush()
    await kit.run(KIDS)

    record = await kit.record(root)
    assert (record.state, record.due_ms) == (State.DELAYED, T0 + 6 * SECOND)
    assert await kit.told_of(root) == ["delayed"]


async def test_a_parent_in_a_paused_queue_is_released_and_stays(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), kid())
    await kit.pause()
    await kit.run(KIDS)

    assert await kit.state(root) == State.WAITING
    assert (await kit.ask()).jobs == ()


async def test_a_paused_child_holds_the_parent(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), kid(), new("check", queue="checks"))
    await kit.pause(KIDS)
    await kit.run("checks")

    assert (await kit.ask(queue=KIDS)).jobs == ()
    assert await kit.state(root) == State.WAITING_CHILDREN


async def test_a_retried_child_does_not_release_the_parent(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid(attempts=2))
    await kit.crash(KIDS)

    assert await kit.state(root) == State.WAITING_CHILDREN
    await kit.run(KIDS)
    assert await kit.state(child) == State.COMPLETED
    assert await kit.state(root) == State.WAITING
