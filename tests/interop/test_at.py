"""A job that names the moment of its start, seen and run by Node."""

import time
from datetime import UTC, datetime, timedelta

import pytest

from tests.interop.conftest import Sides
from tests.interop.sides import NodeSide, does, until
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


def soon(**later: float) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + timedelta(**later)


@pytest.mark.parametrize("created", [None, timedelta(days=1)], ids=["now", "a day ago"])
async def test_node_sees_the_moment_as_the_delay_after_the_job_was_added(
    toril: TorilSide, node: NodeSide, created: timedelta | None
) -> None:
    at = soon(hours=1)
    added = datetime.now(UTC) - (created or timedelta())
    job = await toril.queue("cards").add("n", does(), at=at, created_at=added)

    seen = await node.look("cards", job.id)

    assert seen is not None
    assert seen.state == "delayed"
    assert seen.timestamp + seen.delay == at.timestamp() * 1000
    assert (await job.refresh()).record.due_ms == at.timestamp() * 1000


async def test_node_runs_a_job_at_its_moment(toril: TorilSide, node: NodeSide) -> None:
    at = datetime.now(UTC) + timedelta(seconds=1)
    await node.work("cards")
    await toril.queue("cards").add("n", does(["seen"]), at=at)

    await until(lambda: ran(node), 1)

    (run,) = await node.runs()
    assert 0 <= run.began - int(at.timestamp() * 1000) <= 500


async def ran(node: NodeSide) -> int:
    return len(await node.runs())


async def test_a_parent_of_nodes_children_does_not_start_before_its_moment(
    toril: TorilSide, node: NodeSide
) -> None:
    at = datetime.now(UTC) + timedelta(milliseconds=700)
    await node.work("kids")
    flow = toril.app.flow("cards", "n", does(), at=at, children=[("kids", "k", does())])
    parent = (await flow.add()).job
    await toril.work("cards")

    await parent.result(5)

    assert (await parent.refresh()).record.started_ms is not None
    assert time.time() >= at.timestamp()
