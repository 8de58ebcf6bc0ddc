"""A store for each test that may be tortured, and its ledger shown when the test fails."""

from collections.abc import AsyncIterator, Generator, Iterator
from pathlib import Path

import pytest

from tests.robustness.torture.site import STORES, Site
from tests.support.kit import Kit
from tests.support.stores import kit_for, opened


@pytest.fixture(params=STORES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    """Have each store in turn."""
    with Site(request.param, tmp_path) as own:
        yield own


@pytest.fixture(params=["file", "redis-server"])
async def kit(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Kit]:
    """Have a fresh store, and time that stands still."""
    store = opened(request.param, tmp_path)
    await store.open()
    yield kit_for(store)
    await store.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    site = getattr(item, "funcargs", {}).get("site")
    if report.when == "call" and report.failed and isinstance(site, Site):
        report.sections.append(("the ledger ends with", site.ledger.tail()))
    return report
