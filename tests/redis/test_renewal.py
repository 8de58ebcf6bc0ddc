"""Locks are renewed from a thread, over a connection of its own; faults become toril's errors."""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.redis.test_places import tags, url_of
from tests.support.links import Lua
from tests.support.proxy import LOSE_REPLY, FaultProxy
from tests.support.servers import HOST, RedisCluster, RedisServer, SentinelSet, fresh_prefix
from toril._model.record import Ref
from toril._model.report import WorkerInfo
from toril._store.redis.net.address import Address
from toril._store.redis.net.renewer import Held, RedisRenewer, Renewing
from toril.errors import ConfigError, StoreError, StoreUnavailable

EXTEND = Lua(
    """
    local kept = {}
    for i = 1, #KEYS do
      local mine = redis.call('GET', KEYS[i]) == ARGV[i + 1]
      kept[i] = mine and redis.call('PEXPIRE', KEYS[i], ARGV[1]) or 0
    end
    return kept
    """,
    name="renew",
)


def renewing(prefix: str, script: Lua = EXTEND) -> Renewing:
    def pack(held: Sequence[Held], lock_ms: int) -> tuple[list[str], list[str | int]]:
        return (
            [f"{prefix}:{ref.queue}:{ref.id}:lock" for ref, _ in held],
            [lock_ms, *[token for _, token in held]],
        )

    def unpack(reply: Any, held: Sequence[Held]) -> list[Ref]:
        return [ref for (ref, _), kept in zip(held, reply, strict=True) if not kept]

    return Renewing(
        script=script,
        pack=pack,
        unpack=unpack,
        base=lambda queue: f"{prefix}:{queue}:",
        wishes=lambda queue: f"{prefix}:{queue}:wishes",
        announce=lambda worker: [("SET", f"{prefix}:worker:{worker.id}", worker.active)],
        forget=lambda worker: [("DEL", f"{prefix}:worker:{worker}")],
    )


WORKER = WorkerInfo(
    id="w", name="w", host="h", pid=1, queues=("q",), concurrency=1, started_ms=0, seen_ms=0
)

Opener = Callable[..., RedisRenewer]


@pytest.fixture
def opened() -> Iterator[Opener]:
    made: list[RedisRenewer] = []

    def make(url: str, prefix: str, script: Lua = EXTEND) -> RedisRenewer:
        made.append(RedisRenewer(Address.of(url), renewing(prefix, script)))
        return made[-1]

    yield make
    for renewer in made:
        try:
            renewer.close()
        except StoreError:
            continue


def test_locks_that_are_held_are_extended_and_the_others_are_lost(
    server: RedisServer, opened: Opener
) -> None:
    prefix = fresh_prefix()
    server.call("SET", f"{prefix}:q:1:lock", "mine", "PX", 1000)
    server.call("SET", f"{prefix}:q:2:lock", "theirs", "PX", 1000)
    renewer = opened(server.url, prefix)
    held = [(Ref("q", "1"), "mine"), (Ref("q", "2"), "mine"), (Ref("q", "3"), "mine")]
    assert renewer.renew(held, 30_000) == [Ref("q", "2"), Ref("q", "3")]
    assert server.call("PTTL", f"{prefix}:q:1:lock") > 20_000


def test_nothing_to_renew_still_announces_the_worker(server: RedisServer, opened: Opener) -> None:
    prefix = fresh_prefix()
    renewer = opened(server.url, prefix)
    assert renewer.renew([], 30_000, WORKER) == []
    assert server.call("GET", f"{prefix}:worker:w") == "0"


def test_who_is_to_end_is_told_by_its_queue_and_by_the_job_itself(
    server: RedisServer, opened: Opener
) -> None:
    prefix = fresh_prefix()
    server.call("HSET", f"{prefix}:q:wishes", "1", "not needed", "2", "of a job of that id before")
    server.call("HSET", f"{prefix}:q:1", "toril:cancel", "not needed")
    server.call("HSET", f"{prefix}:q:2", "name", "another")
    held = [(Ref(queue, id), "t") for queue, id in (("q", "1"), ("q", "2"), ("q", "3"), ("p", "1"))]
    assert opened(server.url, prefix).asked(held) == {Ref("q", "1"): "not needed"}


def test_where_nobody_is_to_end_one_command_says_so(proxy: FaultProxy, opened: Opener) -> None:
    renewer = opened(f"redis://{HOST}:{proxy.port}", fresh_prefix())
    held = [(Ref(queue, id), "t") for queue in ("q", "p") for id in ("1", "2")]
    renewer.asked(held)
    sent = len(proxy.sent)
    assert renewer.asked(held) == {}
    assert [command.name for command in proxy.sent[sent:]] == ["EXISTS"]


def test_closing_takes_the_worker_off_the_list(server: RedisServer, opened: Opener) -> None:
    prefix = fresh_prefix()
    renewer = opened(server.url, prefix)
    renewer.renew([], 30_000, WORKER)
    renewer.close()
    assert server.call("EXISTS", f"{prefix}:worker:w") == 0


def test_a_renewer_that_was_never_used_closes(server: RedisServer, opened: Opener) -> None:
    opened(server.url, "unused").close()


def test_a_server_that_is_away_is_told(proxy: FaultProxy, opened: Opener) -> None:
    proxy.refuse()
    with pytest.raises(StoreUnavailable):
        opened(f"redis://{HOST}:{proxy.port}", "p").renew([(Ref("q", "1"), "t")], 30_000)


def test_a_renewal_is_sent_once_and_the_next_one_connects_anew(
    proxy: FaultProxy, opened: Opener
) -> None:
    prefix = fresh_prefix()
    renewer = opened(f"redis://{HOST}:{proxy.port}", prefix)
    held = [(Ref("q", "1"), "t")]
    renewer.renew(held, 30_000)
    sent = len(proxy.sent)
    proxy.trap("EVALSHA", LOSE_REPLY)
    with pytest.raises(StoreUnavailable):
        renewer.renew(held, 30_000)
    assert proxy.count(sent)["EVALSHA"] == 1
    assert renewer.renew(held, 30_000) == [Ref("q", "1")]


def test_a_server_that_does_not_answer_is_not_waited_for_longer_than_5_s(
    proxy: FaultProxy, opened: Opener
) -> None:
    renewer = opened(f"redis://{HOST}:{proxy.port}", fresh_prefix())
    renewer.renew([], 30_000, WORKER)
    proxy.half_open()
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        renewer.renew([(Ref("q", "1"), "t")], 30_000)
    assert 4 < time.monotonic() - began < 7


def test_an_error_of_the_script_says_where(server: RedisServer, opened: Opener) -> None:
    broken = Lua("local a\nreturn a.b", name="renew")
    with pytest.raises(StoreError, match=r"renew\.lua:2"):
        opened(server.url, "p", broken).renew([(Ref("q", "1"), "t")], 30_000)


@pytest.fixture(scope="module")
def safe_server() -> Iterator[RedisServer]:
    acl = ["user al@ice on >p@ss/w:r#d ~* +@all"]
    with RedisServer(tls=True, unix=True, acl=acl, databases=4) as server:
        yield server


def test_tls_and_a_password_are_used(safe_server: RedisServer, opened: Opener) -> None:
    url = f"{safe_server.url_of('al@ice', 'p@ss/w:r#d')}?ssl_ca_certs={safe_server.authority_file}"
    assert opened(url, "p").renew([(Ref("q", "1"), "t")], 30_000) == [Ref("q", "1")]


def test_a_wrong_password_is_a_setting(safe_server: RedisServer, opened: Opener) -> None:
    url = f"{safe_server.url_of('al@ice', 'wrong')}?ssl_ca_certs={safe_server.authority_file}"
    with pytest.raises(ConfigError, match="user 'al@ice'"):
        opened(url, "p").renew([(Ref("q", "1"), "t")], 30_000)


def test_a_socket_and_a_database_are_used(safe_server: RedisServer, opened: Opener) -> None:
    renewer = opened(f"unix://{safe_server.socket}?db=3", "p")
    renewer.renew([], 30_000, WORKER)
    with safe_server.client(db=3) as client:
        assert client.get("p:worker:w") == "0"


def test_the_sentinels_are_asked(opened: Opener) -> None:
    with SentinelSet() as watched:
        (port,) = watched.ports
        renewer = opened(f"redis+sentinel://{HOST}:{port}/{watched.NAME}", "p")
        renewer.renew([], 30_000, WORKER)
        assert watched.primary.call("GET", "p:worker:w") == "0"


def test_in_a_cluster_each_queue_is_renewed_where_it_is(opened: Opener) -> None:
    with RedisCluster() as cluster:
        queues = tags()
        held = []
        for queue in queues:
            cluster.node_of(queue).call("SET", f"p:{queue}:1:lock", "t", "PX", 1000)
            held.append((Ref(queue, "1"), "t"))
        gone = (Ref(queues[1], "2"), "t")
        renewer = opened(url_of(cluster), "p")
        assert renewer.renew([*held, gone], 30_000, WORKER) == [gone[0]]


def test_in_a_cluster_each_queue_is_asked_where_it_is(opened: Opener) -> None:
    with RedisCluster() as cluster:
        queues = tags()
        for queue in queues[1:]:
            cluster.node_of(queue).call("HSET", f"p:{queue}:wishes", "1", "")
            cluster.node_of(queue).call("HSET", f"p:{queue}:1", "toril:cancel", "")
        held = [(Ref(queue, "1"), "t") for queue in queues]
        asked = opened(url_of(cluster), "p").asked(held)
        assert asked == {Ref(queue, "1"): "" for queue in queues[1:]}
