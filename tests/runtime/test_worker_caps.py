"""How many jobs of a name, a queue and a worker run at once."""

import asyncio
from collections import Counter
from typing import Any

from toril import Job, Toril
from toril.errors import AwaitChildren


class Crowd:
    """A handler that knows how many of each name run, and how many ran at most."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def __call__(self, job: Job[Any]) -> None:
        self.now[job.name] += 1
        self.most[job.name] = max(self.most[job.name], self.now[job.name])
        await asyncio.sleep(0.01)
        self.now[job.name] -= 1


async def test_each_name_has_its_own_limit(app: Toril) -> None:
    crowd = Crowd()
    queue = app.queue("mixed")

    @queue.handler("high-priority", concurrency=3)
    async def high(job: Job[Any]) -> None:
        await crowd(job)

    @queue.handler("normal", concurrency=1)
    async def normal(job: Job[Any]) -> None:
        await crowd(job)

    await queue.add_many([("high-priority", {}), ("normal", {})] * 10)
    await app.worker("mixed", concurrency=10).run_until_idle()

    assert crowd.most == {"high-priority": 3, "normal": 1}
    assert (await queue.counts()).completed == 20


async def test_a_capped_name_does_not_hold_up_the_others(app: Toril) -> None:
    queue = app.queue("mixed")
    order: list[str] = []
    let = asyncio.Event()

    @queue.handler("slow", concurrency=1)
    async def slow(job: Job[Any]) -> None:
        await let.wait()
        order.append("slow")

    @queue.handler("quick")
    async def quick(job: Job[Any]) -> None:
        order.append("quick")
        let.set()

    await queue.add_many([("slow", {}), ("slow", {}), ("slow", {}), ("quick", {})])
    await app.worker("mixed", concurrency=2).run_until_idle()

    assert order == ["quick", "slow", "slow", "slow"]


async def test_the_limit_of_a_handler_for_all_names_holds(app: Toril) -> None:
    crowd = Crowd()
    queue = app.queue("mixed")

    @queue.handler(concurrency=2)
    async def anything(job: Job[Any]) -> None:
        await crowd(job)

    await queue.add_many([("same", {})] * 8)
    await app.worker("mixed", concurrency=5).run_until_idle()

    assert crowd.most == {"same": 2}


async def test_a_queue_wide_limit_holds_over_two_workers(app: Toril) -> None:
    crowd = Crowd()
    queue = app.queue("shared", concurrency=3)
    await queue.add_many([("same", {})] * 20)

    one, other = (app.worker("shared", crowd, concurrency=5) for _ in range(2))
    async with one, other:
        await one.drained()

    assert crowd.most == {"same": 3}


async def test_a_workers_own_rate_limits_its_starts(app: Toril) -> None:
    async def note(job: Job[Any]) -> None:
        pass

    jobs = await app.queue("paced").add_many([("x", {})] * 25)
    await app.worker("paced", note, concurrency=50, rate="10/200ms").run_until_idle()

    for job in jobs:
        await job.refresh()
    starts = sorted(job.record.started_ms or 0 for job in jobs)
    assert 400 <= starts[-1] - starts[0] < 650
    assert all(later - earlier >= 200 for earlier, later in zip(starts, starts[10:], strict=False))


async def test_a_job_that_runs_on_at_once_keeps_its_place(app: Toril) -> None:
    crowd = Crowd()
    asked: set[str] = set()

    async def waits_for_no_child(job: Job[Any]) -> None:
        await crowd(job)
        if job.id not in asked:
            asked.add(job.id)
            raise AwaitChildren()

    queue = app.queue("parents")
    await queue.add_many([("same", {})] * 5)
    await app.worker("parents", waits_for_no_child, concurrency=1).run_until_idle()

    assert crowd.most == {"same": 1}
    assert (await queue.counts()).completed == 5
