"""What several of these tests use."""

import pytest

from .damage import make_stock


@pytest.fixture(scope="session")
def stocked(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A file in which every table has rows."""
    return make_stock(tmp_path_factory.mktemp("stocked") / "jobs.db")
