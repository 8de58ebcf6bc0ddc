"""One connection is shared by many callers, and each gets the reply to their own call."""

import asyncio
import random
import time

import pytest

from tests.support.links import until
from tests.support.proxy import FaultProxy, answer
from tests.support.servers import RedisServer, fresh_prefix
from toril._store.redis.net.address import Address
from toril._store.redis.net.dial import dial
from toril._store.redis.net.resp import Connection, ConnectionLost, ErrorReply


async def connect(where: RedisServer | FaultProxy, deadline: float = 5.0) -> Connection:
    return await dial(Address.of(f"redis://127.0.0.1:{where.port}"), deadline=deadline)


@pytest.fixture
def text() -> str:
    return fresh_prefix()


async def test_a_reply_comes_as_text_numbers_and_lists(server: RedisServer, text: str) -> None:
    connection = await connect(server)
    assert await connection.call("ECHO", "naïve €") == "naïve €"
    assert await connection.call("RPUSH", text, 1, 2.5) == 2
    assert await connection.call("LRANGE", text, 0, -1) == ["1", "2.5"]
    assert None is await connection.call("GET", f"{text}:none")
    connection.close()


async def test_bytes_that_are_no_text_are_marked(server: RedisServer) -> None:
    connection = await connect(server)
    assert await connection.call("ECHO", b"a\xffb") == "a\ufffdb"
    connection.close()


async def test_an_error_is_a_reply_like_others(server: RedisServer) -> None:
    connection = await connect(server)
    first, second = connection.call("NO-SUCH"), connection.call("ECHO", "after")
    assert isinstance(await first, ErrorReply)
    assert await second == "after"
    connection.close()


async def test_who_asks_gets_the_error_raised(server: RedisServer) -> None:
    connection = await connect(server)
    with pytest.raises(ErrorReply, match="unknown command"):
        await connection.ask("NO-SUCH")
    connection.close()


async def test_the_first_call_leaves_at_once_and_others_of_its_turn_together(
    proxy: FaultProxy,
) -> None:
    connection = await connect(proxy)
    writes = []
    transport = connection._transport
    assert transport is not None

    class Counted:
        def write(self, data: bytes) -> None:
            writes.append(data)
            transport.write(data)

        def close(self) -> None:
            transport.close()

    connection._transport = Counted()  # type: ignore[assignment]
    calls = [connection.call("ECHO", each) for each in range(50)]
    assert len(writes) == 1
    replies = await asyncio.gather(*calls)
    assert ([str(each) for each in range(50)], 2) == (replies, len(writes))
    connection.close()


async def test_a_thousand_cancelled_calls_leave_no_reply_to_others(server: RedisServer) -> None:
    connection = await connect(server)
    chance = random.Random(7)

    async def call(number: int) -> bool:
        return str(number) == await connection.call("ECHO", number)

    right = 0
    for batch in range(100):
        tasks = [asyncio.create_task(call(batch * 20 + each)) for each in range(20)]
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        gone = chance.sample(tasks, 10)
        for task in gone:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        right += sum(each is True for each in answers)
        assert not [each for each in answers if each is False]
    assert right >= 1000
    assert connection.lost is None
    connection.close()


async def test_a_call_that_is_not_answered_ends_the_connection(proxy: FaultProxy) -> None:
    connection = await connect(proxy, deadline=0.3)
    proxy.half_open()
    first, second = connection.call("PING"), connection.call("PING")
    for reply in (await first, await second):
        assert isinstance(reply, ConnectionLost)
        assert reply.sent
    assert connection.lost == "no answer for 0.3 s"


async def test_a_loop_that_stood_still_does_not_blame_the_server(server: RedisServer) -> None:
    connection = await connect(server, deadline=0.2)
    reply = connection.call("ECHO", "here")
    await asyncio.sleep(0.02)
    time.sleep(0.4)  # noqa: ASYNC251 - what user code does
    assert await reply == "here"
    connection.close()


async def test_an_idle_connection_is_not_dead(server: RedisServer) -> None:
    connection = await connect(server, deadline=0.1)
    await connection.call("PING")
    await asyncio.sleep(0.3)
    assert await connection.call("PING") == "PONG"
    connection.close()


async def test_everybody_in_flight_learns_that_the_server_went(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    lost: list[str] = []
    connection.on_lost = lost.append
    proxy.half_open()
    calls = [connection.call("PING") for _ in range(10)]
    await asyncio.sleep(0)
    proxy.reset()
    assert all(isinstance(each, ConnectionLost) for each in await asyncio.gather(*calls))
    assert len(lost) == 1


async def test_a_call_on_a_lost_connection_was_surely_not_sent(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    proxy.reset()
    await until(lambda: connection.lost is not None)
    reply = await connection.call("PING")
    assert isinstance(reply, ConnectionLost)
    assert not reply.sent


async def test_a_reply_that_nobody_asked_for_ends_the_connection(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    proxy.trap("PING", answer("+PONG\r\n+PONG"))
    await connection.call("PING")
    await until(lambda: connection.lost is not None)
    assert "nobody asked for" in str(connection.lost)


async def test_nonsense_ends_the_connection(proxy: FaultProxy) -> None:
    connection = await connect(proxy)
    proxy.trap("PING", answer("HTTP/1.1 400 Bad Request"))
    assert isinstance(await connection.call("PING"), ConnectionLost)


async def test_a_closed_connection_says_so(server: RedisServer) -> None:
    connection = await connect(server)
    connection.close()
    assert "it was closed" in str(await connection.call("PING"))
