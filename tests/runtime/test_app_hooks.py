"""What an app attaches to all of its workers: listeners, lifespans, middleware; and to its adds."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.runtime import surrounding
from toril import ConfigError, Depends, Job, JobFailed, QueueFull, State, Toril
from toril.hooks import AppEvent, JobCompleted, JobDraft

STORES = ("memory", "redis")


async def work(job: Job[Any]) -> str:
    if job.name == "bad":
        raise ValueError("on purpose")
    return f"did {job.name}"


async def run_one(app: Toril, handler: Any, name: str = "good", **options: Any) -> Any:
    """Run one job of a handler, and return its result."""
    app.queue("q").handler(name, **options)(handler)
    job = await app.queue("q").add(name)
    async with app.worker("q"):
        return await job.result(timeout=10)


# Listeners.


async def test_a_listener_of_the_app_hears_every_worker_whenever_it_was_made(app: Toril) -> None:
    early = app.worker("early", work)
    told: list[tuple[str, object]] = []

    @app.on("completed")
    async def note(job: Job[Any], result: object) -> None:
        await asyncio.sleep(0)
        told.append((job.queue, result))

    late = app.worker("late", work)
    await app.queue("early").add("one")
    await app.queue("late").add("two")
    await early.run_until_idle()
    await late.run_until_idle()

    assert told == [("early", "did one"), ("late", "did two")]


async def test_a_listener_may_hear_one_queue_only(app: Toril) -> None:
    told: list[str] = []
    app.on("completed", queue="a")(lambda job, _: told.append(job.queue))
    app.on(JobCompleted, queue="b")(lambda record: told.append(record.job_name))
    app.on("added", queue="c")(lambda job: told.append(f"added to {job.queue}"))
    for queue in "abc":
        await app.queue(queue).add("x")
        await app.worker(queue, work).run_until_idle()

    assert told == ["a", "x", "added to c"]


@pytest.mark.parametrize("event", ["failed", "added"])
async def test_a_listener_can_be_removed_from_the_app(app: Toril, event: AppEvent) -> None:
    told: list[object] = []

    def note(*args: object) -> None:
        told.append(args)

    app.on(event)(note)
    app.worker("other", work)
    app.off(event, note)
    await app.queue("q").add("bad")
    await app.worker("q", work).run_until_idle()

    assert told == []


@pytest.mark.parametrize(
    ("event", "queue", "words"),
    [
        ("complete", None, "did you mean 'completed'?"),
        ("ready", "mail", "'ready' is not about a job"),
        ("completed", "a::b", "empty segment"),
    ],
)
def test_an_event_that_cannot_be_heard_is_refused(event: Any, queue: Any, words: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Toril(":memory:").on(event, queue=queue)

    assert words in str(refused.value)


async def test_added_tells_of_each_job_that_was_stored(app: Toril) -> None:
    told: list[tuple[str, bool]] = []
    app.on("added")(lambda job: told.append((job.name, job.created)))
    queue = app.queue("q")
    await queue.add("one", id="a")
    await queue.add("again", id="a")
    await queue.add_many([("two", {}), ("three", {})])
    await app.flow("q", "parent", children=[("q", "child")]).add()

    assert told == [
        ("one", True), ("again", False), ("two", True), ("three", True), ("parent", True),
        ("child", True),
    ]  # fmt: skip


async def test_a_broken_listener_of_the_app_harms_nothing(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    @app.on("added")
    @app.on("active")
    @app.on("completed")
    def broken(*_: object) -> None:
        raise RuntimeError("listener broke")

    job = await app.queue("q").add("good")
    await app.worker("q", work).run_until_idle()

    assert await job.result() == "did good"
    lines = [line.getMessage() for line in caplog.records if "listener.failed" in line.msg]
    assert [line.split()[1] for line in lines] == [
        "event='added'", "event='active'", "event='completed'",
    ]  # fmt: skip
    assert all("broken" in line for line in lines)


# Lifespans.


async def test_a_lifespan_surrounds_all_jobs_and_gives_what_it_yields(app: Toril) -> None:
    order: list[object] = []

    @app.lifespan
    async def pool(app: Toril) -> AsyncIterator[Toril]:
        order.append("start")
        yield app
        order.append("stop")

    @app.lifespan
    def unused() -> Iterator[None]:
        order.append("start unused")
        yield
        order.append("stop unused")

    async def handler(job: Job[Any], pool: Toril = Depends(pool)) -> bool:  # noqa: B008
        order.append(job.name)
        return pool is app

    assert await run_one(app, handler) is True
    assert order == ["start", "start unused", "good", "stop unused", "stop"]


async def test_a_worker_does_not_start_without_its_lifespan(app: Toril) -> None:
    ended: list[str] = []

    @app.lifespan
    def first() -> Iterator[None]:
        yield
        ended.append("first")

    @app.lifespan
    def second() -> Iterator[None]:
        raise OSError("no disk")
        yield

    with pytest.raises(Exception, match=r"the lifespan \S+second failed: OSError: no disk"):
        await app.worker("q", work).start()
    assert ended == ["first"]


async def test_a_lifespan_that_fails_at_the_end_is_logged_with_its_name(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    @app.lifespan
    def leaky() -> Iterator[None]:
        yield
        raise OSError("still open")

    assert await run_one(app, work) == "did good"
    (line,) = [each for each in caplog.records if each.msg.startswith("dependency.not_ended")]
    assert "lifespan='" in line.getMessage()
    assert "leaky" in line.getMessage()


@pytest.mark.parametrize("attach", [Toril.lifespan, Toril.middleware])
def test_what_does_not_yield_is_refused(attach: Any) -> None:
    async def ordinary() -> None: ...

    with pytest.raises(ConfigError, match="must yield once"):
        attach(Toril(":memory:"), ordinary)


# Middleware.


@pytest.mark.parametrize("isolation", [None, "process"])
@pytest.mark.parametrize("handler", [surrounding.found, surrounding.found_later, surrounding.bare])
async def test_middleware_surrounds_a_handler_where_it_runs(
    app: Toril, handler: Any, isolation: Any
) -> None:
    app.middleware(surrounding.plain)
    app.middleware(surrounding.later)
    app.lifespan(children=True)(surrounding.pool)

    pid, outer, inner, pool = await run_one(app, handler, isolation=isolation)

    assert (pid != os.getpid()) == (isolation == "process")
    assert (outer, inner) == ("plain good", "later in plain good")
    assert pool == (None if handler is surrounding.bare else f"pool of {pid}")
    assert surrounding.outer.get() == "none"


@pytest.mark.parametrize("isolation", [None, "process"])
async def test_middleware_sees_the_error_of_a_handler_and_may_steer_the_job(
    app: Toril, isolation: Any
) -> None:
    app.middleware(surrounding.plain)
    app.queue("q").handler(isolation=isolation)(surrounding.failing)
    job = await app.queue("q").add("x")
    await app.worker("q").run_until_idle()

    assert await job.state() is State.DELAYED


@pytest.mark.parametrize("isolation", [None, "process"])
async def test_middleware_that_raises_fails_the_attempt_and_says_its_name(
    app: Toril, isolation: Any
) -> None:
    app.middleware(surrounding.refusing)
    app.queue("q").handler(isolation=isolation)(surrounding.bare)
    job = await app.queue("q").add("x")
    await app.worker("q").run_until_idle()
    await job.refresh()

    assert (await job.state(), job.error) == (State.FAILED, "not today")
    assert "raised by the middleware tests.runtime.surrounding.refusing" in job.stack[-1]


async def test_middleware_of_one_queue_leaves_others_alone(app: Toril) -> None:
    app.middleware(queue="other")(surrounding.plain)

    assert (await run_one(app, surrounding.bare))[1] == "none"


async def test_middleware_takes_dependencies_and_surrounds_tasks_and_given_handlers(
    app: Toril,
) -> None:
    seen: list[object] = []

    @app.middleware
    @contextmanager
    def note(job: Job[Any], number: int = Depends(lambda: 7)) -> Iterator[None]:
        seen.append((job.name, number))
        yield

    @app.task(queue="q")
    async def double(number: int) -> int:
        return 2 * number

    job = await double.enqueue(21)
    async with app.worker("q"), app.worker("other", work):
        assert await job.result(timeout=5) == 42
        await (await app.queue("other").add("x")).result(timeout=5)
    assert seen == [("double", 7), ("x", 7)]


async def test_middleware_that_a_child_cannot_import_is_refused_at_the_start(memory: Toril) -> None:
    @memory.middleware
    def local(job: Job[Any]) -> Iterator[None]:
        yield

    memory.queue("q").handler(isolation="process")(surrounding.bare)
    with pytest.raises(ConfigError, match="local is defined inside a function"):
        await memory.worker("q").start()


async def test_without_hooks_a_handler_is_called_as_it_is(memory: Toril) -> None:
    memory.queue("q").handler("x")(work)
    worker = memory.worker("q")
    async with worker:
        handler = worker._app.registry.find("q", "x")

        assert handler is not None
        assert handler.call is work


# Before a job is stored.


async def test_before_enqueue_changes_headers_data_and_options(app: Toril) -> None:
    @app.before_enqueue
    def sign(draft: JobDraft) -> None:
        draft.headers["by"] = f"{draft.queue}/{draft.name}"
        draft.data = {**draft.data, "signed": True}
        draft.options["priority"] = 3

    app.queue("defaults", headers={"from": "queue"})
    one = await app.queue("q").add("x", {"n": 1}, headers={"own": "1"})
    (two,) = await app.queue("defaults").add_many([("y", {})])
    tree = await app.flow("q", "parent", children=[("q", "child")]).add()

    assert one.headers == {"own": "1", "by": "q/x"}
    assert two.headers == {"from": "queue", "by": "defaults/y"}
    assert tree.children[0].job.headers == {"by": "q/child"}
    found = await app.queue("q").job(one.id)
    assert found is not None
    assert (found.data, found.record.priority) == ({"n": 1, "signed": True}, 3)
    assert found.headers == one.headers


async def test_a_toril_error_before_enqueue_refuses_the_job(app: Toril) -> None:
    @app.before_enqueue
    def refuse(draft: JobDraft) -> None:
        raise QueueFull(queue=draft.queue, limit=1, count=1)

    with pytest.raises(QueueFull):
        await app.queue("q").add("x")
    assert (await app.queue("q").counts()).ready == 0


async def test_another_error_before_enqueue_is_logged_and_changes_nothing(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    @app.before_enqueue
    def broken(draft: JobDraft) -> None:
        draft.headers["half"] = "done"
        raise KeyError("no tenant")

    job = await app.queue("q").add("x")

    assert job.headers == {}
    (line,) = [each for each in caplog.records if each.msg.startswith("hook.failed")]
    assert "broken" in line.getMessage()


def test_before_enqueue_is_not_async() -> None:
    async def later(draft: JobDraft) -> None: ...

    with pytest.raises(ConfigError, match="write it as `def`"):
        Toril(":memory:").before_enqueue(later)


async def test_schedules_are_not_seen_before_enqueue(app: Toril) -> None:
    seen: list[str] = []
    app.before_enqueue(lambda draft: seen.append(draft.name))
    await app.schedules.put("nightly", queue="q", name="report", cron="0 3 * * *")

    assert seen == []


# Headers.


async def test_handlers_and_retried_jobs_have_the_headers(app: Toril) -> None:
    seen: list[dict[str, str]] = []

    async def note(job: Job[Any]) -> None:
        seen.append(job.headers)
        if job.attempt == 1:
            raise ValueError("again")

    job = await app.queue("q").add("x", headers={"tenant": "acme", "trace": "ü"}, attempts=2)
    await app.worker("q", note).run_until_idle()

    assert seen == [{"tenant": "acme", "trace": "ü"}] * 2
    assert (await job.refresh()).headers == seen[0]


@pytest.mark.parametrize(
    "headers", [{"n": 1}, {1: "n"}, "text", {"long": "x" * 20_000}, [("a", "b")]]
)
async def test_headers_are_short_text_by_name(memory: Toril, headers: Any) -> None:
    with pytest.raises(ConfigError, match="headers"):
        await memory.queue("q").add("x", headers=headers)


async def test_a_failed_job_is_not_lost_to_a_hook(app: Toril) -> None:
    app.middleware(surrounding.plain)
    app.queue("q").handler("bad")(work)
    job = await app.queue("q").add("bad")
    async with app.worker("q"):
        with pytest.raises(JobFailed, match="on purpose"):
            await job.result(timeout=5)
