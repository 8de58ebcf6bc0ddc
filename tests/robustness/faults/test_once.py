"""What a verb changes is changed once, whatever becomes of its commands and their replies.

Each case is repeated for each command that it sends, with a fault for that command. What the
verb answers, and what stands in Redis then, must be what they are where nothing goes wrong.
"""

import asyncio
import inspect
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.robustness.faults.verbs import CASES, OTHERS, READS, VERBS, verb_of
from tests.support.keyspace import keyspace
from tests.support.kit import Kit, new
from tests.support.proxy import (
    LOSE_REPLY,
    LOSE_REQUEST,
    SILENCE,
    Fault,
    FaultProxy,
    Sent,
    answer,
    tear,
)
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril._store.connect import connect
from toril._store.protocol import Store

FAULTS: dict[str, tuple[Fault, int]] = {
    "its reply is lost": (LOSE_REPLY, 1),
    "its reply is lost twice": (LOSE_REPLY, 2),
    "it is lost": (LOSE_REQUEST, 1),
    "it is torn": (tear(100), 1),
    "its reply never comes": (SILENCE, 1),
    "the server is busy": (answer("-BUSY Redis is busy running a script."), 2),
    "the server is loading": (answer("-LOADING Redis is loading the dataset in memory"), 1),
    "the server is a replica": (answer("-READONLY You can't write against a read only replica."), 1),
    "the server forgot its scripts": (answer("-NOSCRIPT No matching script."), 1),
}  # fmt: skip

TROUBLES = 9


@pytest.fixture
def server() -> RedisServer:
    return shared_server()


@dataclass(frozen=True, slots=True)
class Seen:
    """What a call answered, what stood in Redis then, and how many commands it took.

    Shape    struck: how often the fault did.
    """

    answer: str
    keyspace: dict[str, Any]
    commands: int
    struck: int


@asynccontextmanager
async def opened(proxy: FaultProxy, prefix: str) -> AsyncIterator[Store]:
    # Silence is noticed by this; it must be long enough for a busy machine to answer in.
    store = connect(f"redis://127.0.0.1:{proxy.port}/0?socket_timeout=0.25", prefix)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def is_met_by(sent: Sent, fault: Fault) -> bool:
    """Say whether a command may meet this fault."""
    return sent.name == "EVALSHA" or fault is not FAULTS["the server forgot its scripts"][0]


async def carry_out(
    proxy: FaultProxy, server: RedisServer, name: str, fault: tuple[Fault, int, int] | None = None
) -> Seen:
    """Carry out a case on a fresh prefix, with a fault for the nth command of its call."""
    prefix = fresh_prefix()
    async with opened(proxy, prefix) as store:
        act = await CASES[name](Kit(store))
        before = len(proxy.sent)
        trap = None
        if fault is not None:
            what, times, nth = fault
            trap = proxy.trap(
                lambda sent: len(proxy.sent) >= before + nth and is_met_by(sent, what),
                what,
                times=times,
            )
        said = repr(await act())
        commands = len(proxy.sent) - before
        proxy.clear()
    with server.client() as client:
        struck = trap.hits if trap else 0
        return Seen(said.replace(prefix, "P"), keyspace(client, prefix), commands, struck)


RIGHT: dict[str, Seen] = {}


async def without_fault(proxy: FaultProxy, server: RedisServer, name: str) -> Seen:
    """Carry out a case as it should be, on a server that knows its scripts."""
    if name not in RIGHT:
        await carry_out(proxy, server, name)
        RIGHT[name] = await carry_out(proxy, server, name)
    return RIGHT[name]


def test_every_verb_that_writes_has_a_case() -> None:
    verbs = {name for name, _ in inspect.getmembers(Store, inspect.isfunction) if name[0] != "_"}

    assert {verb_of(name) for name in CASES} == set(VERBS) == verbs - READS - OTHERS


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("name", CASES)
async def test_a_verb_is_carried_out_once_though(
    proxy: FaultProxy, server: RedisServer, name: str, fault: str
) -> None:
    right = await without_fault(proxy, server, name)
    what, times = FAULTS[fault]
    struck = 0
    for nth in range(1, right.commands + 1):
        seen = await carry_out(proxy, server, name, (what, times, nth))

        assert (seen.answer, seen.keyspace) == (right.answer, right.keyspace)
        # Some are not sent again: what only wakes somebody is made up for by his next look.
        assert seen.struck <= times
        struck += seen.struck
    assert struck, "it never struck"


async def test_calls_that_share_a_broken_connection_are_each_carried_out_once(
    proxy: FaultProxy, server: RedisServer
) -> None:
    prefix = fresh_prefix()
    async with opened(proxy, prefix) as store:
        for trouble in range(TROUBLES):
            fault = (LOSE_REPLY, LOSE_REQUEST, tear(50))[trouble % 3]
            before = len(proxy.sent)
            proxy.trap(lambda _, nth=before + trouble: len(proxy.sent) > nth, fault)
            adds = [store.add([[new(f"{trouble}-{n}")]]) for n in range(30)]
            answers = await asyncio.gather(*adds)
            assert all(added.created for [[added]] in answers)

    with server.client() as client:
        names = [
            client.hget(f"{prefix}:mail:{job_id}", "name")
            for job_id in client.lrange(f"{prefix}:mail:wait", 0, -1)
        ]
    assert sorted(names) == sorted(
        f"{trouble}-{n}" for trouble in range(TROUBLES) for n in range(30)
    )
