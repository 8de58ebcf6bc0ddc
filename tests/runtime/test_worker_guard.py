"""User code that is not a handler may raise anything: no job, worker or shutdown is harmed."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.workers import Heard, line_at, until
from toril import Custom, Fail, Job, Toril, Worker
from toril._isolation import outcome
from toril._jobs.listeners import LOCAL_EVENTS
from toril._worker import keeper
from toril._worker import worker as worker_module
from toril.hooks import Happening, LoopBlocked


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt

    __repr__ = __str__


ERRORS = [
    asyncio.CancelledError,
    SystemExit,
    KeyboardInterrupt,
    GeneratorExit,
    StopIteration,
    Unspeakable,
]
errors = pytest.mark.parametrize("error", ERRORS)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcome, "NO_BACKOFF_MS", 20)
    monkeypatch.setattr(worker_module, "LISTENERS_S", 0.2)


async def work(job: Job[Any]) -> str:
    await job.progress(50)
    if job.name == "fails":
        raise Fail("on purpose")
    if job.name == "retries" and job.attempt == 1:
        raise ValueError("at first")
    if job.name == "waits":
        await asyncio.sleep(60)
    return "done"


async def run_all_kinds(app: Toril, worker: Worker) -> None:
    """Let jobs end in every way, and stop the worker in time."""
    queue = app.queue("q", attempts=2)
    async with asyncio.timeout(20):
        await worker.start()
        waits = await queue.add("waits")
        jobs = [await queue.add(name) for name in ("good", "fails", "retries", "good")]

        async def running() -> bool:
            return await waits.state() == "active"

        await until(running)
        await waits.cancel("on purpose")

        async def settled() -> bool:
            return (await queue.counts()).completed == 3

        await until(settled)
        assert [await job.state() for job in jobs] == [
            "completed", "failed", "completed", "completed",
        ]  # fmt: skip

        async def cancelled() -> bool:
            return await waits.state() == "failed"

        await until(cancelled)
        assert worker.health().ready, worker.health()
        assert await worker.stop(grace="2s")


@errors
async def test_whatever_a_listener_raises_is_logged(
    anywhere: Toril, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    worker = anywhere.worker("q", work, concurrency=3)

    def broken(*_: object) -> None:
        raise error

    async def broken_later(*_: object) -> None:
        await asyncio.sleep(0)
        raise error

    heard = Heard(worker, *LOCAL_EVENTS)
    for event in LOCAL_EVENTS:
        worker.on(event)(broken)
        worker.on(event)(broken_later)

    await run_all_kinds(anywhere, worker)

    lines = [vars(line) for line in caplog.records if line.msg.startswith("listener.failed")]
    for listener in (broken, broken_later):
        name = listener.__qualname__
        blamed = {line["event"] for line in lines if line["listener"] == name}
        assert blamed == set(heard.names) > {
            "active", "completed", "failed", "cancelled", "attempt_failed", "progress", "ready",
            "closing",
        }  # fmt: skip


@errors
async def test_whatever_a_listener_of_records_raises_is_logged(
    memory: Toril, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def __call__(self, what: Happening) -> None:
            raise error

        def __repr__(self) -> str:
            raise error

    worker = memory.worker("q", work, concurrency=3)
    worker.on(Happening)(Broken())
    await run_all_kinds(memory, worker)

    assert any(line.msg.startswith("listener.failed") for line in caplog.records)


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit])
async def test_a_log_filter_that_raises_harms_nothing(
    memory: Toril, error: type[BaseException], capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(_: logging.LogRecord) -> bool:
        raise error

    worker = memory.worker("q", work, concurrency=3)

    @worker.on("completed")
    def broken(*_: object) -> None:
        raise RuntimeError("so that something is logged")

    log = logging.getLogger("toril.worker")
    log.addFilter(refuse)
    try:
        await run_all_kinds(memory, worker)
    finally:
        log.removeFilter(refuse)

    assert "toril: cannot log listener.failed" in capsys.readouterr().err


@errors
async def test_a_backoff_function_that_raises_costs_no_attempt(
    anywhere: Toril, error: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def broken(attempt: int, failure: BaseException, job: Job[Any]) -> float:
        raise error

    worker = anywhere.worker("q", work, backoff=broken)
    job = await anywhere.queue("q").add("retries", attempts=2, backoff=Custom("own"))
    async with worker:
        assert await job.result(timeout=10) == "done"

    assert any("backoff of job 'retries'" in line.getMessage() for line in caplog.records)


# Stopping.


def hanging() -> tuple[Callable[..., object], asyncio.Event]:
    called = asyncio.Event()

    async def hang(*_: object) -> None:
        called.set()
        await asyncio.sleep(3600)

    return hang, called


@pytest.mark.parametrize("event", ["completed", "ready", "closing", "closed"])
async def test_stopping_cancels_a_listener_that_hangs(
    anywhere: Toril, event: str, caplog: pytest.LogCaptureFixture
) -> None:
    worker = anywhere.worker("q", work)
    hang, called = hanging()
    worker.on(event)(hang)
    await worker.start()
    job = await anywhere.queue("q").add("good")
    await job.result(timeout=5)
    async with asyncio.timeout(5):
        assert await worker.stop(grace="100ms")

    assert called.is_set()
    (line,) = [line for line in caplog.records if line.msg.startswith("listener.cancelled")]
    assert f"event={event!r}" in line.getMessage()


@pytest.mark.parametrize("way", ["with", "run"])
async def test_every_way_to_stop_has_the_workers_grace(memory: Toril, way: str) -> None:
    worker = memory.worker("q", work, grace="100ms")
    hang, called = hanging()
    worker.on("active")(hang)
    await memory.queue("q").add("good")
    async with asyncio.timeout(5):
        if way == "with":
            async with worker:
                await called.wait()
        else:
            running = asyncio.create_task(worker.run())
            await called.wait()
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running

    assert worker.health().reason == "it does not work yet, or no more"


async def test_a_listener_that_ignores_its_cancellation_is_left_behind(memory: Toril) -> None:
    worker = memory.worker("q", work)
    over = asyncio.Event()

    @worker.on("completed")
    async def stubborn(*_: object) -> None:
        while not over.is_set():
            try:
                await over.wait()
            except asyncio.CancelledError:
                continue

    await worker.start()
    await (await memory.queue("q").add("good")).result(timeout=5)
    async with asyncio.timeout(5):
        assert await worker.stop(grace=0)
    over.set()


async def test_a_listener_may_stop_its_worker(anywhere: Toril) -> None:
    worker = anywhere.worker("q", work)
    stopped = asyncio.get_running_loop().create_future()

    @worker.on("drained")
    async def stop() -> None:
        stopped.set_result(await worker.stop())

    await anywhere.queue("q").add("good")
    async with asyncio.timeout(5):
        await worker.run()
        assert await stopped


async def test_the_watchdog_names_a_listener_that_blocks_the_loop(memory: Toril) -> None:
    found: list[LoopBlocked] = []

    worker = memory.worker("q", work, block_warning="100ms")
    worker.on(LoopBlocked)(found.append)

    @worker.on("completed")
    def block(*_: object) -> None:
        time.sleep(0.6)

    async with worker:
        await (await memory.queue("q").add("good")).result(timeout=5)

        async def told() -> bool:
            return bool(found)

        await until(told)

    path, text = line_at(found[0].where)
    assert (path, text) == (__file__, "time.sleep(0.6)")
    assert "listener" in found[0].job


# Tasks of the worker itself.


async def test_a_worker_survives_when_somebody_cancels_every_task(
    anywhere: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keeper, "RESTART_S", 0.1)
    worker = anywhere.worker("q", work)
    heard = Heard(worker, "error")
    async with worker:
        await (await anywhere.queue("q").add("good")).result(timeout=5)
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0)

        async def down() -> bool:
            return not worker.health().ready

        await until(down)
        assert "exchanging jobs with the store ended" in (worker.health().reason or "")

        async def up() -> bool:
            return worker.health().ready

        await until(up)
        job = await anywhere.queue("q").add("good")
        assert await job.result(timeout=10) == "done"
    assert heard.names.count("error") >= 1


async def test_a_paused_worker_is_not_ready(memory: Toril) -> None:
    async with memory.worker("q", work) as worker:
        await (await memory.queue("q").add("good")).result(timeout=5)
        worker.pause()
        assert (worker.health().ready, worker.health().reason) == (False, "it is paused")
        worker.resume()

        async def up() -> bool:
            return worker.health().ready

        await until(up)
