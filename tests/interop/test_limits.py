"""Limits that hold for all workers of a queue, whichever side they are on."""

import asyncio
from typing import Any

import pytest

from tests.interop.conftest import Duo, Sides, Trio
from tests.interop.sides import Run, Side, does, until
from tests.interop.toril_side import TorilSide
from toril import QueueFull

pytestmark = pytest.mark.serial  # it compares the moments at which jobs began

WINDOW = 400


async def runs(duo: Duo) -> list[Run]:
    both = [*await duo.first.runs()]
    both += await duo.second.runs() if duo.second is not duo.first else []
    return sorted(both, key=lambda run: run.began)


async def done(side: Side, count: int) -> None:
    await until(lambda: side.counts("cards"), {"completed": count})


def most_within(runs: list[Run], window: float) -> int:
    starts = [run.began for run in runs]
    return max(sum(at <= other < at + window for other in starts) for at in starts)


def most_at_once(runs: list[Run]) -> int:
    return max(
        sum(other.began <= run.began < (other.ended or 0) - 1 for other in runs) for run in runs
    )


async def both_work(duo: Duo, **options: Any) -> None:
    await duo.first.work("cards", "one", **options)
    await duo.second.work("cards", "two", **options)


async def test_the_limit_of_workers_is_shared(duo: Duo) -> None:
    await duo.first.add_bulk("cards", [("n", does(), {})] * 5)

    await both_work(duo, limiter={"max": 2, "duration": WINDOW}, concurrency=3)
    await done(duo.first, 5)

    ran = await runs(duo)
    assert most_within(ran, WINDOW - 30) == 2
    assert WINDOW * 2 - 30 <= ran[-1].began - ran[0].began <= WINDOW * 2 + 600


async def test_the_limit_of_a_queue_holds_for_workers_of_both_sides(duo: Duo) -> None:
    await duo.first.limit("cards", rate=(2, WINDOW))
    await duo.second.add_bulk("cards", [("n", does(), {})] * 5)

    await both_work(duo, concurrency=3)
    await done(duo.second, 5)

    assert most_within(await runs(duo), WINDOW - 30) == 2


async def test_a_limit_set_by_hand_stops_the_other_side(duo: Duo) -> None:
    await duo.second.work("cards", limiter={"max": 100, "duration": 1000})
    await duo.first.rate_limit("cards", WINDOW)
    job = await duo.first.add("cards", "n", does())

    await asyncio.sleep(0.15)
    assert await duo.first.counts("cards") == {"waiting": 1}
    await duo.first.result("cards", job)

    (run,) = await duo.second.runs()
    seen = await duo.first.look("cards", job)
    assert seen is not None
    assert run.began - seen.timestamp >= WINDOW - 60


async def test_a_handler_that_asks_for_a_pause_gives_its_job_back(duo: Duo) -> None:
    job = await duo.first.add("cards", "n", does(["limit", WINDOW], ["seen"]))

    await duo.second.work("cards", limiter={"max": 100, "duration": 1000})
    inside = await duo.first.result("cards", job)

    first, second = await duo.second.runs()
    assert (inside["attemptsMade"], inside["attemptsStarted"]) == (0, 2)
    assert second.began - first.began >= WINDOW - 30


async def test_a_queues_concurrency_holds_for_workers_of_both_sides(duo: Duo) -> None:
    await duo.first.limit("cards", concurrency=2)
    await duo.second.add_bulk("cards", [("n", does(["sleep", 60]), {})] * 8)

    await both_work(duo, concurrency=4)
    await done(duo.first, 8)

    assert most_at_once(await runs(duo)) == 2


async def test_a_workers_concurrency_is_its_own(duo: Duo) -> None:
    await duo.first.add_bulk("cards", [("n", does(["sleep", 60]), {})] * 8)

    await both_work(duo, concurrency=2)
    await done(duo.first, 8)

    ran = await runs(duo)
    assert 3 <= most_at_once(ran) <= 4
    assert {run.worker for run in ran} == {"one", "two"}


# BullMQ 5 moves the waiting jobs of a paused queue, and loses others'.
@pytest.mark.without_node5(0, 1)
async def test_a_queue_paused_by_one_side_stands_still_for_the_other(duo: Duo) -> None:
    await duo.second.listen("cards")
    await duo.second.work("cards")
    await duo.first.pause("cards")
    jobs = [await side.add("cards", "n", does()) for side in (duo.first, duo.second)]
    jobs.append(await duo.second.add("cards", "n", does(), priority=1))
    await duo.first.add("cards", "n", does(), delay=60_000)

    await asyncio.sleep(0.2)
    assert await duo.second.is_paused("cards") is True
    assert await duo.second.counts("cards") == {"waiting": 2, "prioritized": 1, "delayed": 1}
    await duo.second.resume("cards")
    for job in jobs:
        await duo.first.result("cards", job)

    assert await duo.first.is_paused("cards") is False
    heard = [name for name, _ in await duo.second.heard("cards")]
    assert [name for name in heard if name in ("paused", "resumed")] == ["paused", "resumed"]


# BullMQ 5 may work on a queue that others pause.
@pytest.mark.mixed
@pytest.mark.without_node5(0, 2)
async def test_a_paused_queue_is_filled_and_goes_on_when_it_is_resumed(trio: Trio) -> None:
    await trio.worker.work("cards")
    await trio.reader.pause("cards")
    jobs = [await trio.producer.add("cards", "n", does(["return", n])) for n in range(3)]
    jobs.append(await trio.producer.add("cards", "n", does(["return", 3]), priority=1))

    await asyncio.sleep(0.2)
    assert await trio.worker.runs() == []
    assert await trio.producer.counts("cards") == {"waiting": 3, "prioritized": 1}
    await trio.reader.resume("cards")

    assert [await trio.reader.result("cards", job) for job in jobs] == [0, 1, 2, 3]


# BullMQ 5 moves the waiting jobs of a paused queue, and loses others'.
@pytest.mark.without_node5(0, 1)
async def test_a_job_that_runs_when_its_queue_is_paused_ends(duo: Duo) -> None:
    job = await duo.first.add("cards", "n", does(["gate", "g"]))
    await duo.second.add("cards", "n", does())
    await duo.second.work("cards")
    await duo.second.reached("g")

    await duo.first.pause("cards")
    await duo.second.go("g")
    await duo.first.result("cards", job)
    await asyncio.sleep(0.1)

    assert await duo.first.counts("cards") == {"completed": 1, "waiting": 1}


async def test_an_idle_worker_wakes_at_once_for_the_other_side(duo: Duo) -> None:
    await duo.second.work("cards", drainDelay=5)
    await duo.second.work("cards", "other", drainDelay=5)
    await asyncio.sleep(0.15)

    waits: list[float] = []
    for _ in range(5):
        job = await duo.first.add("cards", "n", does())
        await duo.first.result("cards", job)
        seen = await duo.first.look("cards", job)
        assert seen is not None
        assert seen.started is not None
        waits.append(seen.started - seen.timestamp)

    assert sorted(waits)[2] <= 50, waits


@pytest.mark.parametrize("node", ["node6", "node5"])
async def test_what_node_adds_counts_and_is_not_held_back(sides: Sides, node: str) -> None:
    """Also what version 5 keeps elsewhere while the queue is paused."""
    toril, other = TorilSide(sides.server.url, sides.prefix), sides(node)
    queue = toril.app.queue("cards", max_waiting=3)
    await queue.add("n")
    await other.pause("cards")
    await other.add_bulk("cards", [("n", {}, {}), ("n", {}, {"priority": 2})] * 2)

    with pytest.raises(QueueFull) as caught:
        await queue.add("n")

    assert (caught.value.count, caught.value.limit) == (5, 3)
    assert sum((await other.counts("cards")).values()) == 5
    await toril.app.close()
