"""An app of its own for every test: where processes and loops meet, on a server, in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from toril import Toril


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module with `STORES = ("memory", "redis")` on these stores."""
    stores = getattr(metafunc.module, "STORES", None)
    if stores and "app" in metafunc.fixturenames:
        metafunc.parametrize("app", stores, indirect=True)


@asynccontextmanager
async def _app_on(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    if getattr(request, "param", "memory") == "memory":
        url, prefix = ":memory:", None
    else:
        url = request.getfixturevalue("redis_url")
        prefix = request.getfixturevalue("redis_prefix")
    async with Toril(url, prefix=prefix) as fresh:
        yield fresh


# A file proves nothing more here: tests/contract tries every verb on it, and what must survive a
# process is tested in tests/robustness and tests/scenarios.
@pytest.fixture
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    async with _app_on(request) as fresh:
        yield fresh


@pytest.fixture(params=["memory", "redis"])
async def anywhere(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    async with _app_on(request) as fresh:
        yield fresh


@pytest.fixture
async def memory() -> AsyncIterator[Toril]:
    async with Toril(":memory:") as fresh:
        yield fresh
