"""Two stores, and the ways between them."""

import uuid
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers import fresh_prefix, shared_server
from toril import Toril
from toril._run.move import Move, Tell


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


@pytest.fixture(params=["sqlite to redis", "redis to sqlite"])
def way(request: pytest.FixtureRequest, tmp_path: Path) -> Way:
    file, server = file_place(tmp_path), server_place()
    return Way(file, server) if request.param == "sqlite to redis" else Way(server, file)
