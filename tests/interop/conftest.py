"""What the interop tests share: a Redis, a Node process of each version, and sides on a prefix."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.interop.node import VERSIONS, Peer
from tests.interop.sides import NodeSide, Seen, Side, until
from tests.interop.toril_side import TorilSide
from tests.support.servers import RedisServer, fresh_prefix, shared_server

# Node against itself is no proof of toril; these two hold the harness to account.
CONTROLS = [("node6", "node6", "node6"), ("node5", "node5", "node5")]
# toril beside one version of Node at a time; the main tests also with all three on one queue.
# Every pair of sides meets in every two places: what the third one is proves nothing more.
# TORIL_TRIOS=all takes the rest as well.
ALL = [
    trio
    for node in ("node6", "node5")
    for trio in itertools.product(("toril", node), repeat=3)
    if "toril" in trio and (node in trio or node == "node6")
]
PAIRS = [trio for trio in ALL if trio.count("toril") != 2]
TRIOS = CONTROLS + (ALL if os.environ.get("TORIL_TRIOS") == "all" else PAIRS)
MIXED = list(itertools.permutations(("toril", "node6", "node5")))
DUOS = [
    ("node6", "node6"),
    *itertools.permutations(("toril", "node6")),
    *itertools.permutations(("toril", "node5")),
]


@dataclass(frozen=True, slots=True)
class Trio:
    """Who adds, who works, and who reads."""

    producer: Side
    worker: Side
    reader: Side

    async def read(self, queue: str, job: str) -> Seen:
        """Let the reader read a job that is there."""
        seen = await self.reader.look(queue, job)
        assert seen is not None, f"{self.reader} finds no job {job} in {queue}"
        return seen

    async def ends(self, queue: str, job: str, state: str) -> Seen:
        """Wait until the reader sees the job in this state, and give it."""
        seen: Seen | None = None

        async def look() -> str | None:
            nonlocal seen
            seen = await self.reader.look(queue, job)
            return None if seen is None else seen.state

        await until(look, state)
        assert seen is not None
        return seen


@dataclass(frozen=True, slots=True)
class Duo:
    """Who comes first, and who comes after."""

    first: Side
    second: Side


class Sides:
    """The sides of one test, all on one prefix; each is made when it is first asked for."""

    def __init__(self, server: RedisServer, peers: dict[int, Peer], prefix: str) -> None:
        self.server = server
        self.prefix = prefix
        self._peers = peers
        self._made: dict[str, Side] = {}

    def __call__(self, name: str) -> Side:
        if name not in self._made:
            self._made[name] = self.make(name, self.prefix)
        return self._made[name]

    def make(self, name: str, prefix: str) -> Side:
        """Make a side on a prefix of its own."""
        if name == "toril":
            return TorilSide(self.server.url, prefix)
        return NodeSide(self._peers[int(name.removeprefix("node"))], prefix)

    async def close(self) -> None:
        """Close every side that was made."""
        for side in self._made.values():
            await side.close()


@pytest.fixture(scope="session")
def server() -> RedisServer:
    return shared_server()


@pytest.fixture(scope="session")
def peers(server: RedisServer) -> Iterator[dict[int, Peer]]:
    running = {version: Peer(version, server.port) for version in VERSIONS}
    for each in running.values():
        each.ready()
    yield running
    for each in running.values():
        each.stop()


@pytest.fixture
def prefix() -> str:
    return fresh_prefix()


@pytest.fixture
async def sides(server: RedisServer, peers: dict[int, Peer], prefix: str) -> AsyncIterator[Sides]:
    made = Sides(server, peers, prefix)
    yield made
    await made.close()
    stray = [text for each in peers.values() for text in each.stray]
    assert not stray, f"Node left a promise rejected: {stray}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what BullMQ 5 cannot do, and all three sides at once but in the main tests.

    A mark names the places of a trio or duo in which BullMQ 5 cannot be, by their numbers.
    """

    def wanted(item: pytest.Item) -> bool:
        if not isinstance(item, pytest.Function) or not hasattr(item, "callspec"):
            return True
        sides = item.callspec.params.get("trio") or item.callspec.params.get("duo") or ()
        if sides in MIXED and item.get_closest_marker("mixed") is None:
            return False
        mark = item.get_closest_marker("without_node5")
        return mark is None or not any(sides[place] == "node5" for place in mark.args)

    left_out = [item for item in items if not wanted(item)]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if wanted(item)]


@pytest.fixture(params=TRIOS + MIXED, ids="-".join)
def trio(request: pytest.FixtureRequest, sides: Sides) -> Trio:
    return Trio(*(sides(name) for name in request.param))


@pytest.fixture(params=DUOS, ids="-".join)
def duo(request: pytest.FixtureRequest, sides: Sides) -> Duo:
    return Duo(*(sides(name) for name in request.param))


@pytest.fixture
def keys(server: RedisServer) -> Iterator[Any]:
    with server.client(encoding_errors="backslashreplace") as client:
        yield client
