"""An app on each store, and a server with its dashboard."""

from collections.abc import AsyncIterator

import pytest

from tests.dashboard.desk import Client, dashboard
from toril import Toril


def made_on(request: pytest.FixtureRequest) -> Toril:
    """Return an app on the store that the test asks for; in memory if it does not."""
    if getattr(request, "param", "memory") == "memory":
        return Toril(":memory:", warn_unserved=False)
    url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("redis_prefix")
    return Toril(url, prefix=prefix, warn_unserved=False)


@pytest.fixture(params=["memory", "redis"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    async with made_on(request) as made:
        yield made


@pytest.fixture
async def client(app: Toril) -> AsyncIterator[Client]:
    async with dashboard(app) as found:
        yield found
