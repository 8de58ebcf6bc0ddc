"""`retry_on` and `never_retry`: which errors are worth another attempt."""

import asyncio
from typing import Any

import pytest

from tests.runtime import isolated
from toril import ConfigError, Custom, Job, JobFailed, Toril


class ShopError(Exception):
    pass


class ShopClosed(ShopError):
    pass


@pytest.mark.parametrize(
    ("rule", "error", "attempts"),
    [
        ({}, ShopError("x"), 3),
        ({"retry_on": ShopError}, ShopError("x"), 3),
        ({"retry_on": (KeyError, ShopError)}, ShopClosed("x"), 3),
        ({"retry_on": ShopClosed}, ShopError("x"), 1),
        ({"retry_on": ()}, ShopError("x"), 1),
        ({"never_retry": ShopError}, ShopClosed("x"), 1),
        ({"never_retry": [ShopClosed]}, ShopError("x"), 3),
        ({"retry_on": ShopError, "never_retry": ShopClosed}, ShopClosed("x"), 1),
        ({"retry_on": ShopError, "never_retry": ShopClosed}, ShopError("x"), 3),
        ({"retry_on": ShopError}, ExceptionGroup("both", [KeyError("a"), ShopError("b")]), 3),
        ({"never_retry": ShopError}, ExceptionGroup("both", [KeyError("a"), ShopError("b")]), 1),
    ],
)
async def test_only_errors_that_are_worth_it_are_tried_again(
    memory: Toril, rule: dict[str, Any], error: Exception, attempts: int
) -> None:
    @memory.task(attempts=3, backoff=0, **rule)
    async def buy() -> None:
        raise error

    job = await buy.enqueue()
    async with memory.worker():
        with pytest.raises(JobFailed) as failed:
            await job.result(timeout=5)

    assert (await job.refresh()).attempts_made == attempts
    assert failed.value.end == "failed"


async def test_it_holds_for_threads_handlers_and_processors(anywhere: Toril) -> None:
    def close(job: Job[Any]) -> None:
        raise ShopClosed

    queue = anywhere.queue("q")
    queue.handler("thread", never_retry=ShopError)(close)
    job = await queue.add("thread", attempts=3, backoff=0)
    async with anywhere.worker("q"):
        with pytest.raises(JobFailed):
            await job.result(timeout=5)

    assert (await job.refresh()).attempts_made == 1


@pytest.mark.parametrize(("rule", "attempts"), [(LookupError, 1), (ValueError, 2)])
async def test_it_holds_for_errors_of_child_processes(
    memory: Toril, rule: type[Exception], attempts: int
) -> None:
    memory.processor("q", f"{isolated.__name__}:signal_of", never_retry=rule)
    job = await memory.queue("q").add("x", "raise", attempts=2, backoff=0)
    async with memory.worker("q"):
        with pytest.raises(JobFailed, match="nothing there"):
            await job.result(timeout=10)

    assert (await job.refresh()).attempts_made == attempts


async def test_a_time_limit_is_a_timeout_error(memory: Toril) -> None:
    @memory.task(attempts=3, backoff=0, timeout="20ms", never_retry=TimeoutError)
    async def hang() -> None:
        await asyncio.sleep(60)

    job = await hang.enqueue()
    async with memory.worker():
        with pytest.raises(JobFailed) as failed:
            await job.result(timeout=5)

    assert (await job.refresh()).attempts_made == 1
    assert failed.value.end == "timeout"


async def test_no_backoff_function_is_asked_about_the_last_attempt(memory: Toril) -> None:
    asked: list[int] = []

    def wait(attempt: int, error: BaseException, job: Job[Any]) -> float:
        asked.append(attempt)
        return 0

    queue = memory.queue("q")

    @queue.handler("buy", backoff=wait, retry_on=ShopError)
    async def buy(job: Job[Any]) -> None:
        raise ShopError if job.attempt == 1 else KeyError

    job = await queue.add("buy", attempts=5, backoff=Custom("own"))
    async with memory.worker("q"):
        with pytest.raises(JobFailed):
            await job.result(timeout=5)

    assert asked == [1]


@pytest.mark.parametrize("field", ["retry_on", "never_retry"])
@pytest.mark.parametrize("value", ["ConnectionError", 5, [int], (ConnectionError, "x"), object()])
def test_what_is_no_class_of_errors_is_refused(memory: Toril, field: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"{field}=.* is not a class of errors") as refused:
        memory.queue("q").handler("x", **{field: value})(print)  # type: ignore[misc]

    assert refused.value.field == field
