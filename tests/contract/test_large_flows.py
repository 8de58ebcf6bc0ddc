"""Flows of more jobs than one step of a server takes."""

import pytest

from tests.contract.family import kid
from tests.support.kit import KIDS, QUEUE, Kit, complete, new
from toril._model.options import Dedup
from toril._model.record import NewJob, Ref
from toril._model.states import State
from toril.errors import JobExists, ParentNotFound

MANY = 1_200
NOBODY = Ref(QUEUE, "nobody")


async def test_a_parent_waits_for_all_of_its_many_children(kit: Kit) -> None:
    root, *children = await kit.add_flow(new(), *[kid() for _ in range(MANY)])

    assert len(set(children)) == MANY
    assert await kit.state(root) == State.WAITING_CHILDREN
    assert await kit.counts() == {"waiting-children": 1}
    assert await kit.counts(KIDS) == {"waiting": MANY}
    page = await kit.store.children(root, limit=1)
    assert page.pending == MANY


async def test_the_last_of_many_children_releases_the_parent(kit: Kit) -> None:
    """All but one are done already, or stand for each other, when the flow is added."""
    await kit.add(queue=KIDS, id="done")
    await kit.run(KIDS)
    alike = [kid(dedup=Dedup("key")) for _ in range(MANY)]

    root, *_ = await kit.add_flow(new(), kid(id="done"), *alike)

    assert await kit.state(root) == State.WAITING_CHILDREN
    await kit.run(KIDS)
    assert await kit.state(root) == State.WAITING


async def test_a_parent_whose_many_children_are_done_already_does_not_wait(kit: Kit) -> None:
    await kit.add(queue=KIDS, dedup=Dedup("key"))

    root, *_ = await kit.add_flow(new(), *[kid(dedup=Dedup("key")) for _ in range(MANY)])

    assert await kit.state(root) == State.WAITING


async def test_a_middle_parent_waits_for_children_that_come_last(kit: Kit) -> None:
    middle = Ref("middle", "middle")
    group = [
        new(id="root", expects_children=True),
        new(id="middle", queue="middle", parent=Ref(QUEUE, "root"), expects_children=True),
        *[kid(parent=Ref(QUEUE, "root")) for _ in range(MANY)],
        new(queue="last", parent=middle),
    ]
    await kit.add_group(*group)

    await kit.run("last")

    assert await kit.state(middle) == State.WAITING
    assert await kit.state(Ref(QUEUE, "root")) == State.WAITING_CHILDREN


async def test_a_large_flow_that_is_refused_at_its_end_leaves_nothing(kit: Kit) -> None:
    lost = kid(parent=NOBODY)
    group = [
        new(id="root", expects_children=True),
        *[kid(parent=Ref(QUEUE, "root")) for _ in range(MANY)],
        lost,
    ]

    [answer] = await kit.store.add([group], now=kit.now)

    assert isinstance(answer, ParentNotFound)
    assert await kit.counts() == {}
    assert await kit.counts(KIDS) == {}


async def test_a_refused_large_flow_leaves_jobs_alone_that_were_there_before(kit: Kit) -> None:
    await kit.add(queue=KIDS, id="before")
    await kit.add_flow(new(id="other"), kid(id="theirs"))

    with pytest.raises(JobExists):
        await kit.add_flow(new(), kid(id="before"), *[kid() for _ in range(MANY)], kid(id="theirs"))

    assert await kit.counts(KIDS) == {"waiting": 2}
    assert await kit.counts() == {"waiting-children": 1}


async def test_a_parent_does_not_wait_for_many_children_that_were_refused(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    many = [kid(parent=parent) for _ in range(MANY)]

    [answer] = await kit.store.add([[*many, kid(parent=NOBODY)]], now=kit.now)

    assert isinstance(answer, ParentNotFound)
    assert await kit.settle(complete(kit.held[parent])) == "completed"


async def test_many_jobs_without_parents_are_one_group(kit: Kit) -> None:
    refs = await kit.add_many(MANY)

    assert [ref.id for ref in refs] == [str(n) for n in range(1, MANY + 1)]
    assert await kit.counts() == {"waiting": MANY}


async def test_a_large_flow_that_is_added_again_adds_nothing(kit: Kit) -> None:
    def flow() -> list[NewJob]:
        root = new(id="root", expects_children=True)
        middle = new(queue="middle", id="mid", parent=Ref(QUEUE, "root"), expects_children=True)
        many = [kid(parent=Ref(QUEUE, "root")) for _ in range(MANY)]
        return [root, *many, middle, kid(parent=Ref("middle", "mid"))]

    await kit.add_group(*flow())
    again = await kit.add_group(*flow())

    assert {one.word for one in again} == {"duplicate"}
    assert await kit.counts(KIDS) == {"waiting": MANY + 1}
    assert await kit.counts("middle") == {"waiting-children": 1}


async def test_adding_a_large_flow_again_does_not_hold_its_root_back(kit: Kit) -> None:
    await kit.add_flow(new(id="root"), kid())
    await kit.run(KIDS)
    claim = await kit.claim()

    await kit.add_flow(new(id="root"), *[kid() for _ in range(MANY)])

    assert await kit.settle(complete(claim)) == "completed"
    assert await kit.counts(KIDS) == {"completed": 1}
