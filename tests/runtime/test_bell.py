"""The bell of a worker's carriers: one of them wakes for what there is, and no ring is lost."""

import asyncio

from toril._worker.bell import Bell


async def turns(count: int = 3) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def waiting(bell: Bell, count: int) -> list[asyncio.Task[None]]:
    tasks = [asyncio.create_task(bell.wait()) for _ in range(count)]
    await turns()
    return tasks


def awake(tasks: list[asyncio.Task[None]]) -> list[bool]:
    return [task.done() for task in tasks]


async def test_it_wakes_one_however_often_it_is_rung() -> None:
    bell = Bell()
    tasks = await waiting(bell, 3)

    bell.ring()
    bell.ring()
    await turns()
    assert awake(tasks) == [True, False, False]

    bell.ring()
    await turns()
    assert awake(tasks) == [True, True, False]
    tasks[2].cancel()


async def test_a_ring_that_nobody_waits_for_wakes_the_next() -> None:
    bell = Bell()
    bell.ring()

    tasks = await waiting(bell, 2)

    assert awake(tasks) == [True, False]
    tasks[1].cancel()


async def test_who_is_cancelled_while_it_wakes_leaves_the_ring_to_another() -> None:
    bell = Bell()
    tasks = await waiting(bell, 2)

    bell.ring()
    tasks[0].cancel()
    await turns()

    assert tasks[0].cancelled()
    assert awake(tasks) == [True, True]


async def test_who_is_cancelled_while_it_waits_takes_no_ring() -> None:
    bell = Bell()
    tasks = await waiting(bell, 2)
    tasks[0].cancel()
    await turns()

    bell.ring()
    await turns()

    assert awake(tasks) == [True, True]
    assert not tasks[1].cancelled()
