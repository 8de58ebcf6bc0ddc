"""Reading what others wrote: BullMQ's older lists, ids without a job, queues nobody registered."""

from typing import Any

from tests.support.kit import QUEUE, SECOND, Kit, ids
from toril._model.options import Keep
from toril._model.record import Ref
from toril._model.report import Counts, Page, Query
from toril._model.states import State
from toril._store.protocol import Store


async def job(kit: Kit, keys: Any, prefix: str, place: str, **given: Any) -> Ref:
    """Add a job and move its id to the list where BullMQ 5 keeps those of a paused queue."""
    ref = await kit.add(**given)
    keys.lrem(f"{prefix}:{QUEUE}:wait", 0, ref.id)
    keys.lpush(f"{prefix}:{QUEUE}:{place}", ref.id)
    return ref


async def test_a_job_that_an_old_bullmq_put_aside_is_waiting(
    kit: Kit, keys: Any, prefix: str
) -> None:
    ref = await job(kit, keys, prefix, "paused")

    assert await kit.state(ref) == State.WAITING
    assert await kit.store.counts([QUEUE]) == [Counts(waiting=1)]


async def test_jobs_put_aside_are_listed_first_and_run_first(
    kit: Kit, keys: Any, prefix: str
) -> None:
    await kit.pause()
    last = await kit.add()
    first, second = [await job(kit, keys, prefix, "paused") for _ in range(2)]
    order = ids([first, second, last])
    page = await kit.store.find(Query(queue=QUEUE, states=(State.WAITING,)))
    assert ids(page.jobs) == order

    await kit.resume()

    assert await kit.claim_order() == order


async def test_more_jobs_than_one_call_moves_are_all_put_back(
    kit: Kit, keys: Any, prefix: str
) -> None:
    refs = await kit.add_many(2500)
    keys.rename(f"{prefix}:{QUEUE}:wait", f"{prefix}:{QUEUE}:paused")
    keys.hset(f"{prefix}:{QUEUE}:meta", "paused", "1")
    await kit.hush()

    await kit.resume()

    assert keys.exists(f"{prefix}:{QUEUE}:paused") == 0
    assert keys.lrange(f"{prefix}:{QUEUE}:wait", 0, -1)[::-1] == ids(refs)
    assert await kit.kinds() == ["resumed"]


async def test_an_id_without_a_job_is_no_job(kit: Kit, keys: Any, prefix: str) -> None:
    ref = await kit.add()
    keys.rpush(f"{prefix}:{QUEUE}:wait", "ghost", "0:marker")

    assert await kit.find(Ref(QUEUE, "ghost")) is None
    assert ids((await kit.store.find(Query(queue=QUEUE))).jobs) == [ref.id]


async def test_a_job_that_stands_nowhere_is_no_job(kit: Kit, keys: Any, prefix: str) -> None:
    ref = await kit.add()
    keys.delete(f"{prefix}:{QUEUE}:wait")

    assert await kit.find(ref) is None


async def test_a_queue_that_only_bullmq_knows_is_named(
    store: Store, keys: Any, prefix: str
) -> None:
    keys.hset(f"{prefix}:cards:meta", "opts.maxLenEvents", "10000")
    keys.hset(f"{prefix}:image:optimize:meta", "version", "bullmq:6.7.0")

    assert await store.queues() == ["cards", "image:optimize"]


async def test_keys_that_look_like_settings_of_a_queue_are_none(
    store: Store, keys: Any, prefix: str
) -> None:
    for name in (f"{prefix}::relay:{{x}}:meta", f"{prefix}:q:repeat:s:meta", f"{prefix}:7:meta"):
        keys.hset(name, "a", "b")

    assert await store.queues() == []


async def test_a_job_without_numbers_is_read(kit: Kit, keys: Any, prefix: str) -> None:
    """Redis can hold a job that a script made of one HSET; Node runs it, too."""
    keys.hset(f"{prefix}:{QUEUE}:raw", mapping={"name": "n", "data": '{"a":1}', "timestamp": "1"})
    keys.lpush(f"{prefix}:{QUEUE}:wait", "raw")

    record = await kit.record(Ref(QUEUE, "raw"))

    assert (record.name, record.data, record.created_ms) == ("n", '{"a":1}', 1)
    assert (record.opts, record.priority, record.runs) == ("{}", 0, 0)


async def test_options_that_nobody_can_read_make_the_job_fail_later(
    kit: Kit, keys: Any, prefix: str
) -> None:
    ref = await kit.add()
    keys.hset(f"{prefix}:{QUEUE}:{ref.id}", "opts", '{"backoff":{"type":7}}')

    [listed] = (await kit.store.find(Query(queue=QUEUE))).jobs

    assert "options cannot be read" in (listed.deferred or "")


async def test_a_queue_that_bullmq_made_keeps_what_has_finished(
    store: Store, keys: Any, prefix: str
) -> None:
    keys.hset(f"{prefix}:cards:meta", "opts.maxLenEvents", "10000")

    theirs, ours = await store.settings(["cards", "nobody's"])

    assert (theirs.keep_completed, theirs.keep_failed) == (Keep(), Keep())
    assert (ours.keep_completed, ours.keep_failed) == (None, None)


# Listings that take more than one call.


async def test_a_long_listing_comes_whole_and_in_order(kit: Kit) -> None:
    refs = await kit.add_many(700)
    refs += [await kit.add(priority=1) for _ in range(3)]

    page = await kit.store.find(Query(queue=QUEUE, limit=1000))

    assert (ids(page.jobs), page.more) == (ids(refs), False)


async def test_a_rare_name_is_found_behind_many_others(kit: Kit) -> None:
    await kit.add_many(2500)
    rare = [await kit.add("rare") for _ in range(3)]

    def asked(offset: int) -> Query:
        return Query(queue=QUEUE, name="rare", offset=offset, limit=2)

    first, second = [await kit.store.find(asked(offset)) for offset in (0, 2)]

    assert (ids(first.jobs), first.more) == (ids(rare[:2]), True)
    assert (ids(second.jobs), second.more) == (ids(rare[2:]), False)


async def test_pages_go_on_over_the_end_of_a_state(kit: Kit) -> None:
    waiting = await kit.add_many(3)
    delayed = [await kit.add(delay_ms=n * SECOND) for n in (1, 2, 3)]

    page = await kit.store.find(
        Query(queue=QUEUE, states=(State.WAITING, State.DELAYED), offset=2, limit=3)
    )

    assert (ids(page.jobs), page.more) == (ids([waiting[2], *delayed[:2]]), True)


async def test_what_runs_last_is_listed_first_when_asked(kit: Kit) -> None:
    second, third = await kit.add_many(2)
    first = await kit.add(lifo=True)
    last = await kit.add(priority=1)

    page = await kit.store.find(Query(queue=QUEUE, newest_first=True))

    assert ids(page.jobs) == ids([last, third, second, first])


async def test_jobs_of_many_megabytes_are_listed_in_several_calls(kit: Kit) -> None:
    refs = await kit.add_many(5, data=f'"{"x" * 1_500_000}"')

    page = await kit.store.find(Query(queue=QUEUE))

    assert (ids(page.jobs), page.more) == (ids(refs), False)


async def test_the_holder_of_a_dedup_key_that_is_gone_is_not_found(
    kit: Kit, keys: Any, prefix: str
) -> None:
    keys.set(f"{prefix}:{QUEUE}:de:key", "gone")

    assert await kit.store.find(Query(queue=QUEUE, dedup="key")) == Page()
