"""Node sweeps, cleans and destroys queues that use everything toril has, and breaks nothing."""

from functools import partial
from typing import Any

import pytest

from tests.interop.conftest import Sides
from tests.interop.sides import NodeSide, does, until
from tests.interop.toril_side import TorilSide
from toril import Dedup, Job, Toril

HOUR = "1h"


async def fill(app: Toril, letters: str = "letters") -> dict[str, Job[Any]]:
    """Use everything: jobs in every state, settings, tries, letters, schedules, flows, keys."""
    cards = app.queue(
        "cards",
        rate="1000/1s",
        concurrency=50,
        dead_letter=letters,
        keep_completed={"count": 50, "age": "1h"},
        events_limit=5000,
        max_waiting=5000,
    )
    app.queue(letters)
    jobs = {
        "done": await cards.add("n", does(["log", "x"], ["progress", 5], ["return", 1])),
        "dead": await cards.add("n", does(["throw", "boom"]), attempts=2),
        "tried": await cards.add("n", does(["throw", "b"]), attempts=3, backoff=HOUR),
        "snoozed": await cards.add("n", does(["later", 3_600_000])),
        "stray": await cards.add("nobody-knows-this", {}, dedup="stray"),
        "late": await cards.add("n", {}, delay=HOUR, timeout="5s"),
        "urgent": await cards.add("n", {}, delay=HOUR, priority=3),
        "held": await cards.add("n", {}, delay=HOUR, dedup=Dedup("key", ttl=HOUR, replace=True)),
    }
    tree = await app.flow(
        "cards", "parent", children=[("cards", "child", {}, {"delay": HOUR})]
    ).add()
    jobs |= {"parent": tree.job, "child": tree.children[0].job}
    await app.schedules.put("yearly", queue="cards", name="tick", cron="0 5 1 2 *")
    await app.schedules.put("hourly", queue="cards", name="tick", every=HOUR, offset="5m")
    return jobs


ENDS = {
    "done": "completed",
    "dead": "failed",
    "tried": "delayed",
    "snoozed": "delayed",
    "stray": "delayed",
    "late": "delayed",
    "urgent": "delayed",
    "held": "delayed",
    "parent": "waiting-children",
    "child": "delayed",
}


@pytest.fixture
def toril(sides: Sides) -> TorilSide:
    side = sides("toril")
    assert isinstance(side, TorilSide)
    return side


@pytest.fixture(params=["node6"])
def node(request: pytest.FixtureRequest, sides: Sides) -> NodeSide:
    side = sides(request.param)
    assert isinstance(side, NodeSide)
    return side


async def worked(toril: TorilSide) -> dict[str, Job[Any]]:
    """Fill a queue and let a worker bring each of its jobs to its place."""
    jobs = await fill(toril.app)
    toril.app.queue("cards").handler("n")(toril.handler("w"))
    worker = toril.app.worker(["cards"], name="w", concurrency=5)
    async with worker:
        for name, state in ENDS.items():
            await until(partial(state_of, jobs[name]), state)
    return jobs


async def state_of(job: Job[Any]) -> str:
    return str(await job.state())


def everything(keys: Any, prefix: str) -> dict[str, Any]:
    """Read all that stands under a prefix but what runs out by itself."""
    found: dict[str, Any] = {}
    for key in sorted(map(str, keys.scan_iter(f"{prefix}:*", count=1000))):
        if keys.pttl(key) == -1:
            found[key] = keys.dump(key) if keys.type(key) != "stream" else keys.xlen(key)
    return found


async def _stands(keys: Any, key: str) -> bool:
    return bool(keys.exists(key))


async def test_nodes_sweep_leaves_a_queue_of_torils_as_it_is(
    toril: TorilSide, node: NodeSide, keys: Any
) -> None:
    jobs = await worked(toril)
    await node.ask("open", queue="cards", options={"skipMetasUpdate": True})
    await node.ask("open", queue="letters", options={"skipMetasUpdate": True})
    # Whoever waited for jobs of the queue takes the marker for a moment when it leaves.
    await until(partial(_stands, keys, f"{toril.prefix}:cards:marker"), expected=True)
    before = everything(keys, toril.prefix)

    swept = [await node.queue(queue, "removeOrphanedJobs") for queue in ("cards", "letters")]

    after = everything(keys, toril.prefix)
    # Node takes this key for the failed children of a job "metrics", its own too (see below).
    counted = before.pop(f"{toril.prefix}:cards:metrics:failed")
    assert counted
    assert before.keys() - after.keys() == set()
    assert after == before
    assert swept == [1, 0]
    assert {name: await state_of(job) for name, job in jobs.items()} == ENDS
    settings = await toril.app.queue("cards").settings()
    assert (settings.dead_letter, settings.rate_max, settings.concurrency) == ("letters", 1000, 50)
    assert [one.end for one in (await jobs["tried"].refresh()).attempts] == ["failed"]
    assert len(await toril.app.schedules.list("cards")) == 2


async def test_nodes_sweep_takes_its_own_count_of_failures(node: NodeSide, keys: Any) -> None:
    await node.add("cards", "n", does(["throw", "boom"]))
    await node.work("cards", metrics={"maxDataPoints": 60})
    await until(lambda: node.counts("cards"), {"failed": 1})
    assert keys.exists(f"{node.prefix}:cards:metrics:failed")

    assert await node.queue("cards", "removeOrphanedJobs") == 1

    assert not keys.exists(f"{node.prefix}:cards:metrics:failed")


@pytest.mark.parametrize("state", ["completed", "failed", "delayed", "wait"])
async def test_node_cleans_jobs_of_torils_with_all_they_have(
    toril: TorilSide, node: NodeSide, keys: Any, state: str
) -> None:
    jobs = await worked(toril)

    cleaned = await node.clean("cards", state)

    # The next runs of schedules stay; nothing of what went does.
    expected = {jobs[name].id for name, ends in ENDS.items() if ends == state}
    assert set(cleaned) == expected
    for job in cleaned:
        assert not list(keys.scan_iter(f"{toril.prefix}:cards:{job}:*"))
        assert not keys.exists(f"{toril.prefix}:cards:{job}")
    assert len(await toril.app.schedules.list("cards")) == 2


async def test_node_obliterates_a_queue_of_torils_and_toril_begins_it_anew(
    toril: TorilSide, node: NodeSide, keys: Any
) -> None:
    await worked(toril)

    await node.obliterate("cards", force=True)

    left = {
        key.removeprefix(f"{toril.prefix}:cards:")
        for key in map(str, keys.scan_iter(f"{toril.prefix}:cards:*", count=1000))
    }
    assert {key for key in left if not key.startswith("toril:")} <= {"de:key", "limiter"}
    assert (await toril.app.queue("cards").counts()).total == 0
    assert await toril.app.schedules.list("cards") == []

    job = await toril.app.queue("cards").add("n", does(["return", "again"]))
    worker = toril.app.worker(["cards"], name="w")
    async with worker:
        assert await job.result(5) == "again"
