"""Time limits of running jobs: told at the soft one, over at the other, over for good at last."""

import asyncio
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.workers import Heard
from toril import ConfigError, Job, JobFailed, RateLimited, Snooze, SoftTimeout, Toril
from toril._model.options import JobOptions
from toril._model.schedule import Rule
from toril._model.stored_options import to_text
from toril._store.values import ScheduleDraft

# What a test that works never waits for.
NEVER = 60


async def run(app: Toril, handler: Any, **options: Any) -> Job[Any]:
    """Run one job to its end, and read it anew."""
    job = await app.queue("q").add("x", **options)
    await app.worker("q", handler).run_until_idle()
    return await job.refresh()


def ends(job: Job[Any]) -> list[str]:
    return [each.end for each in job.attempts]


def an_hour_ago() -> datetime:
    return datetime.now(UTC) - timedelta(hours=1)


# The soft limit.


async def test_a_handler_that_is_told_may_still_return(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        try:
            await asyncio.sleep(NEVER)
        except SoftTimeout as told:
            assert job.cancelled.is_set()
            return f"half of it: {told}"
        return "all of it"

    job = await run(app, handler, soft_timeout="20ms", timeout="30s")

    assert await job.result() == "half of it: its soft timeout of 20 ms has passed"


async def test_a_handler_that_is_told_may_take_time_to_clean_up(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        try:
            await asyncio.sleep(NEVER)
        except SoftTimeout:
            async with asyncio.timeout(5), asyncio.TaskGroup() as group:
                saved = group.create_task(asyncio.sleep(0.01, "saved"))
            return saved.result()
        return ""

    assert await (await run(app, handler, soft_timeout="20ms")).result() == "saved"


async def test_a_time_limit_of_the_handlers_own_works_after_it_was_told(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        with suppress(SoftTimeout):
            await asyncio.sleep(NEVER)
        try:
            async with asyncio.timeout(0.01):
                await asyncio.sleep(NEVER)
        except TimeoutError:
            return "its own limit"
        return ""

    assert await (await run(app, handler, soft_timeout="20ms")).result() == "its own limit"


async def test_what_it_awaits_is_cancelled(app: Toril) -> None:
    marks: list[str] = []

    async def part(name: str) -> None:
        try:
            await asyncio.sleep(NEVER)
        except asyncio.CancelledError as error:
            marks.append(f"{name}: {type(error).__name__}")
            raise

    async def handler(job: Job[Any]) -> str:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(part("one"))
                group.create_task(part("two"))
        except SoftTimeout:
            return "told"
        return ""

    assert await (await run(app, handler, soft_timeout="20ms")).result() == "told"
    assert sorted(marks) == ["one: CancelledError", "two: CancelledError"]


async def test_who_catches_every_exception_does_not_catch_this_one(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        try:
            await asyncio.sleep(NEVER)
        except Exception:
            return "caught"
        return ""

    job = await run(app, handler, soft_timeout="20ms", attempts=2)

    assert job.error == "it did not end within its soft timeout of 20 ms"
    assert ends(job) == ["timeout", "timeout"]


async def test_what_is_raised_instead_is_the_failure(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        try:
            await asyncio.sleep(NEVER)
        except SoftTimeout:
            raise ValueError("gave up") from None

    job = await run(app, handler, soft_timeout="20ms")

    assert (job.error, ends(job)) == ("gave up", ["failed"])


async def test_who_does_not_listen_is_over_at_the_hard_limit(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        while True:
            try:
                await asyncio.sleep(NEVER)
            except SoftTimeout:
                continue

    job = await run(app, handler, soft_timeout="20ms", timeout="60ms")

    assert (job.error, ends(job)) == ("it did not end within its timeout of 60 ms", ["timeout"])


async def test_errors_of_what_it_awaits_reach_a_handler_with_a_soft_limit(app: Toril) -> None:
    async def breaks() -> None:
        await asyncio.sleep(0)
        raise KeyError("inner")

    async def handler(job: Job[Any]) -> str:
        try:
            await asyncio.create_task(breaks())
        except KeyError as error:
            return f"caught {error}"
        return ""

    assert await (await run(app, handler, soft_timeout="30s")).result() == "caught 'inner'"


async def test_code_in_a_thread_sees_its_flag_at_the_soft_limit(app: Toril) -> None:
    def handler(job: Job[Any]) -> str:
        return "half of it" if job.cancelled.wait(10) else "all of it"

    job = await run(app, handler, soft_timeout="20ms", timeout="30s")

    assert await job.result() == "half of it"


async def test_a_handler_may_have_a_soft_limit_of_its_own(app: Toril) -> None:
    @app.queue("q").handler("x", soft_timeout="20ms", timeout="30s")
    async def handler(job: Job[Any]) -> str:
        try:
            await asyncio.sleep(NEVER)
        except SoftTimeout:
            return "told"
        return ""

    job = await app.queue("q").add("x")
    await app.worker().run_until_idle()

    assert await job.result() == "told"


async def test_a_task_may_have_limits(app: Toril) -> None:
    @app.task(soft_timeout="20ms", timeout="30s")
    async def slow() -> str:
        try:
            await asyncio.sleep(NEVER)
        except SoftTimeout:
            return "told"
        return ""

    job = await slow.enqueue()
    await app.worker().run_until_idle()

    assert await job.result() == "told"


def test_a_handler_must_be_told_before_its_time_is_over(app: Toril) -> None:
    with pytest.raises(ConfigError, match="is not below timeout="):
        app.queue("q").handler("x", soft_timeout="5s", timeout="5s")(lambda job: None)


# The deadline.


async def test_a_deadline_ends_a_running_job_for_good(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        await asyncio.sleep(NEVER)

    job = await app.queue("q").add("x", deadline="100ms", timeout="30s", attempts=5)
    worker = app.worker("q", handler)
    heard = Heard(worker, "attempt_failed", "failed")
    await worker.run_until_idle()
    await job.refresh()

    assert (job.error, ends(job)) == ("deadline of 100 ms passed", ["deadline"])
    assert heard.names == ["attempt_failed", "failed"]
    assert [error.end for _, _, error in heard.all] == ["deadline", "deadline"]
    assert "await asyncio.sleep(NEVER)" in job.stack[-1]


async def test_a_deadline_counts_over_all_tries(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        if job.attempt < 3:
            raise ValueError("again")
        await asyncio.sleep(NEVER)

    job = await run(app, handler, deadline="200ms", attempts=9)

    assert ends(job) == ["failed", "failed", "deadline"]


async def test_a_job_whose_deadline_has_passed_is_not_run(app: Toril) -> None:
    ran = threading.Event()

    job = await run(app, lambda job: ran.set(), deadline="10m", created_at=an_hour_ago())

    assert not ran.is_set()
    assert (job.error, ends(job)) == ("deadline of 10 min passed", ["deadline"])


async def test_nobody_waits_for_a_try_that_would_come_too_late(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        raise ValueError("boom")

    job = await run(app, handler, deadline="1m", attempts=5, backoff="10m")

    assert job.error == "deadline of 1 min leaves no time for another try: boom"
    assert ends(job) == ["deadline"]


# Expiry.


async def test_a_job_that_was_not_started_in_time_is_not_run(app: Toril) -> None:
    ran = threading.Event()

    job = await run(app, lambda job: ran.set(), expires="10m", created_at=an_hour_ago())

    assert not ran.is_set()
    assert (job.error, ends(job)) == ("expired: not started within 10 min", ["expired"])
    assert job.attempts_made == 0
    with pytest.raises(JobFailed, match="expired: not started within 10 min"):
        await job.result()


async def test_a_job_that_is_started_in_time_does_not_expire(app: Toril) -> None:
    async def handler(job: Job[Any]) -> int:
        if job.attempt < 3:
            raise ValueError("again")
        return job.attempt

    assert await (await run(app, handler, expires="10m", attempts=3)).result() == 3


async def test_a_schedule_goes_on_after_a_run_that_was_not_started_in_time(app: Toril) -> None:
    ran = threading.Event()
    now = round(datetime.now(UTC).timestamp() * 1000)
    rule = Rule(every_ms=3_600_000)
    late = ScheduleDraft(
        queue="q", id="hourly", name="x", rule=rule, next_ms=now - 1_800_000,
        opts=to_text(JobOptions(expires_ms=60_000)),
    )  # fmt: skip
    armed = await app.context.store.put_schedule(late, now=now - 1_800_001)
    job = await app.queue("q").job(armed.job_id or "")
    assert job is not None

    async with app.worker("q", lambda job: ran.set()):
        with pytest.raises(JobFailed, match="expired: not started within 1 min"):
            await job.result(timeout=5)

    assert not ran.is_set()
    (info,) = await app.context.store.schedules("q")
    assert (info.next_ms or 0) > now


# How often it may start.


@pytest.mark.parametrize("signal", [Snooze(0), Snooze("1ms"), RateLimited("1ms")])
async def test_a_handler_cannot_put_its_job_off_for_ever(
    anywhere: Toril, signal: Exception
) -> None:
    runs: list[int] = []

    async def handler(job: Job[Any]) -> None:
        runs.append(job.run)
        raise signal

    job = await anywhere.queue("q").add("x", max_runs=5, attempts=2)
    async with anywhere.worker("q", handler):
        with pytest.raises(JobFailed, match="started 5 times") as caught:
            await job.result(timeout=10)

    assert (runs, caught.value.end) == ([1, 2, 3, 4, 5], "max-runs")


async def test_a_task_a_queue_and_an_app_may_bound_the_runs(app: Toril) -> None:
    @app.task(queue="q", max_runs=7)
    async def seven() -> None: ...

    queue = app.queue("other", max_runs=8)

    assert (await seven.enqueue()).record.options.max_runs == 7
    assert (await seven.using(max_runs=6).enqueue()).record.options.max_runs == 6
    assert (await queue.add("x")).record.options.max_runs == 8


@pytest.mark.parametrize("limit", ["deadline", "expires"])
async def test_a_job_that_has_no_time_left_is_not_run(anywhere: Toril, limit: str) -> None:
    ran = threading.Event()
    given: Any = {limit: 0}
    job = await anywhere.queue("q").add("x", **given)
    async with anywhere.worker("q", lambda job: ran.set()):
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=10)

    assert caught.value.end == {"deadline": "deadline", "expires": "expired"}[limit]
    assert not ran.is_set()


# Which of them it was.


async def test_whoever_waits_learns_which_limit_it_was(anywhere: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        await asyncio.sleep(NEVER)

    queue = anywhere.queue("q")
    limits: dict[str, dict[str, Any]] = {
        "timeout": {"timeout": "50ms"},
        "deadline": {"deadline": "60ms"},
        "expired": {"expires": "10m", "created_at": an_hour_ago()},
    }
    jobs = {end: await queue.add("x", **options) for end, options in limits.items()}
    async with anywhere.worker("q", handler, concurrency=3):
        for end, job in jobs.items():
            with pytest.raises(JobFailed) as caught:
                await job.result(timeout=5)
            assert (caught.value.end, (await job.refresh()).end) == (end, end)


async def test_a_failure_of_its_own_is_no_limit(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        raise TimeoutError("of the handler's own")

    job = await run(app, handler)

    assert job.end == "failed"


async def test_a_job_that_has_not_failed_has_no_such_end(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        if job.attempt == 1:
            raise ValueError("once")

    job = await run(app, handler, attempts=2)

    assert (job.end, ends(job)) == (None, ["failed"])


# Nobody claims it.


async def test_whoever_waits_for_a_result_need_not_wait_past_the_deadline(anywhere: Toril) -> None:
    """No worker is there to see to it."""
    job = await anywhere.queue("q").add("x", deadline="300ms")
    parent = await anywhere.flow("p", "p", deadline="300ms", children=[("c", "c")]).add()
    unstarted = await anywhere.queue("q").add("x", expires="300ms", deadline="1h")

    found = [await _end(each, within=10) for each in (job, parent.job, unstarted)]

    assert found == ["deadline", "deadline", "expired"]


async def _end(job: Job[Any], within: float) -> str:
    with pytest.raises(JobFailed) as caught:
        await job.result(timeout=within)
    return caught.value.end


async def test_a_job_that_is_over_says_so_when_it_is_asked(anywhere: Toril) -> None:
    job = await anywhere.queue("q").add("x", deadline="10m", created_at=an_hour_ago())

    assert await job.state() == "failed"
    assert (job.end, job.error) == ("deadline", "deadline of 10 min passed")


@pytest.mark.parametrize("held", ["paused", "full", "parent"])
async def test_a_worker_ends_what_it_cannot_claim(anywhere: Toril, held: str) -> None:
    queue, blocks = anywhere.queue("q"), asyncio.Event()

    async def handler(job: Job[Any]) -> None:
        await blocks.wait()

    async with anywhere.worker("q", handler, concurrency=1, stalled_interval="100ms"):
        if held == "paused":
            await queue.pause()
        elif held == "full":
            await queue.add("x")
        children = [("c", "c")] if held == "parent" else ()
        await anywhere.flow("q", "late", deadline="200ms", children=children).add()
        async with asyncio.timeout(10), queue.events("0") as events:
            async for event in events:
                if event.kind == "failed":
                    break
        blocks.set()

    [late] = [job async for job in queue.jobs("failed")]
    assert late.name == "late"
    assert (await late.refresh()).end == "deadline"


async def test_the_result_of_a_job_in_time_is_its_result(anywhere: Toril) -> None:
    async def handler(job: Job[Any]) -> int:
        await asyncio.sleep(0.5)
        return 7

    job = await anywhere.queue("q").add("x", expires="200ms", deadline="30s")
    async with anywhere.worker("q", handler):
        assert await job.result(timeout=10) == 7
