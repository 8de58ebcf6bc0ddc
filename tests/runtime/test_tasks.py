"""Tasks: named, typed functions that jobs run and that stay plain functions."""

import logging
from dataclasses import dataclass
from typing import Any

import pytest

from toril import BadArguments, ConfigError, Exponential, Fixed, Job, JobFailed, State, Toril


@dataclass
class Size:
    width: int
    height: int


async def test_a_task_runs_with_its_arguments_and_gives_its_type_back(app: Toril) -> None:
    @app.task(queue="images")
    async def shrink(path: str, size: Size) -> Size:
        return Size(size.width // 2, size.height // 2)

    async with app.worker():
        job = await shrink.enqueue("cat.jpg", size=Size(10, 20))

        assert await job.result(timeout=10) == Size(5, 10)


async def test_a_def_task_runs_in_a_thread(app: Toril) -> None:
    @app.task
    def double(number: int) -> int:
        return number * 2

    async with app.worker():
        assert await (await double.enqueue(21)).result(timeout=10) == 42


async def test_a_task_stays_the_plain_function(app: Toril) -> None:
    @app.task
    def double(number: int) -> int:
        """Double it."""
        return number * 2

    @app.task
    async def triple(number: int) -> int:
        return number * 3

    assert double(2) == 4
    assert await triple(2) == 6
    assert double.__doc__ == "Double it."


async def test_a_task_is_named_after_its_function_and_lands_in_its_queue(app: Toril) -> None:
    @app.task
    def plain() -> None: ...

    @app.task(queue="images", name="make-thumbnail")
    def named() -> None: ...

    job, other = await plain.enqueue(), await named.enqueue()

    assert (job.queue, job.name, job.data) == ("default", "plain", {})
    assert (other.queue, other.name) == ("images", "make-thumbnail")


async def test_a_producer_that_knows_only_the_name_can_call_a_task(app: Toril) -> None:
    @app.task(queue="images")
    async def thumbnail(path: str, size: int = 256) -> str:
        return f"{path}@{size}"

    async with app.worker():
        job = await app.queue("images").add("thumbnail", {"path": "cat.jpg"})

        assert await job.result(timeout=10) == "cat.jpg@256"


async def test_bad_arguments_are_refused_before_anything_is_stored(app: Toril) -> None:
    @app.task
    async def thumbnail(path: str, size: int = 256) -> str:
        return path

    with pytest.raises(BadArguments, match=r"thumbnail\(size=...\): expected int, got str"):
        await thumbnail.enqueue("cat.jpg", size="big")  # type: ignore[arg-type]

    assert (await app.queue("default").counts()).total == 0


async def test_data_that_does_not_fit_fails_the_job_with_the_reason(app: Toril) -> None:
    @app.task
    async def thumbnail(path: str) -> str:
        return path

    async with app.worker():
        job = await app.queue("default").add("thumbnail", {"path": 1})

        with pytest.raises(JobFailed, match=r"thumbnail\(path=...\): expected str, got int"):
            await job.result(timeout=10)


async def test_options_are_laid_over_each_other(app: Toril) -> None:
    app.queue("images", attempts=2, priority=9)

    @app.task(queue="images", attempts=4, backoff=Exponential("2s"), timeout="30s")
    async def thumbnail(path: str) -> None: ...

    base = (await thumbnail.enqueue("a")).record
    bound = (await thumbnail.using(delay="36h", priority=1, id="x1").enqueue("a")).record

    assert (base.options.attempts, base.options.priority, base.options.timeout_ms) == (4, 9, 30_000)
    assert (bound.options.attempts, bound.priority, bound.state) == (4, 1, State.DELAYED)
    assert bound.id == "x1"
    assert (await thumbnail.enqueue("a")).record.state is State.PRIORITIZED


async def test_an_option_takes_the_place_of_those_that_exclude_it(app: Toril) -> None:
    @app.task(attempts=4, delay="1h", keep_completed=5)
    async def work() -> None: ...

    job = await work.using(retries=0, delay=0, keep="all").enqueue()

    assert job.record.options.attempts == 1
    assert job.record.options.keep_completed is not None
    assert job.record.options.keep_completed.count is None


async def test_a_task_that_is_tried_again_backs_off_unless_it_says_otherwise(app: Toril) -> None:
    @app.task(attempts=3)
    async def work() -> None: ...

    default = (await work.enqueue()).record.options.backoff
    own = (await work.using(backoff="5s").enqueue()).record.options.backoff
    none = (await work.using(backoff=None).enqueue()).record.options.backoff
    once = (await work.using(attempts=1).enqueue()).record.options.backoff
    plain = (await app.queue("default").add("work", {}, attempts=3)).record.options.backoff

    assert default == Exponential("1s", jitter=0.5, maximum="10m")
    assert own == Fixed("5s")
    assert (none, once, plain) == (None, None, None)


async def test_many_calls_are_added_in_order(app: Toril) -> None:
    @app.task
    async def work(number: int, text: str = "") -> None: ...

    jobs = await work.enqueue_many([(1,), (2, "b"), {"number": 3}])

    assert [job.data for job in jobs] == [{"number": 1}, {"number": 2, "text": "b"}, {"number": 3}]
    with pytest.raises(BadArguments, match="call 1: "):
        await work.enqueue_many([(1,), ("x",)])


async def test_the_job_is_filled_in_where_a_task_asks_for_it(app: Toril) -> None:
    @app.task
    async def work(job: Job[Any], number: int) -> str:
        await job.progress(number)
        return job.id

    async with app.worker():
        job = await work.enqueue(5)

        assert await job.result(timeout=10) == job.id
    assert job.data == {"number": 5}


async def test_a_function_of_ones_own_says_how_long_to_wait(app: Toril) -> None:
    asked: list[int] = []

    def wait(attempt: int, error: BaseException, job: Any) -> int | None:
        asked.append(attempt)
        return 0 if attempt < 2 else None

    @app.task(attempts=5, backoff=wait)
    async def work() -> None:
        raise ValueError("no")

    job = await work.enqueue()
    async with app.worker():
        with pytest.raises(JobFailed):
            await job.result(timeout=10)

    assert asked == [1, 2]


async def test_a_result_that_cannot_be_stored_fails_the_job_by_its_path(app: Toril) -> None:
    @app.task
    async def work() -> object:
        return {"a": {1, 2}, "b": []}

    job = await work.enqueue()
    async with app.worker():
        with pytest.raises(JobFailed, match=r"result of .*work\.a: a set has no order"):
            await job.result(timeout=10)


def test_bad_options_are_refused_when_declared() -> None:
    app = Toril(":memory:")

    with pytest.raises(ConfigError, match="did you mean 'attempts'"):

        @app.task(atempts=3)  # type: ignore[call-overload]
        def one() -> None: ...

    with pytest.raises(ConfigError, match="priority=-1"):

        @app.task(priority=-1)
        def two() -> None: ...


def test_two_tasks_of_one_name_are_refused_naming_both() -> None:
    app = Toril(":memory:")

    @app.task(name="work")
    def one() -> None: ...

    with pytest.raises(ConfigError, match=r"one and .*two"):

        @app.task(name="work")
        def two() -> None: ...


async def test_a_name_without_a_handler_is_put_back_and_said(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    @app.task(queue="images")
    async def thumbnail(path: str) -> None: ...

    job = await app.queue("images").add("thumbnial", {"path": "x"})
    with caplog.at_level(logging.WARNING, "toril"):
        await app.worker().run_until_idle()

    assert await job.state() is State.DELAYED
    assert any(record.message.startswith("job.unknown_name") for record in caplog.records)
