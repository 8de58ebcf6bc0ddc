"""A worker takes jobs, runs them within its limits, and says what became of them."""

import asyncio
import contextvars
import threading
import time
from typing import Any

import pytest

from tests.support.workers import Gate, kinds
from toril import ConfigError, Job, Toril, current_job


async def twice(job: Job[Any]) -> int:
    return 2 * job.data["n"]


async def fail(job: Job[Any]) -> None:
    raise ValueError("on purpose")


async def test_a_job_is_run_and_its_result_is_stored(app: Toril) -> None:
    job = await app.queue("sums").add("double", {"n": 21})

    await app.worker("sums", twice).run_until_idle()

    assert await job.result() == 42
    assert await job.state() == "completed"


async def test_a_job_added_later_is_run_at_once(app: Toril) -> None:
    async with app.worker("sums", twice):
        job = await app.queue("sums").add("double", {"n": 4})

        assert await job.result(timeout=2) == 8


async def test_none_is_a_result(app: Toril) -> None:
    async def nothing(job: Job[Any]) -> None:
        pass

    job = await app.queue("sums").add("anything")

    await app.worker("sums", nothing).run_until_idle()

    assert await job.result() is None
    assert await job.state() == "completed"


async def test_one_job_at_a_time_where_no_more_are_allowed(app: Toril) -> None:
    gate = Gate()
    await app.queue("sums").add_many([("a", {}), ("b", {})])
    async with app.worker("sums", gate, concurrency=1) as worker:
        await gate.until_running(1)
        counts = await app.queue("sums").counts()
        gate.open()
        await worker.drained()

    assert (counts.active, counts.waiting) == (1, 1)
    assert (gate.most, gate.started) == (1, ["1", "2"])


async def test_concurrency_is_how_many_run_at_once(app: Toril) -> None:
    gate = Gate()
    await app.queue("sums").add_many([("a", {})] * 3)
    async with app.worker("sums", gate, concurrency=2) as worker:
        await gate.until_running(2)
        counts = await app.queue("sums").counts()
        gate.open()
        await worker.drained()

    assert (counts.active, counts.waiting) == (2, 1)
    assert (await app.queue("sums").counts()).completed == 3


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["added", "waiting", "active", "completed", "drained"]),
        ({"priority": 3}, ["added", "waiting", "active", "completed", "drained"]),
        ({"delay": 0.02}, ["added", "delayed", "waiting", "active", "completed", "drained"]),
    ],
    ids=["plain", "priority", "delay"],
)
async def test_the_events_of_a_job_that_completes(
    app: Toril, options: dict[str, Any], expected: list[str]
) -> None:
    job = await app.queue("sums").add("double", {"n": 1}, **options)

    await app.worker("sums", twice).run_until_idle(delayed=True)

    assert expected == await kinds(app, "sums", job.id)


@pytest.mark.parametrize(
    ("backoff", "again"), [(0.02, ["delayed", "waiting"]), (None, ["waiting"])]
)
async def test_the_events_of_a_job_that_always_fails(
    app: Toril, backoff: float | None, again: list[str]
) -> None:
    job = await app.queue("sums").add("double", attempts=2, backoff=backoff)

    await app.worker("sums", fail).run_until_idle(delayed=True)

    once = ["added", "waiting", "active"]
    end = ["active", "failed", "retries-exhausted", "drained"]
    assert [*once, *again, *end] == await kinds(app, "sums", job.id)


async def test_a_def_handler_runs_in_a_thread_with_its_context(app: Toril) -> None:
    tenant = contextvars.ContextVar("tenant", default="nobody")
    seen: list[object] = []

    def look(job: Job[Any]) -> None:
        seen.extend([threading.current_thread() is main, tenant.get(), current_job() is job])

    main = threading.current_thread()
    tenant.set("acme")
    await app.queue("sums").add("look")

    await app.worker("sums", look).run_until_idle()

    assert seen == [False, "acme", True]


async def test_def_handlers_run_side_by_side(app: Toril) -> None:
    together = threading.Barrier(3, timeout=5)

    def meet(job: Job[Any]) -> int:
        return together.wait()

    await app.queue("sums").add_many([("meet", {})] * 3)

    await app.worker("sums", meet, concurrency=3).run_until_idle()

    assert (await app.queue("sums").counts()).completed == 3


async def test_what_was_reported_on_the_way_is_stored_before_the_end(app: Toril) -> None:
    async def report(job: Job[Any]) -> None:
        job.progress(50)
        job.log("half way")
        job.progress(100)

    job = await app.queue("sums").add("report")

    await app.worker("sums", report).run_until_idle()

    await job.refresh()
    assert job.last_progress == 100
    assert (await job.logs()).lines == ("half way",)
    expected = ["added", "waiting", "active", "progress", "progress", "completed", "drained"]
    assert expected == await kinds(app, "sums", job.id)


async def test_one_worker_serves_several_queues(app: Toril) -> None:
    for queue in ("a", "b", "c"):
        await app.queue(queue).add_many([("x", {"n": n}) for n in range(20)])

    worker = app.worker(["a", "b", "c"], twice, concurrency=4)
    await worker.run_until_idle()

    assert [(await app.queue(queue).counts()).completed for queue in "abc"] == [20, 20, 20]


async def test_a_full_queue_does_not_starve_another(app: Toril) -> None:
    gate = Gate()
    await app.queue("full").add_many([("x", {})] * 50)
    async with app.worker({"full": 10, "rare": 10}, gate, total=2) as worker:
        await gate.until_running(2)
        rare = await app.queue("rare").add("x")
        await app.queue("rare").add("x")
        gate.open()
        await worker.drained()

    assert gate.most == 2
    assert (await app.queue("full").counts()).completed == 50
    # Dealt in turn: it did not have to wait for the fifty.
    events = list(await app.context.store.events("full", None))
    done = await rare.refresh()
    later = [event for event in events if event.kind == "completed" and event.at_ms]
    assert done.record.finished_ms is not None
    assert later[-1].at_ms >= done.record.finished_ms


async def test_a_paused_worker_leaves_the_jobs_to_others_until_it_goes_on(app: Toril) -> None:
    jobs = app.queue("sums")
    async with app.worker("sums", twice) as one:
        one.pause()
        async with app.worker("sums", twice) as other:
            first = await jobs.add("x", {"n": 1})
            await first.result(timeout=2)
        second = await jobs.add("x", {"n": 2})
        one.resume()
        await second.result(timeout=2)

    workers = [(await job.refresh()).worker for job in (first, second)]
    assert [other.id, one.id] == workers


async def test_two_workers_share_a_queue_and_each_job_runs_once(app: Toril) -> None:
    runs: list[str] = []

    async def note(job: Job[Any]) -> None:
        runs.append(job.id)
        await asyncio.sleep(0)

    await app.queue("sums").add_many([("x", {})] * 100)
    one, other = (app.worker("sums", note, concurrency=3) for _ in range(2))
    async with one, other:
        await one.drained()

    assert sorted(str(n) for n in range(1, 101)) == sorted(runs)


async def test_jobs_that_end_together_after_a_rest_go_in_parts(app: Toril) -> None:
    gate, carried, lasted = Gate(), list[int](), list[float]()
    store_claim, store_finish = app.context.store.claim, app.context.store.finish

    async def timed(requests, **how):  # type: ignore[no-untyped-def]
        began = time.monotonic()
        claimed = await store_claim(requests, **how)
        lasted.append(time.monotonic() - began)
        return claimed

    async def counted(decisions, requests, **how):  # type: ignore[no-untyped-def]
        carried.append(len(decisions))
        return await store_finish(decisions, requests, **how)

    app.context.store.claim = timed  # type: ignore[method-assign]
    app.context.store.finish = counted  # type: ignore[method-assign]
    jobs = await app.queue("sums").add_many([("x", {})] * 40)
    async with app.worker("sums", gate, concurrency=40):
        await gate.until_running(40)
        # It is the length of the rest that counts, and that the store has nothing to do meanwhile.
        await asyncio.sleep(2 * max(lasted) + 0.1)
        gate.open()
        await asyncio.gather(*(job.result(timeout=5) for job in jobs))

    assert (carried[0], sum(carried)) == (10, 40)


async def test_a_worker_can_be_started_again(app: Toril) -> None:
    worker = app.worker("sums", twice)
    first = await app.queue("sums").add("x", {"n": 1})
    await worker.run_until_idle()
    second = await app.queue("sums").add("x", {"n": 2})
    await worker.run_until_idle()

    assert (await first.result(), await second.result()) == (2, 4)


async def test_run_ends_when_the_worker_is_stopped(app: Toril) -> None:
    worker = app.worker("sums", twice)
    running = asyncio.create_task(worker.run())
    job = await app.queue("sums").add("x", {"n": 1})
    await job.result(timeout=2)

    assert await worker.stop()
    await asyncio.wait_for(running, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"concurrency": 0}, "concurrency=0 must be a whole number of at least 1"),
        ({"lock": "5ms"}, "lock='5ms' is too short"),
        ({"concurency": 2}, "a worker has no 'concurency'; did you mean 'concurrency'?"),
        ({"queues": ["a::b"]}, "has an empty segment"),
        ({"max_stalls": -1}, "max_stalls=-1"),
        ({"stalled_interval": 0}, "stalled_interval=0 is too short"),
        ({"rate": "many"}, "rate='many'"),
    ],
)
def test_an_option_that_cannot_hold_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Toril(":memory:").worker(**options)

    assert message in str(refused.value)


async def test_a_worker_without_a_queue_says_how_to_get_one(app: Toril) -> None:
    with pytest.raises(ConfigError, match="no task, processor or handler is registered"):
        await app.worker().start()
