"""wait: blocks until there may be work, and is woken by everything that makes some.

The clock of these tests is the store's own, for waiting happens in real time.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.support.kit import KIDS, QUEUE, Kit, again, blocked, complete, new, release
from toril._model.states import State

LONG = 15_000


@pytest.fixture
def kit(kit: Kit) -> Kit:
    kit.now = int(time.time() * 1000)
    return kit


@asynccontextmanager
async def woken(kit: Kit, *queues: str) -> AsyncIterator[None]:
    """Wait for these queues while the body runs, and see that the wait ends with the first."""
    waiting = asyncio.create_task(kit.store.wait(queues or (QUEUE,), timeout_ms=LONG))
    await blocked(waiting)
    yield
    async with asyncio.timeout(5):
        assert (queues or (QUEUE,))[0] in await waiting


async def test_an_empty_queue_is_waited_for_until_the_time_is_over(kit: Kit) -> None:
    async with asyncio.timeout(5):
        assert await kit.store.wait([QUEUE], timeout_ms=30) == frozenset()


async def test_work_that_is_there_ends_the_wait_at_once(kit: Kit) -> None:
    await kit.add()

    async with asyncio.timeout(5):
        assert await kit.store.wait(["other", QUEUE], timeout_ms=LONG) == {QUEUE}


async def test_an_added_job_ends_it(kit: Kit) -> None:
    async with woken(kit):
        await kit.add()


async def test_a_prioritized_job_ends_it(kit: Kit) -> None:
    async with woken(kit):
        await kit.add(priority=5)


async def test_only_the_queue_with_work_is_named(kit: Kit) -> None:
    waiting = asyncio.create_task(kit.store.wait(["a", "b", "c"], timeout_ms=LONG))
    await blocked(waiting)

    await kit.add(queue="b")

    async with asyncio.timeout(5):
        assert await waiting == {"b"}


async def test_a_job_that_becomes_due_ends_it_in_time(kit: Kit) -> None:
    began = time.monotonic()
    kit.now = int(time.time() * 1000)
    await kit.add(delay_ms=60)

    async with asyncio.timeout(5):
        assert await kit.store.wait([QUEUE], timeout_ms=LONG) == {QUEUE}

    assert 0.055 <= time.monotonic() - began < 1


async def test_a_sooner_job_that_is_added_meanwhile_ends_it_in_time(kit: Kit) -> None:
    await kit.add(delay_ms=60_000)

    async with woken(kit):
        await kit.add(delay_ms=40)


async def test_a_promoted_job_ends_it(kit: Kit) -> None:
    ref = await kit.add(delay_ms=60_000)

    async with woken(kit):
        await kit.promote(ref)


async def test_a_shorter_delay_ends_it(kit: Kit) -> None:
    ref = await kit.add(delay_ms=60_000)

    async with woken(kit):
        await kit.update(ref, delay_ms=0)


async def test_a_retried_job_ends_it(kit: Kit) -> None:
    ref = await kit.make(State.FAILED)

    async with woken(kit):
        await kit.retry(ref)


async def test_a_released_job_ends_it(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    async with woken(kit):
        await kit.settle(release(kit.held[ref]))


async def test_a_job_that_is_tried_again_ends_it(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, attempts=2)

    async with woken(kit):
        await kit.settle(again(kit.held[ref]))


async def test_a_recovered_job_ends_it(kit: Kit) -> None:
    await kit.make(State.ACTIVE)

    async with woken(kit):
        kit.tick(60_000)
        await kit.recover(QUEUE)


async def test_a_paused_queue_is_waited_for(kit: Kit) -> None:
    await kit.pause()
    await kit.add()

    assert await kit.store.wait([QUEUE], timeout_ms=50) == frozenset()


async def test_a_resumed_queue_ends_it(kit: Kit) -> None:
    await kit.pause()
    await kit.add()

    async with woken(kit):
        await kit.resume()


async def test_a_parent_that_becomes_ready_ends_it(kit: Kit) -> None:
    await kit.add_flow(new(), new(queue=KIDS))
    claim = await kit.claim(KIDS)

    async with woken(kit):
        await kit.settle(complete(claim))


async def test_a_limit_that_is_lifted_ends_it(kit: Kit) -> None:
    await kit.add()
    await kit.configure(limit_for_ms=60_000)
    assert (await kit.ask()).blocked == "rate"

    async with woken(kit):
        await kit.configure(limit_for_ms=0)


async def test_a_limit_that_is_over_ends_it(kit: Kit) -> None:
    await kit.add()
    await kit.configure(limit_for_ms=80)

    async with asyncio.timeout(5):
        assert await kit.store.wait([QUEUE], timeout_ms=LONG) == {QUEUE}


async def test_a_queue_at_its_concurrency_is_waited_for(kit: Kit) -> None:
    await kit.configure(concurrency=1)
    await kit.make(State.ACTIVE)
    await kit.add()

    assert await kit.store.wait([QUEUE], timeout_ms=50) == frozenset()


async def test_room_below_the_concurrency_ends_it(kit: Kit) -> None:
    await kit.configure(concurrency=1)
    ref = await kit.make(State.ACTIVE)
    await kit.add()

    async with woken(kit):
        await kit.settle(complete(kit.held[ref]))


async def test_a_higher_concurrency_ends_it(kit: Kit) -> None:
    await kit.configure(concurrency=1)
    await kit.make(State.ACTIVE)
    await kit.add()

    async with woken(kit):
        await kit.configure(concurrency=2)


async def test_two_that_wait_are_both_told(kit: Kit) -> None:
    one = asyncio.create_task(kit.store.wait([QUEUE], timeout_ms=LONG))
    two = asyncio.create_task(kit.store.wait([QUEUE], timeout_ms=LONG))
    await blocked(one)
    await blocked(two)

    await kit.add_many(2)

    async with asyncio.timeout(5):
        assert await one == await two == {QUEUE}


async def test_a_wait_can_be_cancelled(kit: Kit) -> None:
    waiting = asyncio.create_task(kit.store.wait([QUEUE], timeout_ms=LONG))
    await blocked(waiting)

    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    async with woken(kit):
        await kit.add()


# A look.


async def look(kit: Kit, *queues: str) -> frozenset[str]:
    return await kit.store.wait(queues or (QUEUE,), timeout_ms=0)


async def test_a_look_names_every_queue_with_a_job_to_claim(kit: Kit) -> None:
    await kit.add(queue="a")
    await kit.add(queue="b", priority=3)

    assert await look(kit, "a", "b", "c") == {"a", "b"}


async def test_a_look_finds_the_same_again(kit: Kit) -> None:
    await kit.add()

    assert [await look(kit), await look(kit)] == [{QUEUE}, {QUEUE}]


async def test_a_look_finds_what_is_due(kit: Kit) -> None:
    await kit.add(delay_ms=1)
    await asyncio.sleep(0.02)

    assert await look(kit) == {QUEUE}


async def test_a_look_finds_nothing_that_is_not_due_or_is_active(kit: Kit) -> None:
    await kit.add()
    await kit.claim()
    await kit.add(delay_ms=60_000)

    assert await look(kit) == frozenset()


async def test_a_look_finds_nothing_in_a_queue_that_lets_nobody_start(kit: Kit) -> None:
    for queue in ("paused", "full", "limited"):
        await kit.add_many(2, queue=f"look-{queue}")
    await kit.pause("look-paused")
    await kit.configure(queue="look-full", concurrency=1)
    await kit.claim("look-full")
    await kit.configure(queue="look-limited", rate=(1, 60_000))
    await kit.claim("look-limited")

    assert await look(kit, "look-paused", "look-full", "look-limited") == frozenset()
