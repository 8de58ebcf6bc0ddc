"""Flows: a parent runs when its children have completed."""

import asyncio
from typing import Any

import pytest

from toril import AwaitChildren, ConfigError, Job, JobFailed, JobLocked, State, Toril

STORES = ("memory", "redis")

TREE = [
    ("image:optimize", "optimize-size", {"file": "cat.jpg"}),
    ("image:check-valid", "check-term", {"id": 7}),
    ("image:check-valid", "check-policy", {"id": 7}, {"delay": "10ms"}),
]


def handle_all(app: Toril) -> None:
    @app.queue("image:optimize").handler()
    async def optimize(job: Job[Any]) -> Any:
        return job.data["file"]

    @app.queue("image:check-valid").handler()
    async def check(job: Job[Any]) -> bool:
        if job.data.get("bad"):
            raise ValueError("not allowed")
        return True

    @app.queue("image:upload").handler()
    async def upload(job: Job[Any]) -> Any:
        children = await job.children()
        return [
            children["optimize-size"],
            children.by_queue("image:check-valid"),
            len(children.values),
            sorted(children.failures.values()),
        ]


async def test_a_tree_is_stored_at_once_and_its_parent_waits(app: Toril) -> None:
    tree = await app.flow("image:upload", "upload", {"id": 7}, children=TREE).add()
    states = [await job.state() for job in tree.walk()]

    assert states == [State.WAITING_CHILDREN, State.WAITING, State.WAITING, State.DELAYED]
    assert [job.record.state for job in tree.walk()] == states
    assert (await tree.job.dependencies()).pending == 3
    assert tree["check-term"].data == {"id": 7}


async def test_a_parent_runs_last_and_reads_its_childrens_results(app: Toril) -> None:
    handle_all(app)
    tree = await app.flow("image:upload", "upload", {"id": 7}, children=TREE).add()

    async with app.worker(concurrency=3):
        result = await tree.job.result(timeout=15)

    assert result == ["cat.jpg", [True, True], 3, []]
    values = await tree.job.children_values()
    assert {key.rpartition(":")[0] for key in values} == {"image:optimize", "image:check-valid"}


async def test_a_child_that_has_not_completed_is_missing_by_name(app: Toril) -> None:
    tree = await app.flow("image:upload", "upload", children=TREE).add()

    with pytest.raises(KeyError, match="check-term \\(pending\\)"):
        (await tree.job.children())["optimize-size"]


async def test_children_have_children(app: Toril) -> None:
    ran: list[str] = []

    @app.queue("work").handler()
    async def run(job: Job[Any]) -> Any:
        ran.append(job.name)
        return sorted((await job.children_values()).values())

    middle = app.flow("work", "middle", children=[("work", "leaf"), ("work", "leaf")])
    tree = await app.flow("work", "root", children=[middle]).add()
    await app.worker().run_until_idle()

    assert ran == ["leaf", "leaf", "middle", "root"]
    assert await tree.job.result() == [[[], []]]


async def test_tasks_make_nodes(app: Toril) -> None:
    @app.task(queue="sums", attempts=3)
    async def double(number: int) -> int:
        return number * 2

    @app.task(queue="sums")
    async def total(job: Job[Any]) -> int:
        return sum((await job.children()).by_queue("sums"))

    flow = app.flow(total.node(), children=[double.node(1), double.using(delay=0.01).node(2)])
    tree = await flow.add()

    async with app.worker(concurrency=3):
        assert await tree.job.result(timeout=10) == 6
    assert tree["double"].record.options.backoff is not None
    assert total.node().after(double.node(1)).children[0].name == "double"


async def test_a_failed_child_fails_its_parent_with_a_reason_that_names_it(app: Toril) -> None:
    handle_all(app)
    bad = ("image:check-valid", "check-policy", {"bad": True})
    tree = await app.flow("image:upload", "upload", children=[*TREE, bad]).add()

    async with app.worker(concurrency=3):
        with pytest.raises(JobFailed) as caught:
            await tree.job.result(timeout=15)

    assert tree.children[3].job.id in caught.value.reason


@pytest.mark.parametrize("policy", ["ignore", "continue"])
async def test_a_failed_child_may_be_passed_over(app: Toril, policy: str) -> None:
    handle_all(app)
    bad = ("image:check-valid", "check-policy", {"bad": True}, {"parent_on_fail": policy})
    tree = await app.flow("image:upload", "upload", children=[TREE[0], bad]).add()

    await app.worker("image:optimize").run_until_idle()
    await app.worker().run_until_idle()

    assert await tree.job.result() == ["cat.jpg", [], 1, ["not allowed"]]


async def test_defaults_of_queues_hold_for_nodes(app: Toril) -> None:
    app.queue("image:optimize", attempts=5)
    tree = await app.flow("image:upload", "upload", children=TREE, priority=3).add()

    assert tree["optimize-size"].record.options.attempts == 5
    assert tree.job.record.options.priority == 3


async def test_a_tree_is_stored_all_or_not_at_all(app: Toril) -> None:
    with pytest.raises(ConfigError, match="twice"):
        await app.flow("a1", "up", children=[("b1", "x", {}, {"id": "k"})] * 2).add()
    with pytest.raises(ConfigError, match="not a child of a flow"):
        app.flow("a1", "up", children=["b1"])  # type: ignore[list-item]
    with pytest.raises(ConfigError, match="did you mean 'delay'"):
        await app.flow("a1", "up", children=[("b1", "x", {}, {"delai": 1})]).add()

    assert (await app.queue("b1").counts()).total == 0


async def test_a_running_job_adds_children_and_runs_again_after_them(app: Toril) -> None:
    @app.queue("work").handler("parent")
    async def parent(job: Job[Any]) -> Any:
        if job.data.get("step") is None:
            await job.update({"step": 2})
            await app.queue("work").add_many([("child", {"i": i}, {"parent": job}) for i in (1, 2)])
            raise AwaitChildren
        return sorted((await job.children_values()).values())

    @app.queue("work").handler("child")
    async def child(job: Job[Any]) -> Any:
        return job.data["i"]

    job = await app.queue("work").add("parent")
    async with app.worker():
        assert await job.result(timeout=10) == [1, 2]
    assert (await job.refresh()).attempts_made == 1


async def test_removing_a_parent_takes_its_children(app: Toril) -> None:
    tree = await app.flow("image:upload", "upload", children=TREE).add()
    await tree.job.remove()

    for job in tree.walk():
        assert await app.queue(job.queue).job(job.id) is None


async def test_removing_the_last_open_child_lets_the_parent_run(app: Toril) -> None:
    tree = await app.flow("image:upload", "upload", children=TREE[:1]).add()
    await tree["optimize-size"].remove()

    assert await tree.job.state() is State.WAITING


async def test_detaching_a_child_lets_the_parent_run_without_it(app: Toril) -> None:
    tree = await app.flow("image:upload", "upload", children=TREE[:1]).add()
    await tree["optimize-size"].detach()

    assert await tree.job.state() is State.WAITING
    assert await tree["optimize-size"].state() is State.WAITING


async def test_nothing_is_removed_while_a_job_of_the_tree_runs(app: Toril) -> None:
    started, go = asyncio.Event(), asyncio.Event()

    @app.queue("image:optimize").handler()
    async def wait(job: Job[Any]) -> None:
        started.set()
        await go.wait()

    tree = await app.flow("image:upload", "upload", children=TREE).add()
    async with app.worker("image:optimize"):
        await started.wait()
        with pytest.raises(JobLocked, match=tree["optimize-size"].id):
            await tree.job.remove()
        go.set()

    assert await tree["check-term"].state() is State.WAITING


async def test_several_flows_are_stored_all_or_none(app: Toril) -> None:
    one, two = (app.flow("up", name, children=[("work", "leaf")]) for name in ("one", "two"))
    trees = await app.add_flows([one, two])

    assert [tree.job.name for tree in trees] == ["one", "two"]
    assert (await app.queue("work").counts()).waiting == 2

    twice = app.flow("up", "three", children=[("work", "x", {}, {"id": "k"})] * 2)
    with pytest.raises(ConfigError):
        await app.add_flows([one, twice])
    assert (await app.queue("up").counts()).total == 2


async def test_a_stored_tree_can_be_read(app: Toril) -> None:
    middle = app.flow("work", "middle", children=[("work", "leaf")])
    tree = await app.flow("up", "root", children=[middle, ("work", "side")]).add()

    read = await app.tree(tree.job)
    flat = await app.tree(tree.job, depth=1)

    assert [job.name for job in read.walk()] == ["root", "middle", "leaf", "side"]
    assert [job.name for job in flat.walk()] == ["root", "middle", "side"]


async def test_a_parent_names_the_failed_children_that_hold_it_back(app: Toril) -> None:
    handle_all(app)
    checks = [
        ("image:check-valid", "bad", {"bad": True}, {"parent_on_fail": "wait"}),
        ("image:check-valid", "ignored", {"bad": True}, {"parent_on_fail": "ignore"}),
        ("image:check-valid", "good", {"id": 7}),
        ("image:check-valid", "later", {"id": 7}, {"delay": "1h"}),
    ]
    tree = await app.flow("image:upload", "upload", {"id": 7}, children=checks).add()
    assert (await tree.job.children()).blocked_by == {}

    await app.worker().run_until_idle()

    children = await tree.job.children()
    assert children.blocked_by == {f"image:check-valid:{tree['bad'].id}": "not allowed"}
    assert children.failures == {f"image:check-valid:{tree['ignored'].id}": "not allowed"}
    assert await tree.job.dependencies() == children.counts
    counts = children.counts
    assert (counts.pending, counts.completed, counts.failed, counts.ignored) == (2, 1, 0, 1)
    assert await tree.job.state() == State.WAITING_CHILDREN


# The same flow again.


def order(app: Toril) -> Any:
    return app.flow("p", "order", id="order-42", children=[("c", "charge", 1), ("c", "pack", 2)])


def handle_orders(app: Toril) -> list[Any]:
    ran: list[Any] = []

    @app.queue("p").handler()
    async def parent(job: Job[Any]) -> int:
        return len(await job.children_values())

    @app.queue("c").handler()
    async def child(job: Job[Any]) -> None:
        ran.append(job.data)

    return ran


async def test_a_flow_that_is_added_again_is_the_stored_one(anywhere: Toril) -> None:
    app = anywhere
    ran = handle_orders(app)
    first = await order(app).add()
    second = await order(app).add()

    assert [job.ref for job in second.walk()] == [job.ref for job in first.walk()]
    assert [job.created for job in first.walk()] == [True, True, True]
    assert [job.created for job in second.walk()] == [False, False, False]
    async with app.worker():
        assert await second.job.result(timeout=10) == 2
    third = await order(app).add()
    assert await third.job.result(timeout=1) == 2
    assert third["charge"].record.state is State.COMPLETED
    assert sorted(ran) == [1, 2]


async def test_of_several_flows_only_the_new_ones_are_added(app: Toril) -> None:
    first = await order(app).add()
    other = app.flow("p", "other", children=[("c", "x")])
    stored, new = await app.add_flows([order(app), other])

    assert [job.ref for job in stored.walk()] == [job.ref for job in first.walk()]
    assert [job.created for job in new.walk()] == [True, True]
    assert (await app.queue("c").counts()).total == 3


async def test_a_stored_tree_within_a_new_one_is_linked_as_it_is(app: Toril) -> None:
    first = await order(app).add()
    outer = await app.flow("p", "outer", children=[order(app), ("c", "x")]).add()

    assert [job.created for job in outer.walk()] == [True, False, False, False, True]
    assert [job.ref for job in list(outer.walk())[1:4]] == [job.ref for job in first.walk()]
    handle_orders(app)
    async with app.worker():
        assert await outer.job.result(timeout=10) == 2


async def test_children_of_a_stored_tree_that_are_gone_are_left_out(app: Toril) -> None:
    first = await order(app).add()
    await first["pack"].remove()

    assert [job.name for job in (await order(app).add()).walk()] == ["order", "charge"]


async def test_a_flow_without_an_id_is_added_each_time(app: Toril) -> None:
    flow = app.flow("p", "order", children=[("c", "charge", 1)])
    one, two = await flow.add(), await flow.add()

    assert one.job.id != two.job.id
    assert (await app.queue("c").counts()).total == 2


# One node, one job.


@pytest.mark.parametrize("how", ["siblings", "cousins", "flows", "nested flow", "after"])
async def test_a_node_that_is_used_twice_is_refused(app: Toril, how: str) -> None:
    @app.task(queue="c")
    async def shared() -> None: ...

    node, flow = shared.node(), app.flow("c", "flow", children=[("c", "x")])
    middles = [app.flow("p", name, children=[node]) for name in "ab"]
    flows = {
        "siblings": [app.flow("p", "root", children=[node, node])],
        "cousins": [app.flow("p", "root", children=middles)],
        "flows": middles,
        "nested flow": [flow, app.flow("p", "root", children=[flow])],
        "after": [app.flow(shared.node().after(node, shared.node().after(node)))],
    }[how]

    with pytest.raises(ConfigError, match="used twice"):
        await app.add_flows(flows)
    assert (await app.queue("c").counts()).total == 0


async def test_equal_children_are_jobs_of_their_own(app: Toril) -> None:
    child = ("c", "x")

    assert len((await app.flow("p", "root", children=[child] * 3).add()).children) == 3


async def test_a_parent_that_continues_completes_while_another_child_runs(
    anywhere: Toril,
) -> None:
    goes_on = asyncio.Event()

    @anywhere.queue("p").handler()
    async def parent(job: Job[Any]) -> list[str]:
        return list((await job.children()).failures.values())

    @anywhere.queue("c").handler()
    async def child(job: Job[Any]) -> int:
        if job.name == "bad":
            raise ValueError("boom")
        await goes_on.wait()
        return 7

    bad = ("c", "bad", {}, {"parent_on_fail": "continue"})
    tree = await anywhere.flow("p", "order", children=[bad, ("c", "good")]).add()
    async with anywhere.worker(concurrency=2):
        assert await tree.job.result(timeout=10) == ["boom"]
        goes_on.set()
        assert await tree["good"].result(timeout=10) == 7
    assert len((await tree.job.refresh()).attempts) == 0


@pytest.mark.parametrize("policy", ["fail", "continue", "ignore", "remove"])
async def test_a_flow_over_a_job_that_has_failed_does_not_wait(
    anywhere: Toril, policy: str
) -> None:
    @anywhere.queue("p").handler()
    async def parent(job: Job[Any]) -> str:
        return "ran"

    @anywhere.queue("c").handler()
    async def child(job: Job[Any]) -> None:
        raise ValueError("boom")

    failed = await anywhere.queue("c").add("x", id="known")
    child_of = ("c", "x", {}, {"id": "known", "parent_on_fail": policy})
    async with anywhere.worker():
        with pytest.raises(JobFailed):
            await failed.result(timeout=10)
        tree = await anywhere.flow("p", "order", children=[child_of]).add()
        if policy == "fail":
            with pytest.raises(JobFailed, match="c:known failed"):
                await tree.job.result(timeout=10)
        else:
            assert await tree.job.result(timeout=10) == "ran"
