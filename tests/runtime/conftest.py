"""An app of its own for every test: in memory, or in a file where processes and loops meet."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from toril import Toril


@pytest.fixture(params=["memory", "file"])
async def app(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Toril]:
    url = ":memory:" if request.param == "memory" else f"sqlite:///{tmp_path / 'jobs.db'}"
    async with Toril(url) as fresh:
        yield fresh
