"""All sides at once on one queue, and names that one side writes otherwise than another."""

import asyncio
from collections import Counter
from typing import Any

import pytest

from tests.interop.conftest import Sides
from tests.interop.sides import NodeSide, Side, does, tree, until

ALL = ("toril", "node6", "node5")
EACH = 40


@pytest.fixture
def three(sides: Sides) -> list[Side]:
    return [sides(name) for name in ALL]


async def test_three_sides_on_one_queue_run_each_job_once(three: list[Side]) -> None:
    for side in three:
        await side.work("cards", f"w-{side.name}", concurrency=4)
    plain: list[tuple[str, Any, Any]] = [("n", does(["sleep", 2], ["return", "ok"]), {})] * EACH

    added = await asyncio.gather(*(side.add_bulk("cards", plain) for side in three))
    await until(lambda: three[0].counts("cards"), {"completed": 3 * EACH})

    jobs = [job for some in added for job in some]
    assert len(set(jobs)) == 3 * EACH
    runs = Counter([run.id for side in three for run in await side.runs()])
    assert runs == Counter(jobs)
    assert all([await side.runs() for side in three]), "somebody never got a job"
    for side in three:
        assert await side.counts("cards") == {"completed": 3 * EACH}


async def test_three_sides_share_retries_delays_priorities_and_flows(three: list[Side]) -> None:
    for side in three:
        for queue in ("cards", "checks"):
            await side.work(queue, f"{queue}-{side.name}", concurrency=4)

    async def fill(side: Side) -> None:
        for number in range(6):
            again = does(["throw", "once", 1])
            await side.add("cards", "n", again, attempts=2, backoff=20 * (number % 2))
            await side.add("cards", "n", does(), delay=30 * number)
            await side.add("cards", "n", does(), priority=number + 1)
            await side.add_flow(
                tree("cards", "p", tree("checks", "c", data=does()), tree("checks", "c"))
            )

    await asyncio.gather(*map(fill, three))

    await until(lambda: three[1].counts("cards"), {"completed": 3 * 6 * 4})
    await until(lambda: three[2].counts("checks"), {"completed": 3 * 6 * 2})
    names = Counter([run.name for side in three for run in await side.runs()])
    assert names == {"n": 3 * 6 * 4, "p": 3 * 6, "c": 3 * 6 * 2}


async def test_an_event_of_ones_own_kind_is_heard_by_toril(sides: Sides) -> None:
    toril, node = sides("toril"), sides("node6")
    assert isinstance(node, NodeSide)
    await toril.add("cards", "n", {}, delay=3_600_000)
    events = sides("toril").app.queue("cards").events()  # type: ignore[attr-defined]
    heard: list[Any] = []
    async with events:
        told = {"eventName": "custom", "card": "cat.jpg"}
        await node.ask("publish", queue="cards", event=told)
        async with asyncio.timeout(5):
            async for event in events:
                heard.append(event)
                break

    (event,) = heard
    assert (event.name, event.fields) == ("custom", {"card": "cat.jpg"})


# A queue "image:optimize" of toril's is Node's queue "optimize" under the prefix "…:image".


@pytest.fixture
def outer(sides: Sides) -> Side:
    return sides("toril")


@pytest.fixture
async def inner(sides: Sides, prefix: str) -> Any:
    side = sides.make("node6", f"{prefix}:image")
    yield side
    await side.close()


async def test_a_queue_with_a_colon_is_nodes_queue_under_a_longer_prefix(
    outer: Side, inner: Side
) -> None:
    mine = await outer.add("image:optimize", "from-toril", does(["return", 1]))
    theirs = await inner.add("optimize", "from-node", does(["return", 2]))
    assert await outer.counts("image:optimize") == await inner.counts("optimize") == {"waiting": 2}

    await inner.work("optimize")
    assert await outer.result("image:optimize", mine) == 1
    await inner.rest()
    again = await inner.add("optimize", "from-node", does(["return", 3]))
    await outer.work("image:optimize")

    assert await inner.result("optimize", again) == 3
    assert await outer.result("image:optimize", theirs) == 2


async def test_the_worker_of_such_a_queue_is_found_by_node(outer: Side, inner: Side) -> None:
    await outer.add("image:optimize", "n", {}, delay=3_600_000)

    await outer.work("image:optimize", "ann")

    await until(lambda: _count(inner), 1)


async def _count(inner: Side) -> int:
    return len(await inner.workers("optimize"))


async def test_a_flow_across_such_queues_is_worked_on_by_node(
    outer: Side, inner: Side, sides: Sides
) -> None:
    child = tree("checks", "child", data=does(["return", "fine"]))
    made = await outer.add_flow(tree("image:upload", "parent", child, data=does(["children"])))

    await sides("node6").work("checks", "checks")
    await inner.work("upload", "upload")
    values = await outer.result("image:upload", made.id)

    assert values == {f"{outer.prefix}:checks:{made.children[0].id}": "fine"}


async def test_a_flow_of_nodes_across_prefixes_is_worked_on_by_toril(
    outer: Side, inner: Side
) -> None:
    child = tree("checks", "child", data=does(["return", "fine"])) | {"prefix": outer.prefix}
    made = await inner.add_flow(tree("upload", "parent", child, data=does(["children"])))

    await outer.work("checks", "checks")
    await outer.work("image:upload", "upload")
    values = await inner.result("upload", made.id)

    assert values == {f"{outer.prefix}:checks:{made.children[0].id}": "fine"}
