"""How a try ends, and what becomes of its job: returned, raised, steered, timed out, unknown."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.runtime.kit import Heard, kinds
from toril import (
    AwaitChildren,
    BadArguments,
    Custom,
    Fail,
    Job,
    JobFailed,
    RateLimited,
    Release,
    Snooze,
    Toril,
)
from toril.errors import UnknownTask


def raising(error: BaseException) -> Callable[[Job[Any]], Any]:
    async def handler(job: Job[Any]) -> None:
        raise error

    return handler


async def reason_after(app: Toril, handler: Callable[[Job[Any]], Any], **options: Any) -> str:
    job = await app.queue("q").add("x", **options)
    await app.worker("q", handler).run_until_idle()
    with pytest.raises(JobFailed) as failed:
        await job.result(timeout=2)
    return failed.value.reason


# What a handler raises.


async def test_the_reason_is_exactly_the_message(app: Toril) -> None:
    assert (
        await reason_after(app, raising(ValueError("Failing on purpose"))) == "Failing on purpose"
    )


async def test_an_error_without_a_message_gives_its_type(app: Toril) -> None:
    assert await reason_after(app, raising(ZeroDivisionError())) == "ZeroDivisionError"


async def test_the_stack_begins_with_the_users_code(app: Toril) -> None:
    job = await app.queue("q").add("x")
    await app.worker("q", raising(ValueError("on purpose"))).run_until_idle()

    (stack,) = (await job.refresh()).stack
    assert stack.splitlines()[1].split('"')[1] == __file__
    assert stack.endswith("ValueError: on purpose\n")


ODD = [
    (asyncio.CancelledError(), "the handler raised CancelledError itself"),
    (SystemExit(3), "the handler raised SystemExit: 3"),
    (KeyboardInterrupt(), "the handler raised KeyboardInterrupt"),
    (GeneratorExit(), "the handler raised GeneratorExit"),
    (
        BaseExceptionGroup("several", [KeyboardInterrupt()]),
        "the handler raised BaseExceptionGroup: several (1 sub-exception)",
    ),
]


@pytest.mark.parametrize(("error", "reason"), ODD, ids=lambda each: type(each).__name__)
async def test_no_exception_ends_the_worker(app: Toril, error: BaseException, reason: str) -> None:
    worker = app.worker("q", one_bad(error))
    bad, good = await app.queue("q").add_many([("bad", {}), ("good", {})])

    await worker.run_until_idle()

    assert (reason, "fine") == ((await bad.refresh()).error, await good.result())


@pytest.mark.parametrize("error", [*(error for error, _ in ODD), StopIteration("no more")])
async def test_no_exception_in_a_thread_ends_the_worker(app: Toril, error: BaseException) -> None:
    def handler(job: Job[Any]) -> str:
        if job.name == "bad":
            raise error
        return "fine"

    bad, good = await app.queue("q").add_many([("bad", {}), ("good", {})])
    await app.worker("q", handler).run_until_idle()

    assert (await bad.state(), await good.result()) == ("failed", "fine")
    assert type(error).__name__ in ((await bad.refresh()).error or "")


def one_bad(error: BaseException) -> Callable[[Job[Any]], Any]:
    async def handler(job: Job[Any]) -> str:
        if job.name == "bad":
            raise error
        return "fine"

    return handler


async def test_stop_iteration_fails_the_attempt(app: Toril) -> None:
    reason = await reason_after(app, raising(StopIteration()))

    assert reason == "coroutine raised StopIteration"


async def test_an_error_that_cannot_say_its_message_fails_the_attempt(app: Toril) -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert await reason_after(app, raising(Mute())) == "Mute (its message cannot be made)"


async def test_a_message_with_half_a_character_is_stored(app: Toril) -> None:
    assert await reason_after(app, raising(OSError("bad name \udc80"))) == "bad name ?"


async def test_an_endless_message_is_cut(app: Toril) -> None:
    reason = await reason_after(app, raising(ValueError("x" * 20_000)))

    assert reason.startswith("xxx")
    assert reason.endswith("… (20000 characters)")
    assert len(reason) < 10_000


async def test_a_result_that_is_no_json_fails_and_names_its_type(app: Toril) -> None:
    async def handler(job: Job[Any]) -> object:
        return threading.Lock()

    reason = await reason_after(app, handler)

    assert reason.startswith("the handler returned a lock that cannot be stored as JSON: ")


async def test_bad_arguments_fail_at_once(app: Toril) -> None:
    job = await app.queue("q").add("x", attempts=5)
    await app.worker("q", raising(BadArguments("data.to: expected str"))).run_until_idle()

    await job.refresh()
    assert (job.record.state, job.attempts_made) == ("failed", 1)
    assert job.error == "data.to: expected str"


# What a handler says with a signal.


async def test_fail_stops_for_good(app: Toril) -> None:
    job = await app.queue("q").add("x", attempts=5)
    await app.worker("q", raising(Fail("no such user"))).run_until_idle()

    await job.refresh()
    assert (job.record.state, job.attempts_made, job.error) == ("failed", 1, "no such user")
    assert "retries-exhausted" not in await kinds(app, "q", job.id)


async def test_snooze_comes_back_later_and_counts_no_attempt(app: Toril) -> None:
    runs: list[tuple[int, int]] = []

    async def handler(job: Job[Any]) -> None:
        runs.append((job.run, job.attempt))
        if len(runs) < 3:
            raise Snooze("10ms", "not yet")

    job = await app.queue("q").add("x")
    await app.worker("q", handler).run_until_idle(delayed=True)

    assert runs == [(1, 1), (2, 1), (3, 1)]
    assert [each.end for each in (await job.refresh()).attempts] == ["snoozed", "snoozed"]


async def test_release_goes_to_the_front_and_counts_no_attempt(app: Toril) -> None:
    order: list[tuple[str, int]] = []

    async def handler(job: Job[Any]) -> None:
        order.append((job.name, job.attempt))
        if len(order) == 1:
            raise Release

    await app.queue("q").add_many([("a", {}), ("b", {})])
    await app.worker("q", handler).run_until_idle()

    assert order == [("a", 1), ("a", 1), ("b", 1)]


async def test_rate_limited_holds_the_whole_queue(app: Toril) -> None:
    starts: list[tuple[str, float]] = []

    async def handler(job: Job[Any]) -> None:
        starts.append((job.name, asyncio.get_running_loop().time()))
        if len(starts) == 1:
            raise RateLimited("100ms")

    await app.queue("q").add_many([("a", {}), ("b", {})])
    await app.worker("q", handler).run_until_idle()

    assert [name for name, _ in starts] == ["a", "a", "b"]
    assert 0.095 <= starts[1][1] - starts[0][1] < 0.5


async def test_a_signal_from_within_a_task_group_is_understood(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(refuse())

    async def refuse() -> None:
        raise Fail("from inside")

    assert await reason_after(app, handler, attempts=5) == "from inside"


async def test_a_snooze_for_no_time_at_all_says_what_is_wrong(app: Toril) -> None:
    assert "delay='soon'" in await reason_after(app, raising(Snooze("soon")))


# How long it may take.


async def test_a_timeout_really_stops_async_code(app: Toril) -> None:
    marks: list[str] = []

    async def handler(job: Job[Any]) -> None:
        marks.append("started")
        try:
            await asyncio.sleep(0.1)
            marks.append("reached the end")
        finally:
            marks.append("cleaned up")

    job = await app.queue("q").add("x", timeout="50ms", attempts=3, priority=1)
    worker = app.worker("q", handler)
    heard = Heard(worker, "attempt_failed", "failed")
    await worker.run_until_idle()
    await asyncio.sleep(0.1)  # until after the handler would have reached its end

    assert marks == ["started", "cleaned up"] * 3
    assert heard.names == ["attempt_failed"] * 3 + ["failed"]
    await job.refresh()
    assert job.error == "it did not end within its timeout of 50 ms"
    assert [each.end for each in job.attempts] == ["timeout"] * 3


async def test_a_timed_out_slot_is_free_at_once(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        if job.name == "slow":
            await asyncio.sleep(60)

    await app.queue("q").add("slow", timeout="30ms")
    quick = await app.queue("q").add("quick")
    async with app.worker("q", handler):
        assert await quick.result(timeout=2) is None


async def test_a_handlers_own_timeout_holds_where_the_job_has_none(app: Toril) -> None:
    @app.queue("q").handler("x", timeout="30ms")
    async def handler(job: Job[Any]) -> None:
        await asyncio.sleep(60)

    job = await app.queue("q").add("x")
    await app.worker().run_until_idle()

    assert (await job.refresh()).error == "it did not end within its timeout of 30 ms"


async def test_a_thread_that_timed_out_is_left_and_reported(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    let = threading.Event()
    noticed = threading.Event()

    def handler(job: Job[Any]) -> str:
        if job.name == "stuck":
            let.wait(10)
            if job.cancelled.is_set():
                noticed.set()
        return "late"

    stuck, quick = await app.queue("q").add_many([("stuck", {}, {"timeout": "50ms"}), ("x", {})])
    worker = app.worker("q", handler)
    heard = Heard(worker, "completed")
    async with worker:
        assert await quick.result(timeout=2) == "late"
        let.set()
        await asyncio.to_thread(noticed.wait, 5)

    assert await stuck.state() == "failed"
    assert [quick.id] == [job.id for _, job, _ in heard.all]
    (line,) = [line for line in caplog.records if line.message.startswith("job.unstoppable")]
    assert "Python cannot stop the thread it runs in" in line.message
    # What it did is kept, too, from the user's own code on.
    (stack,) = (await stuck.refresh()).stack
    assert stack.startswith(f'Stack (most recent call last):\n  File "{__file__}"')
    assert "let.wait(10)" in stack


async def test_code_that_suppresses_its_cancellation_is_cancelled_again_and_reported(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    cancelled = 0

    async def handler(job: Job[Any]) -> None:
        nonlocal cancelled
        while cancelled < 2:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                cancelled += 1

    job = await app.queue("q").add("x", timeout="20ms")
    await app.worker("q", handler).run_until_idle()

    assert (cancelled, await job.state()) == (2, "failed")
    assert any("it suppresses its cancellation" in line.message for line in caplog.records)


# How long it waits before the next try.


async def test_a_backoff_function_of_the_worker_decides(app: Toril) -> None:
    asked: list[tuple[int, str, str]] = []

    def wait(attempt: int, error: BaseException, job: Job[Any]) -> str | None:
        asked.append((attempt, str(error), job.name))
        return "10ms" if attempt < 3 else None

    job = await app.queue("q").add("x", attempts=9, backoff=Custom())
    worker = app.worker("q", raising(ValueError("again")), backoff=wait)
    await worker.run_until_idle(delayed=True)

    assert asked == [(1, "again", "x"), (2, "again", "x"), (3, "again", "x")]
    assert (await job.state(), (await job.refresh()).attempts_made) == ("failed", 3)


async def test_a_backoff_function_that_fails_loses_no_attempt(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    def wait(attempt: int, error: BaseException, job: Job[Any]) -> str:
        raise RuntimeError("no idea")

    job = await app.queue("q").add("x", attempts=2, backoff=Custom())
    await app.worker("q", raising(ValueError("again")), backoff=wait).run_until_idle()

    assert await job.state() == "delayed"
    assert any("backoff of job 'x'" in line.message for line in caplog.records)


# What cannot be run.


async def test_an_unknown_name_is_put_back_and_reported_once(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    @app.queue("q").handler("resize")
    async def resize(job: Job[Any]) -> None:
        pass

    jobs = await app.queue("q").add_many([("resise", {}), ("resise", {}), ("resize", {})])
    worker = app.worker(concurrency=3)
    heard = Heard(worker, "error")
    await worker.run_until_idle()

    assert [await job.state() for job in jobs] == ["delayed", "delayed", "completed"]
    (told,) = heard.all
    assert isinstance(told[1], UnknownTask)
    (line,) = [line for line in caplog.records if line.message.startswith("job.unknown_name")]
    assert "did you mean 'resize'?" in line.message


async def test_an_unknown_name_fails_in_the_end(app: Toril) -> None:
    @app.queue("image:optimize").handler("optimize-size")
    async def optimize(job: Job[Any]) -> None:
        pass

    job = await app.queue("image:optimize").add("resize")
    await app.worker(unknown_limit=0).run_until_idle()

    expected = 'No handler for job "resize" in queue "image:optimize"'
    assert ("failed", expected) == (await job.state(), (await job.refresh()).error)


async def test_a_child_that_failed_fails_its_parent_without_running_it(app: Toril) -> None:
    ran: list[str] = []

    async def handler(job: Job[Any]) -> None:
        ran.append(job.name)
        if job.name == "child":
            raise ValueError("child broke")

    flow = app.flow("q", "parent", children=[("q", "child")])
    await flow.add()
    worker = app.worker("q", handler)
    heard = Heard(worker, "attempt_failed", "failed")
    await worker.run_until_idle()

    assert ran == ["child"]
    assert heard.names == ["attempt_failed", "failed", "failed"]
    assert "child" in str(heard.all[-1][2])


async def test_a_job_that_completes_before_its_children_fails_the_attempt(app: Toril) -> None:
    async def handler(job: Job[Any]) -> None:
        await app.queue("other").add("child", parent=job)

    job = await app.queue("q").add("x")
    await app.worker("q", handler).run_until_idle()

    assert await job.state() == "failed"
    assert "still waits for children" in ((await job.refresh()).error or "")


# Waiting for children.


async def test_a_job_can_wait_for_children_that_it_adds(app: Toril) -> None:
    async def parent(job: Job[Any]) -> Any:
        if job.run == 1:
            await app.queue("child").add("one", parent=job)
            raise AwaitChildren
        return (job.attempt, (await job.children())["one"])

    async def child(job: Job[Any]) -> str:
        return "from the child"

    job = await app.queue("q").add("x")
    async with app.worker("q", parent), app.worker("child", child):
        assert await job.result(timeout=5) == [1, "from the child"]


async def test_a_job_without_pending_children_goes_on_at_once(app: Toril) -> None:
    tries = 0

    async def handler(job: Job[Any]) -> int:
        nonlocal tries
        tries += 1
        if tries < 3:
            raise AwaitChildren
        return tries

    job = await app.queue("q").add("x")
    await app.worker("q", handler).run_until_idle()

    assert await job.result() == 3


async def test_a_job_that_waits_for_children_it_never_has_fails_in_the_end(app: Toril) -> None:
    job = await app.queue("q").add("x")
    await app.worker("q", raising(AwaitChildren())).run_until_idle()

    expected = "it asked 101 times to wait for children, and none was pending"
    assert (await job.refresh()).error == expected
