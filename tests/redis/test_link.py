"""Reads are tried again while a fault passes, and changes are made once however often sent."""

import asyncio
import time
from collections.abc import Awaitable, Callable

import pytest
import redis.asyncio

from tests.support.links import COUNT, ECHO, WHO, Linked, Lua
from tests.support.proxy import LOSE_REPLY, LOSE_REQUEST, FaultProxy, Sent, answer, late, tear
from tests.support.servers import HOST, RedisServer, free_port
from toril._store.redis.net import dial as dialling
from toril.errors import (
    ConfigError,
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreUnavailable,
    Unconfirmed,
)


def is_script(sent: Sent) -> bool:
    return sent.name in ("EVAL", "EVALSHA")


# Reads.


async def test_a_read_gives_what_the_server_says(
    server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(server)
    server.call("SET", key, "1")
    assert await link.read("GET", key) == "1"


async def test_many_reads_share_one_trip(proxy: FaultProxy, linked: Linked, key: str) -> None:
    link = await linked.open(proxy)
    assert await link.many([("ECHO", "a"), ("INCR", key), ("GET", "none")]) == ["a", 1, None]
    assert proxy.connections == 1


@pytest.mark.parametrize("fault", [LOSE_REQUEST, LOSE_REPLY, tear(5), answer("-LOADING x")])
async def test_a_read_is_sent_again(proxy: FaultProxy, linked: Linked, fault: object) -> None:
    link = await linked.open(proxy)
    trap = proxy.trap("ECHO", fault)  # type: ignore[arg-type]
    assert (await link.read("ECHO", "here"), trap.hits) == ("here", 1)


async def test_one_of_many_reads_is_sent_again(proxy: FaultProxy, linked: Linked) -> None:
    link = await linked.open(proxy)
    proxy.trap(lambda sent: sent.words[-1] == "2", answer("-BUSY x"))
    assert await link.many([("ECHO", each) for each in "123"]) == ["1", "2", "3"]


@pytest.mark.parametrize("word", ["READONLY", "MASTERDOWN"])
async def test_a_replica_is_left_for_a_new_connection(
    proxy: FaultProxy, linked: Linked, word: str
) -> None:
    link = await linked.open(proxy)
    proxy.trap("ECHO", answer(f"-{word} x"))
    assert (await link.read("ECHO", "here"), proxy.connections) == ("here", 2)


async def test_a_read_that_never_succeeds_says_why(proxy: FaultProxy, linked: Linked) -> None:
    link = await linked.open(proxy, patience=0.2)
    proxy.trap("ECHO", answer("-LOADING Redis is loading"), times=1000)
    with pytest.raises(StoreUnavailable, match="still loading its data"):
        await link.read("ECHO", "here")


async def test_a_fault_that_does_not_pass_is_raised_at_once(
    proxy: FaultProxy, linked: Linked
) -> None:
    link = await linked.open(proxy)
    trap = proxy.trap("ECHO", answer("-NOPERM this user cannot run the 'echo' command"))
    with pytest.raises(ConfigError):
        await link.read("ECHO", "here")
    assert trap.hits == 1


async def test_a_read_waits_no_longer_than_its_patience(proxy: FaultProxy, linked: Linked) -> None:
    link = await linked.open(proxy, patience=0.2)
    proxy.trap("ECHO", late(3))
    began = time.monotonic()
    with pytest.raises(StoreUnavailable):
        await link.read("ECHO", "here")
    assert time.monotonic() - began < 1
    # It was this call that ran out of time: nothing says that the connection is bad.
    assert proxy.connections == 1


# Scripts.


async def test_a_script_that_the_server_does_not_know_is_sent_whole(
    proxy: FaultProxy, linked: Linked, key: str
) -> None:
    link = await linked.open(proxy)
    new = Lua(f"return '{key}'")
    assert key == await link.run(new, [], [], patience=5)
    assert key == await link.run(new, [], [], patience=5)
    assert (proxy.count()["EVALSHA"], proxy.count()["EVAL"]) == (2, 1)


async def test_a_flushed_script_is_sent_again(
    own_server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(own_server)
    await link.run(COUNT, [key], [], patience=5)
    own_server.call("SCRIPT", "FLUSH")
    assert await link.run(COUNT, [key], [], patience=5) == "2"


async def test_a_script_is_given_its_keys_and_arguments(
    server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(server)
    both = Lua("return {KEYS[1], KEYS[2], ARGV[1], ARGV[2]}")
    assert [key, "k", "1", "ü"] == await link.run(both, [key, "k"], [1, "ü"], patience=5)


@pytest.mark.parametrize(
    "fault",
    [LOSE_REQUEST, LOSE_REPLY, tear(30), answer("-BUSY x"), answer("-READONLY x")],
    ids=["request lost", "reply lost", "torn", "busy", "read only"],
)
async def test_a_change_is_made_once(
    proxy: FaultProxy, linked: Linked, key: str, fault: object
) -> None:
    link = await linked.open(proxy)
    await link.run(COUNT, [key], [], patience=5)
    trap = proxy.trap(is_script, fault, times=3)  # type: ignore[arg-type]
    assert (await link.run(COUNT, [key], [], patience=10), trap.hits) == ("2", 3)
    assert await link.read("GET", key) == "2"


async def test_many_changes_at_once_are_each_made_once(
    proxy: FaultProxy, linked: Linked, key: str
) -> None:
    link = await linked.open(proxy)
    proxy.trap(is_script, LOSE_REPLY, times=5)
    calls = [(COUNT, [key], [])] * 40
    answers = await link.run_many(calls, patience=10)
    assert sorted(map(str, range(1, 41))) == sorted(map(str, answers))
    assert await link.read("GET", key) == "40"


async def test_a_change_without_an_answer_is_unconfirmed(
    proxy: FaultProxy, linked: Linked, key: str
) -> None:
    link = await linked.open(proxy)
    proxy.trap(is_script, LOSE_REPLY, times=1000)
    with pytest.raises(Unconfirmed, match="it may or may not have been carried out"):
        await link.run(COUNT, [key], [], patience=0.3)


async def test_a_change_in_flight_when_patience_ends_is_unconfirmed(
    proxy: FaultProxy, linked: Linked, key: str
) -> None:
    link = await linked.open(proxy)
    proxy.trap(is_script, late(3))
    with pytest.raises(Unconfirmed):
        await link.run(COUNT, [key], [], patience=0.2)


async def test_a_change_that_was_refused_every_time_was_surely_not_made(
    proxy: FaultProxy, linked: Linked, key: str
) -> None:
    link = await linked.open(proxy)
    proxy.trap(is_script, answer("-BUSY Redis is busy running a script"), times=1000)
    # The pauses grow: hardly ever is an answer under way when the patience ends.
    with pytest.raises(StoreUnavailable, match="a script keeps the server busy"):
        await link.run(COUNT, [key], [], patience=1.5)


async def test_a_change_that_was_never_sent_was_surely_not_made(
    proxy: FaultProxy, linked: Linked, key: str
) -> None:
    link = await linked.open(proxy)
    proxy.go_down()
    await asyncio.sleep(0.05)
    with pytest.raises(StoreUnavailable):
        await link.run(COUNT, [key], [], patience=0.3)


async def test_what_stands_in_one_answers_place_is_its_own_error(
    server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(server)
    broken = Lua("return nothing.here", name="broken")
    first, second = await link.run_many([(broken, [], []), (ECHO, [], ["ok"])], patience=5)
    assert isinstance(first, StoreError)
    assert second == "ok"


async def test_an_error_of_a_script_says_where_it_is(server: RedisServer, linked: Linked) -> None:
    link = await linked.open(server)
    with pytest.raises(StoreError, match=r"broken\.lua:2"):
        await link.run(Lua("local a\nreturn a.b", name="broken"), [], [], patience=5)


async def test_a_key_of_another_type_is_damage(
    server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(server)
    server.call("LPUSH", key, "x")
    with pytest.raises(StoreCorrupt, match=key):
        await link.run(COUNT, [key], [], patience=5)


async def test_a_full_server_says_so_at_once(
    own_server: RedisServer, linked: Linked, key: str
) -> None:
    link = await linked.open(own_server)
    own_server.call("CONFIG", "SET", "maxmemory", 1)
    began = time.monotonic()
    with pytest.raises(StoreFull, match="maxmemory"):
        await link.run(COUNT, [key], [], patience=5)
    assert time.monotonic() - began < 1


async def test_a_server_that_runs_a_foreign_script_is_waited_for(
    own_server: RedisServer, linked: Linked, key: str
) -> None:
    own_server.call("CONFIG", "SET", "busy-reply-threshold", 20)
    link = await linked.open(own_server)
    spin = asyncio.create_task(
        asyncio.to_thread(
            own_server.call,
            "EVAL",
            "local t = redis.call('TIME') repeat local n = redis.call('TIME') "
            "until (n[1] - t[1]) * 1000000 + n[2] - t[2] > 300000 return 1",
            0,
        )
    )
    await asyncio.sleep(0.1)
    assert await link.run(COUNT, [key], [], patience=5) == "1"
    await spin


# Who calls.


async def test_calls_at_once_come_from_different_callers(
    server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(server)
    answers = await asyncio.gather(*(link.run(WHO, [], [], patience=5) for _ in range(20)))
    assert len({caller for caller, _ in answers}) == 20


async def test_calls_in_turn_come_from_one_caller_that_counts(
    server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(server)
    answers = [await link.run(WHO, [], [], patience=5) for _ in range(3)]
    assert [number for _, number in answers] == [1, 2, 3]
    assert len({caller for caller, _ in answers}) == 1


async def test_a_change_sent_again_bears_the_same_number(proxy: FaultProxy, linked: Linked) -> None:
    link = await linked.open(proxy)
    first = await link.run(WHO, [], [], patience=5)
    proxy.trap(is_script, answer("-BUSY x"), times=2)
    assert [first[0], 2] == await link.run(WHO, [], [], patience=5)


@pytest.mark.parametrize("times", [1, 1000])
async def test_a_caller_whose_call_was_lost_never_calls_again(
    proxy: FaultProxy, linked: Linked, times: int
) -> None:
    link = await linked.open(proxy)
    caller, _ = await link.run(WHO, [], [], patience=5)
    proxy.trap(is_script, LOSE_REPLY, times=times)
    try:
        await link.run(WHO, [], [], patience=0.3)
    except Unconfirmed:
        assert times > 1
    proxy.heal()
    other, number = await link.run(WHO, [], [], patience=5)
    assert (other != caller, number) == (True, 1)


async def test_a_caller_that_was_cancelled_never_calls_again(
    proxy: FaultProxy, linked: Linked
) -> None:
    link = await linked.open(proxy)
    caller, _ = await link.run(WHO, [], [], patience=5)
    trap = proxy.trap(is_script, late(0.2))
    task = asyncio.create_task(link.run(WHO, [], [], patience=5))
    await trap.hit()
    task.cancel()
    other, _ = await link.run(WHO, [], [], patience=5)
    assert caller != other


async def test_two_processes_never_share_a_caller(server: RedisServer, linked: Linked) -> None:
    links = [await linked.open(server) for _ in range(2)]
    answers = [await link.run(WHO, [], [], patience=5) for link in links]
    assert len({caller for caller, _ in answers}) == 2


# What it costs.


@pytest.mark.serial
async def test_an_awaited_call_costs_clearly_less_than_the_drivers(
    server: RedisServer, linked: Linked
) -> None:
    link = await linked.open(server)
    client = redis.asyncio.Redis(port=server.port)
    sha = ECHO.sha

    async def cost(call: Callable[[], Awaitable[object]]) -> float:
        began = time.process_time()
        for _ in range(300):
            await call()
        return time.process_time() - began

    ours, theirs = [], []
    for _ in range(8):  # in turns: what disturbs one disturbs the other
        ours.append(await cost(lambda: link.run(ECHO, [], ["1"], patience=5)))
        theirs.append(await cost(lambda: client.evalsha(sha, 0, "1")))
    await client.aclose()
    assert min(ours) < 0.75 * min(theirs)


# Opening.


async def test_opening_finds_out_that_nobody_is_there(linked: Linked) -> None:
    with pytest.raises(StoreUnavailable, match="refused"):
        await linked.open(f"redis://{HOST}:{free_port()}/0")


async def test_opening_does_not_wait_for_ever(
    proxy: FaultProxy, linked: Linked, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert dialling.CONNECT_S == 5.0
    monkeypatch.setattr(dialling, "CONNECT_S", 0.2)
    proxy.black_hole()
    with pytest.raises(StoreUnavailable, match="no answer"):
        await linked.open(proxy)


async def test_a_closed_link_refuses_at_once(server: RedisServer, linked: Linked) -> None:
    link = await linked.open(server)
    await link.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await link.read("PING")
