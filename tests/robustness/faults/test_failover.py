"""A replica takes over while jobs are added and run: what is lost, and what is not.

TORIL_ROUNDS says how often. Jobs are told apart by a number in their data: ids of what was lost are
given again.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from tests.robustness.faults.rig import until
from tests.support.servers import HOST, RedisServer, SentinelSet
from toril import Job, StoreError, Toril

ROUNDS = int(os.environ.get("TORIL_ROUNDS", "1"))
QUEUE = "orders"
PAUSE_S = 0.005


@dataclass
class Ledger:
    """What producers were told of their jobs, and which of them ran.

    Shape    acknowledged: in whole; in_lag: of those the ones that were under way while no
             replica heard of anything; confirmed: those that were added durably, without an error.
    """

    acknowledged: set[int] = field(default_factory=set)
    in_lag: set[int] = field(default_factory=set)
    confirmed: set[int] = field(default_factory=set)
    unconfirmed: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    ran: Counter[int] = field(default_factory=Counter)
    lagging: bool = False
    over: bool = False
    _next: int = 0

    def number(self) -> int:
        self._next += 1
        return self._next

    async def run(self, job: Job[Any]) -> None:
        await asyncio.sleep(0.002)
        self.ran[job.data["n"]] += 1

    async def produce(self, app: Toril) -> None:
        """Add jobs as most do."""
        while not self.over:
            number, lagged = self.number(), self.lagging
            try:
                await app.queue(QUEUE).add("x", {"n": number})
            except StoreError:
                self.refused.add(number)
            else:
                self.acknowledged.add(number)
                if lagged or self.lagging:
                    self.in_lag.add(number)
            await asyncio.sleep(PAUSE_S)

    async def produce_durably(self, app: Toril) -> None:
        """Add jobs that a replica has to confirm."""
        while not self.over:
            number = self.number()
            try:
                await app.queue(QUEUE).add("x", {"n": number}, durable="replica")
            except StoreError:
                self.unconfirmed.add(number)
            else:
                self.confirmed.add(number)
            await asyncio.sleep(PAUSE_S)


async def more(some: set[int], count: int) -> None:
    """Wait until so many more are in it."""
    wanted = len(some) + count
    await until(lambda: is_true(lambda: len(some) >= wanted), within=20)


async def is_true(look: Callable[[], bool]) -> bool:
    return look()


async def has(server: RedisServer, offset: int) -> bool:
    return offset_of(server) >= offset


def offset_of(server: RedisServer) -> int:
    told = server.call("INFO", "replication").partition("master_repl_offset:")[2]
    return int(told.split()[0])


async def fail_over(trio: SentinelSet, ledger: Ledger) -> None:
    """Cut the replica off, let the primary go on alone, kill it, and let the replica take over."""
    old, new = trio.primary, trio.replica
    ledger.lagging = True
    offset = offset_of(old)
    await until(lambda: has(new, offset))
    new.pause()
    # What is on its way to a replica that stands still would be read when it goes on.
    old.call("CLIENT", "KILL", "TYPE", "replica")
    await more(ledger.in_lag, 50)
    await more(ledger.unconfirmed, 1)
    old.kill()
    ledger.lagging = False
    new.resume()
    await until(lambda: took_over(trio, new), within=20)


async def took_over(trio: SentinelSet, new: RedisServer) -> bool:
    return trio.primary is new and new.call("ROLE")[0] == "master"


async def follows(old: RedisServer, new: RedisServer) -> bool:
    old.call("REPLICAOF", HOST, new.port)
    return bool(old.call("ROLE")[3] == "connected")


async def stored(app: Toril) -> dict[int, str]:
    """Give the state of each job that is there, by its number."""
    return {job.data["n"]: job.record.state async for job in app.queue(QUEUE).jobs()}


@pytest.mark.timeout(30 + 60 * ROUNDS)
async def test_a_failover_loses_only_what_no_replica_had_and_nobody_confirmed() -> None:
    for number in range(ROUNDS):
        verdict = await one_round()
        print(f"\nfailover {number + 1}: {verdict}")  # noqa: T201  # wanted in every log


async def one_round() -> str:
    ledger = Ledger()
    trio = await asyncio.to_thread(SentinelSet().start)
    try:
        url = f"redis+sentinel://{HOST}:{trio.ports[0]}/{trio.NAME}?socket_timeout=1"
        async with Toril(url, keep="all") as app:
            there = await act(app, trio, ledger)
    finally:
        await asyncio.to_thread(trio.close)

    lost = ledger.acknowledged - there.keys()
    again = sum(count - 1 for count in ledger.ran.values())
    assert not {n: state for n, state in there.items() if state != "completed"}, "some are stuck"
    assert lost, "nothing was lost: no failover was tested"
    assert lost <= ledger.in_lag
    assert ledger.confirmed <= there.keys()
    assert ledger.confirmed
    assert there.keys() <= ledger.ran.keys()
    gone = ledger.unconfirmed - there.keys()
    return (
        f"{len(ledger.acknowledged)} plain adds, {len(ledger.in_lag)} of them in the lag, "
        f"{len(lost)} lost; {len(ledger.confirmed)} durable adds confirmed, 0 lost; "
        f"{len(ledger.unconfirmed)} not confirmed, {len(gone)} lost; "
        f"{len(ledger.refused)} adds refused; {again} runs again; 0 stuck"
    )


async def act(app: Toril, trio: SentinelSet, ledger: Ledger) -> dict[int, str]:
    """Let it happen, and give what is there at the end."""
    old = trio.primary
    async with app.worker(QUEUE, ledger.run, concurrency=4, lock="2s"):
        producing: list[Awaitable[None]] = [
            asyncio.create_task(ledger.produce(app)),
            asyncio.create_task(ledger.produce_durably(app)),
        ]
        await more(ledger.confirmed, 20)
        await fail_over(trio, ledger)
        await more(ledger.acknowledged, 50)
        old.start()
        new = trio.primary
        await until(lambda: follows(old, new))
        await more(ledger.confirmed, 20)
        ledger.over = True
        await asyncio.gather(*producing)
        await until(lambda: is_idle(app), within=20)
    return await stored(app)


async def is_idle(app: Toril) -> bool:
    counts = await app.queue(QUEUE).counts()
    return counts.waiting + counts.active + counts.delayed == 0
