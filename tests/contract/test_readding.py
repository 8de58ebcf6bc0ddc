"""Adding a flow again, and links between jobs that must not come to be."""

from typing import Any

import pytest
from msgspec import structs

from tests.contract.family import kid, tally
from tests.contract.test_parents import nobody_waits_in_vain
from tests.support.kit import (
    KIDS,
    QUEUE,
    Kit,
    again,
    await_children,
    complete,
    fail,
    new,
    ref_of,
)
from toril._model.options import Dedup
from toril._model.record import NewJob, Ref
from toril._model.report import Query
from toril._model.states import State
from toril.errors import JobExists, ParentNotFound


async def total(kit: Kit) -> int:
    """Count the jobs of all queues."""
    return sum([counts.total for counts in await kit.store.counts(await kit.store.queues())])


def words(added: Any) -> list[str]:
    return [one.word for one in added]


def order(*children: NewJob, id: str = "order") -> tuple[NewJob, ...]:
    root = new(id=id, expects_children=True)
    below = children or (kid("charge"), kid("pack"))
    return (root, *(structs.replace(child, parent=Ref(QUEUE, id)) for child in below))


# A root that exists.


async def test_a_flow_that_is_added_again_adds_nothing(kit: Kit) -> None:
    await kit.add_group(*order())
    await kit.hush()

    repeated = await kit.add_group(*order())

    assert words(repeated) == ["duplicate"] * 3
    assert repeated[0].id == "order"
    assert await tally(kit, Ref(QUEUE, "order")) == {"pending": 2}
    assert await total(kit) == 3
    assert (await kit.kinds(QUEUE), await kit.kinds(KIDS)) == (["duplicated"], [])


@pytest.mark.parametrize("how", ["running", "completed", "failed", "delayed"])
async def test_nothing_is_added_below_a_root_that_has_gone_on(kit: Kit, how: str) -> None:
    await kit.add_group(*order())
    for _ in range(2):
        await kit.run(KIDS)
    claim = await kit.claim()
    if how == "completed":
        await kit.settle(complete(claim))
    elif how == "failed":
        await kit.settle(fail(claim))
    elif how == "delayed":
        await kit.settle(again(claim, 1000))

    assert words(await kit.add_group(*order())) == ["duplicate"] * 3
    assert await total(kit) == 3
    if how == "running":
        assert await kit.settle(complete(claim)) == "completed"


async def test_children_with_ids_of_their_own_stay_as_they_are(kit: Kit) -> None:
    flow = order(kid("charge", id="charge"), kid("pack", id="pack"))
    await kit.add_group(*flow)
    await kit.run(KIDS)

    repeated = await kit.add_group(*flow)

    assert [(one.id, one.created) for one in repeated] == [
        ("order", False),
        ("charge", False),
        ("pack", False),
    ]
    assert await tally(kit, Ref(QUEUE, "order")) == {"completed": 1, "pending": 1}
    assert await kit.counts(KIDS) == {"completed": 1, "waiting": 1}


async def test_a_root_that_exists_keeps_its_children_whatever_is_added_with_it(kit: Kit) -> None:
    """A job of another flow stands in the new one: that one is not stored, so it does not matter."""
    await kit.add_group(*order())
    await kit.add_group(*order(kid(id="theirs"), id="other"))

    assert words(await kit.add_group(*order(kid(id="theirs")))) == ["duplicate"] * 2


async def test_a_nested_tree_that_exists_is_linked_as_it_is(kit: Kit) -> None:
    middle = new("middle", queue="middles", id="mid", expects_children=True)
    below = kid(parent=Ref("middles", "mid"))
    await kit.add_group(middle, below)
    root = new(id="root", expects_children=True)
    other = kid(parent=Ref(QUEUE, "root"))

    added = await kit.add_group(
        root, structs.replace(middle, parent=Ref(QUEUE, "root")), below, other
    )

    assert words(added) == ["added", "duplicate", "duplicate", "added"]
    assert await total(kit) == 4
    await kit.run(KIDS)
    await kit.run("middles")
    await kit.run(KIDS)
    assert ref_of(await kit.claim()) == Ref(QUEUE, "root")


async def test_two_levels_below_a_root_that_exists_nothing_is_added(kit: Kit) -> None:
    middle = new("middle", queue="middles", expects_children=True)

    def flow(n: int) -> tuple[NewJob, ...]:
        mid = structs.replace(middle, id=f"mid-{n}", parent=Ref(QUEUE, "root"))
        root = new(id="root", expects_children=True)
        return (root, mid, kid(parent=Ref("middles", f"mid-{n}")))

    await kit.add_group(*flow(1))
    assert words(await kit.add_group(*flow(2))) == ["duplicate"] * 3
    assert await total(kit) == 3


async def test_the_same_root_twice_in_one_group_is_one_tree(kit: Kit) -> None:
    first, second = order(), order()

    assert words(await kit.add_group(*first, *second)) == ["added"] * 3 + ["duplicate"] * 3
    assert await total(kit) == 3


async def test_the_same_root_in_two_groups_of_one_call_is_one_tree(kit: Kit) -> None:
    answers = await kit.store.add([order(), order(), order(id="other")], now=kit.now)

    assert [words(answer) for answer in answers] == [
        ["added"] * 3,
        ["duplicate"] * 3,
        ["added"] * 3,
    ]


async def test_a_root_whose_id_is_free_again_is_a_new_flow(kit: Kit) -> None:
    await kit.add_group(*order())
    await kit.remove(Ref(QUEUE, "order"))

    assert words(await kit.add_group(*order())) == ["added"] * 3


# Links that would never be settled.


async def test_a_job_cannot_be_its_own_parent(kit: Kit) -> None:
    with pytest.raises(ParentNotFound):
        await kit.add_group(new(id="a", parent=Ref(QUEUE, "a")))
    await kit.add(id="a")
    with pytest.raises(JobExists, match="descendant"):
        await kit.add_group(new(id="a", parent=Ref(QUEUE, "a")))


@pytest.mark.parametrize("depth", [1, 2, 5])
async def test_a_job_cannot_be_a_child_of_its_descendant(kit: Kit, depth: int) -> None:
    await kit.add(id="j0")
    for n in range(1, depth + 1):
        await kit.add(id=f"j{n}", parent=Ref(QUEUE, f"j{n - 1}"))

    refused, stored = await kit.store.add(
        [[new(id="j0", parent=Ref(QUEUE, f"j{depth}"))], [new()]], now=kit.now
    )

    assert isinstance(refused, JobExists)
    assert not isinstance(stored, Exception)
    assert (await kit.record(Ref(QUEUE, "j0"))).parent is None


async def test_two_jobs_cannot_be_each_others_parents_within_one_group(kit: Kit) -> None:
    await kit.add(id="a")
    await kit.add(id="b")

    with pytest.raises(JobExists):
        await kit.add_group(
            new(id="b", parent=Ref(QUEUE, "a")), new(id="a", parent=Ref(QUEUE, "b"))
        )


# A duplicate that is kept until the active job has finished.


async def test_a_kept_child_does_not_stop_a_parent_that_runs_by_then(kit: Kit) -> None:
    dedup = Dedup("key", keep_last=True)
    first = await kit.add(queue=KIDS, dedup=dedup)
    holder = await kit.claim(KIDS)
    root, _ = await kit.add_flow(new(), kid(dedup=dedup))
    parent = await kit.claim()
    assert ref_of(parent) == root

    await kit.settle(complete(holder))

    assert await kit.state(first) == State.COMPLETED
    assert await kit.counts(KIDS) == {"completed": 1, "waiting": 1}
    assert await kit.settle(complete(parent)) == "completed"


async def test_a_kept_child_is_awaited_by_a_parent_that_still_waits(kit: Kit) -> None:
    dedup = Dedup("key", keep_last=True)
    await kit.add(queue=KIDS, dedup=dedup)
    holder = await kit.claim(KIDS)
    root, *_ = await kit.add_flow(new(), kid(dedup=dedup), new(queue="others"))
    await kit.settle(complete(holder))

    await kit.run("others")
    assert await kit.state(root) == State.WAITING_CHILDREN
    await kit.run(KIDS)
    assert await kit.state(root) == State.WAITING


async def test_a_kept_child_whose_parent_is_gone_is_not_lost(kit: Kit) -> None:
    dedup = Dedup("key", keep_last=True)
    await kit.add(queue=KIDS, dedup=dedup)
    holder = await kit.claim(KIDS)
    root, *_ = await kit.add_flow(new(), kid(dedup=dedup))
    await kit.remove(root)

    await kit.settle(complete(holder))

    assert await kit.counts(KIDS) == {"completed": 1, "waiting": 1}


async def test_a_kept_child_that_is_dropped_for_a_newer_one_holds_nobody(kit: Kit) -> None:
    dedup = Dedup("key", keep_last=True)
    await kit.add(queue=KIDS, dedup=dedup)
    holder = await kit.claim(KIDS)
    root, *_ = await kit.add_flow(new(), kid(dedup=dedup), new(queue="others"))
    await kit.add(queue=KIDS, dedup=dedup)
    await kit.settle(complete(holder))
    await kit.run("others")

    assert await kit.state(root) == State.WAITING


async def test_a_key_that_is_released_lets_the_kept_job_go(kit: Kit) -> None:
    dedup = Dedup("key", keep_last=True)
    holder = await kit.add(queue=KIDS, dedup=dedup)
    await kit.claim(KIDS)
    await kit.add(queue=KIDS, dedup=dedup)

    await kit.update(holder, dedup=None)

    assert await kit.counts(KIDS) == {"active": 1, "waiting": 1}


# Jobs that replace others.


async def test_a_child_replaced_by_its_sibling_holds_the_parent_back_once(kit: Kit) -> None:
    dedup = Dedup("key", replace=True)
    one, two = (kid(name, dedup=dedup, delay_ms=1000) for name in "ab")
    root, *_ = await kit.add_flow(new(), one, two)

    assert await kit.state(root) == State.WAITING_CHILDREN
    assert await tally(kit, root) == {"pending": 1}
    kit.tick(1000)
    await kit.run(KIDS)
    assert await kit.state(root) == State.WAITING


async def test_a_replaced_job_leaves_its_own_children_without_a_parent(kit: Kit) -> None:
    dedup = Dedup("key", replace=True)
    old = await kit.add(id="old", dedup=dedup, delay_ms=1000)
    below = await kit.add("below", queue=KIDS, parent=old)
    await kit.add(id="new", dedup=dedup, delay_ms=1000)

    assert await kit.find(old) is None
    await kit.run_to_failure(KIDS)
    assert await kit.state(below) == State.FAILED
    await nobody_waits_in_vain(kit)


async def test_a_parent_of_many_replaced_children_is_released(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    dedup = Dedup("key", replace=True)
    jobs = [kid(parent=parent, dedup=dedup, delay_ms=1000) for _ in range(5)]
    await kit.add_group(*jobs)
    assert await kit.settle(await_children(kit.held[parent])) == "waiting-children"
    assert await tally(kit, parent) == {"pending": 1}

    await kit.add(queue=KIDS, dedup=dedup, delay_ms=1000)

    assert await kit.state(parent) == State.WAITING
    page = await kit.store.find(Query(queue=KIDS))
    assert len(page.jobs) == 1
