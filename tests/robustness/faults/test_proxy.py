"""The proxy does what its faults say, seen with a plain Redis client."""

import asyncio
import time
from collections.abc import Iterator

import pytest
import redis
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.robustness.faults.resp import Frames, words_of
from tests.support.proxy import LOSE_REPLY, LOSE_REQUEST, SILENCE, FaultProxy, answer, late, tear
from tests.support.servers import HOST, RedisServer, shared_server, until


@pytest.fixture
def server() -> RedisServer:
    return shared_server()


@pytest.fixture
def key(server: RedisServer) -> Iterator[str]:
    yield "proxy:key"
    server.call("DEL", "proxy:key")


def client_of(proxy: FaultProxy, *, patience: float = 5.0) -> Redis:
    """Give a client that tries everything once."""
    return Redis(
        host=HOST,
        port=proxy.port,
        socket_timeout=patience,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


@pytest.mark.parametrize("protocol", [2, 3])
async def test_commands_and_replies_pass_and_are_counted(
    proxy: FaultProxy, key: str, protocol: int
) -> None:
    async with Redis(host=HOST, port=proxy.port, protocol=protocol) as client:
        await client.set(key, b"\r\n$3\r\n" + b"x" * 100_000)
        before = len(proxy.sent)
        big = await client.get(key)
        await client.delete(key)
        await client.hset(key, mapping={"a": "1", "b": "2"})
        fields = await client.hgetall(key)

    assert big == b"\r\n$3\r\n" + b"x" * 100_000
    assert fields == {b"a": b"1", b"b": b"2"}
    assert proxy.count(before) == {"GET": 1, "DEL": 1, "HSET": 1, "HGETALL": 1}
    assert proxy.connections == 1


async def test_a_pipeline_is_seen_command_by_command(proxy: FaultProxy, key: str) -> None:
    async with client_of(proxy) as client:
        await client.ping()
        before = len(proxy.sent)
        async with client.pipeline(transaction=True) as pipe:
            pipe.incr(key).incr(key)
            assert await pipe.execute() == [1, 2]

    assert [each.name for each in proxy.sent[before:]] == ["MULTI", "INCRBY", "INCRBY", "EXEC"]


async def test_a_lost_request_never_reaches_the_server(
    proxy: FaultProxy, server: RedisServer, key: str
) -> None:
    async with client_of(proxy) as client:
        trap = proxy.trap("INCRBY", LOSE_REQUEST)
        with pytest.raises(redis.ConnectionError):
            await client.incr(key)

    assert trap.hits == 1
    assert server.call("GET", key) is None


async def test_a_lost_reply_was_carried_out(
    proxy: FaultProxy, server: RedisServer, key: str
) -> None:
    async with client_of(proxy) as client:
        proxy.trap("INCRBY", LOSE_REPLY)
        with pytest.raises(redis.ConnectionError):
            await client.incr(key)

        assert server.call("GET", key) == "1"
        assert await client.incr(key) == 2


async def test_a_lost_reply_comes_after_those_before_it(proxy: FaultProxy, key: str) -> None:
    async with client_of(proxy) as client:
        await client.ping()
        proxy.trap("GETDEL", LOSE_REPLY)
        reader, writer = await asyncio.open_connection(HOST, proxy.port)
        writer.write(b"INCR %b\r\nINCR %b\r\nGETDEL %b\r\n" % ((key.encode(),) * 3))
        assert await reader.read() == b":1\r\n:2\r\n"
        writer.close()
        await writer.wait_closed()

        assert await client.exists(key) == 0


@pytest.mark.parametrize("size", [1, 20, 33])
async def test_a_torn_command_is_not_carried_out(
    proxy: FaultProxy, server: RedisServer, key: str, size: int
) -> None:
    async with client_of(proxy) as client:
        proxy.trap("SET", tear(size))
        with pytest.raises(redis.ConnectionError):
            await client.set(key, "x" * 100)

    assert server.call("GET", key) is None


async def test_a_reply_is_put_in_the_servers_place(
    proxy: FaultProxy, server: RedisServer, key: str
) -> None:
    async with client_of(proxy) as client:
        trap = proxy.trap(
            "INCRBY", answer("-READONLY You can't write against a read only replica.")
        )
        with pytest.raises(redis.ReadOnlyError):
            await client.incr(key)
        assert server.call("GET", key) is None
        assert await client.incr(key) == 1

    assert trap.hits == 1


async def test_a_trap_springs_as_often_as_it_is_told(proxy: FaultProxy, key: str) -> None:
    async with client_of(proxy) as client:
        trap = proxy.trap("INCRBY", answer("-BUSY Redis is busy running a script."), times=2)
        for _ in range(2):
            with pytest.raises(redis.ResponseError, match="busy"):
                await client.incr(key)
        assert await client.incr(key) == 1

    assert trap.hits == 2


async def test_a_trap_may_pick_its_command(proxy: FaultProxy, key: str) -> None:
    async with client_of(proxy) as client:
        proxy.trap(lambda sent: sent.words == ("GET", key), answer("+mine"))
        assert await client.get("proxy:other") is None
        assert await client.get(key) == "mine"


async def test_a_half_open_connection_is_silent_and_new_ones_work(proxy: FaultProxy) -> None:
    async with client_of(proxy, patience=0.2) as client:
        await client.ping()
        proxy.half_open()
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        assert await client.ping()

    assert proxy.connections == 2


async def test_a_silent_connection_keeps_the_servers_side(
    proxy: FaultProxy, server: RedisServer
) -> None:
    before = len(server.call("CLIENT", "LIST").splitlines())
    async with client_of(proxy, patience=0.2) as client:
        await client.ping()
        proxy.half_open()
        with pytest.raises(redis.TimeoutError):
            await client.ping()

    until(lambda: proxy.open == 0, within=5)
    assert len(server.call("CLIENT", "LIST").splitlines()) == before + 1


async def test_silence_begins_behind_a_command_that_was_done(
    proxy: FaultProxy, server: RedisServer, key: str
) -> None:
    async with client_of(proxy, patience=0.2) as client:
        proxy.trap("INCRBY", SILENCE)
        with pytest.raises(redis.TimeoutError):
            await client.incr(key)

    assert server.call("GET", key) == "1"


async def test_a_black_hole_swallows_new_connections_too(proxy: FaultProxy) -> None:
    async with client_of(proxy, patience=0.2) as client:
        proxy.black_hole()
        with pytest.raises(redis.TimeoutError):
            await client.ping()
        proxy.heal()
        assert await client.ping()


async def test_new_connections_can_be_refused_while_old_ones_go_on(proxy: FaultProxy) -> None:
    async with client_of(proxy) as client, client_of(proxy) as late_comer:
        await client.ping()
        proxy.refuse()
        assert await client.ping()
        with pytest.raises(redis.ConnectionError, match="onnect call failed"):
            await late_comer.ping()
        proxy.heal()
        assert await late_comer.ping()


@pytest.mark.parametrize("how", ["reset", "hang_up"])
async def test_connections_can_be_ended(proxy: FaultProxy, how: str) -> None:
    async with client_of(proxy) as client:
        blocked = asyncio.create_task(client.blpop(["proxy:nothing"], timeout=5))
        await asyncio.to_thread(until, lambda: "BLPOP" in proxy.count())
        getattr(proxy, how)()
        with pytest.raises(redis.ConnectionError):
            await blocked


async def test_a_server_that_is_down_refuses_and_comes_back(proxy: FaultProxy) -> None:
    async with client_of(proxy) as client:
        await client.ping()
        proxy.go_down()
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                await client.ping()
        proxy.heal()
        assert await client.ping()


async def test_a_delay_holds_every_command(proxy: FaultProxy) -> None:
    async with client_of(proxy) as client:
        await client.ping()
        proxy.delay(0.1)
        begin = time.monotonic()
        await client.ping()
        assert time.monotonic() - begin >= 0.1


async def test_one_reply_may_be_late(proxy: FaultProxy, key: str) -> None:
    async with client_of(proxy) as client:
        proxy.trap("INCRBY", late(0.1))
        begin = time.monotonic()
        assert await client.incr(key) == 1
        assert time.monotonic() - begin >= 0.1


async def test_bytes_may_come_one_by_one(proxy: FaultProxy) -> None:
    async with client_of(proxy) as client:
        await client.ping()
        proxy.drip(200)
        begin = time.monotonic()
        await client.echo("x" * 10)
        # 31 bytes to the server, 17 back: 5 ms each
        assert time.monotonic() - begin >= 0.2


def test_frames_end_where_they_end() -> None:
    stream = (
        b"*2\r\n$4\r\nECHO\r\n$4\r\n\r\n$1\r\n+OK\r\n$-1\r\n*-1\r\n*0\r\n:12\r\n-ERR no\r\n_\r\n#t\r\n,1.5\r\n"
        b"(123\r\n=5\r\ntxt:a\r\n!3\r\nERR\r\n%1\r\n+a\r\n*2\r\n:1\r\n:2\r\n~1\r\n+s\r\n>2\r\n+p\r\n+q\r\n"
        b"|1\r\n+k\r\n+v\r\n:7\r\nPING x\r\n"
    )
    whole = Frames().feed(stream)
    split = Frames()
    bytewise = [frame for byte in stream for frame in split.feed(bytes([byte]))]

    assert b"".join(whole) == stream
    assert len(whole) == 18
    assert bytewise == whole
    assert words_of(whole[0]) == ("ECHO", "\r\n$1")
    assert words_of(whole[-1]) == ("PING", "x")
