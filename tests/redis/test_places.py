"""Servers behind TLS, a socket, a narrow right, Sentinels, or in a cluster."""

import asyncio
import hashlib
from collections.abc import Iterator

import pytest
import redis

from tests.support.links import COUNT, ECHO, Linked, Lua, until
from tests.support.servers import HOST, RedisCluster, RedisServer, SentinelSet, fresh_prefix
from tests.support.servers import until as wait_until
from toril._store.redis.net import dial as dialling
from toril._store.redis.net.address import Address
from toril._store.redis.net.cluster import slot_of
from toril.errors import ConfigError, StoreUnavailable

ODD = "p@ss/w:r#d?%é &+"

# TLS.


@pytest.fixture(scope="module")
def safe_server() -> Iterator[RedisServer]:
    with RedisServer(tls=True) as server:
        yield server


async def test_tls_is_spoken_with_a_certificate_that_is_trusted(
    safe_server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(f"{safe_server.url}?ssl_ca_certs={safe_server.authority_file}")
    assert await link.run(ECHO, [], ["safe"], patience=5) == "safe"
    assert await link.read("ECHO", "x" * 300_000) == "x" * 300_000


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    safe_server: RedisServer, linked: Linked
) -> None:
    with pytest.raises(ConfigError, match="not trusted: ssl_ca_certs"):
        await linked.open(safe_server.url)


async def test_a_certificate_need_not_be_checked(safe_server: RedisServer, linked: Linked) -> None:
    link = await linked.open(f"{safe_server.url}?ssl_cert_reqs=none")
    assert await link.read("PING") == "PONG"


async def test_a_certificate_file_that_is_not_there_is_named(
    safe_server: RedisServer, linked: Linked
) -> None:
    with pytest.raises(ConfigError, match="a TLS file cannot be used"):
        await linked.open(f"{safe_server.url}?ssl_ca_certs=/no/such.pem")


async def test_tls_with_a_server_that_has_none_is_told(
    server: RedisServer, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    # It waits for the end of a line that never comes.
    monkeypatch.setattr(dialling, "CONNECT_S", 0.3)
    with pytest.raises(StoreUnavailable, match="no answer"):
        await linked.open(server.url.replace("redis:", "rediss:"))


async def test_a_server_that_wants_tls_is_told(safe_server: RedisServer, linked: Linked) -> None:
    with pytest.raises(StoreUnavailable):
        await linked.open(safe_server.url.replace("rediss:", "redis:"))


# Sockets and rights.


async def test_a_socket_is_as_good_as_a_port(linked: Linked) -> None:
    with RedisServer(unix=True, databases=4) as server:
        link = await linked.open(f"unix://{server.socket}?db=3")
        await link.read("SET", "where", "here")
        assert await link.read("GET", "where") == "here"
        with server.client(db=3) as client:
            assert client.get("where") == "here"


async def test_a_socket_that_is_not_there_is_told(linked: Linked) -> None:
    with pytest.raises(StoreUnavailable, match="No such file"):
        await linked.open("unix:///no/such.sock")


async def test_a_password_may_have_odd_characters(linked: Linked) -> None:
    acl = [f"user al@ice on #{_sha(ODD)} ~* +@all"]
    with RedisServer(password=ODD, acl=acl) as server:
        for url in (server.url, server.url_of("al@ice", ODD)):
            link = await linked.open(url)
            assert await link.read("PING") == "PONG"


def _sha(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def strict_server() -> Iterator[RedisServer]:
    """A server where bob may do little."""
    acl = ["user bob on >hush ~bull:* +evalsha +eval +echo +incr -@dangerous"]
    with RedisServer(password="master", acl=acl) as server:
        yield server


@pytest.mark.parametrize(
    ("who", "message"),
    [
        ("", "the server wants a password"),
        ("bob:wrong@", "the user name or password is wrong.*as user 'bob'"),
        (":wrong@", "the user name or password is wrong.*as user 'default'"),
    ],
)
async def test_who_is_not_let_in_is_told_why(
    strict_server: RedisServer, linked: Linked, who: str, message: str
) -> None:
    async def call() -> None:
        link = await linked.open(f"redis://{who}{HOST}:{strict_server.port}")
        await link.read("GET", "bull:x")

    with pytest.raises(ConfigError, match=message):
        await call()


async def test_a_server_without_a_password_says_so(server: RedisServer, linked: Linked) -> None:
    with pytest.raises(ConfigError, match="the server has no password, the URL does"):
        await linked.open(f"redis://:secret@{HOST}:{server.port}")


async def test_a_database_that_is_not_there_is_refused(server: RedisServer, linked: Linked) -> None:
    with pytest.raises(ConfigError, match="there is no database of this number"):
        await linked.open(f"redis://{HOST}:{server.port}/99")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        (
            "return redis.call('SET', KEYS[1], 1)",
            "bull:x",
            # Valkey names the command.
            r"user 'bob' may not run a command|ACL SETUSER bob \+set",
        ),
        ("return redis.call('INCR', 'other')", "bull:x", "user 'bob' may not use these keys"),
        ("return redis.call('INCR', KEYS[1])", "cards:x", "user 'bob' may not use these keys"),
    ],
)
async def test_a_right_that_is_missing_is_named(
    strict_server: RedisServer, linked: Linked, text: str, key: str, message: str
) -> None:
    link = await linked.open(f"redis://bob:hush@{HOST}:{strict_server.port}")
    with pytest.raises(ConfigError, match=message):
        await link.run(Lua(text), [key], [], patience=5)


async def test_a_command_that_may_not_be_run_is_named(
    strict_server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(f"redis://bob:hush@{HOST}:{strict_server.port}")
    with pytest.raises(ConfigError, match=r"ACL SETUSER bob \+info"):
        await link.read("INFO")


# Sentinels.


async def test_the_sentinels_say_where_the_primary_is_also_after_it_died(
    linked: Linked, key: str
) -> None:
    with SentinelSet() as watched:
        (port,) = watched.ports
        link = await linked.open(f"redis+sentinel://{HOST}:1,{HOST}:{port}/{watched.NAME}")
        assert (await link.read("ROLE"))[0] == "master"
        await link.run(COUNT, [key], [], patience=5)
        until_copied = watched.replica
        await until(lambda: until_copied.call("GET", key) == "1")
        failing = asyncio.create_task(asyncio.to_thread(watched.failover))
        await until(lambda: not watched.servers[0].runs)
        assert await link.run(COUNT, [key], [], patience=15) == "2"
        await failing


async def test_a_primary_that_was_demoted_is_left(linked: Linked, key: str) -> None:
    with SentinelSet() as watched:
        (port,) = watched.ports
        link = await linked.open(f"redis+sentinel://{HOST}:{port}/{watched.NAME}")
        await link.run(COUNT, [key], [], patience=5)
        await asyncio.to_thread(_hand_over, watched)
        await link.run(COUNT, [key], [], patience=15)
        assert (await link.read("ROLE"))[0] == "master"


def _hand_over(watched: SentinelSet) -> None:
    """Let the primary hand over, as soon as the sentinel has looked at the replica."""

    def accepted() -> bool:
        try:
            return watched.failover(kill=False).runs
        except redis.ResponseError:
            return False

    wait_until(accepted, what="the sentinel to hand over")


async def test_a_service_that_the_sentinels_do_not_know_is_told(linked: Linked) -> None:
    with SentinelSet() as watched:
        (port,) = watched.ports
        with pytest.raises(StoreUnavailable, match="the Sentinels name no primary"):
            await linked.open(f"redis+sentinel://{HOST}:{port}/other")


# Clusters.


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as nodes:
        yield nodes


def url_of(cluster: RedisCluster) -> str:
    places = ",".join(f"{HOST}:{node.port}" for node in cluster.nodes)
    return f"redis+cluster://{places}"


def tags() -> list[str]:
    """Three hash tags, one for each third of the slots."""
    found: dict[int, str] = {}
    while len(found) < 3:
        prefix = fresh_prefix(tag=True)
        found.setdefault(slot_of(prefix) * 3 // 16384, prefix)
    return list(found.values())


def test_slots_are_what_the_server_says(cluster: RedisCluster) -> None:
    keys = ["a", "{bull}:x:y", "{}{a}", "a{b}c{d}", "{", "}{", "ü{é}"]
    node = cluster.nodes[0]
    assert [node.call("CLUSTER", "KEYSLOT", key) for key in keys] == [slot_of(key) for key in keys]


async def test_each_call_goes_to_the_node_of_its_keys(
    cluster: RedisCluster, linked: Linked
) -> None:
    link = await linked.open(url_of(cluster))
    calls = [(COUNT, [f"{tag}:a"], []) for tag in tags() for _ in range(2)]
    assert await link.run_many(calls, patience=5) == ["1", "2", "1", "2", "1", "2"]
    assert await link.many([("GET", keys[0]) for _, keys, _ in calls[::2]]) == ["2"] * 3


async def test_a_call_for_keys_of_two_nodes_is_refused(
    cluster: RedisCluster, linked: Linked
) -> None:
    link = await linked.open(url_of(cluster))
    with pytest.raises(ConfigError, match="put a hash tag in the prefix"):
        await link.run(COUNT, [f"{tag}:a" for tag in tags()], [], patience=5)


async def test_a_queue_without_a_hash_tag_is_refused(cluster: RedisCluster, linked: Linked) -> None:
    link = await linked.open(url_of(cluster))
    with pytest.raises(ConfigError, match="put a hash tag in the prefix"):
        await link.run(COUNT, ["bull:mail:"], [], patience=5)


async def test_what_has_no_key_may_go_anywhere(cluster: RedisCluster, linked: Linked) -> None:
    link = await linked.open(url_of(cluster))
    assert await link.read("PING") == "PONG"
    assert await link.run(ECHO, [], ["none"], patience=5) == "none"


async def test_a_node_that_moved_its_keys_says_where_to(
    cluster: RedisCluster, linked: Linked
) -> None:
    link = await linked.open(url_of(cluster))
    keys = [f"{tag}:a" for tag in tags()]
    owner = link._owner  # type: ignore[attr-defined]
    # As if each slot had just been given to the next node.
    places = [(HOST, node.port) for node in cluster.nodes]
    for slot, place in list(owner.items()):
        owner[slot] = places[(places.index(place) + 1) % 3]
    answers = await link.run_many([(COUNT, [key], []) for key in keys], patience=5)
    assert answers == ["1", "1", "1"]


async def test_a_slot_on_the_move_is_asked_for_at_both_ends(
    cluster: RedisCluster, linked: Linked
) -> None:
    link = await linked.open(url_of(cluster))
    key = f"{tags()[0]}:a"
    slot = slot_of(key)
    home = cluster.node_of(key)
    other = next(node for node in cluster.nodes if node is not home)
    other.call("CLUSTER", "SETSLOT", slot, "IMPORTING", home.call("CLUSTER", "MYID"))
    home.call("CLUSTER", "SETSLOT", slot, "MIGRATING", other.call("CLUSTER", "MYID"))
    try:
        assert await link.run(COUNT, [key], [], patience=5) == "1"
    finally:
        for node in (home, other):
            node.call("CLUSTER", "SETSLOT", slot, "STABLE")


async def test_a_node_of_a_cluster_by_itself_is_refused_when_it_redirects(
    cluster: RedisCluster, linked: Linked
) -> None:
    link = await linked.open(cluster.nodes[0].url)
    with pytest.raises(ConfigError, match=r"write redis\+cluster://"):
        await link.many([("GET", f"{tag}:a") for tag in tags()])


async def test_a_single_server_is_no_cluster(server: RedisServer, linked: Linked) -> None:
    with pytest.raises(ConfigError, match="the server is no cluster"):
        await linked.open(f"redis+cluster://{HOST}:{server.port}")


async def test_the_first_node_need_not_be_there(cluster: RedisCluster, linked: Linked) -> None:
    link = await linked.open(f"redis+cluster://{HOST}:1,{HOST}:{cluster.nodes[2].port}")
    assert await link.read("PING") == "PONG"
    assert link.address == Address.of(f"redis+cluster://{HOST}:1,{HOST}:{cluster.nodes[2].port}")


async def test_a_node_that_died_is_left_for_the_one_that_has_its_slots_now(
    linked: Linked,
) -> None:
    with RedisCluster() as cluster:
        link = await linked.open(url_of(cluster))
        keys = [f"{tag}:a" for tag in tags()]
        await link.run_many([(COUNT, [key], []) for key in keys], patience=5)
        gone, heir = cluster.node_of(keys[0]), cluster.node_of(keys[1])
        first, last = cluster.slots[cluster.nodes.index(gone)]
        gone.kill()
        call = asyncio.create_task(link.run(COUNT, [keys[0]], [], patience=15))
        await until(lambda: False in linked.told)
        # As a failover does: somebody else has the slots, and everybody is told.
        for node in cluster.nodes:
            if node is not gone:
                node.call("CLUSTER", "DELSLOTSRANGE", first, last)
        heir.call("CLUSTER", "ADDSLOTSRANGE", first, last)
        assert await call == "1"
