"""What each side tells about queues and jobs that others fill and work on."""

import base64
from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import Refused, does, until

HOUR = 3_600_000


async def test_counts_and_lists_agree_for_every_state(trio: Trio) -> None:
    await trio.worker.work("cards")
    done = await trio.producer.add_bulk("cards", [("done", does(), {})] * 2)
    failed = await trio.producer.add("cards", "failed", does(["throw", "boom"]))
    active = await trio.producer.add("cards", "active", does(["gate", "g"]))
    await trio.worker.reached("g")
    waiting = await trio.producer.add_bulk("cards", [("w", {}, {})] * 3)
    low = await trio.producer.add("cards", "low", {}, priority=9)
    high = await trio.producer.add("cards", "high", {}, priority=1)
    far = await trio.producer.add("cards", "far", {}, delay=2 * HOUR)
    near = await trio.producer.add("cards", "near", {}, delay=HOUR)

    expected = {
        "completed": done[::-1],
        "failed": [failed],
        "active": [active],
        "waiting": waiting,
        "prioritized": [high, low],
        "delayed": [near, far],
    }
    assert {state: await trio.reader.ids("cards", state) for state in expected} == expected
    counts = {state: len(ids) for state, ids in expected.items()}
    assert await trio.reader.counts("cards") == counts
    for state, ids in expected.items():
        for job in ids:
            assert (await trio.read("cards", job)).state == state
    await trio.worker.go("g")


async def test_what_is_not_there_is_not_found(trio: Trio) -> None:
    await trio.producer.add("cards", "n", {})

    assert await trio.reader.look("cards", "77") is None
    assert await trio.reader.look("nowhere", "1") is None
    assert await trio.reader.counts("nowhere") == {}


async def test_the_whole_story_is_heard_in_its_order(trio: Trio) -> None:
    await trio.reader.listen("cards")
    steps = does(["progress", {"half": True}], ["throw", "once", 1], ["return", {"r": [1]}])

    await trio.worker.work("cards")
    job = await trio.producer.add("cards", "story", steps, attempts=2, delay=60)
    await trio.ends("cards", job, "completed")
    await trio.producer.remove("cards", job)

    names = [
        "added", "delayed", "waiting", "active", "progress",
        "waiting", "active", "progress", "completed", "drained", "removed",
    ]  # fmt: skip
    await until(lambda: heard(trio), names)
    told = await trio.reader.heard("cards")
    by_name = dict(told)
    assert by_name["added"] == {"jobId": job, "name": "story"}
    assert by_name["active"] == {"jobId": job, "prev": "waiting"}
    assert by_name["progress"] == {"jobId": job, "data": {"half": True}}
    assert by_name["completed"] == {"jobId": job, "returnvalue": {"r": [1]}, "prev": "active"}
    assert by_name["removed"] == {"jobId": job, "prev": "completed"}
    waited = [fields for name, fields in told if name == "waiting"]
    assert waited == [{"jobId": job, "prev": "delayed"}, {"jobId": job, "prev": "active"}]
    due = by_name["delayed"]["delay"]
    seen = told[0][1]["jobId"]
    assert (seen, isinstance(due, int | float)) == (job, True)


async def heard(trio: Trio) -> list[str]:
    return [name for name, _ in await trio.reader.heard("cards")]


async def test_a_delayed_event_tells_when_the_job_is_due(trio: Trio) -> None:
    await trio.reader.listen("cards")

    job = await trio.producer.add("cards", "n", {}, delay=HOUR)
    created = (await trio.read("cards", job)).timestamp

    await until(lambda: delayed(trio), [{"jobId": job, "delay": created + HOUR}])


async def delayed(trio: Trio) -> list[dict[str, Any]]:
    return [told for name, told in await trio.reader.heard("cards") if name == "delayed"]


async def test_a_result_is_waited_for_before_and_after_it_is_there(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(["gate", "g"], ["return", [1]]))
    await trio.worker.work("cards")
    await trio.worker.reached("g")

    with pytest.raises(Refused):
        await trio.reader.result("cards", job, 150)
    await trio.worker.go("g")

    assert await trio.reader.result("cards", job) == [1]
    assert await trio.reader.result("cards", job) == [1]


async def test_a_worker_is_found_by_the_name_of_its_connection(trio: Trio, keys: Any) -> None:
    await trio.producer.add("cards", "n", {}, delay=HOUR)
    assert await trio.reader.workers("cards") == []

    await trio.worker.work("cards", "ann")
    job = await trio.producer.add("cards", "n", does())
    ran_by = (await trio.ends("cards", job, "completed")).worker or ""
    coded = base64.b64encode(b"cards").decode()
    raw = f"{trio.reader.prefix}:{coded}:w:{ran_by}"
    shown = "ann" if trio.reader.name == "toril" else raw

    assert ran_by.startswith("ann")
    await until(lambda: trio.reader.workers("cards"), [shown])
    names = [one["name"] for one in keys.client_list()]
    assert names.count(raw) == 1, "the name stands on one connection, or getWorkers counts twice"
    await trio.worker.rest("ann")
    await until(lambda: trio.reader.workers("cards"), [])


async def test_metrics_count_what_finished(trio: Trio) -> None:
    await trio.producer.add_bulk("cards", [("n", does(), {})] * 3)
    await trio.producer.add("cards", "n", does(["throw", "boom"]))

    await trio.worker.work("cards", metrics={"maxDataPoints": 60})
    await until(lambda: trio.reader.counts("cards"), {"completed": 3, "failed": 1})

    assert await trio.reader.metrics("cards", "completed") == 3
    assert await trio.reader.metrics("cards", "failed") == 1
