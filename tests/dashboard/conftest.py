"""An app on each store, and a server with its dashboard."""

from collections.abc import AsyncIterator

import pytest

from tests.dashboard.desk import Client, dashboard
from toril import Toril


@pytest.fixture(params=["memory", "redis"])
async def app(request: pytest.FixtureRequest) -> AsyncIterator[Toril]:
    if request.param == "memory":
        made = Toril(":memory:", warn_unserved=False)
    else:
        url, prefix = request.getfixturevalue("redis_url"), request.getfixturevalue("redis_prefix")
        made = Toril(url, prefix=prefix, warn_unserved=False)
    async with made:
        yield made


@pytest.fixture
async def client(app: Toril) -> AsyncIterator[Client]:
    async with dashboard(app) as found:
        yield found
