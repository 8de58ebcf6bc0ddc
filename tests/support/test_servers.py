"""The servers that the tests run against come up, break as asked, and end."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from tests.support.processes import lives
from tests.support.servers import (
    RedisCluster,
    RedisServer,
    SentinelSet,
    fresh_prefix,
    missing,
    shared_server,
    until,
)

ROOT = Path(__file__).parents[2]


def test_what_reached_the_append_only_file_survives_a_kill() -> None:
    with RedisServer(appendonly=True) as server:
        server.call("SET", "a", "1")
        before = server.pid
        server.restart(kill=True)

        assert server.call("GET", "a") == "1"
        assert server.pid != before


def test_a_server_keeps_nothing_unless_asked() -> None:
    with RedisServer() as server:
        server.call("SET", "a", "1")
        server.restart()

        assert server.call("GET", "a") is None


def test_a_paused_server_keeps_its_connections_and_answers_none() -> None:
    with RedisServer() as server, server.client(socket_timeout=0.2) as client:
        client.ping()
        server.pause()
        with pytest.raises(redis.TimeoutError):
            client.ping()
        server.resume()
        assert client.ping()


def test_a_paused_server_can_be_ended() -> None:
    with RedisServer() as server:
        server.pause()
        server.stop()

        assert not server.runs


def test_a_server_removes_its_folder() -> None:
    with RedisServer() as server:
        folder = server.folder
        assert folder.exists()

    assert not folder.exists()


def test_a_password_is_asked_for() -> None:
    with RedisServer(password="p@ss:w/ord") as server:
        with (
            server.client(password=None) as stranger,
            pytest.raises(redis.AuthenticationError),
        ):
            stranger.ping()
        with redis.Redis.from_url(server.url) as known:
            assert known.ping()


def test_users_have_their_rights() -> None:
    rule = "user worker on >secret ~bull:* +get +set"
    with (
        RedisServer(acl=[rule]) as server,
        redis.Redis.from_url(server.url_of("worker", "secret")) as worker,
    ):
        worker.set("bull:a", 1)
        with pytest.raises(redis.exceptions.NoPermissionError):
            worker.set("other", 1)


def test_tls_is_spoken_with_a_certificate_of_ours_only() -> None:
    with RedisServer(tls=True) as server:
        trusting = redis.Redis.from_url(server.url, ssl_ca_certs=str(server.authority_file))
        with trusting:
            assert trusting.ping()
        with redis.Redis.from_url(server.url) as doubting, pytest.raises(redis.ConnectionError):
            doubting.ping()


def test_a_unix_socket_answers() -> None:
    with (
        RedisServer(unix=True) as server,
        redis.Redis(unix_socket_path=str(server.socket)) as client,
    ):
        assert client.ping()


def test_a_process_has_one_shared_server(redis_server: RedisServer, redis_url: str) -> None:
    assert redis_server is shared_server()
    assert redis_url == redis_server.url


def test_prefixes_are_fresh(redis_prefix: str) -> None:
    assert len({redis_prefix, *(fresh_prefix() for _ in range(100))}) == 101
    assert fresh_prefix(tag=True).startswith("{")


def test_a_cluster_serves_every_slot() -> None:
    with RedisCluster() as cluster, redis.RedisCluster.from_url(cluster.url) as client:
        for n in range(100):
            client.set(f"key-{n}", n)

        assert sum(node.call("DBSIZE") for node in cluster.nodes) == 100
        assert all(node.call("DBSIZE") for node in cluster.nodes)
        assert cluster.node_of("key-7").call("GET", "key-7") == "7"


@pytest.mark.parametrize(("sentinels", "kill"), [(1, True), (3, False)])
def test_a_replica_takes_over(sentinels: int, kill: bool) -> None:
    with SentinelSet(sentinels=sentinels) as trio:
        old = trio.primary
        with old.client(single_connection_client=True) as client:
            client.set("a", "1")
            assert client.wait(1, 5000) == 1

        new = trio.failover(kill=kill)

        assert new is trio.primary
        assert new is not old
        assert new.call("GET", "a") == "1"
        new.call("SET", "a", "2")


@pytest.mark.chaos
def test_servers_end_when_the_test_run_is_killed() -> None:
    script = (
        "import time\n"
        "from tests.support.servers import RedisServer\n"
        "server = RedisServer().start()\n"
        "print(server.pid, server.folder, flush=True)\n"
        "time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    ) as run:
        assert run.stdout is not None
        pid, folder = run.stdout.readline().decode().split()
        os.kill(int(pid), 0)
        run.send_signal(signal.SIGKILL)

    until(lambda: not lives(int(pid)), what="the server to end")
    until(lambda: not Path(folder).exists(), what="its folder to go")


def test_a_missing_server_is_skipped_at_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="apt install"):
        missing("redis-server")


def test_a_missing_server_fails_where_everything_has_to_be_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CI", "1")
    with pytest.raises(pytest.fail.Exception, match="apt install"):
        missing("redis-server")
