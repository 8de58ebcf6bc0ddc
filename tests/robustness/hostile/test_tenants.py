"""One producer floods a queue: others of the same process and worker still have their turn.

Turns are bounded by jobs, bytes and time. Most is counted, not timed, so that it holds on a busy
machine; what is timed is compared within the run. Never here: `max_waiting` (`tests/contract`).
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from statistics import median
from typing import Any

import pytest
import redis

from tests.support.workers import until
from toril import Job, Queue, QueueFull, Toril

LARGE = "x" * 900_000
MOST = 1_000_000
QUEUES = 3_000
JOBS = 20_000


@pytest.fixture(params=["memory", "file", "redis"])
async def app(request: pytest.FixtureRequest, tmp_path: Any) -> AsyncIterator[Toril]:
    urls = {"memory": ":memory:", "file": f"sqlite:///{tmp_path / 'jobs.db'}"}
    prefix = None
    if request.param == "redis":
        urls["redis"] = request.getfixturevalue("redis_url")
        prefix = request.getfixturevalue("redis_prefix")
    async with Toril(urls[request.param], prefix=prefix, warn_unserved=False) as fresh:
        yield fresh


class Sizes:
    """How much data each call to the store carried, in characters."""

    def __init__(self, app: Toril) -> None:
        self.added: list[int] = []
        self.claimed: list[int] = []
        self.finished: list[int] = []
        store = app.context.store
        add, claim, finish = store.add, store.claim, store.finish

        async def noted_add(groups: Any, **how: Any) -> Any:
            self.added.append(sum(len(job.data) for group in groups for job in group))
            return await add(groups, **how)

        async def noted_claim(requests: Any, **how: Any) -> Any:
            answers = await claim(requests, **how)
            self._note(answers)
            return answers

        async def noted_finish(decisions: Any, requests: Any = (), **how: Any) -> Any:
            self.finished.append(sum(len(each.result or "") for each in decisions))
            answer = await finish(decisions, requests, **how)
            self._note(answer.claimed)
            return answer

        store.add = noted_add  # type: ignore[method-assign]
        store.claim = noted_claim  # type: ignore[method-assign]
        store.finish = noted_finish  # type: ignore[method-assign]

    def _note(self, answers: Sequence[Any]) -> None:
        jobs = [job for answer in answers for job in answer.jobs]
        self.claimed += [sum(len(job.record.data) for job in jobs)] if jobs else []


async def test_large_jobs_that_are_added_at_once_go_in_bounded_calls(app: Toril) -> None:
    sizes, queue = Sizes(app), app.queue("noisy")

    await asyncio.gather(*(queue.add("x", {"a": LARGE}) for _ in range(6)))
    await queue.add_many([("x", {"a": LARGE})] * 6)

    assert (await queue.counts()).waiting == 12
    assert sum(sizes.added) > 12 * len(LARGE)
    assert max(sizes.added) <= MOST


async def test_many_small_jobs_go_chunk_by_chunk_beside_a_worker(app: Toril) -> None:
    sizes, queue = Sizes(app), app.queue("noisy")

    await queue.add_many([("x", {})] * 2_000)
    assert len(sizes.added) == 2

    app.queue("quiet").handler()(lambda job: None)
    async with app.worker("quiet"):
        await queue.add_many([("x", {})] * 2_000)
    assert len(sizes.added) == 2 + 8


async def test_large_jobs_and_results_are_carried_few_at_a_time(app: Toril) -> None:
    queue, ran = app.queue("noisy"), 0

    @queue.handler("x")
    async def work(job: Job[Any]) -> str:
        nonlocal ran
        ran += 1
        return str(job.data["a"])

    await queue.add_many([("x", {"a": LARGE})] * 12)
    sizes = Sizes(app)
    async with app.worker("noisy", concurrency=4):
        await until(lambda: _completed(app, 12), within=30)

    assert ran == 12
    assert max(sizes.claimed) <= MOST
    assert max(sizes.finished) <= MOST


async def _completed(app: Toril, count: int) -> bool:
    return (await app.queue("noisy").counts()).completed >= count


async def test_the_loop_serves_others_while_many_jobs_are_prepared(app: Toril) -> None:
    queue, turns, adding = app.queue("noisy"), 0, True

    async def other() -> None:
        nonlocal turns
        while adding:
            await asyncio.sleep(0)
            turns += 1

    busy = asyncio.create_task(other())
    prepared = asyncio.Event()
    add = app.context.store.add

    async def noted(groups: Any, **how: Any) -> Any:
        prepared.set()
        return await add(groups, **how)

    app.context.store.add = noted  # type: ignore[method-assign]
    many = asyncio.create_task(queue.add_many([("x", {"n": n}) for n in range(JOBS)]))
    await prepared.wait()
    served = turns
    many.cancel()
    adding = False
    await asyncio.gather(many, busy, return_exceptions=True)

    assert served > 20


async def test_a_new_queue_costs_the_same_however_many_there_are(app: Toril) -> None:
    async def make(first: int, count: int) -> float:
        began = time.perf_counter()
        adds = (app.queue(f"q{n}:x").add("a") for n in range(first, first + count))
        await asyncio.gather(*adds)
        return time.perf_counter() - began

    few = min([await make(at, 50) for at in range(0, 200, 50)])
    for at in range(200, QUEUES, 700):
        await make(at, 700)
    many = min([await make(at, 50) for at in range(10_000, 10_200, 50)])

    assert many < 8 * few + 0.02


FLOODS = ["small", "large", "unknown", "queues"]


@pytest.mark.serial
@pytest.mark.parametrize("kind", FLOODS)
async def test_another_queue_of_the_worker_is_served_during_a_flood(app: Toril, kind: str) -> None:
    quiet, noisy, stop, made = app.queue("quiet"), app.queue("noisy"), False, 0

    @quiet.handler("y")
    async def answer(job: Job[Any]) -> str:
        return "done"

    @noisy.handler("x")
    async def work(job: Job[Any]) -> None: ...

    async def flood() -> None:
        nonlocal made
        while not stop:
            if kind == "queues":
                adds = (app.queue(f"q{n}").add("x") for n in range(made, made + 100))
                await asyncio.gather(*adds)
                made += 100
                continue
            given = {"a": LARGE} if kind == "large" else {}
            name = "nobody" if kind == "unknown" else "x"
            await noisy.add_many([(name, given)] * (4 if kind == "large" else 300))

    async def latency() -> float:
        took: list[float] = []
        for _ in range(9):
            began = time.perf_counter()
            job = await quiet.add("y")
            await job.result(timeout=20)
            took.append(time.perf_counter() - began)
        return median(took)

    async with app.worker(["quiet", "noisy"], concurrency=10, grace="1s"):
        calm = await latency()
        flooding = asyncio.create_task(flood())
        await asyncio.sleep(0.3)
        busy = await latency()
        stop = True
        await flooding

    # On a calm machine it is far less; a flood that is not divided into turns takes seconds.
    assert busy < 20 * calm + 0.5


@pytest.mark.parametrize(
    "text", ["evil", "", "nan", "inf", "1e400", "9" * 5_000, "2.5", "-5", "[1]"]
)
async def test_a_limit_that_somebody_wrote_by_hand_is_read_or_passed_over(
    redis_url: str, redis_prefix: str, text: str
) -> None:
    async with Toril(redis_url, prefix=redis_prefix, warn_unserved=False) as app:
        queue = app.queue("q")
        await queue.add("x")
        server = redis.Redis.from_url(redis_url)
        server.hset(f"{redis_prefix}:q:toril:settings", "max_waiting", text)

        limit = (await queue.settings()).max_waiting
        added = await asyncio.gather(
            queue.add("x"), queue.add("x", priority=1), return_exceptions=True
        )

        assert all(isinstance(each, Job | QueueFull) for each in added)
        assert (limit is None) == all(isinstance(each, Job) for each in added)
        assert (await app.queue("other").add("x")).created
        server.close()


async def test_a_worker_serves_other_queues_beside_one_whose_settings_cannot_be_stored(
    redis_url: str, redis_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = redis.Redis.from_url(redis_url)
    server.set(f"{redis_prefix}:bad:meta", "no hash")
    async with Toril(redis_url, prefix=redis_prefix, warn_unserved=False) as app:
        app.queue("bad", concurrency=3).handler()(lambda job: None)
        good = app.queue("good", concurrency=2)
        good.handler()(lambda job: None)

        async with app.worker(["bad", "good"], grace="1s"):
            job = await good.add("x")
            await job.result(timeout=10)
            assert (await good.settings()).concurrency == 2
            assert caplog.text.count("declared.not_stored queue='bad'") == 1

            server.delete(f"{redis_prefix}:bad:meta")
            await until(lambda: _concurrency(app.queue("bad"), 3), within=10)
    server.close()


async def _concurrency(queue: Queue, wanted: int) -> bool:
    return (await queue.settings()).concurrency == wanted
