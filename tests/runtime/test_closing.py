"""Closing an app, and waiting until it is idle: both end, whatever its workers do meanwhile."""

import asyncio
import logging
import threading
import time
from typing import Any

import pytest

from tests.support.workers import Gate, Heard, until
from toril import Job, SoftTimeout, Toril, TorilError, sync
from toril._worker import idle


async def work(job: Job[Any]) -> str:
    return "done"


# Closing.


@pytest.fixture(params=["file", "redis"])
async def kept(request: pytest.FixtureRequest, tmp_path: object) -> Toril:
    """An app on a store that outlives its close."""
    if request.param == "file":
        return Toril(f"sqlite:///{tmp_path}/jobs.db")
    return Toril(
        request.getfixturevalue("redis_url"), prefix=request.getfixturevalue("redis_prefix")
    )


async def test_closing_the_app_first_stops_its_workers(kept: Toril) -> None:
    gate = Gate()
    job = await kept.queue("q").add("a")
    worker = kept.worker("q", gate)
    await worker.start()
    await gate.until_running(1)

    async with asyncio.timeout(5):
        await kept.close(grace="100ms")
        await worker.stop(grace="2s")

    assert worker.health().reason == "it does not work yet, or no more"
    await kept.open()
    record = (await job.refresh()).record
    assert (record.state, record.attempts_made, record.stalls) == ("waiting", 0, 0)
    await kept.close()
    await kept.close()


async def test_jobs_that_end_soon_end_before_the_app_is_closed(kept: Toril) -> None:
    async def soon(job: Job[Any]) -> str:
        await asyncio.sleep(0.2)
        return "done"

    worker = kept.worker("q", soon)
    heard = Heard(worker, "active", "completed")
    async with kept:
        await worker.start()
        await kept.queue("q").add("a")
        await heard.until("active")

    assert heard.names == ["active", "completed"]


async def test_a_worker_on_another_loop_is_stopped_too(kept: Toril) -> None:
    ready, over = threading.Event(), threading.Event()

    async def live() -> None:
        worker = kept.worker("q", work)
        worker.on("ready")(ready.set)
        await worker.run()
        over.set()

    thread = threading.Thread(target=asyncio.run, args=(live(),))
    thread.start()
    await asyncio.to_thread(ready.wait, 5)
    async with asyncio.timeout(10):
        await kept.close()
    assert await asyncio.to_thread(over.wait, 5)
    await asyncio.to_thread(thread.join, 5)


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_a_handler_cannot_close_the_app_of_its_worker(
    kept: Toril, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def on_loop(job: Job[Any]) -> str:
        async with kept:
            return "done"

    def in_thread(job: Job[Any]) -> str:
        sync.run(kept.close())
        return "done"

    worker = kept.worker("q", on_loop if kind == "loop" else in_thread)
    async with kept, worker:
        for _ in range(2):
            job = await kept.queue("q").add("a")
            assert await job.result(timeout=5) == "done"
    assert [line.msg.split()[0] for line in caplog.records].count("app.close_ignored") == 2


async def test_a_listener_may_close_the_app(kept: Toril) -> None:
    closed = asyncio.get_running_loop().create_future()
    worker = kept.worker("q", work)

    @worker.on("completed")
    async def close(*_: object) -> None:
        await kept.close()
        closed.set_result(True)

    await worker.start()
    await kept.queue("q").add("a")
    async with asyncio.timeout(5):
        assert await closed


async def test_it_closes_after_its_task_was_cancelled(kept: Toril) -> None:
    gate = Gate()
    worker = kept.worker("q", gate)

    async def main() -> None:
        async with kept:
            await worker.start()
            await kept.queue("q").add("a")
            await asyncio.Event().wait()

    running = asyncio.create_task(main())
    await gate.until_running(1)
    running.cancel()
    began = time.monotonic()
    with pytest.raises(asyncio.CancelledError):
        await running

    assert time.monotonic() - began < 5
    assert gate.running == []


# Until it is idle.


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(idle, "STILL_S", 0.1)
    monkeypatch.setattr(idle, "TELL_S", 0.3)


@pytest.mark.parametrize("delayed", [False, True])
async def test_a_paused_queue_is_not_waited_for(
    anywhere: Toril, quick: None, delayed: bool
) -> None:
    queue = anywhere.queue("q")
    await queue.add("a", delay="1h" if delayed else 0)
    await queue.pause()
    async with asyncio.timeout(5):
        with pytest.raises(TorilError, match=r"queue 'q' is paused with 1 jobs: call queue.resume"):
            await anywhere.worker("q", work).run_until_idle(delayed=delayed)


async def test_a_paused_worker_does_not_wait(anywhere: Toril, quick: None) -> None:
    await anywhere.queue("q").add("a")
    worker = anywhere.worker("q", work)
    worker.pause()
    async with asyncio.timeout(5):
        with pytest.raises(TorilError, match=r"the worker is paused, and queue 'q' has 1 jobs"):
            await worker.run_until_idle()


async def test_jobs_with_unknown_names_are_not_waited_for(anywhere: Toril, quick: None) -> None:
    anywhere.queue("q").handler("known")(work)
    await anywhere.queue("q").add_many([("known", {}), ("other", {})])
    async with asyncio.timeout(10):
        with pytest.raises(TorilError, match=r"no handler of queue 'q' has the names .*: other"):
            await anywhere.worker("q").run_until_idle(delayed=True)

    assert (await anywhere.queue("q").counts()).completed == 1


async def test_what_it_waits_for_is_logged(
    anywhere: Toril, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "toril.worker")
    queue = anywhere.queue("q")
    await queue.limit(rate="1/2s")
    await queue.add_many([("a", {}), ("a", {})])
    async with asyncio.timeout(10):
        await anywhere.worker("q", work).run_until_idle()

    lines = [line.getMessage() for line in caplog.records if line.msg.startswith("worker.waits")]
    assert lines
    assert "q: 1 ready, 0 active, 0 delayed" in lines[0]


# Soft time limits in task groups.


@pytest.mark.parametrize("caught", [True, False])
async def test_a_soft_timeout_passes_task_groups(memory: Toril, caught: bool) -> None:
    async def handler(job: Job[Any]) -> str:
        try:
            async with asyncio.TaskGroup() as outer, asyncio.TaskGroup() as inner:
                outer.create_task(asyncio.sleep(60))
                inner.create_task(asyncio.sleep(60))
                await asyncio.sleep(60)
        except SoftTimeout:
            if caught:
                return "told in time"
            raise
        return "never"

    memory.queue("q").handler(soft_timeout="100ms", timeout="5s")(handler)
    job = await memory.queue("q").add("a", attempts=1)
    async with memory.worker("q"):

        async def ended() -> bool:
            return await job.state() in ("completed", "failed")

        await until(ended)
    record = (await job.refresh()).record
    assert (record.state, record.end) == (("completed", None) if caught else ("failed", "timeout"))


async def test_a_group_of_soft_timeouts_is_a_timeout(memory: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(60)
        except SoftTimeout as told:
            raise BaseExceptionGroup("as some libraries do", [told]) from None

    memory.queue("q").handler(soft_timeout="100ms")(handler)
    job = await memory.queue("q").add("a", attempts=1)
    await memory.worker("q").run_until_idle()
    assert (await job.refresh()).record.end == "timeout"
