"""Looking at what was recorded: top, errors, marks, and jobs by their fields."""

import asyncio

import pytest

from toril import Toril

from .stock import EVIL, Stock


async def sell(place: Stock) -> None:
    """Let a worker run three jobs, of which one fails, and leave one waiting."""
    async with place.app() as app:
        add_task(app)
        for number in range(3):
            await app.queue("shop").add("sell", {"user_id": number}, index=["user_id"])
        await app.worker(version="v1").run_until_idle()
        await app.queue("shop").add("sell", {"user_id": 1}, index=["user_id"], tags=["late"])


def add_task(app: Toril) -> None:
    @app.task(queue="shop", name="sell")
    async def run(user_id: int) -> None:
        if user_id == 2:
            raise ValueError(f"no card {user_id} {EVIL}")


async def test_top_shows_each_queue_in_a_line(place: Stock) -> None:
    await sell(place)

    ended = place.toril("top")

    assert (ended.code, ended.err) == (0, "")
    heads, row = ended.out.splitlines()
    assert heads.split()[:3] == ["queue", "waiting", "active"]
    assert row.split()[:3] == ["shop", "1", "0"]
    [told] = place.json("top")
    assert (told["queue"], told["waiting"], told["failed_1h"]) == ("shop", 1, 1)
    assert told["p95_ms"] is not None
    assert told["oldest_at"] is not None


async def test_errors_are_listed_by_cause(place: Stock) -> None:
    await sell(place)

    ended = place.toril("errors", "--queue", "shop", "--since", "1h")

    assert "ValueError: no card #" in ended.out
    assert "\x1b" not in ended.out
    [group] = place.json("errors")
    assert (group["queue"], group["count"], group["versions"]) == ("shop", 1, ["v1"])
    assert group["points"][0]["count"] == 1
    assert place.toril("errors", "--limit", "1").code == 0


async def test_jobs_are_found_by_a_field_in_all_queues(place: Stock) -> None:
    await sell(place)

    assert [job["id"] for job in place.json("jobs", "--where", "user_id=1")] == ["4", "2"]
    late = place.json("jobs", "shop", "--where", "user_id=1", "--where", "tag=late")
    assert [job["id"] for job in late] == ["4"]
    done = place.json("jobs", "--where", "user_id=1", "--state", "completed")
    assert [job["id"] for job in done] == ["2"]


@pytest.mark.parametrize("words", [(), ("--where", "user_id")])
def test_jobs_wants_a_queue_or_a_field_with_a_value(file: Stock, words: tuple[str, ...]) -> None:
    asyncio.run(sell(file))

    ended = file.toril("jobs", *words)

    assert ended.code == 2
    assert "write " in ended.err


async def test_a_mark_is_made(place: Stock) -> None:
    await sell(place)

    assert place.toril("mark", "v2", "--by", "ann").out == "marked v2\n"
    async with place.app() as app:
        assert [mark.label for mark in await app.monitor.marks()] == ["v2", "v1"]
