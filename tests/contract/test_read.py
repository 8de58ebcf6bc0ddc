"""get, find, counts, queues, metrics: what can be seen of jobs."""

import dataclasses

import pytest

from tests.support.kit import (
    HOUR,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    complete,
    ids,
)
from toril._model.record import Ref
from toril._model.report import Counts, Metrics, Page, Query
from toril._model.states import EVERY, State

# get


async def test_jobs_are_read_in_the_order_asked_for(kit: Kit) -> None:
    one, two = await kit.add_many(2)

    records = await kit.store.get([two, Ref(QUEUE, "nowhere"), one])

    assert [record and record.id for record in records] == [two.id, None, one.id]


async def test_jobs_of_several_queues_are_read_at_once(kit: Kit) -> None:
    a, b = await kit.add(queue="a"), await kit.add(queue="b")

    records = await kit.store.get([a, b])

    assert [record and record.queue for record in records] == ["a", "b"]


async def test_nothing_is_read_when_nothing_is_asked(kit: Kit) -> None:
    assert await kit.store.get([]) == []


# counts


async def test_counts_tell_each_state(kit: Kit) -> None:
    for state in (State.COMPLETED, State.FAILED, State.WAITING_CHILDREN, State.ACTIVE):
        await kit.make(state)
    await kit.add_many(2)
    await kit.add_many(3, priority=1)
    await kit.add(delay_ms=1)

    [counts] = await kit.store.counts([QUEUE])

    assert counts == Counts(
        waiting=2,
        prioritized=3,
        delayed=1,
        active=1,
        waiting_children=1,
        completed=1,
        failed=1,
    )
    assert (counts.ready, counts.total) == (5, 10)


async def test_an_unknown_queue_counts_nothing_and_is_not_made(kit: Kit) -> None:
    await kit.add(queue="a")

    assert await kit.store.counts(["b", "a"]) == [Counts(), Counts(waiting=1)]
    assert await kit.store.queues() == ["a"]


# find


async def found(kit: Kit, *states: State, **query: object) -> list[str]:
    asked = Query(queue=QUEUE, states=states, **query)  # type: ignore[arg-type]
    return [job.id for job in (await kit.store.find(asked)).jobs]


async def test_all_states_are_listed_when_none_is_named(kit: Kit) -> None:
    for state in (State.COMPLETED, State.FAILED, State.ACTIVE, State.WAITING, State.DELAYED):
        await kit.make(state)

    assert sorted(await found(kit)) == ["1", "2", "3", "4", "5"]
    assert sorted(await found(kit, *EVERY)) == ["1", "2", "3", "4", "5"]


async def test_only_the_states_that_are_named_are_listed(kit: Kit) -> None:
    failed = await kit.make(State.FAILED)
    await kit.make(State.WAITING)

    assert await found(kit, State.FAILED) == [failed.id]
    assert await found(kit, State.ACTIVE) == []


async def test_ready_jobs_stand_in_the_order_in_which_they_would_run(kit: Kit) -> None:
    last = await kit.add(priority=9)
    middle = await kit.add(priority=1)
    second = await kit.add()
    first = await kit.add(lifo=True)

    assert await found(kit, State.WAITING) == ids([first, second])
    assert await found(kit, State.PRIORITIZED) == ids([middle, last])
    assert await found(kit, State.WAITING, State.PRIORITIZED) == ids([first, second, middle, last])


async def test_delayed_jobs_stand_soonest_first(kit: Kit) -> None:
    late, soon = [await kit.add(delay_ms=delay) for delay in (9 * SECOND, SECOND)]

    assert await found(kit, State.DELAYED) == ids([soon, late])


async def test_finished_jobs_stand_oldest_first_or_newest_first(kit: Kit) -> None:
    refs = []
    for _ in range(3):
        refs.append(await kit.make(State.COMPLETED))
        kit.tick(1)

    assert await found(kit, State.COMPLETED) == ids(refs)
    assert await found(kit, State.COMPLETED, newest_first=True) == ids(reversed(refs))


async def test_jobs_are_found_by_name(kit: Kit) -> None:
    await kit.add("a")
    wanted = await kit.add("b")

    assert await found(kit, name="b") == [wanted.id]
    assert await found(kit, State.WAITING, name="c") == []


async def test_a_listing_comes_in_pages(kit: Kit) -> None:
    refs = await kit.add_many(5)
    asked = Query(queue=QUEUE, states=(State.WAITING,), offset=1, limit=2)

    page = await kit.store.find(asked)

    assert (ids(page.jobs), page.more) == (ids(refs[1:3]), True)


async def test_the_last_page_says_so(kit: Kit) -> None:
    refs = await kit.add_many(4)
    asked = Query(queue=QUEUE, states=(State.WAITING,), offset=2, limit=2)

    page = await kit.store.find(asked)

    assert (ids(page.jobs), page.more) == (ids(refs[2:]), False)


async def test_an_unknown_queue_lists_nothing(kit: Kit) -> None:
    assert await kit.store.find(Query(queue="nowhere")) == Page()


async def test_a_listing_leaves_the_tries_to_get(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)

    [listed] = (await kit.store.find(Query(queue=QUEUE))).jobs

    assert listed.tries == ()
    assert len((await kit.record(ref)).tries) == 1


# queues


async def test_queues_are_named_sorted(kit: Kit) -> None:
    for queue in ("b", "image:optimize", "a"):
        await kit.add(queue=queue)

    assert await kit.store.queues() == ["a", "b", "image:optimize"]


async def test_a_queue_that_was_only_configured_exists(kit: Kit) -> None:
    await kit.pause()

    assert await kit.store.queues() == [QUEUE]


async def test_a_queue_that_is_empty_exists(kit: Kit) -> None:
    await kit.remove(await kit.add())

    assert await kit.store.queues() == [QUEUE]


# metrics


async def test_each_minute_has_its_count(kit: Kit) -> None:
    for jobs in (2, 0, 1):
        for _ in range(jobs):
            await kit.make(State.COMPLETED)
        kit.tick(MINUTE)

    assert await kit.store.metrics(QUEUE, "completed") == Metrics(
        kind="completed", points=((T0, 2), (T0 + 2 * MINUTE, 1)), total=3
    )


async def test_failures_are_counted_apart(kit: Kit) -> None:
    await kit.make(State.COMPLETED)
    await kit.make(State.FAILED)

    assert (await kit.store.metrics(QUEUE, "failed")).points == ((T0, 1),)


async def test_a_try_that_will_be_repeated_is_no_failure(kit: Kit) -> None:
    await kit.add(attempts=2)
    await kit.settle(again(await kit.claim()))

    assert await kit.store.metrics(QUEUE, "failed") == Metrics(kind="failed")


async def test_a_batch_counts_each_job(kit: Kit) -> None:
    await kit.add_many(5)
    await kit.finish(*[complete(claim) for claim in (await kit.ask(5)).jobs])

    assert (await kit.store.metrics(QUEUE, "completed")).points == ((T0, 5),)


async def test_jobs_that_were_removed_stay_counted(kit: Kit) -> None:
    await kit.remove(await kit.make(State.COMPLETED))

    assert (await kit.store.metrics(QUEUE, "completed")).total == 1


async def test_metrics_begin_where_asked(kit: Kit) -> None:
    for _ in range(3):
        await kit.make(State.COMPLETED)
        kit.tick(MINUTE)

    metrics = await kit.store.metrics(QUEUE, "completed", since_ms=T0 + MINUTE)

    assert [at for at, _ in metrics.points] == [T0 + MINUTE, T0 + 2 * MINUTE]
    assert metrics.total == 3


async def test_a_queue_in_which_nothing_finished_has_none(kit: Kit) -> None:
    assert await kit.store.metrics("nowhere", "completed") == Metrics(kind="completed")


@pytest.mark.parametrize("newest_first", [False, True])
async def test_ids_are_listed_as_the_jobs_are(kit: Kit, newest_first: bool) -> None:
    # Those that are ready come last, so that each of the others claims its own job.
    for state in reversed(State):
        for _ in range(3):
            await kit.make(state)
    query = Query(queue=QUEUE, limit=4, newest_first=newest_first)

    for states in ((), (State.WAITING, State.PRIORITIZED), (State.DELAYED, State.FAILED)):
        offset = 0
        more = True
        while more:
            asked = dataclasses.replace(query, states=states, offset=offset)
            jobs = await kit.store.find(asked)
            page = await kit.store.find(dataclasses.replace(asked, ids_only=True))
            assert page.ids == tuple(job.id for job in jobs.jobs)
            assert (page.jobs, page.more) == ((), jobs.more)
            offset, more = offset + 4, page.more


async def oldest(kit: Kit) -> int | None:
    [counts] = await kit.store.counts([QUEUE])
    return counts.oldest_ms


async def test_counts_tell_since_when_the_next_job_waits(kit: Kit) -> None:
    assert await oldest(kit) is None
    await kit.add(delay_ms=HOUR)
    assert await oldest(kit) is None
    kit.tick(HOUR + MINUTE)
    await kit.add(priority=3)
    await kit.claim()
    added = kit.now
    kit.tick(MINUTE)
    await kit.add(priority=3)

    assert await oldest(kit) == added
