"""How a try ends, and what becomes of its job: returned, raised, steered, timed out, unknown."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any, cast

import pydantic
import pytest

from tests.support.workers import Heard, kinds
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
from toril.errors import (
    ConfigError,
    LockLost,
    PendingChildren,
    Signal,
    SoftTimeout,
    StoreUnavailable,
    TaskError,
    UnknownTask,
)

STORES = ("memory", "redis")


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


class Speechless(Exception):
    """Its text cannot be made."""

    def __init__(self, fault: object = SystemExit(3)) -> None:
        super().__init__()
        self.fault = fault

    def __str__(self) -> str:
        if isinstance(self.fault, BaseException):
            raise self.fault
        return cast("str", self.fault)

    __repr__ = __str__


class Markup(str):
    """As markupsafe's."""


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Speechless(), "Speechless (its message cannot be made)"),
        (Speechless(KeyboardInterrupt()), "Speechless (its message cannot be made)"),
        (Speechless(7), "Speechless (its message cannot be made)"),
        (asyncio.CancelledError("\udc80"), "the handler raised CancelledError itself: ?"),
        (ValueError("a\0b"), "a\0b"),
        (ValueError(Markup("<b>")), "<b>"),
    ],
    ids=[f"case{n}" for n in range(6)],
)
async def test_every_error_leaves_a_reason(
    anywhere: Toril, error: BaseException, reason: str
) -> None:
    assert await reason_after(anywhere, raising(error)) == reason


# What a handler returns.


async def run_once(app: Toril, handler: Callable[[Job[Any]], Any]) -> tuple[int, Job[Any]]:
    """Run a job that may be tried five times, and count its tries."""
    runs: list[int] = []

    async def counted(job: Job[Any]) -> Any:
        runs.append(job.attempt)
        return await handler(job)

    job = await app.queue("q").add("x", attempts=5)
    await app.worker("q", counted).run_until_idle()
    await job.refresh()
    return len(runs), job


def nested(levels: int) -> object:
    return [nested(levels - 1)] if levels else 0


class Unwritable(pydantic.BaseModel):
    value: int = 1

    @pydantic.field_serializer("value")
    def write(self, value: int) -> int:
        raise SystemExit(4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (threading.Lock, "lock is not JSON-serialisable"),
        (lambda: {"a": [object()]}, "result of handler.a[0]: object is not"),
        (lambda: float("nan"), "JSON has no such number"),
        (lambda: {1: "a"}, "the key 1 is of type int"),
        (lambda: {None: 1}, "the key None is of type NoneType"),
        (lambda: {"a"}, "a set has no order"),
        (lambda: nested(101), "nested more than 100"),
        (lambda: "\ud800", "UTF-8"),
        (lambda: (n for n in [1]), "generator is not"),
        (Unwritable, "returned a value that cannot be stored"),
    ],
    ids=[f"case{n}" for n in range(10)],
)
async def test_a_result_that_cannot_be_stored_fails_the_job_once(
    anywhere: Toril, make: Callable[[], object], words: str
) -> None:
    async def handler(job: Job[Any]) -> object:
        return make()

    runs, job = await run_once(anywhere, handler)

    assert (runs, job.record.state) == (1, "failed")
    assert "counted returned a value that cannot be stored: " in (job.error or "")
    assert words.replace("of handler", "of tests.runtime.test_worker_ends.run_once.counted") in (
        job.error or ""
    )


async def test_progress_that_cannot_be_stored_is_the_handlers_own_error(anywhere: Toril) -> None:
    caught: list[str] = []

    async def handler(job: Job[Any]) -> str:
        for report in (job.progress, job.update):
            try:
                await report({"a": float("nan")})
            except ConfigError as error:
                caught.append(str(error))
        return "done"

    runs, job = await run_once(anywhere, handler)

    assert (runs, await job.result(timeout=5)) == (1, "done")
    assert [".a: JSON has no such number" in each for each in caught] == [True, True]


# What is toril's and comes from somewhere else.


@pytest.mark.parametrize(
    "error",
    [
        BadArguments("of another call"),
        TaskError("x"),
        UnknownTask("x"),
        ConfigError("x"),
        StoreUnavailable("x"),
        LockLost("x", queue="other", job_id="1"),
        JobFailed("x", end="cancelled", queue="other", job_id="1"),
        PendingChildren("x"),
        SoftTimeout("x"),
    ],
    ids=lambda each: type(each).__name__,
)
async def test_errors_of_torils_are_errors_of_the_handler(
    anywhere: Toril, error: BaseException
) -> None:
    async def handler(job: Job[Any]) -> str:
        if job.attempt < 3:
            raise error
        return "done"

    runs, job = await run_once(anywhere, handler)

    assert (runs, await job.result(timeout=5)) == (3, "done")
    assert {each.end for each in job.attempts} == {"failed"}


async def test_a_call_that_does_not_fit_inside_a_handler_is_tried_again(anywhere: Toril) -> None:
    @anywhere.task
    async def inner(x: int) -> None: ...

    bad: Any = inner

    async def handler(job: Job[Any]) -> None:
        await bad.enqueue("7x" if job.attempt < 2 else 7)

    runs, job = await run_once(anywhere, handler)

    assert (runs, job.record.state) == (2, "completed")


@pytest.mark.parametrize("signal", [Fail("no"), Snooze("1h"), Release(), RateLimited("1h")])
async def test_a_signal_of_a_task_that_is_called_directly_is_an_error(
    anywhere: Toril, signal: Signal
) -> None:
    @anywhere.task
    async def inner() -> None:
        raise signal

    @anywhere.task
    def blocking() -> None:
        raise signal

    async def handler(job: Job[Any]) -> str:
        if job.attempt == 1:
            await inner()
        if job.attempt == 2:
            await asyncio.to_thread(blocking)
        return "done"

    runs, job = await run_once(anywhere, handler)

    assert (runs, await job.result(timeout=5)) == (3, "done")
    assert f"inner, called directly, raised {type(signal).__name__}: " in (
        job.attempts[0].reason or ""
    )
    with pytest.raises(type(signal)):
        await inner()


# What a handler says with a signal.


class Bare(Fail):
    """A subclass that does not call its base."""

    def __init__(self) -> None: ...


class Named(Fail):
    def __init__(self, code: int) -> None:
        super().__init__(f"code {code}")


@pytest.mark.parametrize(
    ("signal", "reason"),
    [
        (Fail(), "failed on request"),
        (Fail(None), "failed on request"),
        (Fail(""), "failed on request"),
        (Fail(ValueError("no such user")), "no such user"),
        (Fail(ValueError()), "ValueError"),
        (Fail(Speechless()), "Speechless (its message cannot be made)"),
        (Fail({"code": 7}), "{'code': 7}"),
        (Fail(b"caf\xc3\xa9 \xff"), "café \ufffd"),
        (Fail(7), "7"),
        (Fail(Markup("<b>")), "<b>"),
        (Fail("bad \udc80 \0 name"), "bad ? \0 name"),
        (Fail("x" * 20_000), "x" * 8_192 + "… (20000 characters)"),
        (Named(7), "code 7"),
        (Bare(), "'Bare' object has no attribute 'reason'"),
        (ExceptionGroup("one", [Fail("no")]), "no"),
        (ExceptionGroup("two", [ValueError("x"), ExceptionGroup("", [Fail("no")])]), "no"),
        (ExceptionGroup("signals", [Snooze("1h"), Release(), Fail("no")]), "no"),
    ],
    ids=[f"case{n}" for n in range(17)],
)
async def test_fail_takes_any_reason(anywhere: Toril, signal: Exception, reason: str) -> None:
    runs, job = await run_once(anywhere, raising(signal))

    assert (runs, job.record.state, job.error) == (1, "failed", reason)


@pytest.mark.parametrize(
    ("signals", "states"),
    [
        ([Snooze("1h"), AwaitChildren()], "delayed"),
        ([Release(), Snooze("1h", reason=ValueError("x"))], "delayed"),
        ([Snooze("1h", reason=b"\xff"), Snooze("2h", reason=Speechless())], "delayed"),
        ([Snooze("1h"), ValueError("x")], "failed"),
        ([Snooze("soon")], "failed"),
        ([RateLimited(object())], "failed"),
    ],
    ids=[f"case{n}" for n in range(6)],
)
async def test_signals_raised_together_are_one_or_an_error(
    anywhere: Toril, signals: list[Exception], states: str
) -> None:
    job = await anywhere.queue("q").add("x")
    await anywhere.worker("q", raising(ExceptionGroup("several", signals))).run_until_idle()

    assert await job.state() == states


async def test_signals_in_a_thread_take_any_reason(anywhere: Toril) -> None:
    def handler(job: Job[Any]) -> None:
        raise Fail(job.data and ValueError("as an error"))

    job = await anywhere.queue("q").add("x", {"a": 1}, attempts=3)
    await anywhere.worker("q", handler).run_until_idle()

    await job.refresh()
    assert (job.record.state, job.attempts_made, job.error) == ("failed", 1, "as an error")


@pytest.mark.parametrize(
    ("reason", "text"),
    [
        (ValueError("late"), "cancelled: late"),
        (None, "cancelled"),
        (b"\xff\0", "cancelled: \ufffd\0"),
        (Markup("<b>"), "cancelled: <b>"),
        ("\udc80", "cancelled: ?"),
        (Speechless(), "cancelled: Speechless (its message cannot be made)"),
    ],
    ids=[f"case{n}" for n in range(6)],
)
async def test_cancel_takes_any_reason(anywhere: Toril, reason: object, text: str) -> None:
    job, running = await anywhere.queue("q").add_many([("waits", {}), ("runs", {})])
    await job.cancel(reason)
    began = asyncio.Event()

    async def handler(job: Job[Any]) -> None:
        began.set()
        await asyncio.Event().wait()

    async with anywhere.worker("q", handler):
        await began.wait()
        await running.cancel(reason)
        with pytest.raises(JobFailed):
            await running.result(timeout=5)

    assert [(await each.refresh()).error for each in (job, running)] == [text, text]


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
    await app.worker("q", handler, concurrency=1).run_until_idle()

    assert order == [("a", 1), ("a", 1), ("b", 1)]


async def test_rate_limited_holds_the_whole_queue(app: Toril) -> None:
    starts: list[tuple[str, float]] = []

    async def handler(job: Job[Any]) -> None:
        starts.append((job.name, asyncio.get_running_loop().time()))
        if len(starts) == 1:
            raise RateLimited("100ms")

    await app.queue("q").add_many([("a", {}), ("b", {})])
    await app.worker("q", handler, concurrency=1).run_until_idle()

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
    worker = app.worker("q", handler, concurrency=1)
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
