"""What one side adds, another runs, and a third reads."""

import time
from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import does

NUMBERS = [0, 1, -7, 1.5, 2**53 - 1, 1e-7]
VALUES: list[Any] = [
    None,
    True,
    False,
    *NUMBERS,
    "",
    "plain",
    'é ß 漢 🎈 \u2028 \x00 \\ / "',
    [],
    {},
    [[], {}, [None]],
    {"a": {"b": {"c": [1, {"d": None}]}}, "": 0, "ключ": "значение"},
    ["x" * 5000],
]


@pytest.mark.mixed
async def test_a_job_is_run_and_read_as_it_was_added(trio: Trio) -> None:
    before = time.time() * 1000
    data = does(["seen"], card="cat.jpg", size=[640, 480])

    job = await trio.producer.add("cards", "optimize", data)
    await trio.worker.work("cards", "ann")
    inside = await trio.reader.result("cards", job)

    assert job == "1"
    assert inside["name"] == "optimize"
    assert inside["data"] == data
    assert (inside["attemptsMade"], inside["attemptsStarted"], inside["priority"]) == (0, 1, 0)
    seen = await trio.read("cards", job)
    assert (seen.name, seen.data, seen.state, seen.result) == (
        "optimize",
        data,
        "completed",
        inside,
    )
    assert (seen.attempts_made, seen.starts, seen.stalls) == (1, 1, 0)
    assert (seen.delay, seen.priority, seen.reason, seen.progress) == (0, 0, None, None)
    assert seen.started is not None
    assert seen.finished is not None
    assert before - 5 <= seen.timestamp <= seen.started <= seen.finished <= time.time() * 1000 + 5
    # toril gives the worker's id, which begins with its name.
    assert (seen.worker or "").startswith("ann")


async def test_every_shape_of_data_and_result_passes_unchanged(trio: Trio) -> None:
    datas = [does(["return", value], value=value) for value in VALUES]

    jobs = await trio.producer.add_bulk("cards", [("n", data, {}) for data in datas])
    await trio.worker.work("cards", concurrency=5)
    results = [await trio.reader.result("cards", job) for job in jobs]

    assert results == VALUES
    assert [(await trio.read("cards", job)).data for job in jobs] == datas


@pytest.mark.parametrize("data", [None, 7, "text", [1, [2]], {}], ids=str)
async def test_data_need_not_be_an_object(trio: Trio, data: Any) -> None:
    given = {} if data is None else data
    job = await trio.producer.add("cards", "n", data)

    await trio.worker.work("cards")

    assert await trio.reader.result("cards", job) is None
    assert (await trio.read("cards", job)).data == given


async def test_a_batch_runs_in_its_order(trio: Trio) -> None:
    names = [f"n{number}" for number in range(8)]

    jobs = await trio.producer.add_bulk("cards", [(name, does(), {}) for name in names])
    assert await trio.reader.ids("cards", "waiting") == jobs == [str(n) for n in range(1, 9)]
    await trio.worker.work("cards")
    await trio.reader.result("cards", jobs[-1])

    assert [run.name for run in await trio.worker.runs()] == names


@pytest.mark.mixed
async def test_a_delayed_job_waits_its_time_and_no_longer(trio: Trio) -> None:
    await trio.worker.work("cards")

    job = await trio.producer.add("cards", "n", does(["seen"]), delay=250)
    assert (await trio.read("cards", job)).delay == 250
    assert await trio.reader.ids("cards", "delayed") == [job]
    await trio.reader.result("cards", job)

    seen = await trio.read("cards", job)
    assert seen.started is not None
    assert 250 <= seen.started - seen.timestamp <= 600
    assert seen.delay == 0


async def test_delayed_jobs_of_one_moment_keep_their_order(trio: Trio) -> None:
    now = int(time.time() * 1000)
    given = [(f"n{number}", does(), {"delay": 120, "timestamp": now}) for number in range(6)]

    jobs = await trio.producer.add_bulk("cards", given)
    await trio.worker.work("cards")
    await trio.reader.result("cards", jobs[-1])

    assert [run.id for run in await trio.worker.runs()] == jobs


async def test_priorities_run_low_numbers_first_after_those_without(trio: Trio) -> None:
    orders = {"five": 5, "one": 1, "none": 0, "most": 2_097_151, "one-again": 1, "five-again": 5}

    for name, priority in orders.items():
        await trio.producer.add("cards", name, does(["seen"]), priority=priority)
    assert await trio.reader.counts("cards") == {"waiting": 1, "prioritized": 5}
    await trio.worker.work("cards")
    last = await trio.reader.result("cards", "4")

    ran = [run.name for run in await trio.worker.runs()]
    assert ran == ["none", "one", "one-again", "five", "five-again", "most"]
    assert last["priority"] == 2_097_151


async def test_a_delayed_job_keeps_its_priority(trio: Trio) -> None:
    await trio.producer.add("cards", "late", does(), priority=1, delay=60)
    await trio.producer.add("cards", "soon", does(["sleep", 120]))
    await trio.producer.add("cards", "other", does(), priority=2)

    await trio.worker.work("cards")
    await trio.reader.result("cards", "3")

    assert [run.name for run in await trio.worker.runs()] == ["soon", "late", "other"]


async def test_lifo_runs_before_what_waits(trio: Trio) -> None:
    for name, lifo in [("a", False), ("b", True), ("c", False), ("d", True)]:
        await trio.producer.add("cards", name, does(), lifo=lifo)

    assert await trio.reader.ids("cards", "waiting") == ["4", "2", "1", "3"]
    await trio.worker.work("cards")
    await trio.reader.result("cards", "3")

    assert [run.name for run in await trio.worker.runs()] == ["d", "b", "a", "c"]


async def test_an_id_of_ones_own_is_added_once(trio: Trio) -> None:
    first = await trio.producer.add("cards", "a", does(["return", 1]), jobId="user-42")
    await trio.reader.listen("cards")
    second = await trio.worker.add("cards", "b", does(["return", 2]), jobId="user-42")
    third = await trio.producer.add("cards", "c", does(["return", 3]))

    await trio.worker.work("cards")

    assert (first, second, third) == ("user-42", "user-42", "3")
    assert await trio.reader.result("cards", "user-42") == 1
    assert await trio.reader.result("cards", "3") == 3
    assert ("duplicated", {"jobId": "user-42"}) in await trio.reader.heard("cards")
