"""Any number of waiters share a blocking call; a marker wakes who wants it, and is never lost."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping

import pytest

from tests.redis.test_places import url_of
from tests.support.links import Linked, until
from tests.support.proxy import FaultProxy, answer
from tests.support.servers import HOST, RedisCluster, RedisServer, fresh_prefix
from toril._store.redis.net import blocker
from toril._store.redis.net.waiter import Waiter
from toril.errors import ConfigError, StoreCorrupt

LONG = 10_000


def now() -> int:
    return time.time_ns() // 1_000_000


class Room:
    """A waiter with queues of its own, and a way to set markers past it."""

    def __init__(self, waiter: Waiter, server: RedisServer, prefix: str) -> None:
        self.waiter = waiter
        self.server = server
        self.prefix = prefix

    def marker(self, queue: str) -> str:
        return f"{self.prefix}:{queue}:marker"

    def markers(self, *queues: str) -> Mapping[str, str]:
        return {queue: self.marker(queue) for queue in queues}

    def wait(self, *queues: str, timeout_ms: int = LONG) -> "asyncio.Task[frozenset[str]]":
        return asyncio.create_task(self.waiter.wait(self.markers(*queues), timeout_ms))

    def set(self, queue: str, member: str = "0", score: float = 0) -> None:
        self.server.call("ZADD", self.marker(queue), score, member)

    def held(self, queue: str) -> list[str]:
        return list(self.server.call("ZRANGE", self.marker(queue), 0, -1, "WITHSCORES"))

    def blocked_clients(self) -> int:
        """Count the clients of this test's server that block."""
        listed = str(self.server.call("CLIENT", "LIST"))
        return sum("cmd=bzpopmin" in line and "flags=b" in line for line in listed.splitlines())

    async def blocked(self, *, since: int = 0) -> None:
        """Wait until the blocking call is under way."""
        await until(lambda: self.blocked_clients() == 1)


@pytest.fixture
async def room(proxy: FaultProxy, server: RedisServer, linked: Linked) -> AsyncIterator[Room]:
    link = await linked.open(proxy)
    prefix = fresh_prefix()
    waiter = Waiter(link, prefix, server_now=now)
    yield Room(waiter, server, prefix)
    await waiter.close()


# Waking.


async def test_a_marker_wakes_who_waits_for_its_queue(room: Room) -> None:
    waiting = room.wait("a", "b")
    await room.blocked()
    room.set("b")
    assert await waiting == {"b"}


async def test_a_marker_that_is_there_wakes_at_once(room: Room) -> None:
    room.set("a")
    assert await room.wait("a") == {"a"}


async def test_all_who_wait_for_a_queue_are_woken(room: Room) -> None:
    waiting = [room.wait("a"), room.wait("a", "b"), room.wait("b", timeout_ms=300)]
    await room.blocked()
    room.set("a")
    assert await asyncio.gather(*waiting) == [{"a"}, {"a"}, set()]


async def test_nothing_wakes_nobody_until_the_time_is_over(room: Room) -> None:
    began = time.monotonic()
    assert await room.wait("a", timeout_ms=200) == set()
    assert 0.19 < time.monotonic() - began < 1


async def test_a_queue_that_is_wanted_later_joins_the_call_under_way(
    room: Room, proxy: FaultProxy
) -> None:
    first = room.wait("a")
    await room.blocked()
    second = room.wait("b")
    await until(lambda: proxy.count()["BZPOPMIN"] == 2)
    await room.blocked()
    room.set("b")
    assert await second == {"b"}
    room.set("a")
    assert await first == {"a"}


async def test_those_who_come_together_share_one_call(room: Room, proxy: FaultProxy) -> None:
    waiting = [room.wait(f"q{each}") for each in range(50)]
    await room.blocked()
    assert proxy.count()["BZPOPMIN"] == 1
    for task in waiting:
        task.cancel()


async def test_waking_takes_about_as_long_as_the_network(room: Room) -> None:
    took = []
    with room.server.client() as client:
        for _ in range(20):
            waiting = room.wait("a")
            await room.blocked()
            began = time.monotonic()
            client.zadd(room.marker("a"), {"0": 0})
            await waiting
            took.append(time.monotonic() - began)
    assert sorted(took)[10] < 0.02


# Nothing is lost.


async def test_a_marker_for_a_queue_that_nobody_wants_any_more_is_put_back(room: Room) -> None:
    waiting = room.wait("a", "b")
    await room.blocked()
    waiting.cancel()
    await asyncio.sleep(0)
    room.set("b")
    await until(lambda: room.blocked_clients() == 0)
    await until(lambda: room.held("b") == ["0", "0"])


async def test_a_marker_for_a_waiter_that_gives_up_that_moment_is_put_back(room: Room) -> None:
    waiting = room.wait("a")
    await room.blocked()
    room.waiter.popped(room.marker("a"), "0", "0")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await until(lambda: room.held("a") == ["0", "0"])


async def test_cancelling_a_waiter_disturbs_no_other(room: Room, proxy: FaultProxy) -> None:
    staying = room.wait("a")
    await room.blocked()
    for _ in range(100):
        going = room.wait("a")
        await asyncio.sleep(0)
        going.cancel()
    assert proxy.connections == 2
    room.set("a")
    assert await staying == {"a"}


async def test_closing_loses_no_marker(room: Room) -> None:
    waiting = room.wait("a")
    await room.blocked()
    began = time.monotonic()
    await room.waiter.close()
    assert await waiting == set()
    assert time.monotonic() - began < 0.4
    room.set("a")
    assert room.held("a") == ["0", "0"]
    assert room.blocked_clients() == 0


async def test_closing_puts_a_due_time_back(room: Room) -> None:
    due = now() + 60_000
    waiting = room.wait("a")
    room.set("a", "1", due + 0.25)
    await until(lambda: not room.held("a"))
    await room.waiter.close()
    await waiting
    assert room.held("a") == ["1", f"{due}.25"]


# Due times.


async def test_a_due_time_wakes_when_it_has_come(room: Room) -> None:
    waiting = room.wait("a")
    await room.blocked()
    due = now() + 200
    room.set("a", "1", due + 0.0002)
    assert await waiting == {"a"}
    assert 0 <= now() - due < 100


async def test_a_due_time_that_is_over_wakes_at_once(room: Room) -> None:
    room.set("a", "1", now() - 5)
    assert await room.wait("a") == {"a"}


async def test_an_earlier_due_time_wins(room: Room) -> None:
    waiting = room.wait("a")
    room.set("a", "1", now() + 60_000)
    await until(lambda: not room.held("a"))
    room.set("a", "1", now() + 100)
    assert await waiting == {"a"}


async def test_a_due_time_goes_back_when_nobody_waits_for_it_any_more(room: Room) -> None:
    waiting = room.wait("a")
    due = now() + 60_000
    room.set("a", "1", due)
    await until(lambda: not room.held("a"))
    waiting.cancel()
    await until(lambda: room.held("a") == ["1", str(due)])


async def test_an_earlier_time_that_somebody_wrote_meanwhile_stays(room: Room) -> None:
    waiting = room.wait("a", "b")
    room.set("a", "1", now() + 60_000)
    await until(lambda: not room.held("a"))
    room.set("b")  # ends the blocking call, so that the next marker of a stays where it is
    await waiting
    sooner = now() + 30_000
    room.set("a", "1", sooner)
    await asyncio.sleep(0.2)
    assert room.held("a") == ["1", str(sooner)]


async def test_a_due_time_is_kept_for_who_looks_and_comes_back(room: Room) -> None:
    waiting = room.wait("a")
    room.set("a", "1", now() + 400)
    await until(lambda: not room.held("a"))
    waiting.cancel()
    await asyncio.sleep(0.01)
    assert await room.wait("a") == {"a"}
    assert room.held("a") == []


async def test_what_a_claim_said_is_due_wakes_without_a_marker(room: Room) -> None:
    room.waiter.note_due("a", now() + 100)
    assert await room.wait("a") == {"a"}


async def test_a_time_that_came_while_nobody_waited_wakes_the_next_one(room: Room) -> None:
    room.waiter.note_due("a", now() + 10)
    await asyncio.sleep(0.03)
    began = time.monotonic()
    assert await room.wait("a") == {"a"}
    assert time.monotonic() - began < 0.5


async def test_a_time_that_is_over_wakes_ever_later(room: Room) -> None:
    # As of a queue at its limit, whose next job is due and cannot be taken.
    due, woken = now() - 1, 0
    until_then = time.monotonic() + 0.6
    while time.monotonic() < until_then:
        room.waiter.note_due("a", due)
        woken += bool(await room.wait("a", timeout_ms=200))
    assert 2 <= woken < 10


# What it costs, and outages.


async def test_nobody_waiting_costs_nothing(
    room: Room, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocker, "BLOCK_S", 0.1)
    await room.wait("a", timeout_ms=50)
    await asyncio.sleep(0.3)
    sent = len(proxy.sent)
    await asyncio.sleep(0.3)
    assert len(proxy.sent) == sent


async def test_waiting_costs_one_command_each_time_that_the_call_ends(
    room: Room, proxy: FaultProxy
) -> None:
    waiting = room.wait(*[f"q{each}" for each in range(50)])
    await room.blocked()
    sent = len(proxy.sent)
    await asyncio.sleep(5.3)
    assert proxy.count(sent) == {"BZPOPMIN": 1}
    waiting.cancel()


async def test_who_waits_is_sent_to_look_when_a_connection_was_lost(
    room: Room, proxy: FaultProxy
) -> None:
    # A marker may have been popped for the connection that is gone.
    waiting = room.wait("a", "b")
    await room.blocked()
    proxy.reset()
    assert await waiting == {"a", "b"}


async def test_a_dead_connection_is_replaced(
    room: Room, proxy: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert blocker.BLOCK_S < blocker.DEADLINE_S < 10
    monkeypatch.setattr(blocker, "DEADLINE_S", 0.3)
    waiting = room.wait("a")
    await until(lambda: proxy.connections == 2)
    proxy.half_open()
    assert await waiting == {"a"}


async def test_a_server_that_is_away_lets_waits_time_out(room: Room, proxy: FaultProxy) -> None:
    proxy.go_down()
    assert await room.wait("a", timeout_ms=200) == set()
    proxy.heal()
    waiting = room.wait("b")
    await room.blocked()
    waiting.cancel()


async def test_an_unblocked_call_begins_again(room: Room, proxy: FaultProxy) -> None:
    proxy.trap("BZPOPMIN", answer("-UNBLOCKED client unblocked via CLIENT UNBLOCK"))
    assert await room.wait("a") == {"a"}
    waiting = room.wait("a")
    await room.blocked()
    room.set("a")
    assert await waiting == {"a"}


async def test_a_marker_of_another_type_is_damage(room: Room) -> None:
    room.server.call("SET", room.marker("a"), "x")
    with pytest.raises(StoreCorrupt, match=f"{room.prefix}:a:marker"):
        await room.wait("a")


async def test_a_damaged_marker_does_not_disturb_the_other_queues(room: Room) -> None:
    room.server.call("SET", room.marker("b"), "x")
    one, damaged, other = room.wait("a"), room.wait("b"), room.wait("c")
    with pytest.raises(StoreCorrupt):
        await damaged
    await room.blocked()
    # Whoever looks at it by and by is let wait, and is not told again and again.
    again = room.wait("b", timeout_ms=50)
    room.set("a")
    assert await one == {"a"}
    room.set("c")
    assert await other == {"c"}
    assert await again == set()


async def test_a_right_that_is_missing_is_named(linked: Linked) -> None:
    acl = ["user bob on >hush ~* +@all -bzpopmin"]
    with RedisServer(acl=acl) as server:
        link = await linked.open(server.url_of("bob", "hush"))
        waiter = Waiter(link, "bull", server_now=now)
        with pytest.raises(ConfigError, match=r"ACL SETUSER bob \+bzpopmin"):
            await waiter.wait({"a": "bull:a:marker"}, LONG)
        await waiter.close()


# Clusters.


@pytest.fixture(scope="module")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as nodes:
        yield nodes


async def test_queues_of_several_nodes_are_waited_for_at_once(
    cluster: RedisCluster, linked: Linked
) -> None:
    link = await linked.open(url_of(cluster))
    waiter = Waiter(link, "bull", server_now=now)
    markers = {each: f"bull:{{{each}}}:marker" for each in ("a", "b", "c", "d")}
    for queue, marker in markers.items():
        waiting = asyncio.create_task(waiter.wait(markers, LONG))
        await asyncio.sleep(0.05)
        await link.read("ZADD", marker, 0, "0")
        assert await waiting == {queue}
    await waiter.close()


async def test_a_blocking_call_follows_its_keys(cluster: RedisCluster, linked: Linked) -> None:
    link = await linked.open(url_of(cluster))
    waiter = Waiter(link, "bull", server_now=now)
    owner = link._owner  # type: ignore[attr-defined]
    places = [(HOST, node.port) for node in cluster.nodes]
    for slot, place in list(owner.items()):
        owner[slot] = places[(places.index(place) + 1) % 3]
    # It is sent to look when it had to go elsewhere.
    assert await waiter.wait({"a": "bull:{a}:marker"}, LONG) == {"a"}
    waiting = asyncio.create_task(waiter.wait({"a": "bull:{a}:marker"}, LONG))
    await asyncio.sleep(0.05)
    await link.read("ZADD", "bull:{a}:marker", 0, "0")
    assert await waiting == {"a"}
    await waiter.close()
