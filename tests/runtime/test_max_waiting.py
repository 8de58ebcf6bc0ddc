"""`max_waiting` of a queue: adds that are refused, and adds that wait for room."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.kit import blocked
from tests.support.workers import SOON, until
from toril import ConfigError, Job, PartlyAdded, QueueFull, Toril
from toril.sync import run


async def waiting(app: Toril, queue: str = "q") -> int:
    return (await app.queue(queue).counts()).ready


async def take(app: Toril, count: int, queue: str = "q") -> None:
    """Take away so many waiting jobs, oldest first."""
    jobs = [job async for job in app.queue(queue).jobs("ready", limit=count)]
    for job in jobs:
        await job.remove()


def adders(app: Toril) -> dict[str, Callable[[], Awaitable[object]]]:
    queue = app.queue("q", max_waiting=2)

    @app.task(queue="q")
    async def work(n: int = 0) -> None: ...

    return {
        "add": lambda: queue.add("x", {}),
        "add_many": lambda: queue.add_many([("x", {})]),
        "add with options": lambda: queue.add("x", {}, priority=3, attempts=2),
        "delay": lambda: queue.add("x", {}, delay="1h"),
        "enqueue": lambda: work.enqueue(1),
        "enqueue_many": lambda: work.enqueue_many([(1,)]),
        "options": lambda: work.using(priority=1).enqueue(1),
        "flow": lambda: app.flow("other", "root", children=[("q", "x", {})]).add(),
        "flows": lambda: app.add_flows([app.flow("q", "root")]),
        "add_sync": lambda: asyncio.to_thread(queue.add_sync, "x", {}),
        "enqueue_sync": lambda: asyncio.to_thread(work.enqueue_sync, 1),
        "another queue object": lambda: app.queue("q").add("x"),
    }


async def test_every_way_to_add_is_refused_by_a_full_queue(anywhere: Toril) -> None:
    ways = adders(anywhere)
    await anywhere.queue("q").add_many([("x", {})] * 2)

    for way, add in ways.items():
        with pytest.raises(QueueFull, match="max_waiting") as caught:
            await add()
        assert (caught.value.queue, caught.value.limit, caught.value.count) == ("q", 2, 2), way

    assert await waiting(anywhere) == 2
    assert (await anywhere.queue("other").counts()).total == 0


async def test_the_limit_is_set_and_lifted_while_it_is_in_use(anywhere: Toril) -> None:
    queue = anywhere.queue("q")
    assert (await queue.limit(max_waiting=1)).max_waiting == 1
    await queue.add("x")
    with pytest.raises(QueueFull):
        await queue.add("x")

    await queue.limit(concurrency=5)
    with pytest.raises(QueueFull):
        await queue.add("x")
    await queue.limit(max_waiting=None)
    await queue.add("x")


async def test_adds_of_others_in_the_same_trip_are_stored(anywhere: Toril) -> None:
    full, free = anywhere.queue("full", max_waiting=3), anywhere.queue("free")

    calls = [queue.add("x", {"n": n}) for n in range(10) for queue in (full, free)]
    answers = await asyncio.gather(*calls, return_exceptions=True)

    refused = [answer for answer in answers if isinstance(answer, QueueFull)]
    assert len(refused) == 7
    assert all(isinstance(answer, Job) for answer in answers[1::2])
    assert await waiting(anywhere, "full") == 3
    assert await waiting(anywhere, "free") == 10


async def test_many_jobs_are_refused_by_chunks(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=600)

    with pytest.raises(PartlyAdded) as caught:
        await queue.add_many([("x", {"n": n}) for n in range(700)])

    assert isinstance(caught.value.__cause__, QueueFull)
    assert len(caught.value.ids) == await waiting(anywhere) <= 600


async def test_a_handler_that_fails_of_it_is_retried(anywhere: Toril) -> None:
    await anywhere.queue("q", max_waiting=1).add("x")
    tries: list[int] = []

    @anywhere.task(queue="source", attempts=3, backoff="0.05s")
    async def spread(job: Job[Any]) -> str:
        tries.append(job.attempt)
        if len(tries) == 2:
            await take(anywhere, 1)
        await anywhere.queue("q").add("x")
        return "done"

    async with anywhere.worker("source"):
        job = await spread.enqueue()
        assert await job.result(timeout=SOON) == "done"
    assert tries == [1, 2]


# Waiting for room.


async def test_an_add_waits_until_there_is_room(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=2)
    await queue.add_many([("x", {})] * 2)

    adding = asyncio.create_task(queue.add("late", {}, on_full="wait"))
    await blocked(adding)
    await take(anywhere, 1)

    job = await asyncio.wait_for(adding, SOON)
    assert job.created
    assert await waiting(anywhere) == 2


async def test_room_that_workers_make_is_used(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=2, on_full="wait")
    done: list[int] = []

    @queue.handler("x")
    async def work(job: Job[Any]) -> None:
        done.append(job.data["n"])

    async with anywhere.worker("q"):
        async with asyncio.timeout(4 * SOON):
            await asyncio.gather(*(queue.add("x", {"n": n}) for n in range(30)))
        await until(lambda: asyncio.sleep(0, len(done) == 30))
    assert sorted(done) == list(range(30))


async def test_those_who_wait_come_in_the_order_in_which_they_came(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=1, on_full="wait")
    await queue.add("first")
    adds: list[asyncio.Task[Job[Any]]] = []
    for n in range(4):
        adds.append(asyncio.create_task(queue.add("x", {"n": n})))
        await blocked(adds[-1])

    for n in range(4):
        await take(anywhere, 1)
        await asyncio.wait_for(adds[n], SOON)
        assert not any(task.done() for task in adds[n + 1 :])


async def test_the_wait_ends_in_time_and_says_so(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=1)
    await queue.add("x")
    began = time.monotonic()

    with pytest.raises(QueueFull, match=r"refused after waiting for room .*full_timeout"):
        await queue.add("x", on_full="wait", full_timeout="0.1s")

    assert 0.1 <= time.monotonic() - began < SOON
    assert await waiting(anywhere) == 1


async def test_a_wait_can_be_cancelled_and_adds_nothing(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=1, on_full="wait")
    await queue.add("x")
    first, second = (asyncio.create_task(queue.add("x", {"n": n})) for n in range(2))
    await blocked(first)
    await blocked(second)

    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await take(anywhere, 1)

    assert (await asyncio.wait_for(second, SOON)).data == {"n": 1}
    assert await waiting(anywhere) == 1


async def test_adds_that_do_not_wait_are_refused_meanwhile(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=1, on_full="wait")
    await queue.add("x")
    patient = asyncio.create_task(queue.add("x"))
    await blocked(patient)

    with pytest.raises(QueueFull):
        await queue.add("x", on_full="raise")

    patient.cancel()


async def test_what_never_fits_does_not_wait(anywhere: Toril) -> None:
    anywhere.queue("q", max_waiting=2)
    flow = anywhere.flow("q", "root", children=[("q", "x", {})] * 3, on_full="wait")

    with pytest.raises(QueueFull, match="at most 2 jobs in one step"):
        await asyncio.wait_for(flow.add(), SOON)


async def test_a_flow_waits_until_all_of_it_fits(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=3, on_full="wait")
    await queue.add_many([("x", {})] * 3)
    flow = anywhere.flow("other", "root", children=[("q", "x", {})] * 2, on_full="wait")
    adding = asyncio.create_task(flow.add())

    await take(anywhere, 1)
    await blocked(adding)
    await take(anywhere, 1)

    tree = await asyncio.wait_for(adding, SOON)
    assert len(tree.children) == 2
    assert await waiting(anywhere) == 3


async def test_many_jobs_flow_in_as_room_appears_in_their_order(anywhere: Toril) -> None:
    """Also through a queue that never has room for a whole chunk."""
    queue = anywhere.queue("q", max_waiting=7, on_full="wait")
    ran: list[int] = []

    @queue.handler("x")
    async def work(job: Job[Any]) -> None:
        ran.append(job.data["n"])

    async with anywhere.worker("q", concurrency=1):
        async with asyncio.timeout(4 * SOON):
            jobs = await queue.add_many([("x", {"n": n}) for n in range(40)])
        await until(lambda: asyncio.sleep(0, len(ran) == 40))

    assert ran == list(range(40))
    assert [job.data["n"] for job in jobs] == ran


async def test_many_jobs_for_which_no_room_comes_tell_what_was_stored(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=7, on_full="wait", full_timeout="0.1s")

    with pytest.raises(PartlyAdded) as caught:
        await queue.add_many([("x", {})] * 10)

    assert isinstance(caught.value.__cause__, QueueFull)
    assert len(caught.value.ids) == await waiting(anywhere) == 7


async def test_blocking_code_waits_as_well(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=1)
    await queue.add("x")
    adding = asyncio.create_task(asyncio.to_thread(queue.add_sync, "x", {}, on_full="wait"))
    await blocked(adding)

    await take(anywhere, 1)

    assert (await asyncio.wait_for(adding, SOON)).created


async def test_a_queue_whose_limit_is_lifted_lets_everybody_in(anywhere: Toril) -> None:
    queue = anywhere.queue("q", max_waiting=1, on_full="wait")
    await queue.add("x")
    adds = [asyncio.create_task(queue.add("x")) for _ in range(5)]
    await blocked(adds[-1])

    await queue.limit(max_waiting=None)

    await asyncio.wait_for(asyncio.gather(*adds), SOON)
    assert await waiting(anywhere) == 6


async def test_one_reader_looks_for_room_however_many_adds_wait(memory: Toril) -> None:
    queue = memory.queue("q", max_waiting=1, on_full="wait")
    await queue.add("x")
    looks = 0
    read = memory.context.store.counts

    async def counted(names: Any) -> Any:
        nonlocal looks
        looks += 1
        return await read(names)

    memory.context.store.counts = counted  # type: ignore[method-assign]
    adds = [asyncio.create_task(queue.add("x", full_timeout="0.6s")) for _ in range(200)]
    answers = await asyncio.gather(*adds, return_exceptions=True)

    assert all(isinstance(answer, QueueFull) for answer in answers)
    assert 1 <= looks < 15


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("on_full='block' is not known .*raise, wait", {"on_full": "block"}),
        ("on_full=None is not known", {"on_full": None}),
        ("on_full=True is not known", {"on_full": True}),
        ("full_timeout='1s' has no effect", {"full_timeout": "1s"}),
        ("full_timeout='1s' has no effect", {"on_full": "raise", "full_timeout": "1s"}),
        ("full_timeout", {"on_full": "wait", "full_timeout": "soon"}),
        ("full_timeout", {"on_full": "wait", "full_timeout": -1}),
        ("full_timeout", {"on_full": "wait", "full_timeout": None}),
    ],
)
async def test_options_that_cannot_hold_are_refused(
    memory: Toril, message: str, options: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=message):
        await memory.queue("q").add("x", {}, **options)


def test_code_without_a_loop_is_refused_as_well(tmp_path: Any) -> None:
    app = Toril(f"sqlite:///{tmp_path / 'jobs.db'}", warn_unserved=False)
    queue = app.queue("q", max_waiting=1)
    queue.add_sync("x", {})

    with pytest.raises(QueueFull):
        queue.add_sync("x", {}, on_full="wait", full_timeout="0.05s")

    run(app.close())
