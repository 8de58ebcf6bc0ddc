"""What every test shares. Fixtures of one folder live in that folder's conftest."""

import os
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.support.servers import RedisServer, fresh_prefix, shared_server

if sys.platform != "win32":
    import fcntl

_TURNSTILE = "PYTEST_TURNSTILE"
_ALONE = ("serial",)


def pytest_configure(config: pytest.Config) -> None:
    # Started in the background of a script it is ignored, by every program that a test starts too.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # Containers set it; every process that a test starts would then compile toril for itself.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    # The controller runs this before it starts its workers, which inherit the variables. Midnight
    # may come between: they must agree on the day.
    os.environ.setdefault("PYTEST_DAY", str(datetime.now(UTC).toordinal()))
    if _TURNSTILE not in os.environ:
        folder = tempfile.TemporaryDirectory(prefix="toril-tests-")
        os.environ[_TURNSTILE] = folder.name
        config.add_cleanup(lambda: _forget(folder))


def _forget(folder: tempfile.TemporaryDirectory[str]) -> None:
    del os.environ[_TURNSTILE]
    folder.cleanup()


@contextmanager
def _locked(name: str, *, shared: bool) -> Iterator[None]:
    if sys.platform == "win32":  # no flock: run without -n there
        yield
        return
    with Path(os.environ[_TURNSTILE], name).open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        try:
            yield
        finally:
            # Not left to close(): a child that a test forked may hold the same description.
            fcntl.flock(file, fcntl.LOCK_UN)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let tests that kill or measure run alone under ``-n``, whatever the other workers do.

    Everybody passes the gate; a test that wants the room to itself holds the gate while the
    room empties, so a stream of ordinary tests cannot keep it waiting. ``tryfirst`` puts this
    outside the time limit: waiting does not count.
    """
    alone = any(item.get_closest_marker(name) for name in _ALONE)
    with ExitStack() as room:
        with _locked("gate", shared=False):
            room.enter_context(_locked("room", shared=not alone))
        return (yield)


@pytest.fixture(autouse=True)
def same_folder() -> Iterator[None]:
    """Fail a test that leaves the tests after it in another folder, where programs do not start."""
    folder = os.getcwd()
    yield
    assert os.getcwd() == folder


@pytest.fixture(scope="session")
def redis_server() -> RedisServer:
    """Give this process's server: it is shared, so break nothing and keep to a fresh prefix."""
    return shared_server()


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """Name the shared server; the queues of a test stand under `redis_prefix` there."""
    return redis_server.url


@pytest.fixture
def redis_prefix() -> str:
    """Give a prefix that no other test uses."""
    return fresh_prefix()
