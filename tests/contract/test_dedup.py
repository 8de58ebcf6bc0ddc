"""Deduplication: at most one job per key, in every mode."""

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.kit import QUEUE, SECOND, T0, Kit, again, complete, fail, new, ref_of
from toril._model.decide import Decision
from toril._model.options import Dedup
from toril._model.report import Query
from toril._model.states import State
from toril._store.values import AddAnswer
from toril.events import Deduplicated, Removed

SIMPLE = Dedup("key")
THROTTLE = Dedup("key", ttl="10s")
EXTEND = Dedup("key", ttl="10s", extend=True)
REPLACE = Dedup("key", replace=True)
DEBOUNCE = Dedup("key", ttl="10s", extend=True, replace=True)
RESCHEDULE = Dedup("key", reschedule=True)
KEEP_LAST = Dedup("key", keep_last=True)
TTL = 10 * SECOND


async def word(kit: Kit, dedup: Dedup, **given: Any) -> str:
    (added,) = await kit.add_group(new(dedup=dedup, **given))
    return added.word


# With a key alone.


async def test_a_second_job_with_the_key_is_not_stored(kit: Kit) -> None:
    await kit.add("first", dedup=SIMPLE)

    assert await kit.add_group(new("second", dedup=SIMPLE)) == (AddAnswer("1", "deduplicated"),)

    assert await kit.counts() == {"waiting": 1}
    assert (await kit.record(await kit.add(dedup=SIMPLE))).name == "first"


async def test_a_job_knows_its_key(kit: Kit) -> None:
    assert (await kit.record(await kit.add(dedup=SIMPLE))).dedup == "key"


async def test_the_event_names_who_stays_and_who_was_dropped(kit: Kit) -> None:
    await kit.add(dedup=SIMPLE, id="stays")
    await kit.hush()

    await kit.add(dedup=SIMPLE, id="dropped")

    [event] = await kit.hear()
    assert event == Deduplicated(
        id=event.id,
        queue=QUEUE,
        at_ms=T0,
        job_id="stays",
        dedup_key="key",
        dropped_id="dropped",
    )


async def test_another_key_is_another_matter(kit: Kit) -> None:
    await kit.add(dedup=SIMPLE)

    assert await word(kit, Dedup("other")) == "added"


async def test_the_key_in_another_queue_is_another_matter(kit: Kit) -> None:
    await kit.add(dedup=SIMPLE)

    assert await word(kit, SIMPLE, queue="other") == "added"


async def test_two_jobs_with_the_key_in_one_group_are_stored_once(kit: Kit) -> None:
    added = await kit.add_group(new(dedup=SIMPLE), new(dedup=SIMPLE))

    assert [one.word for one in added] == ["added", "deduplicated"]


@pytest.mark.parametrize(
    "state", [State.WAITING, State.PRIORITIZED, State.DELAYED, State.ACTIVE, State.WAITING_CHILDREN]
)
async def test_the_key_is_held_until_the_job_has_finished(kit: Kit, state: State) -> None:
    await kit.make(state, dedup=SIMPLE)

    assert await word(kit, SIMPLE) == "deduplicated"


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
async def test_the_key_is_free_once_the_job_has_finished(kit: Kit, state: State) -> None:
    await kit.make(state, dedup=SIMPLE)

    assert await word(kit, SIMPLE) == "added"


async def test_the_key_is_held_between_two_tries(kit: Kit) -> None:
    await kit.add(dedup=SIMPLE, attempts=2)
    await kit.settle(again(await kit.claim(), SECOND))

    assert await word(kit, SIMPLE) == "deduplicated"


async def test_the_key_is_free_once_the_job_is_removed(kit: Kit) -> None:
    await kit.remove(await kit.add(dedup=SIMPLE))

    assert await word(kit, SIMPLE) == "added"


async def test_the_key_is_free_once_the_job_is_drained_away(kit: Kit) -> None:
    await kit.add(dedup=SIMPLE)
    await kit.sweep("drain", State.WAITING)

    assert await word(kit, SIMPLE) == "added"


async def test_the_key_is_free_once_it_is_given_up(kit: Kit) -> None:
    ref = await kit.add(dedup=SIMPLE)
    await kit.update(ref, dedup=None)

    assert await word(kit, SIMPLE) == "added"
    assert await kit.counts() == {"waiting": 2}


async def test_who_finished_earlier_does_not_free_the_key_of_its_successor(kit: Kit) -> None:
    first = await kit.make(State.FAILED, dedup=SIMPLE)
    await kit.add(dedup=SIMPLE)
    await kit.remove(first)

    assert await word(kit, SIMPLE) == "deduplicated"


async def test_the_job_that_holds_a_key_is_found(kit: Kit) -> None:
    ref = await kit.add(dedup=SIMPLE)
    await kit.add()

    page = await kit.store.find(Query(queue=QUEUE, dedup="key"))

    assert [job.id for job in page.jobs] == [ref.id]


async def test_nobody_is_found_for_a_key_that_is_free(kit: Kit) -> None:
    await kit.make(State.COMPLETED, dedup=SIMPLE)

    assert (await kit.store.find(Query(queue=QUEUE, dedup="key"))).jobs == ()


# For a time: throttle, and extend.


async def test_the_key_is_held_for_its_time(kit: Kit) -> None:
    await kit.add(dedup=THROTTLE)
    kit.tick(TTL - 1)

    assert await word(kit, THROTTLE) == "deduplicated"


async def test_the_key_is_free_after_its_time_though_the_job_still_waits(kit: Kit) -> None:
    await kit.add(dedup=THROTTLE)
    kit.tick(TTL)

    assert await word(kit, THROTTLE) == "added"


async def test_the_key_is_held_for_its_time_though_the_job_has_finished(kit: Kit) -> None:
    await kit.make(State.COMPLETED, dedup=THROTTLE)

    assert await word(kit, THROTTLE) == "deduplicated"


async def test_a_duplicate_does_not_lengthen_the_time(kit: Kit) -> None:
    await kit.add(dedup=THROTTLE)
    kit.tick(TTL - 1)
    await kit.add(dedup=THROTTLE)
    kit.tick(1)

    assert await word(kit, THROTTLE) == "added"


async def test_with_extend_a_duplicate_starts_the_time_again(kit: Kit) -> None:
    await kit.add(dedup=EXTEND)
    kit.tick(TTL - 1)
    await kit.add(dedup=EXTEND)
    kit.tick(TTL - 1)

    assert await word(kit, EXTEND) == "deduplicated"
    kit.tick(TTL)
    assert await word(kit, EXTEND) == "added"


async def test_extend_without_a_time_is_as_a_key_alone(kit: Kit) -> None:
    dedup = Dedup("key", extend=True)
    await kit.make(State.COMPLETED, dedup=dedup)

    assert await word(kit, dedup) == "added"


async def test_removing_the_job_frees_the_key_before_its_time(kit: Kit) -> None:
    await kit.remove(await kit.add(dedup=THROTTLE))

    assert await word(kit, THROTTLE) == "added"


# Replace, and debounce.


async def test_the_newest_replaces_one_that_is_delayed(kit: Kit) -> None:
    old = await kit.add("old", dedup=REPLACE, delay_ms=SECOND)

    newer = await kit.add("new", dedup=REPLACE, delay_ms=SECOND)

    assert newer != old
    assert await kit.find(old) is None
    assert await kit.counts() == {"delayed": 1}


async def test_a_replacement_is_announced_with_its_roles(kit: Kit) -> None:
    await kit.add(id="old", dedup=REPLACE, delay_ms=SECOND)
    await kit.hush()

    await kit.add(id="new", dedup=REPLACE, delay_ms=SECOND)

    removed, dropped, *rest = await kit.hear()
    assert removed == Removed(id=removed.id, queue=QUEUE, at_ms=T0, job_id="old", prev="delayed")
    assert dropped == Deduplicated(
        id=dropped.id, queue=QUEUE, at_ms=T0, job_id="new", dedup_key="key", dropped_id="old"
    )
    assert [event.kind for event in rest] == ["added", "delayed"]


async def test_the_replacement_holds_the_key(kit: Kit) -> None:
    await kit.add(dedup=REPLACE, delay_ms=SECOND)
    await kit.add(dedup=REPLACE, delay_ms=SECOND)
    await kit.add("last", dedup=REPLACE, delay_ms=SECOND)

    page = await kit.store.find(Query(queue=QUEUE))
    assert [job.name for job in page.jobs] == ["last"]


@pytest.mark.parametrize("state", [State.WAITING, State.PRIORITIZED, State.ACTIVE])
async def test_one_that_is_not_delayed_is_not_replaced(kit: Kit, state: State) -> None:
    old = await kit.make(state, dedup=REPLACE)
    await kit.hush()

    assert await kit.add_group(new(dedup=REPLACE)) == (AddAnswer(old.id, "deduplicated"),)

    assert await kit.state(old) == state
    assert await kit.hear() == []


async def test_debounce_runs_the_last_of_a_burst_once(kit: Kit) -> None:
    for name in ("one", "two", "three"):
        await kit.add(name, dedup=DEBOUNCE, delay_ms=5 * SECOND)
        kit.tick(4 * SECOND)
    kit.tick(SECOND)

    claim = await kit.claim()

    assert claim.record.name == "three"
    assert await kit.counts() == {"active": 1}


async def test_replacing_for_a_time_keeps_what_is_left_of_it(kit: Kit) -> None:
    dedup = Dedup("key", ttl="10s", replace=True)
    await kit.add(dedup=dedup, delay_ms=60 * SECOND)
    kit.tick(TTL - 1)
    await kit.add(dedup=dedup, delay_ms=60 * SECOND)
    kit.tick(1)

    assert await word(kit, dedup, delay_ms=60 * SECOND) == "added"
    assert await kit.counts() == {"delayed": 2}


# Reschedule.


async def test_a_delayed_job_is_moved_to_the_new_delay(kit: Kit) -> None:
    ref = await kit.add("first", dedup=RESCHEDULE, delay_ms=5 * SECOND)
    kit.tick(SECOND)

    assert await kit.add_group(new("second", dedup=RESCHEDULE, delay_ms=9 * SECOND)) == (
        AddAnswer(ref.id, "deduplicated"),
    )

    record = await kit.record(ref)
    assert (record.name, record.state) == ("first", State.DELAYED)
    assert (record.delay_ms, record.due_ms) == (9 * SECOND, T0 + 10 * SECOND)


async def test_one_that_is_not_delayed_is_not_rescheduled(kit: Kit) -> None:
    ref = await kit.add(dedup=RESCHEDULE)
    await kit.hush()

    await kit.add(dedup=RESCHEDULE, delay_ms=SECOND)

    assert await kit.state(ref) == State.WAITING
    assert await kit.kinds() == ["deduplicated"]


# Keep last.


async def test_a_duplicate_of_an_active_job_is_kept_for_later(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)

    assert await kit.add_group(new(dedup=KEEP_LAST)) == (AddAnswer(ref.id, "stored-next"),)

    assert await kit.counts() == {"active": 1}


@pytest.mark.parametrize("decide", [complete, fail])
async def test_what_was_kept_is_added_once_the_active_one_has_finished(
    kit: Kit, decide: Callable[..., Decision]
) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    await kit.add("next", data="2", dedup=KEEP_LAST)
    await kit.settle(decide(kit.held[ref]))

    claim = await kit.claim()

    assert (claim.record.name, claim.record.data, claim.record.dedup) == ("next", "2", "key")


async def test_only_the_last_one_is_kept(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    for name in ("second", "third", "last"):
        await kit.add(name, dedup=KEEP_LAST)
    await kit.settle(complete(kit.held[ref]))

    assert (await kit.claim()).record.name == "last"
    assert await kit.counts() == {"completed": 1, "active": 1}


async def test_what_was_kept_comes_with_its_options(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    await kit.add(id="mine", dedup=KEEP_LAST, delay_ms=SECOND, priority=3)
    kit.tick(SECOND)
    await kit.settle(complete(kit.held[ref]))

    page = await kit.store.find(Query(queue=QUEUE, states=(State.DELAYED,)))
    [job] = page.jobs
    assert (job.id, job.priority, job.due_ms) == ("mine", 3, T0 + 2 * SECOND)


async def test_what_was_kept_is_announced_before_the_completion(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    await kit.add(id="next", dedup=KEEP_LAST)
    await kit.hush()

    await kit.settle(complete(kit.held[ref]))

    told = [(event.kind, getattr(event, "job_id", "")) for event in await kit.hear()]
    assert told == [("added", "next"), ("waiting", "next"), ("completed", ref.id)]


async def test_what_was_kept_waits_for_the_last_try(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST, attempts=2)
    await kit.add("next", dedup=KEEP_LAST)
    await kit.settle(again(kit.held[ref]))

    assert await kit.counts() == {"waiting": 1}
    assert ref_of(await kit.claim()) == ref


async def test_a_duplicate_of_a_waiting_job_is_dropped(kit: Kit) -> None:
    await kit.add(dedup=KEEP_LAST)

    assert await word(kit, KEEP_LAST) == "deduplicated"


async def test_a_time_does_not_end_the_hold_of_an_active_job(kit: Kit) -> None:
    dedup = Dedup("key", ttl="10s", keep_last=True)
    await kit.make(State.ACTIVE, dedup=dedup)
    kit.tick(TTL + 1)

    assert await word(kit, dedup) == "stored-next"
