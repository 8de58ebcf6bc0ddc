"""Natural batching: what arrives while one trip is in flight shares the next one."""

import asyncio

import pytest

from toril._jobs.batching import Batcher
from toril._store.loop_local import PerLoop
from toril.errors import TorilError


class Ferry:
    """A trip that waits until it is let go, and remembers what it carried."""

    def __init__(self) -> None:
        self.trips: list[list[int]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def carry(self, items: list[int]) -> list[int | BaseException]:
        self.trips.append(items)
        await self.go.wait()
        return [ValueError("odd") if item % 2 else item * 10 for item in items]


@pytest.fixture
def ferry() -> Ferry:
    return Ferry()


async def test_items_of_one_turn_share_a_trip(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)

    answers = await asyncio.gather(coalescer.put(2), coalescer.put(4), coalescer.put(6))

    assert answers == [20, 40, 60]
    assert ferry.trips == [[2, 4, 6]]


async def test_what_arrives_during_a_trip_shares_the_next(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)
    ferry.go.clear()
    first = coalescer.send(2)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    later = [coalescer.send(4), coalescer.send(6)]
    ferry.go.set()

    await asyncio.gather(first, *later)

    assert ferry.trips == [[2], [4, 6]]


async def test_a_trip_takes_no_more_than_its_limit(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry, limit=2)

    await asyncio.gather(*(coalescer.put(item) for item in (2, 4, 6, 8, 10)))

    assert ferry.trips == [[2, 4], [6, 8], [10]]


async def test_an_error_in_an_answers_place_is_raised_for_that_item_only(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)
    bad, good = coalescer.send(1), coalescer.send(2)

    with pytest.raises(ValueError, match="odd"):
        await bad

    assert await good == 20


async def test_an_error_of_the_trip_is_raised_for_everybody() -> None:
    async def sink(items: list[int]) -> list[int | BaseException]:
        raise OSError("sunk")

    coalescer = Batcher(sink)

    answers = await asyncio.gather(coalescer.put(1), coalescer.put(2), return_exceptions=True)

    assert [str(answer) for answer in answers] == ["sunk", "sunk"]


async def test_a_trip_with_too_few_answers_leaves_nobody_waiting() -> None:
    async def forget(items: list[int]) -> list[int | BaseException]:
        return []

    with pytest.raises(TorilError, match="1 items gave 0 answers"):
        await Batcher(forget).put(1)


async def test_who_gives_up_before_the_trip_is_not_carried(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)
    gone, there = coalescer.send(2), coalescer.send(4)
    gone.cancel()

    assert await there == 40
    assert ferry.trips == [[4]]


async def test_who_gives_up_during_the_trip_does_not_disturb_the_others(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)
    ferry.go.clear()
    gone, there = coalescer.send(2), coalescer.send(4)
    await asyncio.sleep(0.01)
    gone.cancel()
    ferry.go.set()

    assert await there == 40


async def test_flush_waits_for_what_is_under_way(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)
    future = coalescer.send(2)

    await coalescer.flush()

    assert future.done()


async def test_nothing_is_taken_after_close(ferry: Ferry) -> None:
    coalescer = Batcher(ferry.carry)
    await coalescer.close()

    with pytest.raises(TorilError, match="closed"):
        coalescer.send(2)


def test_each_loop_has_its_own() -> None:
    made = PerLoop(object)

    async def here() -> tuple[object, object]:
        return made.here(), made.here()

    first, again = asyncio.run(here())
    other, _ = asyncio.run(here())

    assert first is again
    assert first is not other
