"""The stores that the scenarios are held against. A new store is one more param of `url`."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.scenarios.cards import Cards
from tests.support.servers import fresh_prefix, servers_here, shared_server
from toril import Toril


@pytest.fixture(params=["sqlite", *servers_here()])
def url(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Name a store that nobody has used before, and that other processes can open too."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    # A server is shared, so each test has a prefix of its own, which programs inherit.
    monkeypatch.setenv("TORIL_PREFIX", fresh_prefix())
    return shared_server(request.param).url


@pytest.fixture
async def app(url: str) -> AsyncIterator[Toril]:
    async with Toril(url) as fresh:
        yield fresh


@pytest.fixture
async def other_app(url: str) -> AsyncIterator[Toril]:
    """Open the same store a second time, as another process would."""
    async with Toril(url) as second:
        yield second


@pytest.fixture
def cards(app: Toril) -> Cards:
    return Cards(app)
