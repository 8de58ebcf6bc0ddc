"""Where toril writes otherwise than Node, Node is none the worse for it (see EXCEPTIONS)."""

import json
from typing import Any

import pytest

from tests.interop.conftest import Sides
from tests.interop.node import NodeError
from tests.interop.sides import NodeSide, Side, does, tree, until

HOUR = 3_600_000


@pytest.fixture
def toril(sides: Sides) -> Side:
    return sides("toril")


@pytest.fixture(params=["node6", "node5"])
def node(request: pytest.FixtureRequest, sides: Sides) -> NodeSide:
    side = sides(request.param)
    assert isinstance(side, NodeSide)
    return side


async def test_node_handles_a_job_with_fields_of_torils_own(
    toril: Side, node: NodeSide, keys: Any
) -> None:
    job = await toril.add("cards", "n", does(["throw", "twice", 2], ["seen"]), attempts=2)
    await toril.work("cards")
    await until(lambda: node.counts("cards"), {"failed": 1})
    await toril.rest()
    own = [name for name in keys.hkeys(f"{toril.prefix}:cards:{job}") if name.startswith("toril:")]
    assert own, "there is nothing to prove"

    await node.retry("cards", job)
    await node.work("cards")
    inside = await node.result("cards", job)

    assert inside["attemptsMade"] == 2
    await node.remove("cards", job)
    assert not keys.exists(f"{toril.prefix}:cards:{job}")


async def test_one_attempt_is_one_attempt_to_node(toril: Side, node: NodeSide) -> None:
    await node.listen("cards")
    job = await toril.add("cards", "n", does(["throw", "boom"]), attempts=1)

    await node.work("cards")
    await until(lambda: node.counts("cards"), {"failed": 1})

    seen = await node.look("cards", job)
    assert seen is not None
    assert seen.attempts_made == 1
    spent = ("retries-exhausted", {"jobId": job, "attemptsMade": "1"})
    await until(lambda: _has(node, spent), True)


async def _has(node: NodeSide, event: tuple[str, dict[str, Any]]) -> bool:
    return event in await node.heard("cards")


async def test_node_works_on_a_queue_without_a_version(
    toril: Side, node: NodeSide, keys: Any
) -> None:
    job = await toril.add("cards", "n", does(["seen"]))
    await node.ask("open", queue="cards", options={"skipMetasUpdate": True})

    assert await node.queue("cards", "getVersion") is None
    await node.work("cards")
    await until(lambda: node.counts("cards"), {"completed": 1})

    assert not keys.hexists(f"{toril.prefix}:cards:meta", "version")
    assert (await node.queue("cards", "getJob", job))["name"] == "n"


async def test_node_handles_a_job_that_failed_for_its_child(toril: Side, node: NodeSide) -> None:
    bad = tree("checks", "bad", data=does(["throw", "once", 1]), failParentOnFailure=True)
    made = await toril.add_flow(tree("uploads", "parent", bad, data=does(["return", "ran"])))
    for queue in ("checks", "uploads"):
        await toril.work(queue, queue)
    await until(lambda: node.counts("uploads"), {"failed": 1})
    await toril.rest("uploads")

    parent = await node.queue("uploads", "getJob", made.id)

    assert parent["stacktrace"] in ([], None)
    assert parent["failedReason"] == f"child {toril.prefix}:checks:{made.children[0].id} failed"
    await node.retry("checks", made.children[0].id)
    await until(lambda: node.counts("checks"), {"completed": 1})
    await node.retry("uploads", made.id)
    await node.work("uploads", "again")
    assert await node.result("uploads", made.id) == "ran"


async def test_node_runs_jobs_that_kept_their_priority(toril: Side, node: NodeSide) -> None:
    for name, priority in {"low": 9, "high": 1, "middle": 5}.items():
        await toril.add("cards", name, does(), delay=HOUR, priority=priority)

    await toril.promote_all("cards")
    assert await node.counts("cards") == {"prioritized": 3}
    await node.work("cards")
    await until(lambda: node.counts("cards"), {"completed": 3})

    assert [run.name for run in await node.runs()] == ["high", "middle", "low"]


async def test_whole_numbers_stay_exact_in_redis_and_node_rounds_them(
    toril: Side, node: NodeSide, keys: Any
) -> None:
    number = 2**60 + 1
    job = await toril.add("cards", "n", {"n": number, "empty": [[], {}], "text": "\u2028 🎈"})

    stored = json.loads(keys.hget(f"{toril.prefix}:cards:{job}", "data"))
    mine, theirs = await toril.look("cards", job), await node.look("cards", job)

    assert stored == {"n": number, "empty": [[], {}], "text": "\u2028 🎈"}
    assert mine is not None
    assert theirs is not None
    assert mine.data == stored
    assert float(theirs.data.pop("n")) == float(2**60)
    assert theirs.data == {"empty": [[], {}], "text": "\u2028 🎈"}


async def test_node_refuses_what_toril_refuses_too(toril: Side, node: NodeSide) -> None:
    """The other way round: what nobody may add, neither side adds."""
    for bad in ("0", "7", "a:b"):
        with pytest.raises(NodeError):
            await node.add("cards", "n", {}, jobId=bad)
        with pytest.raises(ValueError, match="job id"):
            await toril.add("cards", "n", {}, jobId=bad)
    assert await node.counts("cards") == {}
