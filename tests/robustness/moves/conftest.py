"""Two stores, and the ways between them."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.servers import HOST, RedisCluster, SentinelSet, fresh_prefix, shared_server
from toril import Toril
from toril._transfer import Move, Tell


@dataclass(frozen=True)
class Place:
    """Where a store is."""

    url: str
    prefix: str

    def app(self) -> Toril:
        return Toril(self.url, prefix=self.prefix)


@dataclass(frozen=True)
class Way:
    """From where to where."""

    source: Place
    target: Place

    def move(self, *, patience_s: float = 5, tell: Tell | None = None) -> Move:
        prefixes = (self.source.prefix, self.target.prefix)
        return Move(
            self.source.url, self.target.url, prefixes=prefixes, patience_s=patience_s, tell=tell
        )


def file_place(folder: Path) -> Place:
    """Name a file that is not there yet."""
    return Place(f"sqlite:///{folder / f'{uuid.uuid4().hex}.db'}", "bull")


def server_place() -> Place:
    """Name queues on a server that are not there yet."""
    return Place(shared_server().url, fresh_prefix())


def cluster_place(cluster: RedisCluster) -> Place:
    """Name queues of a cluster that are not there yet, all in one slot."""
    nodes = ",".join(f"{HOST}:{node.port}" for node in cluster.nodes)
    return Place(f"redis+cluster://{nodes}", fresh_prefix(tag=True))


def watched_place(watched: SentinelSet) -> Place:
    """Name queues that are not there yet on the primary that Sentinels name."""
    return Place(f"redis+sentinel://{HOST}:{watched.ports[0]}/{watched.NAME}", fresh_prefix())


@pytest.fixture(scope="session")
def cluster() -> Iterator[RedisCluster]:
    with RedisCluster() as nodes:
        yield nodes


@pytest.fixture(scope="session")
def watched() -> Iterator[SentinelSet]:
    with SentinelSet() as servers:
        yield servers


@pytest.fixture
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    """Give the way that is named, such as "sqlite to redis"."""
    source, target = (_place(kind, request, tmp_path) for kind in request.param.split(" to "))
    return Way(source, target)


def _place(kind: str, request: pytest.FixtureRequest, folder: Path) -> Place:
    match kind:
        case "sqlite":
            return file_place(folder)
        case "redis":
            return server_place()
        case "cluster":
            return cluster_place(request.getfixturevalue("cluster"))
        case _:
            return watched_place(request.getfixturevalue("watched"))


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Go the ways that a test or its module names, or from a file to a server and back."""
    named = [mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")]
    if "way" in metafunc.fixturenames and "way" not in named:
        ways = getattr(metafunc.module, "WAYS", ["sqlite to redis", "redis to sqlite"])
        metafunc.parametrize("way", ways, indirect=True)
