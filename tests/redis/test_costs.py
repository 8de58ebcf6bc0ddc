"""The usual calls: how many commands they take, and that their short way does what the general one does."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import pytest

from tests.redis.conftest import Wire
from tests.support.keyspace import keyspace
from tests.support.kit import HOUR, QUEUE, complete, new
from tests.support.redis_kit import RedisKit
from toril._model.options import Keep
from toril._model.record import Claim
from toril._store.values import ClaimRequest

CALLS = 20
# What a client sends, and what counts.
OUTSIDE = {
    "evalsha",
    "eval",
    "info",
    "config|resetstat",
    "client|setname",
    "client|setinfo",
    "ping",
}


async def commands(wire: Wire, call: Callable[[], Awaitable[object]]) -> float:
    """Return how many commands a script calls each time, on average."""
    wire.client.config_resetstat()
    for _ in range(CALLS):
        await call()
    stats: dict[str, Any] = wire.client.info("commandstats")
    calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()}
    return sum(count for name, count in calls.items() if name not in OUTSIDE) / CALLS


def request(number: int, limit: int = 1, queue: str = QUEUE) -> ClaimRequest:
    return ClaimRequest(queue=queue, limit=limit, token=f"w:{number}", worker="w")


class Turns:
    """A worker that finishes what it has and claims as much, call by call."""

    def __init__(self, kit: RedisKit, *, limit: int = 1, also: Sequence[str] = ()) -> None:
        self._kit = kit
        self._limit = limit
        self._also = also
        self._number = 0
        self.held: Sequence[Claim] = ()

    async def __call__(self) -> None:
        self._number += 1
        asked = [request(self._number, self._limit)]
        asked += [request(self._number, queue=queue) for queue in self._also]
        done = [complete(claim) for claim in self.held]
        finished = await self._kit.store.finish(done, asked, now=self._kit.now)
        assert finished.words == ("completed",) * len(done)
        self.held = finished.claimed[0].jobs


async def test_finish_and_claim_of_a_job_take_25_commands(kit: RedisKit, wire: Wire) -> None:
    await kit.add_many(CALLS + 5)
    turn = Turns(kit)
    for _ in range(3):
        await turn()

    # One less where a test says what time it is. One of them keeps what was counted.
    assert await commands(wire, turn) <= 24
    assert turn.held


async def test_they_take_two_more_where_an_old_job_goes_each_time(
    kit: RedisKit, wire: Wire
) -> None:
    await kit.configure(keep_completed=Keep(count=2))
    await kit.add_many(CALLS + 8)
    turn = Turns(kit)
    for _ in range(6):
        await turn()

    assert await commands(wire, turn) <= 26
    assert wire.client.zcard(wire.key("completed")) == 2


@pytest.mark.parametrize(("delay_ms", "most"), [(0, 11), (HOUR, 14)])
async def test_an_add_takes_few_commands(
    kit: RedisKit, wire: Wire, delay_ms: int, most: int
) -> None:
    await kit.add()

    async def add() -> None:
        await kit.store.add([[new(delay_ms=delay_ms)]], now=kit.now)

    assert await commands(wire, add) <= most


async def test_each_delayed_job_of_a_call_takes_three_commands(kit: RedisKit, wire: Wire) -> None:
    await kit.add()

    async def add() -> None:
        await kit.store.add([[new(delay_ms=HOUR) for _ in range(250)]], now=kit.now)

    assert await commands(wire, add) <= 3.1 * 250


async def drain(kit: RedisKit, limit: int, also: Sequence[str]) -> None:
    """Add, claim and settle until nothing is left."""
    beside = [[new(queue=queue)] for queue in also]
    for count in (1, 3, 2):
        await kit.store.add([[new(data=f"{n}") for n in range(count)], *beside], now=kit.now)
        await kit.store.add([[new(delay_ms=HOUR * n) for n in (2, 1, 1)], *beside], now=kit.now)
    turn = Turns(kit, limit=limit, also=also)
    for _ in range(9):
        await turn()
        kit.tick(1)
    kit.tick(2 * HOUR)
    for _ in range(12):
        await turn()
        kit.tick(1)
    assert not turn.held


@pytest.mark.parametrize("keep", [None, Keep(count=3), Keep(age_ms=3), Keep(count=4, age_ms=HOUR)])
@pytest.mark.parametrize("limit", [1, 4])
async def test_the_short_way_leaves_what_the_general_one_leaves(
    kit: RedisKit, wire: Wire, limit: int, keep: Keep | None
) -> None:
    """Calls for two queues take the general way."""
    found = []
    start = kit.now
    for also in ((), ("other",)):
        wire.client.delete(*wire.client.keys(f"{wire.prefix}:{QUEUE}:*"), "none")
        kit.now = start
        await kit.configure(keep_completed=keep)
        await drain(kit, limit, also)
        found.append(keyspace(wire.client, f"{wire.prefix}:{QUEUE}"))

    short, general = found
    assert short == general
