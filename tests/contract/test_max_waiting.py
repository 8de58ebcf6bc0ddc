"""max_waiting: a queue that holds as many waiting jobs as it may takes no new ones from callers.

What is accepted already always finds its place.
"""

import asyncio
from typing import Any

import pytest

from tests.contract.family import kid
from tests.support.kit import (
    KIDS,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    await_children,
    complete,
    fail,
    new,
    release,
)
from toril._model.options import Dedup
from toril._model.record import NewJob, Ref
from toril._model.report import QueueSettings
from toril._model.schedule import Rule
from toril._store.values import AddAnswer, ScheduleDraft
from toril.errors import ParentNotFound, QueueFull, TorilError


@pytest.fixture
async def full(kit: Kit) -> Kit:
    """A kit whose queue has room for two, and two jobs."""
    await kit.configure(max_waiting=2)
    await kit.add_many(2)
    return kit


async def settings(kit: Kit) -> QueueSettings:
    [found] = await kit.store.settings([QUEUE])
    return found


def words(answers: list[tuple[AddAnswer, ...] | TorilError]) -> list[str]:
    """Name what became of each group: "full", or what each of its jobs became."""
    return [
        "full" if isinstance(answer, QueueFull) else " ".join(one.word for one in answer)
        for answer in answers
        if isinstance(answer, QueueFull | tuple)
    ]


async def test_it_is_stored_like_the_other_settings(kit: Kit) -> None:
    assert (await settings(kit)).max_waiting is None

    await kit.configure(max_waiting=7)
    await kit.configure(concurrency=3)
    assert (await settings(kit)).max_waiting == 7

    await kit.configure(max_waiting=None)
    assert (await settings(kit)).max_waiting is None


async def test_a_full_queue_says_which_it_is_and_what_to_do(full: Kit) -> None:
    with pytest.raises(QueueFull) as caught:
        await full.add()

    error = caught.value
    assert (error.queue, error.limit, error.count, error.jobs) == (QUEUE, 2, 2, 1)
    for part in ("'mail'", "max_waiting", "2 jobs wait", "on_full", "workers"):
        assert part in str(error)
    assert await full.counts() == {"waiting": 2}


NEW: dict[str, dict[str, Any]] = {
    "plain": {},
    "id": {"id": "mine"},
    "priority": {"priority": 3},
    "lifo": {"lifo": True},
    "delay": {"delay_ms": SECOND},
    "at": {"at_ms": T0 + SECOND},
    "created": {"created_ms": T0 - SECOND},
    "deadline": {"deadline_ms": MINUTE},
    "dedup": {"dedup": Dedup("free")},
    "parent to be": {"id": "above", "expects_children": True},
}


@pytest.mark.parametrize("given", NEW)
async def test_every_kind_of_new_job_is_refused_and_leaves_nothing(full: Kit, given: str) -> None:
    await full.hush()

    with pytest.raises(QueueFull):
        await full.add(**NEW[given])

    assert await full.counts() == {"waiting": 2}
    assert await full.hear() == []
    # Nor is a number, a dedup key or an id used up.
    await full.configure(max_waiting=None)
    [added] = await full.add_group(new(**NEW[given]))
    assert added == AddAnswer(NEW[given].get("id", "3"))


@pytest.mark.parametrize("given", [{}, {"priority": 3}])
async def test_a_job_that_started_makes_room(full: Kit, given: dict[str, Any]) -> None:
    await full.claim()

    await full.add(**given)

    with pytest.raises(QueueFull):
        await full.add()


async def test_paused_and_prioritized_jobs_count_and_delayed_and_active_ones_do_not(
    kit: Kit,
) -> None:
    await kit.configure(max_waiting=3)
    await kit.add()
    await kit.claim()
    await kit.add(delay_ms=MINUTE)
    await kit.add(priority=4)
    await kit.add()
    await kit.pause()
    await kit.add()

    with pytest.raises(QueueFull) as caught:
        await kit.add()
    assert caught.value.count == 3


@pytest.mark.parametrize("given", [{}, {"lifo": True}])
async def test_a_group_is_stored_as_a_whole_or_not_at_all(kit: Kit, given: dict[str, Any]) -> None:
    await kit.configure(max_waiting=5)
    await kit.add_many(3, **given)

    with pytest.raises(QueueFull) as caught:
        await kit.add_many(3, **given)

    assert (caught.value.count, caught.value.jobs) == (3, 3)
    assert await kit.counts() == {"waiting": 3}
    await kit.add_many(2, **given)


async def test_a_group_that_never_fits_is_told_so(kit: Kit) -> None:
    await kit.configure(max_waiting=5)

    with pytest.raises(QueueFull, match="at most 5 jobs in one step"):
        await kit.add_many(6)


async def test_delayed_jobs_need_room_and_take_none(kit: Kit) -> None:
    await kit.configure(max_waiting=1)

    await kit.add_many(5, delay_ms=MINUTE)
    await kit.add()

    with pytest.raises(QueueFull):
        await kit.add(delay_ms=MINUTE)


@pytest.mark.parametrize("given", [{}, {"lifo": True}])
async def test_the_groups_of_a_call_are_refused_one_by_one(kit: Kit, given: dict[str, Any]) -> None:
    """What one caller adds too much of is nothing to the others in the same trip."""
    await kit.configure(max_waiting=4)
    sizes = (1, 2, 3, 1, 1)
    groups = [[new(**given)] * size for size in sizes]

    answers = await kit.store.add(groups, now=kit.now)

    assert words(answers) == ["added", "added added", "full", "added", "full"]
    assert await kit.counts() == {"waiting": 4}


async def test_other_queues_of_the_call_are_not_concerned(full: Kit) -> None:
    groups = [[new()], [new(queue="other")], [new(queue="other"), new()], [new(queue="third")]]

    answers = await full.store.add(groups, now=full.now)

    assert words(answers) == ["full", "added", "full", "added"]
    assert await full.counts("other") == {"waiting": 1}


async def test_a_duplicate_adds_nothing_and_is_answered_as_ever(kit: Kit) -> None:
    await kit.configure(max_waiting=2)
    await kit.add(id="there", dedup=Dedup("held"))
    await kit.add()

    groups: list[list[NewJob]] = [
        [new(id="there")],
        [new(dedup=Dedup("held"))],
        [new(id="there"), new(dedup=Dedup("held")), new(id="there")],
        [new(id="there"), new()],
    ]
    answers = await kit.store.add(groups, now=kit.now)

    assert words(answers) == [
        "duplicate",
        "deduplicated",
        "duplicate deduplicated duplicate",
        "full",
    ]


async def test_twins_of_one_group_need_room_once(kit: Kit) -> None:
    await kit.configure(max_waiting=2)

    twins = [new(id="one"), new(id="one"), new(dedup=Dedup("k")), new(dedup=Dedup("k"))]
    answer = await kit.add_group(*twins)

    assert [one.word for one in answer] == ["added", "duplicate", "added", "deduplicated"]


async def test_a_job_that_replaces_a_delayed_one_needs_no_room(kit: Kit) -> None:
    await kit.configure(max_waiting=1)
    debounce = {"dedup": Dedup("k", ttl=5, replace=True), "delay_ms": 5 * SECOND}
    await kit.add(**debounce)
    await kit.add()

    assert (await kit.add_group(new(**debounce)))[0].created

    assert await kit.counts() == {"waiting": 1, "delayed": 1}


async def test_the_duplicate_that_is_kept_back_runs_all_the_same(kit: Kit) -> None:
    await kit.configure(max_waiting=1)
    keep = {"dedup": Dedup("k", keep_last=True)}
    await kit.add(**keep)
    claim = await kit.claim()
    await kit.add()
    [stored] = await kit.add_group(new("kept", **keep))
    assert stored.word == "stored-next"

    await kit.settle(complete(claim))

    assert await kit.counts() == {"waiting": 2, "completed": 1}


async def test_a_flow_is_refused_as_a_whole_where_one_queue_is_full(full: Kit) -> None:
    with pytest.raises(QueueFull) as caught:
        await full.add_flow(new(queue="roots"), kid(), new(), kid())

    assert caught.value.queue == QUEUE
    assert await full.counts("roots") == {}
    assert await full.counts(KIDS) == {}


async def test_a_flow_that_exists_is_answered_as_ever(kit: Kit) -> None:
    await kit.configure(max_waiting=2)
    flow = (new(id="root", queue="roots"), new(), new())
    first = await kit.add_flow(*flow)

    again_added = await kit.add_flow(*flow)

    assert again_added[0] == first[0]
    assert await kit.counts() == {"waiting": 2}


async def test_other_refusals_come_first_and_take_no_room(kit: Kit) -> None:
    await kit.configure(max_waiting=1)
    orphan = new(parent=Ref(QUEUE, "nobody"))

    answers = await kit.store.add([[orphan], [new()], [orphan]], now=kit.now)

    assert [type(answer) for answer in answers] == [ParentNotFound, tuple, ParentNotFound]


async def test_a_large_flow_is_refused_before_anything_of_it_can_run(kit: Kit) -> None:
    await kit.configure(queue=KIDS, max_waiting=1_150)
    flow = [kid() for _ in range(1_200)]

    with pytest.raises(QueueFull) as caught:
        await kit.add_flow(new(), *flow)

    assert caught.value.queue == KIDS
    assert await kit.counts(KIDS) == {}
    assert await kit.counts() == {}
    assert "added" not in await kit.kinds(KIDS)


async def test_a_large_flow_that_fits_is_stored_and_may_be_added_twice(kit: Kit) -> None:
    await kit.configure(queue=KIDS, max_waiting=1_200)
    flow = (new(id="root"), *[kid() for _ in range(1_200)])

    await kit.add_flow(*flow)
    await kit.add_flow(*flow)

    assert await kit.counts(KIDS) == {"waiting": 1_200}


# What is accepted already.


@pytest.mark.parametrize("decide", [again, release, fail])
async def test_a_job_that_was_claimed_finds_its_place_in_a_full_queue(
    kit: Kit, decide: Any
) -> None:
    await kit.configure(max_waiting=1)
    await kit.add(attempts=3)
    claim = await kit.claim()
    await kit.add()

    await kit.settle(decide(claim))

    if decide is fail:
        await kit.retry(Ref(QUEUE, claim.record.id))
    assert await kit.counts() == {"waiting": 2}


async def test_a_job_of_a_dead_worker_comes_back_to_a_full_queue(kit: Kit) -> None:
    await kit.configure(max_waiting=1)
    await kit.add()
    await kit.claim()
    await kit.add()
    kit.tick(MINUTE)

    await kit.recover(QUEUE)

    assert await kit.counts() == {"waiting": 2}


async def test_delayed_jobs_become_due_in_a_full_queue(kit: Kit) -> None:
    await kit.configure(max_waiting=1)
    delayed = await kit.add(delay_ms=SECOND)
    later = await kit.add(delay_ms=MINUTE)
    await kit.add()
    await kit.promote(later)
    kit.tick(SECOND)

    assert sorted(await kit.claim_order()) == sorted([delayed.id, later.id, "3"])


async def test_a_parent_is_released_into_a_full_queue(kit: Kit) -> None:
    await kit.configure(max_waiting=1)
    await kit.add_flow(new(), kid())
    await kit.add()

    await kit.run(KIDS)

    assert await kit.counts() == {"waiting": 2}


async def test_children_of_a_running_job_are_new_jobs(kit: Kit) -> None:
    await kit.configure(queue=KIDS, max_waiting=1)
    await kit.add()
    claim = await kit.claim()
    above = Ref(QUEUE, claim.record.id)
    await kit.add(queue=KIDS, parent=above)

    with pytest.raises(QueueFull):
        await kit.add(queue=KIDS, parent=above)

    await kit.settle(await_children(claim))
    await kit.run(KIDS)
    assert await kit.counts() == {"waiting": 1}


async def test_a_schedule_goes_on_in_a_full_queue(full: Kit) -> None:
    rule = Rule(every_ms=MINUTE)
    draft = ScheduleDraft(
        queue=QUEUE, id="tick", name="t", rule=rule, data="{}", opts="{}", next_ms=T0 + MINUTE
    )
    await full.store.put_schedule(draft, now=full.now)
    full.tick(MINUTE)

    ids = await full.claim_order()

    run = Ref(QUEUE, f"repeat:tick:{T0 + MINUTE}")
    assert run.id in ids
    await full.configure(max_waiting=1)
    await full.add()
    await full.store.advance(run, "tick", T0 + 2 * MINUTE, now=full.now)
    assert await full.counts() == {"waiting": 1, "delayed": 1, "active": 3}


async def test_dead_letters_are_written_into_a_full_queue(full: Kit) -> None:
    await full.configure(queue="work", dead_letter=QUEUE)
    await full.add(queue="work")

    await full.run_to_failure("work")

    assert await full.counts() == {"waiting": 3}


async def test_a_lower_limit_takes_nothing_away(kit: Kit) -> None:
    await kit.add_many(5)
    await kit.configure(max_waiting=2)

    with pytest.raises(QueueFull) as caught:
        await kit.add()

    assert caught.value.limit == 2
    assert len(await kit.claim_order()) == 5


async def test_a_limit_that_is_raised_holds_at_once(full: Kit) -> None:
    await full.configure(max_waiting=3)
    await full.add()
    with pytest.raises(QueueFull):
        await full.add()


async def test_producers_at_the_same_time_cannot_pass_it_together(kit: Kit) -> None:
    await kit.configure(max_waiting=20)
    calls = [kit.store.add([[new()], [new(priority=2)], [new()] * 3]) for _ in range(20)]

    answers = [answer for call in await asyncio.gather(*calls) for answer in call]

    stored = sum(len(answer) for answer in answers if isinstance(answer, tuple))
    assert all(isinstance(answer, tuple | QueueFull) for answer in answers)
    counts = await kit.counts()
    assert stored == counts["waiting"] + counts["prioritized"] == 20
