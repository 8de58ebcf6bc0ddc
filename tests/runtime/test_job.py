"""The handle of a job: asking, waiting, steering, and reporting from inside a handler."""

import asyncio
from typing import Any

import pytest

from tests.support.workers import until
from toril import (
    Fail,
    Job,
    JobFailed,
    JobNotFound,
    Queue,
    ResultTimeout,
    State,
    TaskError,
    Toril,
    WrongState,
    current_job,
)
from toril._worker import maintenance

STORES = ("memory", "redis")


@pytest.fixture
def demo(app: Toril) -> Queue:
    queue = app.queue("demo")

    @queue.handler("echo")
    async def echo(job: Job[Any]) -> Any:
        for percent in (0, 50, 100):
            await job.progress(percent)
        await job.log("echoed")
        return {"echoed": job.data}

    @queue.handler("fail")
    async def fail(job: Job[Any]) -> None:
        raise ValueError("on purpose")

    return queue


async def test_a_result_is_waited_for(app: Toril, demo: Queue) -> None:
    job = await demo.add("echo", "hi")
    waiting = asyncio.create_task(job.result(timeout=10))

    async with app.worker("demo"):
        assert await waiting == {"echoed": "hi"}


async def test_the_result_of_a_finished_job_is_there_at_once(app: Toril, demo: Queue) -> None:
    job = await demo.add("echo", "hi")
    await app.worker("demo").run_until_idle()

    assert await job.result(timeout="1s") == {"echoed": "hi"}


async def test_none_is_a_result(app: Toril, demo: Queue) -> None:
    @demo.handler("nothing")
    async def nothing(job: Job[Any]) -> None: ...

    job = await demo.add("nothing")
    await app.worker("demo").run_until_idle()

    assert await job.result() is None
    assert await job.state() is State.COMPLETED


async def test_many_wait_for_many_jobs(app: Toril, demo: Queue) -> None:
    jobs = await demo.add_many([("echo", i) for i in range(100)])

    async with app.worker("demo", concurrency=20):
        results = await asyncio.gather(*(job.result(timeout=15) for job in jobs))

    assert results == [{"echoed": i} for i in range(100)]


async def test_a_failed_job_raises_its_reason_and_stack(app: Toril, demo: Queue) -> None:
    job = await demo.add("fail")

    async with app.worker("demo"):
        with pytest.raises(JobFailed, match="on purpose") as caught:
            await job.result(timeout=10)

    assert caught.value.job_id == job.id
    assert any("ValueError" in text for text in caught.value.stack)
    assert (await job.refresh()).error is not None


async def test_a_result_that_does_not_come_in_time(demo: Queue) -> None:
    job = await demo.add("echo")

    with pytest.raises(ResultTimeout, match="did not finish within '10ms'; it goes on"):
        await job.result(timeout="10ms")


async def test_a_job_that_is_removed_leaves_nobody_waiting(demo: Queue) -> None:
    job = await demo.add("echo")
    waiting = asyncio.create_task(job.result())
    await asyncio.sleep(0.05)
    await job.remove()

    with pytest.raises(JobNotFound, match="was removed"):
        await waiting


async def test_a_result_that_is_not_kept_still_reaches_who_waits(app: Toril, demo: Queue) -> None:
    job = await demo.add("echo", "hi", keep=False)
    waiting = asyncio.create_task(job.result(timeout=10))
    await asyncio.sleep(0.05)

    async with app.worker("demo"):
        assert await waiting == {"echoed": "hi"}
    assert await demo.job(job.id) is None


@pytest.mark.parametrize("name", ["echo", "fail"])
async def test_how_a_job_ended_that_is_not_kept_is_known_afterwards_too(
    app: Toril, demo: Queue, name: str
) -> None:
    job = await demo.add(name, "hi", keep=False)
    await app.worker("demo").run_until_idle()
    assert await demo.job(job.id) is None

    if name == "echo":
        assert await job.result(timeout=1) == {"echoed": "hi"}
    else:
        with pytest.raises(JobFailed, match="on purpose"):
            await job.result(timeout=1)


async def test_many_ask_afterwards_in_one_reading(app: Toril, demo: Queue) -> None:
    jobs = await demo.add_many([("echo", n, {"keep": False}) for n in range(300)])
    await app.worker("demo", concurrency=50).run_until_idle()
    read, pages = app.context.store.events, []

    async def counted(*args: Any, **how: Any) -> Any:
        pages.append(args)
        return await read(*args, **how)

    app.context.store.events = counted  # type: ignore[method-assign]
    results = await asyncio.gather(*(job.result(timeout=5) for job in jobs))

    assert results == [{"echoed": n} for n in range(300)]
    assert len(pages) < len(jobs) / 2


async def test_an_end_before_the_last_beginning_does_not_count(app: Toril, demo: Queue) -> None:
    job = await demo.add("fail")
    await app.worker("demo").run_until_idle()
    await job.retry()
    await job.remove()

    with pytest.raises(JobNotFound, match="was removed"):
        await job.result(timeout=1)


async def test_an_end_whose_event_is_not_kept_either_is_unknown(app: Toril) -> None:
    queue = app.queue("brief", events_limit=2)
    queue.handler()(nothing)
    job = await queue.add("x", keep=False)
    await app.worker("brief").run_until_idle()
    await queue.add_many([("y", None, {"delay": "1h"})] * 600)
    await app.context.store.trim(["brief"])

    with pytest.raises(JobNotFound, match="finished and is not kept"):
        await job.result(timeout=1)


@pytest.mark.parametrize("events_limit", [0, 1, 10_000])
@pytest.mark.parametrize("keep", [False, 1, True])
@pytest.mark.parametrize("waits", ["before", "after"])
async def test_a_result_is_known_however_little_is_kept(
    anywhere: Toril, events_limit: int, keep: bool | int, waits: str
) -> None:
    queue = anywhere.queue("brief", events_limit=events_limit)

    @queue.handler()
    async def work(job: Job[Any]) -> Any:
        if job.data == 2:
            raise Fail("two")
        return job.data

    async with anywhere.worker("brief", concurrency=20), asyncio.timeout(20):
        for _ in range(3):
            jobs = await queue.add_many([("x", n, {"keep": keep}) for n in range(30)])
            if waits == "after":
                await until(lambda: idle(queue))
                await maintenance.trim(anywhere.context.store, ["brief"])
            asked = (job.result() for job in jobs)
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert isinstance(results[2], JobFailed)
            assert results[:2] + results[3:] == [0, 1, *range(3, 30)]


async def idle(queue: Queue) -> bool:
    counts = await queue.counts()
    return not counts.ready and not counts.active


async def nothing(job: Job[Any]) -> None:
    pass


async def test_one_who_gives_up_leaves_the_others_waiting(app: Toril, demo: Queue) -> None:
    job = await demo.add("echo", 1)
    patient = asyncio.create_task(job.result(timeout=10))
    with pytest.raises(ResultTimeout):
        await job.result(timeout=0.02)

    async with app.worker("demo"):
        assert await patient == {"echoed": 1}


async def test_waiting_begins_anew_after_everybody_gave_up(app: Toril, demo: Queue) -> None:
    job = await demo.add("echo", 1)
    for _ in range(3):
        with pytest.raises(ResultTimeout):
            await job.result(timeout=0.01)

    async with app.worker("demo"):
        assert await job.result(timeout=10) == {"echoed": 1}


async def test_progress_and_log_are_kept(app: Toril, demo: Queue) -> None:
    job = await demo.add("echo", "hi")
    await app.worker("demo").run_until_idle()

    assert (await job.refresh()).last_progress == 100
    assert (await job.logs()).lines == ("echoed",)


async def test_a_handler_sees_its_attempts(app: Toril, demo: Queue) -> None:
    seen: list[tuple[int, int, int, int]] = []

    @demo.handler("maybe")
    async def maybe(job: Job[Any]) -> str:
        seen.append((job.attempt, job.attempts_made, job.attempts_left, job.run))
        if job.attempts_made < 2:
            raise ValueError(f"attempt {job.attempt}/2")
        return "ok"

    job = await demo.add("maybe", {}, attempts=3)
    await app.worker("demo").run_until_idle()

    assert seen == [(1, 0, 2, 1), (2, 1, 1, 2), (3, 2, 0, 3)]
    assert [each.end for each in (await job.refresh()).attempts] == ["failed", "failed"]


async def test_current_job_is_the_handlers(app: Toril, demo: Queue) -> None:
    @demo.handler("who")
    async def who(job: Job[Any]) -> bool:
        return current_job() is job

    @demo.handler("who-thread")
    def who_thread(job: Job[Any]) -> bool:
        return current_job() is job

    jobs = await demo.add_many([("who", {}), ("who-thread", {})])
    await app.worker("demo").run_until_idle()

    assert [await job.result() for job in jobs] == [True, True]


def test_outside_of_handlers_there_is_no_current_job() -> None:
    with pytest.raises(TaskError, match="inside a handler"):
        current_job()


async def test_a_thread_reports_without_waiting(app: Toril, demo: Queue) -> None:
    @demo.handler("thread")
    def work(job: Job[Any]) -> None:
        for number in range(20):
            job.progress(number)
            job.log(f"line {number}")

    job = await demo.add("thread")
    await app.worker("demo").run_until_idle()

    assert (await job.refresh()).last_progress == 19
    assert (await job.logs()).lines == tuple(f"line {number}" for number in range(20))


async def test_a_handler_updates_its_data(app: Toril, demo: Queue) -> None:
    @demo.handler("step")
    async def step(job: Job[Any]) -> Any:
        await job.update({"step": job.data["step"] + 1})
        return job.data

    job = await demo.add("step", {"step": 1})
    await app.worker("demo").run_until_idle()

    assert await job.result() == {"step": 2}
    assert (await job.refresh()).data == {"step": 2}


async def test_data_of_a_waiting_job_can_be_changed(demo: Queue) -> None:
    job = await demo.add("echo", {"a": 1})
    await job.update({"a": 2})

    assert job.data == {"a": 2}
    assert (await job.refresh()).data == {"a": 2}


async def test_a_delayed_job_is_rescheduled_and_promoted(demo: Queue) -> None:
    job = await demo.add("echo", {}, delay="1h")
    await job.reschedule("2h")
    assert (await job.refresh()).record.delay_ms == 7_200_000

    await job.promote()
    assert await job.state() is State.WAITING
    with pytest.raises(WrongState):
        await job.promote()
    with pytest.raises(WrongState):
        await job.reschedule("1h")


async def test_a_priority_moves_a_waiting_job(demo: Queue) -> None:
    job = await demo.add("echo", {}, priority=5)
    await job.set_priority(0)

    assert await job.state() is State.WAITING


async def test_a_failed_job_is_retried_with_its_attempts_reset(app: Toril, demo: Queue) -> None:
    job = await demo.add("fail")
    await app.worker("demo").run_until_idle()
    await job.retry(reset_attempts=True)

    assert await job.state() is State.WAITING
    assert job.attempts_made == 0
    with pytest.raises(WrongState):
        await job.retry()


async def test_what_is_gone_is_not_found(demo: Queue) -> None:
    job = await demo.add("echo")
    await job.remove()

    with pytest.raises(JobNotFound):
        await job.state()
    with pytest.raises(JobNotFound):
        await job.update({})
    with pytest.raises(JobNotFound):
        await job.result(timeout=1)
