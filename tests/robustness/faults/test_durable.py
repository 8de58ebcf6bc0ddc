"""Adds that a replica, or the disk, has to confirm: who gets them in time, and who is told not."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest

from tests.robustness.faults.rig import QUEUE, app_on, until
from tests.support.proxy import LOSE_REPLY, FaultProxy
from tests.support.servers import HOST, RedisCluster, RedisServer, free_port, fresh_prefix
from tests.support.servers import until as wait_until
from toril import ConfigError, DurabilityNotConfirmed, Toril

# An app that gives its calls a second gives a confirmation 0.6 of it.
QUICK = "?socket_timeout=1"
IN_TIME_S = 2.0


@pytest.fixture
def primary() -> Iterator[RedisServer]:
    with RedisServer(repl_diskless_sync_delay=0) as server:
        yield server


@pytest.fixture
def replica(primary: RedisServer) -> Iterator[RedisServer]:
    with RedisServer() as server:
        server.call("REPLICAOF", HOST, primary.port)
        wait_until(lambda: server.call("ROLE")[3] == "connected", what="the replica")
        yield server


Doing = Callable[[Toril], Awaitable[Any]]


async def by_add(app: Toril) -> Any:
    return await app.queue(QUEUE).add("x", durable="replica")


async def by_a_queue_default(app: Toril) -> Any:
    return await app.queue(QUEUE, durable="replica").add("x")


async def by_add_many(app: Toril) -> Any:
    return await app.queue(QUEUE, durable="replica").add_many([("x", {})] * 300)


async def by_one_of_many(app: Toril) -> Any:
    return await app.queue(QUEUE).add_many([("x", {}), ("x", {}, {"durable": "replica"})])


async def by_a_child(app: Toril) -> Any:
    kid = ("kids", "kid", {}, {"durable": "replica"})
    return await app.flow(QUEUE, "root", {}, children=[kid]).add()


async def by_a_large_flow(app: Toril) -> Any:
    kids: list[Any] = [(QUEUE, "kid")] * 1_100
    return await app.flow(QUEUE, "root", {}, children=kids, durable="replica").add()


async def by_a_task(app: Toril) -> Any:
    @app.task(queue=QUEUE, durable="replica")
    def task(n: int) -> None: ...

    return await task.enqueue(1)


async def by_blocking_code(app: Toril) -> Any:
    return await asyncio.to_thread(app.queue(QUEUE).add_sync, "x", durable="replica")


WAYS: dict[Doing, int] = {
    by_add: 1,
    by_a_queue_default: 1,
    by_add_many: 300,
    by_one_of_many: 2,
    by_a_child: 2,
    by_a_large_flow: 1_101,
    by_a_task: 1,
    by_blocking_code: 1,
}


def stored(server: RedisServer, *queues: str) -> int:
    """Count the jobs that stand on a server."""
    return sum(
        server.call("LLEN", f"bull:{queue}:wait")
        + server.call("ZCARD", f"bull:{queue}:waiting-children")
        for queue in queues or (QUEUE, "kids")
    )


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_what_was_confirmed_is_on_the_replica(
    way: Doing, primary: RedisServer, replica: RedisServer
) -> None:
    async with app_on(primary) as app:
        await way(app)

        assert stored(replica) == WAYS[way]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
async def test_what_no_replica_confirms_is_told_with_its_ids(
    way: Doing, primary: RedisServer, replica: RedisServer
) -> None:
    replica.pause()
    async with app_on(primary, query=QUICK) as app:
        with pytest.raises(DurabilityNotConfirmed, match="0 replicas have confirmed") as raised:
            await way(app)

        assert (len(raised.value.ids), raised.value.replicas) == (WAYS[way], 0)
        assert len(set(raised.value.ids)) == stored(primary) == WAYS[way]
    replica.resume()


async def test_every_add_is_told_in_time_while_the_replica_stands_still(
    primary: RedisServer, replica: RedisServer
) -> None:
    replica.pause()
    async with app_on(primary, query=QUICK) as app:
        queue = app.queue(QUEUE, durable="replica")
        for n in range(5):
            began = time.monotonic()
            with pytest.raises(DurabilityNotConfirmed, match=f"job '{n + 1}': stored"):
                await queue.add("x")
            assert time.monotonic() - began < IN_TIME_S
    replica.resume()


async def test_without_a_replica_nothing_is_confirmed(primary: RedisServer) -> None:
    async with app_on(primary, query=QUICK) as app:
        with pytest.raises(DurabilityNotConfirmed):
            await by_add(app)


async def test_adds_that_do_not_ask_for_it_are_not_held_up(
    primary: RedisServer, replica: RedisServer
) -> None:
    replica.pause()
    async with app_on(primary) as app:
        waiting = asyncio.create_task(by_add(app))
        await until(lambda: is_waiting(primary))

        await app.queue(QUEUE).add_many([("x", {})] * 10)
        await app.queue(QUEUE).add("x")

        assert not waiting.done()
        replica.resume()
        await waiting


async def is_waiting(server: RedisServer) -> bool:
    return "cmd=wait" in server.call("CLIENT", "LIST")


async def test_the_same_id_again_is_confirmed_and_added_once(
    primary: RedisServer, replica: RedisServer
) -> None:
    replica.pause()
    async with app_on(primary, query=QUICK) as app:
        with pytest.raises(DurabilityNotConfirmed, match="'order-42'"):
            await app.queue(QUEUE).add("x", id="order-42", durable="replica")
    replica.resume()
    async with app_on(primary) as app:
        again = await app.queue(QUEUE).add("x", id="order-42", durable="replica")

        assert (again.id, again.created) == ("order-42", False)
        assert stored(replica) == 1


async def test_a_primary_that_dies_before_the_replica_has_it_is_told(
    primary: RedisServer, replica: RedisServer
) -> None:
    replica.pause()
    async with app_on(primary) as app:
        adding = asyncio.create_task(by_add(app))
        await until(lambda: is_waiting(primary))
        primary.kill()

        with pytest.raises(DurabilityNotConfirmed, match="closed the connection"):
            await adding
    replica.resume()


async def test_a_call_that_was_sent_twice_is_not_taken_for_confirmed(
    primary: RedisServer, replica: RedisServer
) -> None:
    with FaultProxy(primary.port) as proxy:
        async with app_on(primary, proxy) as app:
            await by_add(app)
            trap = proxy.trap("EVALSHA", LOSE_REPLY)

            with pytest.raises(DurabilityNotConfirmed, match="the connection broke"):
                await by_add(app)

    assert trap.hits == 1
    assert stored(primary) == 2


async def test_nothing_of_it_is_stored(primary: RedisServer, replica: RedisServer) -> None:
    async with app_on(primary) as app:
        queue = app.queue(QUEUE)
        plain = await queue.add("x", {}, attempts=2)
        durable = await queue.add("x", {}, attempts=2, durable="replica")

    kept = [primary.call("HGETALL", f"bull:{QUEUE}:{job.id}") for job in (plain, durable)]
    assert without_time(kept[0]) == without_time(kept[1])
    assert not [key for key in primary.call("KEYS", "*") if "durable" in key]


def without_time(flat: list[str]) -> dict[str, str]:
    fields = dict(zip(flat[::2], flat[1::2], strict=True))
    return {name: value for name, value in fields.items() if name != "timestamp"}


async def test_a_synced_file_is_confirmed_where_a_server_can_and_refused_where_not() -> None:
    with RedisServer(appendonly=True) as server:
        knows = server.call("COMMAND", "INFO", "WAITAOF") != [None]
        async with app_on(server) as app:
            queue = app.queue(QUEUE)
            if knows:
                await queue.add("x", durable="aof")
            else:
                with pytest.raises(ConfigError, match=r"no WAITAOF \(upgrade it to Redis 7.2"):
                    await queue.add("x", durable="aof")

            assert (await queue.counts()).waiting == (1 if knows else 0)


async def test_a_refused_wish_leaves_its_neighbours_alone(
    primary: RedisServer, replica: RedisServer
) -> None:
    async with app_on(primary) as app:
        queue = app.queue(QUEUE)
        ends = await asyncio.gather(
            queue.add("x", durable="aof"),
            queue.add("x", durable="replica"),
            return_exceptions=True,
        )

    assert isinstance(ends[0], ConfigError)
    assert stored(replica) == 1


async def test_adds_of_one_turn_share_one_confirmation(
    primary: RedisServer, replica: RedisServer
) -> None:
    async with app_on(primary) as app:
        queue = app.queue(QUEUE, durable="replica")
        await asyncio.gather(*(queue.add("x") for _ in range(100)))

    asked = primary.call("INFO", "commandstats").partition("cmdstat_wait:calls=")[2]
    assert int(asked.partition(",")[0]) == 1


async def test_in_a_cluster_the_node_that_has_the_queue_is_asked() -> None:
    bus = free_port()
    with (
        RedisCluster() as cluster,
        RedisServer(cluster_enabled="yes", cluster_port=bus) as follower,
    ):
        followed, alone, _ = cluster.nodes
        await asyncio.to_thread(follow, follower, bus, followed)
        url = f"redis+cluster://{HOST}:{cluster.nodes[2].port}"

        async with Toril(url, prefix=prefix_on(cluster, followed)) as app:
            await by_add_many(app)
        async with Toril(url + QUICK, prefix=prefix_on(cluster, alone)) as app:
            with pytest.raises(DurabilityNotConfirmed, match="0 replicas have confirmed"):
                await by_add(app)


def prefix_on(cluster: RedisCluster, node: RedisServer) -> str:
    """Give a prefix that stands on this node."""
    return next(
        prefix
        for prefix in iter(lambda: fresh_prefix(tag=True), "")
        if cluster.node_of(prefix) is node
    )


def follow(server: RedisServer, bus: int, primary: RedisServer) -> None:
    """Make a server a replica of a node of a cluster."""
    primary.call("CONFIG", "SET", "repl-diskless-sync-delay", 0)
    primary.call("CLUSTER", "MEET", HOST, server.port, bus)
    name = primary.call("CLUSTER", "MYID")
    wait_until(lambda: name in str(server.call("CLUSTER", "NODES")), what="the meeting")
    server.call("CLUSTER", "REPLICATE", name)
    wait_until(lambda: server.call("ROLE")[3] == "connected", what="the replica")
