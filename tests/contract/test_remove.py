"""remove: one job or a whole tree, and nothing of it while a part of it runs."""

import pytest

from tests.support.kit import KIDS, QUEUE, Kit, complete, ids, new, ref_of
from toril._model.options import Dedup, Keep
from toril._model.record import Ref
from toril._model.report import Children, Page, Query
from toril._model.states import State
from toril._store.values import LogLine
from toril.errors import JobLocked, JobNotFound, LockLost
from toril.events import Removed


async def test_a_removed_job_is_gone(kit: Kit) -> None:
    ref = await kit.add()

    assert (await kit.remove(ref)).ids == (ref.id,)

    assert await kit.find(ref) is None
    assert await kit.counts() == {}
    assert (await kit.ask()).jobs == ()


@pytest.mark.parametrize(
    "state",
    [State.WAITING, State.PRIORITIZED, State.DELAYED, State.COMPLETED, State.FAILED],
)
async def test_a_removal_tells_where_the_job_was(kit: Kit, state: State) -> None:
    ref = await kit.make(state)
    await kit.hush()

    await kit.remove(ref)

    [event] = await kit.hear()
    assert event == Removed(id=event.id, queue=QUEUE, at_ms=kit.now, job_id=ref.id, prev=str(state))


async def test_nothing_of_it_is_left(kit: Kit) -> None:
    ref = await kit.make(State.FAILED, id="mine", dedup=Dedup("key"))
    await kit.store.log([LogLine(queue=QUEUE, id="mine", text="hello")], now=kit.now)
    await kit.remove(ref)

    again = await kit.record(await kit.add(id="mine", dedup=Dedup("key")))

    assert (again.tries, again.stack, again.runs) == ((), (), 0)
    assert (await kit.store.logs(ref)).total == 0


async def test_an_active_job_is_not_removed(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    selected = await kit.remove(ref)

    assert selected.ids == ()
    assert isinstance(selected.refused[ref.id], JobLocked)
    assert ref.id in str(selected.refused[ref.id])


async def test_one_refused_id_leaves_the_others_alone(kit: Kit) -> None:
    locked = await kit.make(State.ACTIVE)
    free = await kit.add()

    selected = await kit.remove(locked, free, Ref(QUEUE, "nowhere"))

    assert selected.ids == (free.id,)
    assert isinstance(selected.refused[locked.id], JobLocked)
    assert isinstance(selected.refused["nowhere"], JobNotFound)


async def test_250_jobs_are_removed_in_one_call(kit: Kit) -> None:
    refs = await kit.add_many(250)

    assert set((await kit.remove(*refs)).ids) == set(ids(refs))
    assert await kit.counts() == {}


async def test_jobs_are_removed_by_state(kit: Kit) -> None:
    await kit.add_many(3)
    delayed = await kit.add(delay_ms=1)

    selected = await kit.remove(queue=QUEUE, states=(State.WAITING,), limit=2)

    assert (len(selected.ids), selected.more) == (2, True)
    assert await kit.counts() == {"waiting": 1, "delayed": 1}
    assert await kit.state(delayed) == State.DELAYED


# Trees.


async def test_a_parent_takes_its_children_with_it(kit: Kit) -> None:
    root, *_ = await kit.add_flow(new(), new(queue=KIDS), new(queue="checks", delay_ms=5))

    await kit.remove(root)

    for queue in (QUEUE, KIDS, "checks"):
        assert await kit.counts(queue) == {}


async def test_it_takes_grandchildren_and_those_that_are_done(kit: Kit) -> None:
    middle = new(id="mid", queue="middle", expects_children=True)
    root, mid, _ = await kit.add_flow(new(id="up"), middle, new(queue="checks"))
    await kit.add(queue=KIDS, parent=mid)
    await kit.run("checks")

    await kit.remove(root)

    for queue in (QUEUE, KIDS, "checks", "middle"):
        assert await kit.counts(queue) == {}


async def test_each_job_of_a_tree_is_announced_in_its_queue(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), new(queue=KIDS))
    await kit.hush()

    await kit.remove(root)

    assert await kit.told_of(root) == ["removed"]
    assert await kit.told_of(child) == ["removed"]


async def test_without_children_they_stay_behind(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), new(queue=KIDS))

    await kit.remove(root, children=False)

    assert await kit.find(root) is None
    assert await kit.state(child) == State.WAITING
    assert ref_of(await kit.claim(KIDS)) == child


async def test_who_was_left_behind_runs_to_its_end(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), new(queue=KIDS))
    await kit.remove(root, children=False)

    await kit.run(KIDS)

    assert await kit.state(child) == State.COMPLETED


async def test_a_tree_of_which_a_part_runs_is_left_whole(kit: Kit) -> None:
    middle = new(id="mid", queue="middle", expects_children=True)
    root, mid, free = await kit.add_flow(new(id="up"), middle, new(queue="checks"))
    leaf = await kit.add(queue=KIDS, parent=mid, id="leaf")
    await kit.claim(KIDS)
    await kit.hush()

    selected = await kit.remove(root)

    error = selected.refused[root.id]
    assert isinstance(error, JobLocked)
    assert (error.queue, error.job_id) == (KIDS, "leaf")
    assert "leaf" in str(error)
    for ref, state in (
        (root, State.WAITING_CHILDREN),
        (mid, State.WAITING_CHILDREN),
        (free, State.WAITING),
        (leaf, State.ACTIVE),
    ):
        assert await kit.state(ref) == state
    assert await kit.hear() == []


async def test_a_running_child_does_not_hold_a_parent_removed_without_it(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), new(queue=KIDS))
    claim = await kit.claim(KIDS)

    await kit.remove(root, children=False)

    assert await kit.settle(complete(claim)) == "completed"


async def test_a_removed_child_is_forgotten_by_its_parent(kit: Kit) -> None:
    root, gone, left = await kit.add_flow(new(), new(queue=KIDS), new(queue=KIDS))

    await kit.remove(gone)

    children = await kit.store.children(root)
    assert [child.id for child in children.items] == [left.id]
    assert children.pending == 1
    assert await kit.state(root) == State.WAITING_CHILDREN


async def test_the_last_open_child_that_is_removed_releases_its_parent(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), new(queue=KIDS))
    await kit.hush()

    await kit.remove(child)

    assert await kit.state(root) == State.WAITING
    assert await kit.told_of(root) == ["waiting"]
    assert await kit.store.children(root) == Children()


async def test_a_later_job_with_the_id_of_a_child_is_not_the_child(kit: Kit) -> None:
    """The child completed and was not kept, so its id was free."""
    child = new(queue=KIDS, id="mine", keep_completed=Keep(count=0))
    root, _ = await kit.add_flow(new(), child)
    await kit.run(KIDS)
    stranger = await kit.add(queue=KIDS, id="mine")

    await kit.remove(root)

    assert await kit.state(stranger) == State.WAITING


async def test_jobs_around_a_removed_one_keep_their_order(kit: Kit) -> None:
    a, b, c = await kit.add_many(3)
    await kit.remove(b)

    assert await kit.claim_order() == ids([a, c])


async def test_a_removed_job_is_not_listed(kit: Kit) -> None:
    await kit.remove(await kit.add())

    assert await kit.store.find(Query(queue=QUEUE)) == Page()


async def test_a_job_that_an_obliteration_took_cannot_be_settled(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.pause()
    await kit.sweep("obliterate", force=True)

    with pytest.raises((JobNotFound, LockLost)):
        await kit.settle(complete(kit.held[ref]))
