"""A server that is too old is refused; one that may lose jobs, or be taken over, is told of."""

import pytest

from tests.support.links import Linked
from tests.support.servers import HOST, RedisServer, SentinelSet
from toril._store.redis.core.server_checks import (
    ServerInfo,
    inspect,
    judge_server,
    judge_syncing,
    read_info,
)
from toril._store.redis.net.address import Address
from toril.errors import ConfigError

ADDRESS = Address.of("redis://h")
SAFE = {"redis_version": "8.2.2", "maxmemory_policy": "noeviction", "aof_enabled": "1"}


def judged(saves: bool | None = True, **info: str) -> ServerInfo:
    return judge_server(ADDRESS, SAFE | info, saves)


def names(server: ServerInfo) -> list[str]:
    return [notice.name for notice in server.notices]


def test_a_server_of_today_that_keeps_jobs_gives_no_cause() -> None:
    assert names(judged()) == []


@pytest.mark.parametrize("version", ["6.1.9", "5.0.14", "2.8.24"])
def test_a_server_that_is_too_old_is_refused_with_what_to_do(version: str) -> None:
    with pytest.raises(ConfigError, match=f"is Redis {version}.*upgrade the server"):
        judged(redis_version=version)


@pytest.mark.parametrize(
    ("version", "better"),
    [
        ("6.2.19", "6.2.20"),
        ("7.0.15", "7.2.11"),
        ("7.2.10", "7.2.11"),
        ("7.4.1", "7.4.6"),
        ("8.0.3", "8.0.4"),
        ("8.2.1", "8.2.2"),
    ],
)
def test_a_redis_that_can_be_taken_over_is_told_with_the_release_that_cannot(
    version: str, better: str
) -> None:
    (notice,) = judged(redis_version=version).notices
    assert notice.name == "store.vulnerable"
    assert f"upgrade to {better} or later" in notice.message


@pytest.mark.parametrize(("version", "better"), [("7.2.8", "7.2.11"), ("8.1.3", "8.1.4")])
def test_a_valkey_that_can_be_taken_over_is_told(version: str, better: str) -> None:
    server = judged(redis_version="7.2.4", valkey_version=version)
    assert server.shown == f"Valkey {version}"
    assert f"upgrade to {better} or later" in server.notices[0].message


@pytest.mark.parametrize("version", ["6.2.20", "7.2.11", "7.4.6", "8.0.4", "8.2.2", "8.6.0"])
def test_a_redis_with_the_fixes_gives_no_cause(version: str) -> None:
    assert names(judged(redis_version=version)) == []


@pytest.mark.parametrize("version", ["7.2.11", "8.0.6", "8.1.4", "9.0.0"])
def test_a_valkey_with_the_fixes_gives_no_cause(version: str) -> None:
    assert names(judged(redis_version="7.2.4", valkey_version=version)) == []


def test_a_dragonfly_is_known_by_its_own_version() -> None:
    server = judged(redis_version="7.4.0", dragonfly_version="df-v1.25.1")
    assert (server.shown, names(server)) == ("Dragonfly 1.25.1", [])


def test_a_server_without_a_version_is_let_be() -> None:
    assert judge_server(ADDRESS, {}, None).version is None


def test_throwing_keys_away_is_told() -> None:
    (notice,) = judged(maxmemory_policy="allkeys-lru").notices
    assert notice.name == "store.evicts"
    assert "allkeys-lru" in notice.message


def test_writing_nothing_to_disk_is_told() -> None:
    assert names(judged(aof_enabled="0", saves=False)) == ["store.forgets"]


@pytest.mark.parametrize("saves", [True, None])
def test_snapshots_or_not_knowing_of_them_give_no_cause(saves: bool | None) -> None:
    assert names(judged(aof_enabled="0", saves=saves)) == []


@pytest.mark.parametrize("field", ["redis_mode", "server_mode"])
def test_a_node_of_a_cluster_and_a_sentinel_are_refused_with_the_form_to_write(field: str) -> None:
    with pytest.raises(ConfigError, match=r"write redis\+cluster://"):
        judged(**{field: "cluster"})
    with pytest.raises(ConfigError, match=r"write redis\+sentinel://"):
        judged(**{field: "sentinel"})


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"redis_version": "7.0.15"}, "is Redis 7.0.15, which has no WAITAOF"),
        ({"redis_version": "7.2.11", "aof_enabled": "0"}, "writes no append-only file"),
        ({"valkey_version": "8.1.4", "aof_enabled": "0"}, "writes no append-only file"),
    ],
)
def test_a_server_that_cannot_say_when_its_file_is_synced_is_refused(
    told: dict[str, str], why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        judge_syncing(ADDRESS, SAFE | told)


@pytest.mark.parametrize("told", [{"redis_version": "7.2.0"}, {"valkey_version": "7.2.5"}, {}])
def test_a_server_that_can_say_so_is_not(told: dict[str, str]) -> None:
    judge_syncing(ADDRESS, SAFE | told)


def test_info_is_read_line_by_line() -> None:
    text = "# Server\r\nredis_version:7.0.15\r\n\r\n# Memory\r\nused_memory_human:1:5M\r\n"
    assert read_info(text) == {"redis_version": "7.0.15", "used_memory_human": "1:5M"}


async def test_a_real_server_is_looked_at(linked: Linked) -> None:
    with RedisServer(maxmemory_policy="allkeys-lru", appendonly=True) as server:
        found = await inspect(await linked.open(server))
        version = ".".join(map(str, found.version or ()))
        assert f"{found.kind}_version:{version}" in server.call("INFO", "server").splitlines()
        assert "store.evicts" in names(found)
        assert "store.forgets" not in names(found)


async def test_a_real_server_that_keeps_nothing_is_told(
    server: RedisServer, linked: Linked
) -> None:
    assert "store.forgets" in names(await inspect(await linked.open(server)))


async def test_a_user_who_may_not_read_settings_is_no_hindrance(linked: Linked) -> None:
    acl = ["user bob on >hush ~* +@all -config", "user eve on >hush ~* +@all -@dangerous"]
    with RedisServer(acl=acl, maxmemory_policy="allkeys-lru") as server:
        bob = await inspect(await linked.open(server.url_of("bob", "hush")))
        assert "store.evicts" in names(bob)
        eve = await inspect(await linked.open(server.url_of("eve", "hush")))
        assert names(eve) == ["store.unchecked"]
        assert "ACL SETUSER eve +info" in eve.notices[0].message


async def test_a_sentinel_taken_for_a_server_is_refused(linked: Linked) -> None:
    with SentinelSet() as watched:
        (port,) = watched.ports
        link = await linked.open(f"redis://{HOST}:{port}")
        with pytest.raises(ConfigError, match=r"is a Sentinel.*redis\+sentinel"):
            await inspect(link)
