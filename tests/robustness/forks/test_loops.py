"""Event loops and threads come and go, and one app serves them all: nothing stays behind."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress

import pytest
from redis import Redis

from tests.robustness.forks.conftest import Place
from toril import Toril, sync
from toril._store.sqlite.wakeups import Bulletin, WakeupWaiter

CALLS = 250
pytestmark = pytest.mark.filterwarnings("error")


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


class Footprint:
    """How many descriptors, clients and waiters an app has by now."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self.fds = descriptors()
        self.clients = self._clients()

    def _clients(self) -> int:
        if self._place.is_file:
            return 0
        with Redis.from_url(self._place.url) as asking:
            return len(asking.client_list())

    def check(self, *, most: int = 0) -> None:
        """Compare: what ended may have left so many behind."""
        assert descriptors() <= self.fds + most
        assert self._clients() <= self.clients + most


@pytest.fixture
def app(place: Place) -> Toril:
    return Toril(place.url, prefix=place.prefix, warn_unserved=False)


def close(app: Toril) -> None:
    asyncio.run(app.close())


def test_a_new_loop_for_each_call_leaves_nothing_behind(app: Toril, place: Place) -> None:
    q = app.queue("q")
    asyncio.run(q.add("first"))
    before = Footprint(place)
    for _ in range(CALLS // 5):
        asyncio.run(q.add("a"))
    gc.collect()
    early = len(gc.get_objects())
    for _ in range(CALLS * 4 // 5):
        asyncio.run(q.add("a"))
    gc.collect()
    late = len(gc.get_objects())

    before.check()
    assert late - early < CALLS // 4, "each loop leaves objects behind"
    assert asyncio.run(q.counts()).waiting == 1 + CALLS
    close(app)


def bare(app: Toril) -> None:
    """Close a loop as programs do that know nothing of asynchronous generators."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(app.queue("q").add("a"))
    loop.close()


def forgotten(app: Toril) -> None:
    """Leave a loop open. The test closes it later, so that asyncio does not warn of it."""
    loop = asyncio.new_event_loop()
    loop.run_until_complete(app.queue("q").add("a"))
    LOOPS.append(loop)


def end(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def waiting(app: Toril) -> None:
    """End a loop while it waits for a result, for events, and for a connection."""

    async def main() -> None:
        q = app.queue("q")
        job = await q.add("nobody runs this")
        events = app.events("q")

        async def listen() -> None:
            async for _ in events:
                pass

        tasks = [asyncio.create_task(job.result()), asyncio.create_task(listen())]
        await asyncio.sleep(0.01)
        del tasks

    asyncio.run(main())


def connecting(app: Toril) -> None:
    """End a loop while its first call connects."""

    async def main() -> None:
        task = asyncio.create_task(app.queue("q").add("a"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        del task

    asyncio.run(main())


def working(app: Toril) -> None:
    async def main() -> None:
        async with app.worker("tasks") as worker:
            job = await app.queue("tasks").add("double", 2)
            assert await job.result(timeout=5) == 4
            del worker

    asyncio.run(main())


def cancelled_worker(app: Toril) -> None:
    async def main() -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(app.worker("tasks", grace=0).run(), 0.05)

    asyncio.run(main())


LOOPS: list[asyncio.AbstractEventLoop] = []
WAYS: dict[str, tuple[Callable[[Toril], None], int]] = {
    "bare": (bare, 30),
    "forgotten": (forgotten, 15),
    "waiting": (waiting, 15),
    "connecting": (connecting, 20),
    "working": (working, 5),
    "cancelled worker": (cancelled_worker, 4),
}


@pytest.mark.parametrize("way", WAYS)
def test_however_a_loop_ends_in_a_thread_nothing_is_left(
    app: Toril, place: Place, way: str
) -> None:
    @app.queue("tasks").handler("double")
    def double(job: object) -> int:
        return 4

    call, times = WAYS[way]
    asyncio.run(app.queue("q").add("first"))
    before = Footprint(place)

    for _ in range(times):
        thread = threading.Thread(target=call, args=(app,))
        thread.start()
        thread.join()
        while len(LOOPS) > 1:
            end(LOOPS.pop(0))
    while LOOPS:
        end(LOOPS.pop())
    asyncio.run(app.queue("q").add("last"))
    gc.collect()

    before.check(most=1)
    close(app)
    assert descriptors() <= before.fds


def test_threads_with_loops_at_the_same_time(app: Toril, place: Place) -> None:
    q = app.queue("q")
    asyncio.run(q.add("first"))
    before = Footprint(place)

    def view() -> None:
        for _ in range(5):
            asyncio.run(q.add("a"))

    threads = [threading.Thread(target=view) for _ in range(20)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    before.check()
    assert asyncio.run(q.counts()).waiting == 101
    close(app)


def test_a_handler_that_makes_loops(app: Toril, place: Place) -> None:
    @app.task(queue="tasks")
    def nested(n: int) -> int:
        asyncio.run(app.queue("q").add("a", n))
        return n

    async def main() -> None:
        async with app.worker("tasks", concurrency=4):
            await (await nested.enqueue(0)).result(timeout=5)
            before = Footprint(place)
            jobs = [await nested.enqueue(n) for n in range(30)]
            for job in jobs:
                await job.result(timeout=10)
            # Those of the worker may differ: its call that blocks, results, the heartbeat's.
            before.check(most=3)
        assert (await app.queue("q").counts()).waiting == 31

    asyncio.run(main())
    close(app)


def test_an_app_is_closed_from_another_loop(app: Toril, place: Place) -> None:
    before = Footprint(place)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(app.queue("q").add("idle"))
    sync.run(app.queue("q").add("in the background"))

    asyncio.run(app.close())

    # The background loop has a selector and two sockets of its own from now on.
    before.check(most=3 + 3)
    if not place.is_file:
        assert before._clients() == before.clients
    assert loop.run_until_complete(app.queue("q").counts()).waiting == 2
    loop.run_until_complete(app.close())
    loop.close()


def test_who_waited_on_a_closed_loop_is_forgotten() -> None:
    bulletin = Bulletin()
    waiting: list[AbstractContextManager[WakeupWaiter]] = []

    async def wait() -> None:
        waiting.append(bulletin.waiter(frozenset(("quiet",)), events=True))
        waiting[-1].__enter__()

    for _ in range(100):
        asyncio.run(wait())

    assert len(bulletin._waiters) <= 33
