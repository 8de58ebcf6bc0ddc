"""What toril cancels has failed for Node, with the reason, and Node's worker lets it run no more."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.interop.conftest import Sides
from tests.interop.sides import NodeSide, does, until
from tests.interop.toril_side import TorilSide
from toril import Job, JobFailed

HOUR = 3_600_000


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


async def job_of(toril: TorilSide, id: str) -> Job[Any]:
    job = await toril.queue("cards").job(id)
    assert job is not None
    return job


@pytest.mark.parametrize("options", [{}, {"delay": HOUR}, {"priority": 3}])
async def test_what_waits_has_failed(
    toril: TorilSide, node: NodeSide, options: dict[str, int]
) -> None:
    await node.listen("cards")
    id = await node.add("cards", "n", does(["return", 1]), attempts=3, **options)

    await (await job_of(toril, id)).cancel("not needed")

    seen = await node.look("cards", id)
    assert seen is not None
    assert (seen.state, seen.reason, seen.attempts_made) == ("failed", "cancelled: not needed", 0)
    assert await node.counts("cards") == {"failed": 1}
    assert await node.metrics("cards", "failed") == 1
    await until(
        lambda: _kinds(node), ["added", "delayed" if "delay" in options else "waiting", "failed"]
    )


async def _kinds(node: NodeSide) -> list[str]:
    return [kind for kind, _ in await node.heard("cards")]


async def test_nodes_worker_does_not_run_it_again(toril: TorilSide, node: NodeSide) -> None:
    id = await node.add("cards", "n", does(["gate", "g"], ["throw", "boom"]), attempts=3)
    await node.work("cards")
    await node.reached("g")

    await (await job_of(toril, id)).cancel("not needed")
    await node.go("g")

    job = await job_of(toril, id)
    with pytest.raises(JobFailed, match="cancelled: not needed"):
        await job.result(5)
    assert len(await node.runs()) == 1


async def test_what_node_retries_runs_as_if_nothing_had_been(
    toril: TorilSide, node: NodeSide
) -> None:
    id = await toril.add("cards", "n", does(["throw", "twice", 2], ["return", 1]), attempts=3)
    await (await job_of(toril, id)).cancel("not needed")

    await node.retry("cards", id)
    await toril.work("cards")

    assert await toril.result("cards", id) == 1


@pytest.mark.parametrize(
    ("limit", "reason", "attempts"),
    [
        ({"timeout": "50ms"}, "it did not end within its timeout of 50 ms", 1),
        ({"deadline": "150ms"}, "deadline of 150 ms passed", 1),
        ({"expires": "5m"}, "expired: not started within 5 min", 0),
    ],
)
async def test_node_sees_which_limit_a_job_ran_into(
    toril: TorilSide, node: NodeSide, limit: Any, reason: str, attempts: int
) -> None:
    await node.listen("cards")
    added = datetime.now(UTC) - timedelta(hours="expires" in limit)
    steps = does(["gate", "never"])
    job = await toril.queue("cards").add("n", steps, created_at=added, **limit)
    await toril.work("cards")
    with pytest.raises(JobFailed):
        await job.result(5)

    seen = await node.look("cards", job.id)
    assert seen is not None
    assert (seen.state, seen.reason, seen.attempts_made) == ("failed", reason, attempts)
    await until(lambda: _reasons(node), [reason])


async def test_node_sees_that_a_running_job_was_cancelled(toril: TorilSide, node: NodeSide) -> None:
    await node.listen("cards")
    id = await toril.add("cards", "n", does(["gate", "never"]), attempts=3)
    await toril.work("cards")
    await toril.reached("never")

    job = await job_of(toril, id)
    await job.cancel("not needed")
    with pytest.raises(JobFailed):
        await job.result(5)

    seen = await node.look("cards", id)
    assert seen is not None
    assert (seen.state, seen.reason, seen.attempts_made) == ("failed", "cancelled: not needed", 1)
    await until(lambda: _reasons(node), ["cancelled: not needed"])


async def _reasons(node: NodeSide) -> list[str]:
    return [args["failedReason"] for kind, args in await node.heard("cards") if kind == "failed"]
