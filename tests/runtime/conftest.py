"""An app of its own for every test: where processes and loops meet, on a server, in memory."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from toril import Toril


@pytest.fixture(params=["memory", "file"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Toril]:
    url = ":memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"
    async with Toril(url) as fresh:
        yield fresh


@pytest.fixture(params=["memory", "redis"])
async def anywhere(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    if request.param == "memory":
        url, prefix = ":memory:", None
    else:
        url = request.getfixturevalue("redis_url")
        prefix = request.getfixturevalue("redis_prefix")
    async with Toril(url, prefix=prefix) as fresh:
        yield fresh


@pytest.fixture
async def memory() -> AsyncIterator[Toril]:
    async with Toril(":memory:") as fresh:
        yield fresh
