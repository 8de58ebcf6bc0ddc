"""More than one server: a cluster, a primary with its Sentinels, TLS, a socket, and what is lost."""

import asyncio
from collections.abc import Iterator

import pytest

from tests.robustness.faults.rig import QUEUE, Runs, app_on, until
from tests.support import servers
from tests.support.proxy import FaultProxy
from tests.support.servers import HOST, RedisCluster, RedisServer, SentinelSet, fresh_prefix
from toril import Toril
from toril.errors import ConfigError


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as nodes:
        yield nodes


def cluster_url(cluster: RedisCluster) -> str:
    return "redis+cluster://" + ",".join(f"{HOST}:{node.port}" for node in cluster.nodes)


async def test_queues_of_a_cluster_stand_where_their_tag_says(cluster: RedisCluster) -> None:
    runs = Runs()
    prefixes = [fresh_prefix(tag=True) for _ in range(8)]
    for prefix in prefixes:
        async with Toril(cluster_url(cluster), prefix=prefix) as app:
            jobs = await app.queue(QUEUE).add_many([("x", {})] * 5)
            tree = await app.flow(QUEUE, "root", {}, children=[("kids", "kid", {})]).add()
            async with app.worker({QUEUE: 2, "kids": 2}, runs):
                await asyncio.gather(*(job.result(timeout=5) for job in [*jobs, tree.job]))

    owners = {cluster.node_of(f"{prefix}:{QUEUE}:wait").port for prefix in prefixes}
    assert len(owners) > 1


async def test_slots_may_move_while_jobs_run(cluster: RedisCluster) -> None:
    runs = Runs()
    prefix = fresh_prefix(tag=True)
    old = cluster.node_of(f"{prefix}:x")
    new = next(node for node in cluster.nodes if node is not old)
    async with (
        Toril(cluster_url(cluster), prefix=prefix) as app,
        app.worker(QUEUE, runs, concurrency=3, lock="10s"),
    ):
        jobs = await app.queue(QUEUE).add_many([("x", {"ms": 50})] * 40)
        await runs.until_started(jobs[5].id)
        await asyncio.to_thread(move_slot, cluster, prefix, old, new)
        jobs += await app.queue(QUEUE).add_many([("x", {})] * 10)
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))

    assert sorted(runs.started) == sorted(job.id for job in jobs)
    assert new.call("EXISTS", f"{prefix}:{QUEUE}:events") == 1


def move_slot(cluster: RedisCluster, prefix: str, old: RedisServer, new: RedisServer) -> None:
    """Move all keys of a prefix to another node, as CLUSTER tools do it."""
    slot = old.call("CLUSTER", "KEYSLOT", f"{prefix}:x")
    names = {node: node.call("CLUSTER", "MYID") for node in cluster.nodes}
    new.call("CLUSTER", "SETSLOT", slot, "IMPORTING", names[old])
    old.call("CLUSTER", "SETSLOT", slot, "MIGRATING", names[new])
    while found := old.call("CLUSTER", "GETKEYSINSLOT", slot, 100):
        old.call("MIGRATE", HOST, new.port, "", 0, 5000, "KEYS", *found)
    for node in (new, old, *cluster.nodes):
        node.call("CLUSTER", "SETSLOT", slot, "NODE", names[new])


async def test_keys_of_two_nodes_in_one_flow_are_refused_by_a_hint(cluster: RedisCluster) -> None:
    def node(n: int, queue: str) -> RedisServer:
        return cluster.node_of(f"untagged:{queue}{n}:wait")

    async with Toril(cluster_url(cluster), prefix="untagged") as app:
        apart = next(n for n in range(100) if node(n, "a") is not node(n, "b"))
        with pytest.raises(ConfigError, match="hash tag"):
            await app.flow(f"a{apart}", "root", {}, children=[(f"b{apart}", "kid", {})]).add()


async def test_a_node_of_a_cluster_is_not_taken_for_a_server(cluster: RedisCluster) -> None:
    app = Toril(cluster.url)
    with pytest.raises(ConfigError, match=r"redis\+cluster"):
        await app.open()
    await app.close()


@pytest.mark.parametrize("kill", [True, False])
@pytest.mark.timeout(60)
async def test_a_worker_follows_its_primary(kill: bool) -> None:
    runs = Runs()
    trio = await asyncio.to_thread(SentinelSet().start)
    try:
        url = f"redis+sentinel://{HOST}:{trio.ports[0]}/{trio.NAME}"
        async with Toril(url) as app, app.worker(QUEUE, runs, concurrency=3, lock="20s"):
            queue = app.queue(QUEUE)
            before = await queue.add_many([("x", {"ms": 30})] * 10)
            await asyncio.gather(*(job.result(timeout=10) for job in before))
            running = await queue.add("x", {"ms": 3000})
            await runs.until_started(running.id)
            await asyncio.to_thread(servers.until, lambda: caught_up(trio))

            await asyncio.to_thread(trio.failover, kill=kill)
            after = await queue.add_many([("x", {})] * 10)
            await asyncio.gather(*(job.result(timeout=15) for job in [running, *after]))

        assert runs.started.count(running.id) == 1
    finally:
        await asyncio.to_thread(trio.close)


def caught_up(trio: SentinelSet) -> bool:
    """Say whether the replica has all that the primary has."""
    offsets = [server.call("INFO", "replication") for server in (trio.primary, trio.replica)]
    at = [
        next(line for line in text.splitlines() if line.startswith("master_repl_offset"))
        for text in offsets
    ]
    return at[0] == at[1]


@pytest.mark.timeout(60)
async def test_what_a_failover_loses_was_acknowledged_in_the_lag_and_nothing_is_stuck() -> None:
    runs = Runs()
    with (
        RedisServer() as primary,
        RedisServer() as replica,
        FaultProxy(primary.port, raw=True) as lag,
    ):
        replica.call("REPLICAOF", HOST, lag.port)
        await until(lambda: linked(replica))
        async with app_on(primary) as app:
            queue = app.queue(QUEUE)
            safe = [job.id for job in await queue.add_many([("x", {"n": n}) for n in range(50)])]
            with primary.client(single_connection_client=True) as client:
                client.set("bull:mark", 1)
                assert client.wait(1, 5000) == 1
            lag.black_hole()
            lost = [
                job.id for job in await queue.add_many([("x", {"n": n}) for n in range(50, 350)])
            ]
            primary.kill()
        replica.call("REPLICAOF", "NO", "ONE")
        async with app_on(replica) as app:
            await app.worker(QUEUE, runs, concurrency=20).run_until_idle()
            counts = await app.queue(QUEUE).counts()
            fresh = await app.queue(QUEUE).add("after")

    assert sorted(runs.started) == sorted(safe)
    assert (counts.waiting, counts.active) == (0, 0)
    # Ids of what was lost are given again: they are not unique over a failover.
    assert fresh.id in lost


async def linked(replica: RedisServer) -> bool:
    return replica.call("ROLE")[3] == "connected"


async def test_tls_with_the_right_authority_only() -> None:
    runs = Runs()
    with RedisServer(tls=True, password="p@ss") as server:
        url = f"{server.url}?ssl_ca_certs={server.authority_file}"
        async with Toril(url) as app, app.worker(QUEUE, runs, lock="300ms"):
            job = await app.queue(QUEUE).add("x", {"ms": 500})
            await job.result(timeout=5)
        doubting = Toril(server.url)
        with pytest.raises(ConfigError, match="certificate"):
            await doubting.open()
        await doubting.close()

    assert runs.started == [job.id]


async def test_a_unix_socket() -> None:
    runs = Runs()
    with RedisServer(unix=True) as server:
        async with Toril(f"unix://{server.socket}") as app, app.worker(QUEUE, runs, lock="300ms"):
            job = await app.queue(QUEUE).add("x", {"ms": 500})
            await job.result(timeout=5)

    assert runs.started == [job.id]
