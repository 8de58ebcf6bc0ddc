"""Local listeners hear of their own worker's jobs, and can harm nothing."""

import asyncio
import logging
from typing import Any

import pytest

from tests.support.workers import Heard
from toril import ConfigError, Job, Toril
from toril._jobs.listeners import LOCAL_EVENTS
from toril.hooks import Happening, JobCompleted, JobHappening, JobStarted


async def work(job: Job[Any]) -> str:
    if job.name == "bad":
        raise ValueError("on purpose")
    return f"did {job.id}"


async def test_listeners_hear_what_happens_to_their_workers_jobs(app: Toril) -> None:
    worker = app.worker("mail", work, concurrency=1)
    heard = Heard(worker, "active", "completed", "failed", "error")
    good = await app.queue("mail").add("good")
    bad = await app.queue("mail").add("bad")

    await worker.run_until_idle()

    assert heard.names == ["active", "completed", "active", "failed"]
    started, completed, _, failed = heard.all
    assert good.id == started[1].id
    assert (good.id, "did 1") == (completed[1].id, completed[2])
    assert (bad.id, "on purpose") == (failed[1].id, str(failed[2]))
    assert isinstance(failed[2], ValueError)


async def test_a_worker_says_nothing_of_anothers_jobs(app: Toril) -> None:
    quiet = app.worker("mail", work)
    heard = Heard(quiet, "active", "completed", "failed", "error")
    async with quiet:
        quiet.pause()
        async with app.worker("mail", work):
            job = await app.queue("mail").add("good")
            await job.result(timeout=2)

    assert heard.all == []


async def test_failed_is_final_and_attempt_failed_is_every_try(app: Toril) -> None:
    worker = app.worker("mail", work)
    heard = Heard(worker, "failed", "attempt_failed")
    await app.queue("mail").add("bad", attempts=3)

    await worker.run_until_idle()

    assert heard.names == ["attempt_failed", "attempt_failed", "attempt_failed", "failed"]
    assert [args[0].attempt for name, *args in heard.all if name != "failed"] == [1, 2, 3]


async def test_async_listeners_are_awaited(app: Toril) -> None:
    worker = app.worker("mail", work)
    notes: list[object] = []

    @worker.on("completed")
    async def note(job: Job[Any], result: object) -> None:
        await asyncio.sleep(0)
        notes.append(result)

    await app.queue("mail").add("good")
    await worker.run_until_idle()

    assert notes == ["did 1"]


@pytest.mark.parametrize("is_async", [False, True])
async def test_a_listener_that_raises_is_logged_and_harms_nothing(
    app: Toril, caplog: pytest.LogCaptureFixture, is_async: bool
) -> None:
    worker = app.worker("mail", work)

    def broken(job: Job[Any]) -> None:
        raise RuntimeError("listener broke")

    async def broken_later(job: Job[Any]) -> None:
        raise RuntimeError("listener broke")

    worker.on("active")(broken_later if is_async else broken)
    job = await app.queue("mail").add("good")
    await worker.run_until_idle()

    assert await job.result() == "did 1"
    (line,) = [line for line in caplog.records if line.message.startswith("listener.failed")]
    assert line.exc_info is not None
    assert "listener broke" in str(line.exc_info[1])


async def test_progress_is_heard_from_both_kinds_of_handlers(app: Toril) -> None:
    async def on_loop(job: Job[Any]) -> None:
        await job.progress(1)

    def in_thread(job: Job[Any]) -> None:
        job.progress(2)

    for queue, handler in (("a", on_loop), ("b", in_thread)):
        worker = app.worker(queue, handler)
        heard = Heard(worker, "progress")
        job = await app.queue(queue).add("x")
        await worker.run_until_idle()

        assert [("progress", job.id, 1 if queue == "a" else 2)] == [
            (event, told.id, value) for event, told, value in heard.all
        ]


async def test_the_life_of_a_worker_is_heard(app: Toril) -> None:
    worker = app.worker("mail", work)
    heard = Heard(worker, "ready", "drained", "closing", "closed")
    await app.queue("mail").add_many([("good", {})] * 3)

    await worker.run_until_idle()

    assert heard.names == ["ready", "drained", "closing", "closed"]


async def test_a_listener_can_be_taken_away(app: Toril) -> None:
    worker = app.worker("mail", work)
    notes: list[str] = []

    @worker.on("active")
    def note(job: Job[Any]) -> None:
        notes.append(job.id)

    worker.off("active", note)
    await app.queue("mail").add("good")
    await worker.run_until_idle()

    assert notes == []


def test_an_event_that_does_not_exist_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError) as refused:
        Toril(":memory:").worker("mail", work).on("complete")

    assert "workers have no event 'complete'; did you mean 'completed'?" in str(refused.value)
    assert all(name in str(refused.value) for name in LOCAL_EVENTS)


async def test_a_listener_gets_the_records_of_its_class_and_of_subclasses(app: Toril) -> None:
    seen: list[Happening] = []
    every: list[JobHappening] = []
    worker = app.worker("mail", work)
    worker.on(JobStarted)(seen.append)
    worker.on(JobCompleted)(seen.append)
    worker.on(JobHappening)(every.append)
    await app.queue("mail").add("good")

    await worker.run_until_idle()

    started, completed = seen
    assert isinstance(started, JobStarted)
    assert isinstance(completed, JobCompleted)
    assert (
        started.queue, started.job_id, started.job_name, started.attempt,
    ) == ("mail", "1", "good", 1)  # fmt: skip
    assert completed.word == "completed"
    assert every == seen


async def test_the_log_has_one_error_for_a_job_that_failed_for_good(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "toril.worker")
    await app.queue("mail").add("bad", attempts=3)

    await app.worker("mail", work).run_until_idle()

    names = [line.message.split()[0] for line in caplog.records if line.name == "toril.worker"]
    assert names.count("job.started") == 3
    assert names.count("job.attempt_failed") == 2
    (line,) = [line for line in caplog.records if line.levelno >= logging.ERROR]
    assert line.message.startswith("job.failed queue='mail' job_id='1' job_name='bad' attempt=3")
    assert "raise ValueError" in line.message
    assert "toril/_" not in line.message
