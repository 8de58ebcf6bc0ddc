"""Deduplication: two sides add under one key, a third listens; each mode of it."""

import asyncio
from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import does, until


async def add(side: Any, name: str, data: Any = None, delay: int = 0, **dedup: Any) -> str:
    opts: dict[str, Any] = {"delay": delay} if delay else {}
    given = {"id": "key", **dedup}
    return str(await side.add("cards", name, data or does(), deduplication=given, **opts))


async def heard(trio: Trio) -> list[dict[str, Any]]:
    return [told for name, told in await trio.reader.heard("cards") if name == "deduplicated"]


def told(stays: str, dropped: str) -> dict[str, Any]:
    return {"jobId": stays, "deduplicationId": "key", "deduplicatedJobId": dropped}


async def test_a_key_is_held_until_its_job_has_finished(trio: Trio) -> None:
    await trio.reader.listen("cards")
    first = await add(trio.producer, "a", does(["gate", "g"]))
    assert await add(trio.worker, "b") == first
    await trio.worker.work("cards")
    await trio.worker.reached("g")
    assert await add(trio.producer, "c") == first
    await trio.worker.go("g")
    await trio.ends("cards", first, "completed")

    after = await add(trio.worker, "d")

    assert after == "4"
    await trio.ends("cards", after, "completed")
    assert [run.name for run in await trio.worker.runs()] == ["a", "d"]
    await until(lambda: heard(trio), [told("1", "2"), told("1", "3")])


async def test_a_final_failure_frees_the_key_too(trio: Trio) -> None:
    first = await add(trio.producer, "a", does(["throw", "boom"]))
    await trio.worker.work("cards")
    await trio.ends("cards", first, "failed")

    assert await add(trio.worker, "b") == "2"


async def test_removing_its_job_frees_the_key(trio: Trio) -> None:
    first = await add(trio.producer, "a")

    await trio.reader.remove("cards", first)

    assert await add(trio.worker, "b") == "2"


async def test_with_a_time_the_key_is_held_for_so_long(trio: Trio) -> None:
    await trio.reader.listen("cards")
    first = await add(trio.producer, "a", ttl=400)
    await trio.worker.work("cards")
    await trio.ends("cards", first, "completed")

    assert await add(trio.worker, "b", ttl=400) == first
    await asyncio.sleep(0.45)
    assert await add(trio.worker, "c", ttl=400) == "3"

    await until(lambda: heard(trio), [told("1", "2")])


async def test_with_extend_each_duplicate_starts_the_time_again(trio: Trio) -> None:
    first = await add(trio.producer, "a", ttl=300, extend=True)
    for name in "bcd":
        await asyncio.sleep(0.15)
        assert await add(trio.worker, name, ttl=300, extend=True) == first

    await asyncio.sleep(0.35)

    assert await add(trio.producer, "e", ttl=300, extend=True) == "5"


async def test_with_replace_the_newest_wins_while_the_first_is_delayed(trio: Trio) -> None:
    await trio.reader.listen("cards")
    how = {"ttl": 60_000, "extend": True, "replace": True}

    first = await add(trio.producer, "a", delay=60_000, **how)
    second = await add(trio.worker, "b", {"n": 2}, delay=60_000, **how)
    third = await add(trio.producer, "c", {"n": 3}, delay=60_000, **how)

    assert (first, second, third) == ("1", "2", "3")
    assert await trio.reader.ids("cards", "delayed") == ["3"]
    assert (await trio.read("cards", "3")).data == {"n": 3}
    await until(lambda: heard(trio), [told("2", "1"), told("3", "2")])


async def test_with_replace_a_job_that_runs_stays(trio: Trio) -> None:
    first = await add(trio.producer, "a", does(["gate", "g"]), replace=True)
    await trio.worker.work("cards")
    await trio.worker.reached("g")

    second = await add(trio.producer, "b", replace=True)

    assert second == first
    await trio.worker.go("g")
    await trio.ends("cards", first, "completed")
    assert [run.name for run in await trio.worker.runs()] == ["a"]


# BullMQ has this since 6.7.
@pytest.mark.without_node5(0, 1)
async def test_with_reschedule_the_first_moves_to_the_new_time(trio: Trio) -> None:
    first = await add(trio.producer, "a", {"n": 1}, delay=60_000, reschedule=True)

    second = await add(trio.worker, "b", {"n": 2}, delay=120_000, reschedule=True)

    assert second == first
    seen = await trio.read("cards", first)
    assert (seen.name, seen.data, seen.delay, seen.state) == ("a", {"n": 1}, 120_000, "delayed")


async def test_with_keep_last_the_newest_runs_after_the_active_one(trio: Trio) -> None:
    await trio.reader.listen("cards")
    how = {"keepLastIfActive": True}
    first = await add(trio.producer, "a", does(["gate", "g"]), **how)
    await trio.worker.work("cards")
    await trio.worker.reached("g")

    for name in "bcd":
        assert await add(trio.producer, name, does(["return", name]), **how) == first
    await trio.worker.go("g")
    await until(lambda: trio.reader.counts("cards"), {"completed": 2})

    assert [run.name for run in await trio.worker.runs()] == ["a", "d"]
    last = (await trio.worker.runs())[-1].id
    assert (await trio.read("cards", last)).result == "d"
    stays = {told["jobId"] for told in await heard(trio)}
    assert (stays, len(await heard(trio))) == ({"1"}, 3)
