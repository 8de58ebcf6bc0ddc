"""Flows: added by one side, worked on by another, read by a third."""

from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import NodeSide, Refused, does, tree, until

QUEUES = ("uploads", "images", "checks")


async def start(trio: Trio, *queues: str) -> None:
    for queue in queues or QUEUES:
        await trio.worker.work(queue, queue)


def key(trio: Trio, queue: str, job: str) -> str:
    return f"{trio.reader.prefix}:{queue}:{job}"


@pytest.mark.mixed
async def test_three_levels_across_queues_run_from_the_leaves_up(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree(
            "uploads",
            "root",
            tree(
                "images",
                "middle",
                tree("checks", "leaf-a", data=does(["return", {"a": [1]}])),
                tree("checks", "leaf-b", data=does(["return", None])),
                data=does(["children"]),
            ),
            tree("checks", "leaf-c", data=does(["return", "c"])),
            data=does(["children"]),
        )
    )
    middle, leaf_c = made.children
    leaf_a, leaf_b = middle.children

    assert await trio.reader.counts("uploads") == {"waiting-children": 1}
    assert await trio.reader.counts("images") == {"waiting-children": 1}
    assert await trio.reader.counts("checks") == {"waiting": 3}
    assert (await trio.read("checks", leaf_a.id)).parent == f"images:{middle.id}"
    assert await trio.reader.standing("uploads", made.id) == {"unprocessed": 2}
    await start(trio)
    values = await trio.reader.result("uploads", made.id)

    below = {key(trio, "checks", leaf_a.id): {"a": [1]}, key(trio, "checks", leaf_b.id): None}
    assert values == {
        key(trio, "images", middle.id): below,
        key(trio, "checks", leaf_c.id): "c",
    }
    assert await trio.reader.values("images", middle.id) == below
    assert await trio.reader.standing("images", middle.id) == {"processed": 2}
    ran = [run.name for run in await trio.worker.runs()]
    assert ran[-1] == "root"
    assert ran.index("middle") > max(ran.index("leaf-a"), ran.index("leaf-b"))


# policy: (option of the child, state of the parent, standing, what the parent saw of failures)
POLICIES: dict[str, tuple[dict[str, Any], str, dict[str, int]]] = {
    "wait": ({}, "waiting-children", {"unprocessed": 1, "processed": 1}),
    "fail": ({"failParentOnFailure": True}, "failed", {"failed": 1, "processed": 1}),
    "continue": ({"continueParentOnFailure": True}, "completed", {"ignored": 1, "processed": 1}),
    "ignore": ({"ignoreDependencyOnFailure": True}, "completed", {"ignored": 1, "processed": 1}),
    "remove": ({"removeDependencyOnFailure": True}, "completed", {"processed": 1}),
}


@pytest.mark.mixed
@pytest.mark.parametrize("policy", POLICIES)
async def test_a_failed_child_does_to_its_parent_what_its_policy_says(
    trio: Trio, policy: str
) -> None:
    opts, state, standing = POLICIES[policy]
    made = await trio.producer.add_flow(
        tree(
            "uploads",
            "parent",
            tree("checks", "good", data=does()),
            tree("checks", "bad", data=does(["throw", "rude words"]), **opts),
            data=does(["ignored"]),
        )
    )
    bad = made.children[1]

    await start(trio)
    await trio.ends("checks", bad.id, "failed")
    parent = await trio.ends("uploads", made.id, state)

    # A parent that continues may have run before; nothing moves it any more.
    assert await trio.reader.standing("uploads", made.id) == standing
    ran = [run.name for run in await trio.worker.runs() if run.queue == "uploads"]
    assert ran == (["parent"] if state == "completed" else [])
    if state == "completed":
        seen = {} if policy == "remove" else {key(trio, "checks", bad.id): "rude words"}
        assert parent.result == seen
    if state == "failed":
        assert parent.reason == f"child {key(trio, 'checks', bad.id)} failed"


async def test_failure_goes_up_through_three_levels(trio: Trio) -> None:
    fail = {"failParentOnFailure": True}
    made = await trio.producer.add_flow(
        tree(
            "uploads",
            "root",
            tree(
                "images",
                "middle",
                tree("checks", "leaf", data=does(["throw", "boom"]), **fail),
                **fail,
            ),
        )
    )
    middle = made.children[0]

    await start(trio)
    root = await trio.ends("uploads", made.id, "failed")

    assert root.reason == f"child {key(trio, 'images', middle.id)} failed"
    assert [run.name for run in await trio.worker.runs()] == ["leaf"]


async def test_continue_runs_the_parent_while_a_child_is_pending(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree(
            "uploads",
            "parent",
            tree("images", "never"),
            tree("checks", "bad", data=does(["throw", "b"]), continueParentOnFailure=True),
            data=does(["return", 1]),
        )
    )

    await start(trio, "uploads", "checks")
    await until(lambda: trio.reader.counts("checks"), {"failed": 1})

    # It ran with a child still pending: BullMQ fails it for that, toril lets it complete.
    fails = isinstance(trio.worker, NodeSide)
    seen = await trio.ends("uploads", made.id, "failed" if fails else "completed")
    assert bool(seen.reason) is fails
    assert [run.name for run in await trio.worker.runs() if run.queue == "uploads"] == ["parent"]


async def test_a_failed_child_that_is_retried_lets_its_parent_run(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree(
            "uploads",
            "parent",
            tree("checks", "bad", data=does(["throw", "once", 1], ["return", "ok"])),
            data=does(["children"]),
        )
    )
    bad = made.children[0]
    await start(trio)
    await trio.ends("checks", bad.id, "failed")

    await trio.reader.retry("checks", bad.id)

    assert await trio.reader.result("uploads", made.id) == {key(trio, "checks", bad.id): "ok"}


async def test_an_ignored_child_that_is_retried_counts_as_pending_again(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree(
            "uploads",
            "parent",
            tree("images", "never"),
            tree("checks", "bad", data=does(["throw", "b"]), ignoreDependencyOnFailure=True),
        )
    )
    bad = made.children[1]
    await start(trio, "checks")
    await trio.ends("checks", bad.id, "failed")
    assert await trio.reader.standing("uploads", made.id) == {"unprocessed": 1, "ignored": 1}
    await trio.worker.rest("checks")

    await trio.producer.retry("checks", bad.id)

    assert await trio.reader.standing("uploads", made.id) == {"unprocessed": 2}


async def test_a_released_parent_keeps_its_priority_and_its_delay(trio: Trio) -> None:
    for name, opts in {"late": {"delay": 60_000}, "sharp": {"priority": 3}}.items():
        child = tree("checks", f"child of {name}", data=does())
        await trio.producer.add_flow(tree("uploads", name, child, **opts))

    await start(trio, "checks")
    await until(lambda: trio.reader.counts("uploads"), {"delayed": 1, "prioritized": 1})

    (sharp,) = await trio.reader.ids("uploads", "prioritized")
    (late,) = await trio.reader.ids("uploads", "delayed")
    assert (await trio.read("uploads", sharp)).name == "sharp"
    assert (await trio.read("uploads", late)).name == "late"


async def test_a_handler_adds_children_and_waits_for_them(trio: Trio) -> None:
    parent = await trio.producer.add(
        "uploads",
        "parent",
        does(["child", "checks", "c", does(["return", 5])], ["await"], ["children"]),
    )

    await start(trio, "uploads")
    await until(lambda: trio.reader.counts("uploads"), {"waiting-children": 1})
    await start(trio, "checks")
    values = await trio.reader.result("uploads", parent)

    (child,) = await trio.reader.ids("checks", "completed")
    assert values == {key(trio, "checks", child): 5}
    seen = await trio.read("uploads", parent)
    assert (seen.attempts_made, seen.starts) == (1, 2)


async def test_a_job_may_join_a_parent_that_waits_already(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree("uploads", "parent", tree("checks", "c", data=does(["return", 1])))
    )

    above = {"id": made.id, "queue": f"{trio.reader.prefix}:uploads"}
    late = await trio.worker.add("images", "late", does(["return", 2]), parent=above)

    assert await trio.reader.standing("uploads", made.id) == {"unprocessed": 2}
    await start(trio)
    await trio.ends("uploads", made.id, "completed")
    assert await trio.reader.values("uploads", made.id) == {
        key(trio, "checks", made.children[0].id): 1,
        key(trio, "images", late): 2,
    }


async def test_a_detached_child_lets_its_parent_run_without_it(trio: Trio) -> None:
    made = await trio.producer.add_flow(tree("uploads", "parent", tree("checks", "c")))
    child = made.children[0].id

    await trio.reader.detach("checks", child)

    assert await trio.producer.counts("uploads") == {"waiting": 1}
    assert (await trio.read("checks", child)).parent is None


async def test_removing_a_parent_takes_its_children(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree("uploads", "root", tree("images", "m", tree("checks", "a")), tree("checks", "b"))
    )

    await trio.reader.remove("uploads", made.id)

    for queue in QUEUES:
        assert await trio.producer.counts(queue) == {}


async def test_removing_a_parent_may_leave_its_children(trio: Trio) -> None:
    made = await trio.producer.add_flow(tree("uploads", "root", tree("checks", "a", data=does())))

    await trio.reader.remove("uploads", made.id, children=False)
    await start(trio, "checks")

    await trio.ends("checks", made.children[0].id, "completed")
    assert await trio.producer.counts("uploads") == {}


async def test_removing_the_last_child_lets_the_parent_run(trio: Trio) -> None:
    made = await trio.producer.add_flow(tree("uploads", "root", tree("checks", "a")))

    await trio.reader.remove("checks", made.children[0].id)

    assert await trio.producer.counts("uploads") == {"waiting": 1}


async def test_a_parent_with_a_running_child_is_not_removed(trio: Trio) -> None:
    made = await trio.producer.add_flow(
        tree("uploads", "root", tree("checks", "a", data=does(["gate", "g"])))
    )
    await start(trio, "checks")
    await trio.worker.reached("g")

    with pytest.raises(Refused):
        await trio.reader.remove("uploads", made.id)

    assert await trio.producer.counts("uploads") == {"waiting-children": 1}
    await trio.worker.go("g")
    await trio.ends("checks", made.children[0].id, "completed")
