"""drain, clean and obliterate: selections of many jobs, with guards of their own."""

import pytest

from tests.support.kit import (
    KIDS,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    ids,
    new,
)
from toril._model.record import Ref
from toril._model.schedule import Rule
from toril._model.states import READY, State
from toril._store.values import ScheduleDraft
from toril.errors import JobLocked, ScheduleOwned, WrongState
from toril.events import Cleaned


async def one_of_each(kit: Kit) -> None:
    for state in (State.COMPLETED, State.FAILED, State.WAITING_CHILDREN, State.ACTIVE):
        await kit.make(state)
    for state in (State.WAITING, State.PRIORITIZED, State.DELAYED):
        await kit.make(state)


async def armed(kit: Kit, next_ms: int = T0 + MINUTE) -> str:
    """Arm a schedule and give the id of its next run."""
    draft = ScheduleDraft(
        queue=QUEUE, id="nightly", name="report", rule=Rule(every_ms=MINUTE), next_ms=next_ms
    )
    info = await kit.store.put_schedule(draft, now=kit.now)
    assert info.job_id is not None
    return info.job_id


# drain


async def test_drain_takes_what_is_ready_and_says_nothing(kit: Kit) -> None:
    await one_of_each(kit)
    await kit.hush()

    assert len((await kit.sweep("drain", *READY)).ids) == 2

    assert await kit.counts() == {
        "completed": 1,
        "failed": 1,
        "waiting-children": 1,
        "active": 1,
        "delayed": 1,
    }
    assert await kit.hear() == []


async def test_drain_takes_the_delayed_too_when_asked(kit: Kit) -> None:
    await kit.make(State.DELAYED)
    await kit.make(State.WAITING)

    await kit.sweep("drain", *READY, State.DELAYED)

    assert await kit.counts() == {}


async def test_drain_works_off_a_large_queue_in_steps(kit: Kit) -> None:
    await kit.add_many(300)

    first = await kit.sweep("drain", *READY, limit=250)
    second = await kit.sweep("drain", *READY, limit=250)

    assert (len(first.ids), first.more) == (250, True)
    assert (len(second.ids), second.more) == (50, False)


@pytest.mark.parametrize("next_ms", [T0, T0 + MINUTE])
async def test_drain_leaves_the_next_run_of_a_schedule(kit: Kit, next_ms: int) -> None:
    run = await armed(kit, next_ms)
    await kit.add()
    await kit.add(delay_ms=SECOND)

    await kit.sweep("drain", *READY, State.DELAYED)

    found = await kit.counts()
    assert found == ({"waiting": 1} if next_ms == T0 else {"delayed": 1})
    info = (await kit.store.schedules(QUEUE))[0]
    assert info.job_id == run


async def test_a_drained_child_releases_its_parent(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), new(queue=KIDS))

    await kit.sweep("drain", *READY, queue=KIDS)

    assert await kit.state(root) == State.WAITING


# clean


async def test_clean_takes_what_finished_by_then(kit: Kit) -> None:
    old = await kit.make(State.COMPLETED)
    until = kit.now
    kit.tick(1)
    young = await kit.make(State.COMPLETED)

    selected = await kit.sweep("clean", State.COMPLETED, before_ms=until)

    assert selected.ids == (old.id,)
    assert await kit.state(young) == State.COMPLETED


async def test_clean_goes_by_when_an_unfinished_job_was_added(kit: Kit) -> None:
    old = await kit.add()
    until = kit.now
    kit.tick(1)
    await kit.add()

    assert (await kit.sweep("clean", State.WAITING, before_ms=until)).ids == (old.id,)


async def test_clean_says_once_how_many(kit: Kit) -> None:
    for _ in range(3):
        await kit.make(State.FAILED)
    await kit.hush()

    await kit.sweep("clean", State.FAILED, before_ms=kit.now)

    [event] = await kit.hear()
    assert event == Cleaned(id=event.id, queue=QUEUE, at_ms=kit.now, count=3)


async def test_clean_takes_the_oldest_first_up_to_its_limit(kit: Kit) -> None:
    refs = []
    for _ in range(3):
        refs.append(await kit.make(State.COMPLETED))
        kit.tick(1)

    selected = await kit.sweep("clean", State.COMPLETED, before_ms=kit.now, limit=2)

    assert (selected.ids, selected.more) == (tuple(ids(refs[:2])), True)


async def test_a_cleaned_child_releases_its_parent(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), new(queue=KIDS))

    await kit.sweep("clean", State.WAITING, queue=KIDS, before_ms=kit.now)

    assert await kit.state(root) == State.WAITING


async def test_clean_leaves_other_states_alone(kit: Kit) -> None:
    await one_of_each(kit)

    await kit.sweep("clean", State.FAILED, before_ms=kit.now)

    assert sum((await kit.counts()).values()) == 6


async def test_clean_leaves_the_next_run_of_a_schedule(kit: Kit) -> None:
    await armed(kit)

    selected = await kit.sweep("clean", State.DELAYED, before_ms=kit.now)

    assert selected.ids == ()
    assert await kit.counts() == {"delayed": 1}


# remove, of what a schedule owns


async def test_the_next_run_of_a_schedule_is_not_removed_by_hand(kit: Kit) -> None:
    run = await armed(kit)

    selected = await kit.remove(Ref(QUEUE, run))

    assert isinstance(selected.refused[run], ScheduleOwned)
    assert await kit.counts() == {"delayed": 1}


async def test_a_run_that_is_over_is_removed_by_hand(kit: Kit) -> None:
    run = await armed(kit, T0)
    await kit.run()
    await kit.store.advance(Ref(QUEUE, run), "nightly", T0 + MINUTE, now=kit.now)

    selected = await kit.remove(Ref(QUEUE, run))

    assert selected.ids == (run,)


# obliterate


async def test_obliterate_takes_all_and_the_queue_itself(kit: Kit) -> None:
    for state in (State.COMPLETED, State.FAILED, State.WAITING, State.DELAYED):
        await kit.make(state)
    await kit.pause()

    await kit.sweep("obliterate")

    assert await kit.store.queues() == []
    assert await kit.counts() == {}
    assert await kit.store.events(QUEUE, None) == []


async def test_children_that_are_obliterated_release_their_parents(kit: Kit) -> None:
    root, _ = await kit.add_flow(new(), new(queue=KIDS))
    await kit.pause(KIDS)

    await kit.sweep("obliterate", queue=KIDS)

    assert await kit.state(root) == State.WAITING


async def test_who_follows_the_queue_hears_it_begin_anew(kit: Kit) -> None:
    await kit.add_many(3)
    last = await kit.store.last_event(QUEUE)
    await kit.pause()
    await kit.sweep("obliterate")
    kit.tick(1)

    await kit.add()

    told = [event.kind for event in await kit.store.events(QUEUE, last)]
    assert told[-2:] == ["added", "waiting"]


async def test_a_queue_begins_anew_after_it(kit: Kit) -> None:
    await kit.add_many(3)
    await kit.pause()
    await kit.sweep("obliterate")

    assert (await kit.add()).id == "1"
    assert (await kit.ask()).jobs != ()


async def test_a_queue_that_is_not_paused_is_not_obliterated(kit: Kit) -> None:
    await kit.add()

    with pytest.raises(WrongState, match=QUEUE):
        await kit.sweep("obliterate")

    assert await kit.counts() == {"waiting": 1}


async def test_active_jobs_hold_it_up(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.add()
    await kit.pause()

    with pytest.raises(JobLocked, match=QUEUE):
        await kit.sweep("obliterate")

    assert await kit.counts() == {"active": 1, "waiting": 1}
    assert await kit.state(ref) == State.ACTIVE


async def test_by_force_they_do_not(kit: Kit) -> None:
    await kit.make(State.ACTIVE)
    await kit.pause()

    await kit.sweep("obliterate", force=True)

    assert await kit.store.queues() == []


async def test_obliterate_works_off_a_large_queue_in_steps(kit: Kit) -> None:
    await kit.add_many(300)
    await kit.pause()

    first = await kit.sweep("obliterate", limit=250)
    assert first.more
    assert sum((await kit.counts()).values()) == 50
    second = await kit.sweep("obliterate", limit=250)

    assert not second.more
    assert await kit.store.queues() == []


async def test_schedules_go_with_their_queue(kit: Kit) -> None:
    await armed(kit)
    await kit.pause()

    await kit.sweep("obliterate")

    assert await kit.store.schedules() == []


async def test_another_queue_is_not_touched(kit: Kit) -> None:
    await kit.add(queue="other")
    await kit.add()
    await kit.pause()

    await kit.sweep("obliterate")

    assert await kit.store.queues() == ["other"]
    assert await kit.counts("other") == {"waiting": 1}
