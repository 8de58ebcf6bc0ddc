"""`sync.iterate`: what is iterated over with `async for`, from blocking code."""

from collections.abc import AsyncIterator

import pytest

from toril import Toril, TorilError, sync

closed: list[str] = []


async def numbers() -> AsyncIterator[int]:
    try:
        for number in range(3):
            yield number
        raise ValueError("no more")
    finally:
        closed.append("closed")


def test_jobs_are_iterated_over_from_blocking_code() -> None:
    app = Toril(":memory:")
    for name in "abc":
        app.queue("q").add_sync(name)

    assert [job.name for job in sync.iterate(app.queue("q").jobs())] == ["a", "b", "c"]
    assert next(iter(sync.iterate(app.queue("q").events("0")))).kind == "added"
    sync.run(app.close())


def test_it_closes_what_it_iterates_over_when_the_loop_ends_early_or_fails() -> None:
    closed.clear()
    for number in sync.iterate(numbers()):
        if number == 1:
            break
    assert closed == ["closed"]
    with pytest.raises(ValueError, match="no more"):
        list(sync.iterate(numbers()))
    assert closed == ["closed"] * 2


async def test_on_an_event_loop_it_refuses() -> None:
    with pytest.raises(TorilError, match="await the async form"):
        list(sync.iterate(numbers()))
