"""events and last_event: a queue's events, in order, resumable, bounded."""

import asyncio

import pytest

from tests.support.kit import QUEUE, T0, Kit, blocked, complete
from toril._model.states import State
from toril.events import Completed, Custom, Event, Progress


async def read(kit: Kit, after: str | None = None, **more: int) -> list[Event]:
    return await kit.store.events(QUEUE, after, **more)


async def test_events_are_read_from_the_oldest(kit: Kit) -> None:
    await kit.make(State.ACTIVE)

    assert [event.kind for event in await read(kit)] == ["added", "waiting", "active"]


async def test_events_tell_their_queue_and_time(kit: Kit) -> None:
    await kit.add()
    kit.tick(7)
    await kit.claim()

    events = await read(kit)

    assert {event.queue for event in events} == {QUEUE}
    assert [event.at_ms for event in events] == [T0, T0, T0 + 7]


async def test_reading_goes_on_after_an_id(kit: Kit) -> None:
    await kit.make(State.ACTIVE)
    events = await read(kit)

    assert await read(kit, events[0].id) == events[1:]
    assert await read(kit, events[-1].id) == []


async def test_reading_is_bounded_and_loses_nothing(kit: Kit) -> None:
    await kit.add_many(3)
    everything = await read(kit)

    first = await read(kit, limit=4)
    second = await read(kit, first[-1].id, limit=4)

    assert first + second == everything
    assert len(first) == 4


async def test_each_id_is_its_own(kit: Kit) -> None:
    await kit.add_many(5)

    events = await read(kit)

    assert len({event.id for event in events}) == 10


async def test_each_queue_has_its_own_events(kit: Kit) -> None:
    await kit.add(queue="other")

    assert await read(kit) == []


async def test_results_and_progress_are_read_as_values(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    await kit.update(ref, progress='["é",null]')
    await kit.settle(complete(kit.held[ref], '{"a":[1,2]}'))

    events = await read(kit)

    assert [event.data for event in events if isinstance(event, Progress)] == [["é", None]]
    assert [event.result for event in events if isinstance(event, Completed)] == [{"a": [1, 2]}]


async def test_no_event_is_of_an_unknown_kind(kit: Kit) -> None:
    for state in State:
        await kit.make(state, queue=f"q{state}")
        events = await kit.store.events(f"q{state}", None)
        assert not any(isinstance(event, Custom) for event in events)


# Following.


async def test_following_begins_after_the_newest(kit: Kit) -> None:
    await kit.add()
    last = await kit.store.last_event(QUEUE)
    assert await read(kit, last) == []

    await kit.claim()

    assert [event.kind for event in await read(kit, last)] == ["active"]


async def test_a_queue_without_events_is_followed_from_its_first(kit: Kit) -> None:
    last = await kit.store.last_event(QUEUE)
    await kit.add()

    assert [event.kind for event in await read(kit, last)] == ["added", "waiting"]


async def test_following_survives_that_all_events_were_trimmed(kit: Kit) -> None:
    await kit.configure(events_limit=0)
    await kit.add()
    last = await kit.store.last_event(QUEUE)
    while await kit.store.trim([QUEUE], now=kit.now):
        pass
    await kit.configure(events_limit=100)
    await kit.claim()

    assert [event.kind for event in await read(kit, last)] == ["active"]


async def test_a_blocking_read_ends_with_the_first_event(kit: Kit) -> None:
    reading = asyncio.create_task(read(kit, await kit.store.last_event(QUEUE), timeout_ms=15_000))
    await blocked(reading)

    await kit.add()

    async with asyncio.timeout(5):
        assert (await reading)[0].kind == "added"


async def test_a_blocking_read_gives_at_once_what_is_there(kit: Kit) -> None:
    await kit.add()

    async with asyncio.timeout(5):
        assert len(await read(kit, timeout_ms=15_000)) == 2


async def test_a_blocking_read_ends_after_its_time(kit: Kit) -> None:
    async with asyncio.timeout(5):
        assert await read(kit, timeout_ms=20) == []


async def test_a_blocking_read_is_not_ended_by_another_queue(kit: Kit) -> None:
    reading = asyncio.create_task(read(kit, timeout_ms=15_000))
    await kit.add(queue="other")
    await blocked(reading)

    await kit.add()

    async with asyncio.timeout(5):
        assert {event.queue for event in await reading} == {QUEUE}


async def test_a_blocking_read_can_be_cancelled(kit: Kit) -> None:
    reading = asyncio.create_task(read(kit, timeout_ms=15_000))
    await blocked(reading)

    reading.cancel()

    with pytest.raises(asyncio.CancelledError):
        await reading
    await kit.add()  # and the store goes on


# Bounds.


async def test_old_events_are_trimmed(kit: Kit) -> None:
    await kit.configure(events_limit=10)
    for _ in range(50):
        await kit.add()
    newest = (await read(kit))[-10:]

    while await kit.store.trim([QUEUE], now=kit.now):
        pass

    kept = await read(kit)
    assert kept[-10:] == newest
    assert len(kept) < 20  # what was announced in one step may be kept as one


async def test_a_reader_that_fell_behind_goes_on_with_the_oldest_kept(kit: Kit) -> None:
    await kit.add()
    [first, _] = await read(kit)
    await kit.configure(events_limit=10)
    for _ in range(50):
        await kit.add()
    while await kit.store.trim([QUEUE], now=kit.now):
        pass

    assert await read(kit, first.id) == await read(kit)
