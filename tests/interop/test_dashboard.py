"""The dashboard on queues that only Node's BullMQ uses."""

from typing import Any

import pytest

from tests.dashboard.desk import dashboard
from tests.interop.conftest import Sides
from tests.interop.sides import NodeSide, does, tree, until
from tests.interop.toril_side import TorilSide


@pytest.fixture
def toril(sides: Sides) -> TorilSide:
    side = sides("toril")
    assert isinstance(side, TorilSide)
    return side


@pytest.fixture(params=["node6", "node5"])
def node(request: pytest.FixtureRequest, sides: Sides) -> NodeSide:
    side = sides(request.param)
    assert isinstance(side, NodeSide)
    return side


async def test_every_page_shows_what_bullmq_records(toril: TorilSide, node: NodeSide) -> None:
    failed = await node.add("cards", "broken", does(["throw", "rude words"]))
    await node.add("cards", "fine", does(["return", 1]))
    flow = await node.add_flow(tree("uploads", "the-root", tree("images", "the-child")))
    await node.upsert("cards", "yearly", {"pattern": "0 5 1 2 *", "tz": "UTC"}, "tick")
    await node.work("cards", "ann")
    await until(lambda: node.counts("cards"), {"completed": 1, "failed": 1, "delayed": 1})

    async with dashboard(toril.app) as client:
        queue = await client.get("queue", name="cards")
        jobs = (await client.get("jobs", q="state:failed"))["items"]
        job = await client.get("job", queue="cards", id=failed)
        root = await client.get("flow", queue="uploads", id=flow.id)
        (schedule,) = (await client.get("schedules"))["items"]
        (worker,) = (await client.get("workers"))["items"]
        pages: dict[str, Any] = {
            path: await client.get(path)
            for path in ("overview", "queues", "errors", "tasks", "flows", "series", "attention")
        }
        await client.act("pause", {"queue": "cards"}, reason="provider down")
        paused = await node.is_paused("cards")
        await client.act("resume", {"queue": "cards"})
        await client.act("retry", {"jobs": [{"queue": "cards", "id": failed}]})
        await until(lambda: node.counts("cards"), {"completed": 1, "failed": 1, "delayed": 1})

    assert (queue["counts"]["failed"], queue["paused"], queue["workers"]) == (1, None, 1)
    assert [(each["id"], each["name"]) for each in jobs] == [(failed, "broken")]
    assert "rude words" in str(job)
    assert "the-child" in str(root)
    assert (schedule["id"], schedule["paused"], len(schedule["next_ms"])) == ("yearly", None, 5)
    assert worker["node"] is True
    assert {row["name"] for row in pages["queues"]["items"]} == {"cards", "uploads", "images"}
    assert paused is True
    assert await node.is_paused("cards") is False
