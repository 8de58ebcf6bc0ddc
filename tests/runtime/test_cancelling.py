"""Ending jobs that are not wanted any more: those that wait, those that run, and whole families."""

import asyncio
import os
import sys
import threading
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.servers import fresh_prefix, servers_here, shared_server
from tests.support.workers import Gate, Heard, line_at, until
from toril import Job, JobFailed, JobNotFound, Toril, WrongState
from toril._worker import running

SERVERS = tuple(servers_here())
PROGRAM = """
import sys
from toril import Toril, sync

async def main(url, prefix):
    async with Toril(url, prefix=prefix) as app:
        job = await app.queue("q").job(sys.argv[3])
        await job.cancel("says another process")

sync.run(main(*sys.argv[1:3]))
"""


@pytest.fixture(params=["memory", "file", *SERVERS])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Toril]:
    async with _app(request.param, tmp_path) as fresh:
        yield fresh


@pytest.fixture(params=["file", *SERVERS])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Toril]:
    """An app whose store other processes can open."""
    async with _app(request.param, tmp_path) as fresh:
        yield fresh


def _app(kind: str, folder: Path) -> Toril:
    if kind in SERVERS:
        return Toril(shared_server(kind).url, prefix=fresh_prefix())
    return Toril(":memory:" if kind == "memory" else f"sqlite:///{folder / 'jobs.db'}")


async def failure(job: Job[Any]) -> str:
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=5)
    return failed.value.reason


# On the loop.


async def test_code_on_the_loop_is_cancelled_and_may_clean_up(app: Toril) -> None:
    started = asyncio.Event()
    marks: list[str] = []

    async def handler(job: Job[Any]) -> None:
        started.set()
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)
            marks.append(f"cleaned up: {job.cancelled_reason}")

    job = await app.queue("q").add("x", attempts=5)
    worker = app.worker("q", handler)
    heard = Heard(worker, "attempt_failed", "cancelled", "failed")
    async with worker:
        await started.wait()
        await job.cancel("nobody needs it")
        assert await failure(job) == "cancelled: nobody needs it"

    assert marks == ["cleaned up: nobody needs it"]
    assert heard.names == ["cancelled", "failed"]
    await job.refresh()
    assert (job.record.state, job.cancelled_reason) == ("failed", "nobody needs it")
    assert [each.end for each in job.attempts] == ["cancelled"]


async def test_what_a_cancelled_handler_returns_does_not_count(app: Toril) -> None:
    started = asyncio.Event()

    async def handler(job: Job[Any]) -> str:
        started.set()
        with suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        return "half of it"

    job = await app.queue("q").add("x")
    async with app.worker("q", handler):
        await started.wait()
        await job.cancel()
        assert await failure(job) == "cancelled"


async def test_code_that_will_not_end_is_left_to_itself(
    app: Toril, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "CLEANUP_S", 0.01)
    monkeypatch.setattr(running, "INSIST_S", 0.01)
    started, let = asyncio.Event(), asyncio.Event()

    async def handler(job: Job[Any]) -> None:
        started.set()
        while not let.is_set():
            try:
                await let.wait()
            except asyncio.CancelledError:
                continue

    job = await app.queue("q").add("x")
    async with app.worker("q", handler):
        await started.wait()
        await job.cancel()
        assert await failure(job) == "cancelled"
        let.set()

    assert any("it suppresses its cancellation" in line.message for line in caplog.records)


# In a thread.


async def test_code_in_a_thread_sees_the_flag_and_why(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    started = asyncio.Event()
    loop = asyncio.get_running_loop()
    seen: list[str | None] = []

    def handler(job: Job[Any]) -> None:
        loop.call_soon_threadsafe(started.set)
        assert job.cancelled.wait(5)
        seen.append(job.cancelled_reason)

    job = await app.queue("q").add("x", attempts=5)
    async with app.worker("q", handler):
        await started.wait()
        await job.cancel("nobody needs it")
        assert await failure(job) == "cancelled: nobody needs it"

    assert seen == ["nobody needs it"]
    assert not [line for line in caplog.records if line.message.startswith("job.unstoppable")]


async def test_code_in_a_thread_that_does_not_look_is_reported_and_left(
    app: Toril, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(running, "CLEANUP_S", 0.02)
    started, let = asyncio.Event(), threading.Event()
    loop = asyncio.get_running_loop()

    def handler(job: Job[Any]) -> None:
        loop.call_soon_threadsafe(started.set)
        let.wait(10)

    job = await app.queue("q").add("x")
    async with app.worker("q", handler):
        await started.wait()
        await job.cancel()
        assert await failure(job) == "cancelled"
        let.set()

    (line,) = [line for line in caplog.records if line.message.startswith("job.unstoppable")]
    assert "it was cancelled, and Python cannot stop the thread it runs in" in line.message
    assert line_at(vars(line)["where"]) == (__file__, "let.wait(10)")


# In a child process.


def hold(job: Job[Any]) -> None:
    job.log(str(os.getpid()))
    time.sleep(60)


async def test_a_child_process_that_does_not_end_is_killed(
    app: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "CLEANUP_S", 0.05)
    app.processor("q", f"{__name__}:hold")
    job = await app.queue("q").add("x", attempts=5)

    async def pid() -> int:
        return int("".join((await job.logs()).lines) or 0)

    async with app.worker("q"):
        child = await until(pid, within=10)
        await job.cancel("nobody needs it")
        assert await failure(job) == "cancelled: nobody needs it"
        await until(lambda: _is_gone(child))


async def _is_gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


# From elsewhere, and before it runs.


async def test_another_process_can_cancel_what_runs_here(shared: Toril) -> None:
    gate = Gate()
    job = await shared.queue("q").add("x", attempts=5)
    prefix = str(getattr(shared.context.store, "prefix", "bull"))
    async with shared.worker("q", gate):
        await gate.until_running(1)
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", PROGRAM, shared.context.store.url, prefix, job.id
        )
        assert await process.wait() == 0
        assert await failure(job) == "cancelled: says another process"


async def test_a_delayed_job_ends_at_once(app: Toril) -> None:
    job = await app.queue("q").add("x", delay="1h")

    await job.cancel("not today")

    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=5)
    assert (failed.value.end, (await job.refresh()).end) == ("cancelled", "cancelled")

    assert await failure(job) == "cancelled: not today"
    assert (await app.queue("q").counts()).delayed == 0


async def test_blocking_code_can_cancel(app: Toril) -> None:
    job = await app.queue("q").add("x")

    await asyncio.to_thread(job.cancel_sync, "not today")

    assert await failure(job) == "cancelled: not today"


async def test_a_queue_cancels_many_and_says_which(app: Toril) -> None:
    queue = app.queue("q")
    one, two = await queue.add_many([("x", {}), ("x", {"delay": 1})])

    assert await queue.cancel(one.id, two.id, "nobody", reason="spring cleaning") == ["1", "2"]

    assert [await failure(job) for job in (one, two)] == ["cancelled: spring cleaning"] * 2


async def test_cancelling_again_is_no_error(app: Toril) -> None:
    job = await app.queue("q").add("x")
    await job.cancel("first")

    await job.cancel("second")

    assert (await job.refresh()).cancelled_reason == "first"


async def test_what_has_finished_cannot_be_cancelled(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None: ...

    job = await app.queue("q").add("x")
    await app.worker("q", handler).run_until_idle()

    with pytest.raises(WrongState, match="it is completed, not waiting or running"):
        await job.cancel()


async def test_what_is_gone_cannot_be_cancelled(app: Toril) -> None:
    job = await app.queue("q").add("x")
    await job.remove()

    with pytest.raises(JobNotFound):
        await job.cancel()


async def test_a_cancelled_job_runs_again_when_it_is_retried(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        return "ran"

    job = await app.queue("q").add("x")
    await job.cancel()
    await job.retry()
    await app.worker("q", handler).run_until_idle()

    assert await job.result(timeout=5) == "ran"
    assert (await job.refresh()).cancelled_reason is None


async def test_cancelling_what_is_about_to_finish_ends_it_one_way_or_the_other(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        await asyncio.sleep(0.002 * (int(job.id) % 5))
        return "done"

    jobs = await app.queue("q").add_many([("x", {})] * 60)
    async with app.worker("q", handler, concurrency=10):
        for job in jobs:
            try:
                await job.cancel("late")
            except WrongState:
                assert (await job.refresh()).record.state == "completed"
        ends = await asyncio.gather(
            *(job.result(timeout=10) for job in jobs), return_exceptions=True
        )

    for job, end in zip(jobs, ends, strict=True):
        await job.refresh()
        if end == "done":
            assert (job.record.state, job.cancelled_reason) == ("completed", None)
        else:
            assert isinstance(end, JobFailed)
            assert (end.reason, job.cancelled_reason) == ("cancelled: late", "late")
    assert (await app.queue("q").counts()).total == 60


# Families.


async def test_a_cancelled_parent_takes_its_children_along(app: Toril) -> None:
    gate = Gate()
    middle = app.flow("idle", "middle", children=[("idle", "below", {})])
    tree = await app.flow(
        "q", "parent", children=[("kids", "runs", {}), ("idle", "waits", {}), middle]
    ).add()
    async with app.worker("kids", gate):
        await gate.until_running(1)
        await tree.job.cancel("all of it")
        reasons = {job.name: await failure(job) for job in tree.walk()}

    below = f"cancelled: with q:{tree.job.id}: all of it"
    assert reasons.pop("parent") == "cancelled: all of it"
    assert reasons == dict.fromkeys(("runs", "waits", "middle", "below"), below)
    assert (await app.queue("q").counts()).ready == 0


async def test_children_may_stay(app: Toril) -> None:
    tree = await app.flow("q", "parent", children=[("kids", "child", {})]).add()

    await tree.job.cancel(children=False)

    assert (await app.queue("kids").counts()).waiting == 1


async def test_a_parent_fails_with_its_cancelled_child(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None: ...

    tree = await app.flow("q", "parent", children=[("kids", "child", {})]).add()
    child = tree["child"]
    await child.cancel("not this one")
    await app.worker("q", handler).run_until_idle()

    assert child.id in await failure(tree.job)
