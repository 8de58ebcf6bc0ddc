"""A schedule that toril paused makes no run, whoever works; upserting it from Node resumes it."""

import asyncio

import pytest

from tests.interop.conftest import Sides
from tests.interop.sides import NodeSide, does, until
from tests.interop.toril_side import TorilSide

EVERY = 80


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


async def test_nodes_workers_leave_a_paused_schedule_alone(
    toril: TorilSide, node: NodeSide
) -> None:
    async def ran(count: int) -> bool:
        return len(await node.runs()) >= count

    await node.upsert("cards", "beat", {"every": EVERY}, "beat", does())
    await node.work("cards")
    await until(lambda: ran(2), True)

    paused = await toril.app.schedules.pause("cards", "beat", reason="provider down")
    runs = len(await node.runs())
    await asyncio.sleep(4 * EVERY / 1000)

    assert (paused.next_ms, paused.pause is not None) == (None, True)
    # One may have been under way.
    assert len(await node.runs()) <= runs + 1
    assert await node.ids("cards", "delayed") == []

    await node.upsert("cards", "beat", {"every": EVERY}, "beat", does())
    await until(lambda: ran(runs + 3), True)
    (resumed,) = await toril.app.schedules.list("cards")
    assert resumed.pause is None
    await node.unschedule("cards", "beat")
