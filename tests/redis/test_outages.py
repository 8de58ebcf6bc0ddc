"""Servers restart, hang and throw clients out; a link works again soon after, and tells so."""

import asyncio
import time

import pytest

from tests.support.links import COUNT, Linked, until
from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer


@pytest.mark.parametrize("kill", [False, True], ids=["stopped", "killed"])
async def test_a_link_survives_a_restart(linked: Linked, key: str, kill: bool) -> None:
    with RedisServer(appendonly=True, appendfsync="always") as server:
        link = await linked.open(server)
        assert await link.run(COUNT, [key], [], patience=5) == "1"
        restarting = asyncio.create_task(asyncio.to_thread(server.restart, kill=kill))
        answers = []
        while not restarting.done():
            answers.append(await link.run(COUNT, [key], [], patience=15))
        answers.append(await link.run(COUNT, [key], [], patience=15))
        assert [str(2 + each) for each in range(len(answers))] == answers
        assert linked.told == [False, True]


async def test_a_lost_line_is_told_once_and_so_is_its_return(
    own_server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(own_server)
    assert linked.told == []
    own_server.kill()
    reads = [asyncio.create_task(link.read("ECHO", each)) for each in range(10)]
    await until(lambda: linked.told)
    await asyncio.sleep(0.2)
    assert linked.told == [False]
    await asyncio.to_thread(own_server.start)
    assert [str(each) for each in range(10)] == await asyncio.gather(*reads)
    assert linked.told == [False, True]


async def test_attempts_to_reconnect_are_shared_and_paced(
    proxy: FaultProxy, linked: Linked
) -> None:
    link = await linked.open(proxy)
    proxy.black_hole()
    proxy.reset()
    reads = [asyncio.create_task(link.read("ECHO", each)) for each in range(50)]
    await asyncio.sleep(0.3)
    proxy.heal()
    proxy.reset()
    assert [str(each) for each in range(50)] == await asyncio.gather(*reads)
    assert proxy.connections <= 5


async def test_nobody_reconnects_unless_somebody_asks(proxy: FaultProxy, linked: Linked) -> None:
    await linked.open(proxy)
    proxy.hang_up()
    await until(lambda: linked.told)
    await asyncio.sleep(0.2)
    assert proxy.connections == 1


async def test_a_client_that_was_thrown_out_comes_back(
    own_server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(own_server)
    for number in range(1, 6):
        own_server.call("CLIENT", "KILL", "TYPE", "normal")
        assert str(number) == await link.run(COUNT, [key], [], patience=5)


async def test_a_paused_server_is_waited_for(
    own_server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(own_server)
    own_server.call("CLIENT", "PAUSE", 400)
    began = time.monotonic()
    assert await link.run(COUNT, [key], [], patience=5) == "1"
    assert time.monotonic() - began > 0.2
    assert linked.told == []


async def test_a_server_that_stands_still_is_left_and_found_again(
    own_server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(own_server, timeout=0.3)
    await link.run(COUNT, [key], [], patience=5)
    own_server.pause()
    calls = [asyncio.create_task(link.run(COUNT, [key], [], patience=10)) for _ in range(5)]
    await until(lambda: False in linked.told)
    own_server.resume()
    # What stood in the old connection's buffers is carried out too, once.
    assert sorted(await asyncio.gather(*calls)) == ["2", "3", "4", "5", "6"]
    await asyncio.sleep(0.1)
    assert await link.read("GET", key) == "6"


async def test_a_half_open_connection_is_replaced(proxy: FaultProxy, linked: Linked) -> None:
    link = await linked.open(proxy, timeout=0.3)
    proxy.half_open()
    began = time.monotonic()
    assert await link.read("ECHO", "here") == "here"
    assert time.monotonic() - began < 2


async def test_a_thousand_cancelled_reads_leave_no_reply_to_others(
    server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(server)

    async def read(number: int) -> bool:
        return str(number) == await link.read("ECHO", number)

    wrong = right = 0
    for batch in range(50):
        tasks = [asyncio.create_task(read(batch * 40 + each)) for each in range(40)]
        for _ in range(batch % 4):
            await asyncio.sleep(0)
        for task in tasks[::2]:
            task.cancel()
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        right += answers.count(True)
        wrong += answers.count(False)
    assert (wrong, right >= 1000) == (0, True)


async def test_cancelling_who_waits_for_a_connection_does_not_end_the_attempt(
    proxy: FaultProxy, linked: Linked
) -> None:
    link = await linked.open(proxy)
    proxy.go_down()
    await until(lambda: linked.told)
    first, second = (asyncio.create_task(link.read("ECHO", each)) for each in "12")
    await asyncio.sleep(0.05)
    first.cancel()
    proxy.heal()
    assert await second == "2"
