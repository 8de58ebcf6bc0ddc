"""What handlers ask for with `Depends`, by a provided type, or as the job: made, shared and ended."""

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

import pytest

from tests.runtime import injected
from tests.support.workers import SOON
from toril import (
    BadArguments,
    ConfigError,
    Depends,
    Fail,
    Job,
    JobFailed,
    TaskError,
    Toril,
    handles,
)
from toril._handlers import scopes


class Pool:
    """Something that a worker shares."""


class Notes(list[str]):
    """What happened, in order."""


async def one(job: Job[Any], app: Toril, *queues: str) -> Any:
    """Run a worker until a job has its result."""
    async with app.worker(list(queues) or None):
        return await job.result(timeout=SOON)


def make_pool() -> Pool:
    return Pool()


async def open_pool() -> Pool:
    await asyncio.sleep(0)
    return Pool()


def plain_session() -> Iterator[Pool]:
    yield Pool()


async def async_session() -> AsyncIterator[Pool]:
    yield Pool()


@contextmanager
def managed() -> Iterator[Pool]:
    yield Pool()


@asynccontextmanager
async def async_managed() -> AsyncIterator[Pool]:
    yield Pool()


class Maker:
    async def __call__(self) -> Pool:
        return Pool()

    def method(self) -> Pool:
        return Pool()


def logged(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


MAKERS: list[Callable[..., Any]] = [
    make_pool, open_pool, plain_session, async_session, managed, async_managed, Pool, Maker(),
    Maker().method, functools.partial(open_pool), logged(open_pool), logged(async_session),
    lambda: Pool(),
]  # fmt: skip


# What may be a dependency, and where it may be asked for.


@pytest.mark.parametrize("make", MAKERS, ids=map(str, range(len(MAKERS))))
async def test_every_kind_of_callable_makes_a_value(memory: Toril, make: Any) -> None:
    @memory.task
    async def on_the_loop(x: int, pool: Pool = Depends(make)) -> str:  # noqa: B008
        return f"{x} {type(pool).__name__}"

    @memory.task
    def in_a_thread(x: int, *, pool: Annotated[Pool, Depends(make)]) -> str:
        return f"{x} {type(pool).__name__}"

    @memory.queue("q").handler()
    async def handler(job: Job[Any], pool: Pool = Depends(make)) -> str:  # noqa: B008
        return f"{job.data} {type(pool).__name__}"

    jobs = [
        await on_the_loop.enqueue(1),
        await in_a_thread.enqueue(1),  # type: ignore[call-arg]  # a type checker cannot know
        await memory.queue("q").add("x", 1),
    ]
    async with memory.worker():
        assert [await job.result(timeout=SOON) for job in jobs] == ["1 Pool"] * 3


async def test_it_works_on_every_store(anywhere: Toril) -> None:
    ended: list[str] = []

    async def session() -> AsyncIterator[str]:
        yield "session"
        ended.append("session")

    @anywhere.task
    async def save(x: int, pool: Pool = Depends(make_pool), s: str = Depends(session)) -> str:  # noqa: B008
        return f"{type(pool).__name__} {s}"

    assert await one(await save.enqueue(1), anywhere) == "Pool session"
    assert ended == ["session"]


async def test_processors_have_dependencies_in_methods_and_constructors(memory: Toril) -> None:
    @memory.processor("q")
    class Images:
        def __init__(self, pool: Pool = Depends(open_pool)) -> None:  # noqa: B008
            self.pool = pool

        @handles("a")
        async def a(self, job: Job[Any], pool: Annotated[Pool, Depends(open_pool)]) -> bool:
            return pool is self.pool

        @handles("b")
        def b(self, job: Job[Any], pool: Pool = Depends(async_session)) -> bool:  # noqa: B008
            return isinstance(pool, Pool)

        @staticmethod
        @handles("c")
        def c(job: Job[Any], pool: Pool = Depends(make_pool)) -> bool:  # noqa: B008
            return isinstance(pool, Pool)

    jobs = await memory.queue("q").add_many([("a", 1), ("b", 2), ("c", 3)])
    async with memory.worker():
        assert [await job.result(timeout=SOON) for job in jobs] == [True, True, True]


async def test_the_handler_of_one_worker_has_dependencies(memory: Toril) -> None:
    async def deliver(pool: Annotated[Pool, Depends(make_pool)], job: Job[Any]) -> str:
        return f"{type(pool).__name__} {job.data}"

    job = await memory.queue("q").add("x", 7)
    async with memory.worker("q", deliver):
        assert await job.result(timeout=SOON) == "Pool 7"


async def test_provided_types_are_filled_in_everywhere(memory: Toril) -> None:
    memory.provide(Pool, open_pool)

    def name(pool: Pool, job: Job[Any]) -> str:
        return f"{type(pool).__name__} of {job.name}"

    @memory.task
    async def save(x: int, pool: Pool, name: str = Depends(name)) -> list[str]:
        return [type(pool).__name__, name]

    @memory.queue("q").handler("x")
    def handle(job: Job[Any], pool: Pool | None = None, title: str = Depends(name)) -> list[str]:
        return [type(pool).__name__, title]

    jobs = [
        await save.enqueue(1),  # type: ignore[call-arg]
        await memory.queue("q").add("x"),
    ]
    async with memory.worker():
        results = [await job.result(timeout=SOON) for job in jobs]
    assert results == [["Pool", "Pool of save"], ["Pool", "Pool of x"]]


async def test_depends_without_a_callable_takes_the_annotated_class(memory: Toril) -> None:
    @memory.task
    async def save(pool: Annotated[Pool, Depends()], other: Pool = Depends()) -> bool:  # noqa: B008
        return pool is other and isinstance(pool, Pool)

    assert await one(await save.enqueue(), memory)  # type: ignore[call-arg]


# What lives how long.


async def test_once_per_worker_and_once_per_job(memory: Toril) -> None:
    made: list[str] = []

    def pool() -> str:
        made.append("pool")
        return "pool"

    async def session(pool: str = Depends(pool)) -> AsyncIterator[int]:
        made.append("session")
        yield len(made)
        made.append("end")

    def repository(session: int = Depends(session)) -> tuple[str, int]:
        return ("repository", session)

    def clock() -> int:
        made.append("clock")
        return len(made)

    @memory.task
    async def save(
        repository: tuple[str, int] = Depends(repository),
        session: int = Depends(session),
        clock: int = Depends(clock, scope="job"),
        pool: str = Depends(pool),
    ) -> bool:
        return repository[1] == session

    jobs = await save.enqueue_many([(), ()])
    async with memory.worker(concurrency=1):
        assert made == ["pool"]
        assert [await job.result(timeout=SOON) for job in jobs] == [True, True]
    assert made == ["pool", *["session", "clock", "end"] * 2]

    async with memory.worker():
        assert made[-1] == "pool"


async def test_a_generator_may_live_as_long_as_the_worker(memory: Toril) -> None:
    notes = Notes()
    held: contextvars.ContextVar[str] = contextvars.ContextVar("held", default="nothing")

    async def pool() -> AsyncIterator[str]:
        token = held.set("the pool")
        async with asyncio.TaskGroup():  # it has to be left by the task that entered it
            yield "pool"
        held.reset(token)
        notes.append("pool ended")

    def cache(pool: str = Depends(pool)) -> Iterator[str]:
        yield f"cache of {pool}"
        notes.append("cache ended")

    @memory.task
    async def save(cache: str = Depends(cache, scope="worker")) -> str:
        notes.append("ran")
        return cache

    jobs = await save.enqueue_many([(), ()])
    async with memory.worker():
        assert [await job.result(timeout=SOON) for job in jobs] == ["cache of pool"] * 2
        assert notes == ["ran", "ran"]
    assert notes == ["ran", "ran", "cache ended", "pool ended"]


async def test_two_attempts_have_two_sessions(memory: Toril) -> None:
    sessions: list[object] = []

    def session() -> Iterator[object]:
        yield object()

    @memory.task(attempts=2, backoff="1ms")
    async def save(job: Job, session: object = Depends(session)) -> int:
        sessions.append(session)
        if job.attempt == 1:
            raise ValueError("again")
        return job.attempt

    assert await one(await save.enqueue(), memory) == 2  # type: ignore[call-arg]
    assert len(set(map(id, sessions))) == 2


# How it ends.


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_generators_end_in_reverse_order_and_see_the_error(memory: Toril, kind: str) -> None:
    notes = Notes()

    def outer() -> Iterator[str]:
        try:
            yield "outer"
        except BaseException as error:
            notes.append(f"outer {error}")
            raise
        finally:
            notes.append("outer ended")

    async def inner(outer: str = Depends(outer)) -> AsyncIterator[str]:
        try:
            yield outer
        except ValueError:
            notes.append("inner swallows")
        notes.append("inner ended")

    async def on_the_loop(inner: str = Depends(inner)) -> None:
        raise ValueError("boom")

    def in_a_thread(inner: str = Depends(inner)) -> None:
        raise ValueError("boom")

    task = memory.task({"loop": on_the_loop, "thread": in_a_thread}[kind])
    with pytest.raises(JobFailed, match="boom"):
        await one(await task.enqueue(), memory)
    assert notes == ["inner swallows", "inner ended", "outer boom", "outer ended"]


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_an_error_after_the_yield_fails_the_attempt(memory: Toril, kind: str) -> None:
    async def session() -> AsyncIterator[str]:
        yield "session"
        raise ConnectionError("commit failed")

    async def on_the_loop(session: str = Depends(session)) -> str:
        return session

    def in_a_thread(session: str = Depends(session)) -> str:
        return session

    task = memory.task({"loop": on_the_loop, "thread": in_a_thread}[kind])
    with pytest.raises(JobFailed, match="commit failed"):
        await one(await task.enqueue(), memory)


async def test_the_handlers_error_counts_and_those_after_it_are_logged(
    memory: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    def session() -> Iterator[str]:
        try:
            yield "session"
        finally:
            raise SystemExit("in the cleanup")

    @memory.task(attempts=3, backoff="1ms")
    async def save(session: str = Depends(session)) -> None:
        raise Fail("not again")

    with pytest.raises(JobFailed, match="not again"):
        await one(await save.enqueue(), memory)
    assert "dependency.not_ended" in caplog.text
    assert "in the cleanup" in caplog.text


async def test_a_dependency_may_turn_an_error_into_a_signal(memory: Toril) -> None:
    def session() -> Iterator[str]:
        try:
            yield "session"
        except ValueError as error:
            raise Fail(f"for good: {error}") from error

    @memory.task(attempts=3, backoff="1ms")
    async def save(session: str = Depends(session)) -> None:
        raise ValueError("bad data")

    job = await save.enqueue()
    with pytest.raises(JobFailed, match="for good: bad data"):
        await one(job, memory)
    assert (await job.refresh()).attempts_made == 1


@pytest.mark.parametrize("kind", ["loop", "thread"])
async def test_an_error_in_a_dependency_fails_the_attempt(memory: Toril, kind: str) -> None:
    ended: list[str] = []

    def first() -> Iterator[None]:
        yield
        ended.append("first")

    async def session(first: None = Depends(first)) -> AsyncIterator[str]:
        raise ConnectionError("no database")
        yield "never"

    async def on_the_loop(session: str = Depends(session)) -> None: ...

    def in_a_thread(session: str = Depends(session)) -> None: ...

    task = memory.task({"loop": on_the_loop, "thread": in_a_thread}[kind])
    job = await task.using(attempts=2, backoff="1ms").enqueue()
    with pytest.raises(JobFailed, match="no database"):
        await one(job, memory)
    await job.refresh()
    assert job.attempts_made == 2
    assert "raised by the dependency" in job.stack[0]
    assert ended == []  # the generator saw the error where it yields


async def test_a_generator_that_does_not_yield_is_named(memory: Toril) -> None:
    def session() -> Iterator[str]:
        if ended:
            yield "never"

    ended = False

    @memory.task
    async def save(session: str = Depends(session)) -> None: ...

    with pytest.raises(JobFailed, match=r"session ended without a yield"):
        await one(await save.enqueue(), memory)


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_generator_that_yields_twice_is_named(memory: Toril, kind: str) -> None:
    def session() -> Iterator[str]:
        yield "one"
        yield "two"

    async def later() -> AsyncIterator[str]:
        yield "one"
        yield "two"

    @memory.task
    async def save(session: str = Depends({"async": later, "plain": session}[kind])) -> None: ...

    with pytest.raises(JobFailed, match=r"(session|later) yielded twice"):
        await one(await save.enqueue(), memory)


async def test_a_time_limit_covers_what_a_job_depends_on(memory: Toril) -> None:
    notes = Notes()

    async def slow() -> AsyncIterator[str]:
        try:
            await asyncio.sleep(30)
            yield "never"
        finally:
            notes.append("left")

    @memory.task(timeout="50ms")
    async def save(slow: str = Depends(slow)) -> None: ...

    with pytest.raises(JobFailed, match="timeout"):
        await one(await save.enqueue(), memory)
    assert notes == ["left"]


async def test_code_in_a_thread_ends_in_its_thread(memory: Toril) -> None:
    threads: list[int] = []

    def session() -> Iterator[int]:
        threads.append(threading.get_ident())
        yield threading.get_ident()
        threads.append(threading.get_ident())

    variable: contextvars.ContextVar[int] = contextvars.ContextVar("variable")

    async def transaction(session: int = Depends(session)) -> AsyncIterator[int]:
        token = variable.set(session)
        yield session
        variable.reset(token)
        threads.append(session)

    @memory.task
    def save(number: int = Depends(transaction)) -> bool:
        threads.append(threading.get_ident())
        return number == threading.get_ident() != main

    main = threading.get_ident()
    assert await one(await save.enqueue(), memory)
    assert len(threads) == 4
    assert len(set(threads)) == 1


async def test_a_worker_stops_though_a_dependency_does_not_end(
    memory: Toril, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toril._handlers.scopes.CLOSE_S", 0.1)
    ended: list[str] = []

    async def first() -> AsyncIterator[str]:
        yield "first"
        ended.append("first")

    async def stuck(first: str = Depends(first)) -> AsyncIterator[str]:
        yield "stuck"
        await asyncio.Event().wait()

    async def broken(first: str = Depends(first)) -> AsyncIterator[str]:
        yield "broken"
        raise SystemExit("broken")

    @memory.task
    async def save(
        stuck: str = Depends(stuck, scope="worker"), broken: str = Depends(broken, scope="worker")
    ) -> str:
        return stuck

    async with asyncio.timeout(SOON):
        assert await one(await save.enqueue(), memory) == "stuck"
    assert ended == ["first"]
    assert caplog.text.count("dependency.not_ended") == 2


# Before it starts.


async def test_a_worker_does_not_start_without_what_it_depends_on(memory: Toril) -> None:
    ended: list[str] = []

    async def pool() -> AsyncIterator[str]:
        yield "pool"
        ended.append("pool")

    def broken(pool: str = Depends(pool)) -> str:
        raise ConnectionError("no database")

    @memory.task
    async def save(broken: str = Depends(broken, scope="worker")) -> None: ...

    with pytest.raises(
        TaskError, match=r"dependency .*broken failed: ConnectionError: no database"
    ):
        await memory.worker().start()
    assert ended == ["pool"]


@pytest.mark.parametrize("error", [asyncio.CancelledError, SystemExit, GeneratorExit])
async def test_whatever_a_dependency_raises_the_start_tells_it(
    anywhere: Toril, error: type[BaseException]
) -> None:
    def broken() -> str:
        raise error

    @anywhere.task
    async def save(broken: str = Depends(broken)) -> None: ...

    with pytest.raises(TaskError, match=f"dependency .*broken failed: {error.__name__}"):
        await anywhere.worker().start()


@pytest.mark.parametrize("where", ["task", "provided", "processor"])
async def test_a_worker_does_not_wait_for_ever_for_what_it_depends_on(
    anywhere: Toril, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scopes, "MAKE_ALL_S", 0.1)
    ended: list[str] = []

    async def first() -> AsyncIterator[str]:
        yield "first"
        ended.append("first")

    async def connects(first: str = Depends(first)) -> Pool:
        await asyncio.sleep(3600)
        return Pool()

    async def save(pool: Annotated[Pool, Depends(connects, scope="worker")]) -> None: ...

    async def store(pool: Pool) -> None: ...

    class Cards:
        def __init__(self, pool: Annotated[Pool, Depends(connects)]) -> None: ...

        @handles("draw")
        async def draw(self, job: Job[Any]) -> None: ...

    if where == "task":
        anywhere.task(save)
    elif where == "provided":
        anywhere.provide(Pool, connects, scope="worker")
        anywhere.task(store)
    else:
        anywhere.processor("cards")(Cards)

    with pytest.raises(TaskError, match=r"took longer than 0.1 s: .*(connects|Cards) has not"):
        await anywhere.worker().start()
    assert ended == ["first"]


async def test_what_nothing_provides_is_named_at_the_start(memory: Toril) -> None:
    def session(pool: Pool) -> str:
        return "never"

    @memory.queue("q").handler("x")
    async def handle(job: Job[Any], session: str = Depends(session)) -> None: ...

    with pytest.raises(ConfigError, match=r"'pool' \(Pool\) of .*session.*app\.provide\(Pool"):
        await memory.worker().start()


async def test_dependencies_that_need_each_other_are_named(memory: Toril) -> None:
    def first(second: Any = None) -> None: ...

    def second(first: None = Depends(first)) -> None: ...

    first.__defaults__ = (Depends(second),)

    @memory.task
    async def save(first: None = Depends(first)) -> None: ...

    with pytest.raises(ConfigError, match=r"need each other: .*first → .*second → .*first"):
        await memory.worker().start()


async def test_what_lives_longer_cannot_need_a_job(memory: Toril) -> None:
    def name(job: Job[Any]) -> str:
        return job.name

    @memory.task
    async def save(name: str = Depends(name, scope="worker")) -> None: ...

    with pytest.raises(ConfigError, match=r"made once per worker.*scope=\"job\""):
        await memory.worker().start()


@pytest.mark.filterwarnings("ignore:coroutine")
def test_a_call_in_place_of_a_function_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"not Depends\(make_pool\(\)\)"):
        Depends(open_pool())  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="scope='request'"):
        Depends(make_pool, scope="request")  # type: ignore[call-overload]


# They are no arguments.


async def test_they_are_no_part_of_a_call(memory: Toril) -> None:
    memory.provide(Pool, make_pool)

    @memory.task
    async def save(x: int, pool: Pool, other: Pool = Depends(make_pool)) -> None: ...  # noqa: B008

    with pytest.raises(BadArguments, match="'other'"):
        await save.enqueue(1, other=Pool())  # type: ignore[call-arg]
    with pytest.raises(BadArguments, match="too many"):
        save.node(1, Pool())
    with pytest.raises(BadArguments, match="'pool'"):
        await save.enqueue_many([{"x": 1, "pool": 2}])
    memory.flow("q", "parent", children=[save.node(1)])  # type: ignore[call-arg]
    memory.schedule("nightly", cron="0 2 * * *", task=save, args=(1,))
    job = await save.enqueue(1)  # type: ignore[call-arg]
    assert job.data == {"x": 1}


async def test_a_direct_call_has_to_pass_them(memory: Toril) -> None:
    @memory.task
    async def save(x: int, pool: Pool = Depends(make_pool)) -> str:  # noqa: B008
        return type(pool).__name__

    assert await save(1, pool=Pool()) == "Pool"
    with pytest.raises(BadArguments, match="pass pool="):
        await save(1)


def test_a_type_that_tasks_take_cannot_be_provided_later(memory: Toril) -> None:
    class Settings:
        def __init__(self) -> None: ...

    @memory.task
    async def save(settings: Settings | None = None) -> None: ...

    with pytest.raises(ConfigError, match="before the task is defined"):
        memory.provide(Settings, Settings())


# In child processes.


async def test_they_work_in_child_processes(
    memory: Toril, capfd: pytest.CaptureFixture[str]
) -> None:
    on_a_loop = memory.task(isolation="process")(injected.on_a_loop)
    plain = memory.task(isolation="process", name="plain")(injected.plain)
    memory.processor("q", "tests.runtime.injected:Cards")
    jobs: list[Any] = [
        *await on_a_loop.enqueue_many([(1,), (2,)]),
        await plain.enqueue(3),
        await memory.queue("q").add("draw", 4),
        await memory.queue("q").add("drop", 5),
    ]
    async with memory.worker(concurrency=1):
        results: list[Awaitable[Any]] = [job.result(timeout=15) for job in jobs]
        assert await asyncio.gather(*results) == [
            "1: pool 1, session 1",
            "2: pool 1, session 2",
            "3: pool 1, session 1",
            "4: pool 1, session 1",
            "5: pool 1",
        ]
    printed = capfd.readouterr().err
    assert printed.count("session ended") == 4
    assert printed.count("pool ended") == 3


async def test_an_error_of_a_dependency_in_a_child_fails_the_attempt(memory: Toril) -> None:
    broken = memory.task(isolation="process")(injected.broken)
    with pytest.raises(JobFailed, match="no database"):
        await one(await broken.enqueue(), memory)


# Plain wrappers.


async def body(job: Job[Any]) -> str:
    await asyncio.sleep(0)
    return f"ran {job.id}"


def around(job: Job[Any]) -> Any:
    return body(job)


class Around:
    def __call__(self, job: Job[Any]) -> Any:
        return body(job)

    def method(self, job: Job[Any]) -> Any:
        return body(job)


def bridged(job: Job[Any]) -> str:
    return asyncio.run(body(job))


@pytest.mark.parametrize(
    "handler",
    [
        logged(body), functools.partial(logged(body)), Around(), Around().method, staticmethod(body),
        functools.partial(body), lambda job: body(job), logged(logged(body)), bridged,
        functools.wraps(body)(bridged),
    ],
)  # fmt: skip
async def test_what_a_plain_function_hands_back_is_awaited(anywhere: Toril, handler: Any) -> None:
    job = await anywhere.queue("q").add("x")
    async with anywhere.worker("q", handler):
        assert await job.result(timeout=SOON) == f"ran {job.id}"


async def test_a_wrapped_body_is_cancelled_as_a_coroutine_function_is(memory: Toril) -> None:
    cleaned: list[str] = []

    @memory.task(timeout="50ms")
    @logged
    async def sleep() -> None:
        try:
            await asyncio.sleep(30)
        finally:
            cleaned.append("up")

    with pytest.raises(JobFailed, match="timeout"):
        await one(await sleep.enqueue(), memory)
    assert cleaned == ["up"]


async def test_a_wrapped_body_is_told_of_its_soft_limit(memory: Toril) -> None:
    @memory.task(soft_timeout="50ms")
    @logged
    async def sleep() -> None:
        await asyncio.sleep(30)

    with pytest.raises(JobFailed, match="soft timeout"):
        await one(await sleep.enqueue(), memory)


async def test_a_body_that_begins_after_its_soft_limit_is_told_of_it(memory: Toril) -> None:
    async def sleep() -> None:
        await asyncio.sleep(30)

    @functools.wraps(sleep)
    def begin_late() -> object:
        time.sleep(0.2)
        return sleep()

    late = memory.task(soft_timeout="50ms")(begin_late)

    with pytest.raises(JobFailed, match="soft timeout"):
        await one(await late.enqueue(), memory)


async def test_a_wrapped_body_runs_in_a_child(memory: Toril) -> None:
    wrapped = memory.task(isolation="process")(injected.wrapped)
    assert await one(await wrapped.enqueue(2), memory) == 2


def test_what_would_never_run_is_refused(memory: Toril) -> None:
    def numbers(job: Job[Any]) -> Iterator[int]:
        yield 1

    async def more_numbers(job: Job[Any]) -> AsyncIterator[int]:
        yield 1

    refused: list[Any] = [
        numbers, more_numbers, logged(numbers), functools.partial(more_numbers),
        staticmethod(numbers), functools.lru_cache(body), functools.cache(logged(body)),
    ]  # fmt: skip
    for function in refused:
        with pytest.raises(ConfigError, match=r"generator function|lru_cache"):
            memory.task(name="x")(function)
        with pytest.raises(ConfigError, match=r"generator function|lru_cache"):
            memory.queue("q").handler("x")(function)
