"""The pytest plugin: the fixtures `toril_app` and `toril_jobs`, and the marker `toril`.

It is loaded in every run of pytest where toril is installed, so it imports toril only when a test
asks for a fixture.
"""

from collections.abc import Iterator
from typing import Any

import pytest


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take the settings of pytest's own configuration."""
    parser.addini("toril_app", "The app under test, such as shop.jobs:app.", default="")
    parser.addini("toril_mode", 'How jobs run in tests: "manual" or "inline".', default="manual")


def pytest_configure(config: pytest.Config) -> None:
    """Let pytest know the marker."""
    config.addinivalue_line(
        "markers", 'toril(mode="manual", now=None): how toril_jobs runs jobs, and its first time'
    )


@pytest.fixture
def toril_app(request: pytest.FixtureRequest) -> Any:
    """Return the app under test: that of the setting `toril_app`; override it to return another."""
    target: str = request.config.getini("toril_app")
    if not target:
        raise pytest.UsageError(
            "toril_app is not set: write toril_app = shop.jobs:app into the pytest configuration, "
            "or define a fixture toril_app that returns your app"
        )
    from toril._serve.load import load_app

    return load_app(target)


@pytest.fixture
def toril_jobs(request: pytest.FixtureRequest, toril_app: Any) -> Iterator[Any]:
    """Return a `toril.testing.Harness` of the app: its jobs are in memory during this test."""
    from toril.testing import Harness

    marker = request.node.get_closest_marker("toril")
    marked: dict[str, Any] = marker.kwargs if marker is not None else {}
    mode = marked.get("mode", request.config.getini("toril_mode"))
    with Harness(toril_app, mode=mode, now=marked.get("now")) as jobs:
        yield jobs
