"""What tests of faults share: apps on a server or behind its proxy, and what they heard."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer, fresh_prefix
from toril import Job, Toril

QUEUE = "faults"
# What the store promises after an outage, and after a connection that went silent.
BACK_S = 2.0
SILENT_S = 10.0


def app_on(
    server: RedisServer, proxy: FaultProxy | None = None, *, prefix: str = "bull", query: str = ""
) -> Toril:
    """Make an app that reaches the server, through the proxy if one is given."""
    url = server.url_of(password=server.password, port=proxy.port if proxy else 0)
    return Toril(f"{url}{query}", prefix=prefix)


class Runs:
    """A handler that notes when each job ran; a job may ask it to take its time."""

    def __init__(self) -> None:
        self.started: list[str] = []
        self.ended: list[str] = []
        self._changed = asyncio.Event()

    async def __call__(self, job: Job[Any]) -> str:
        self.started.append(job.id)
        self._changed.set()
        await asyncio.sleep((job.data or {}).get("ms", 0) / 1000)
        self.ended.append(job.id)
        self._changed.set()
        return job.id

    async def until_started(self, *ids: str, within: float = SILENT_S) -> float:
        """Wait until these have started, and say how long that took."""
        return await self._until(lambda: set(ids) <= set(self.started), within)

    async def until_ended(self, *ids: str, within: float = SILENT_S) -> float:
        """Wait until these have ended, and say how long that took."""
        return await self._until(lambda: set(ids) <= set(self.ended), within)

    async def _until(self, done: Callable[[], bool], within: float) -> float:
        began = time.monotonic()
        async with asyncio.timeout(within):
            while not done():
                self._changed.clear()
                await self._changed.wait()
        return time.monotonic() - began


async def until(look: Callable[[], Awaitable[object]], *, within: float = SILENT_S) -> None:
    """Look again and again until there is something: for what only others can bring about."""
    async with asyncio.timeout(within):
        while not await look():  # noqa: ASYNC110  # no event of ours would tell
            await asyncio.sleep(0.02)


def told(caplog: pytest.LogCaptureFixture, level: int = logging.INFO) -> list[str]:
    """Give the lines that toril wrote to its logs, without those about single jobs."""
    return [
        f"{record.levelname} {record.getMessage()}"
        for record in caplog.records
        if record.name.startswith("toril")
        and record.levelno >= level
        and not record.getMessage().startswith(("job.", "worker.ready", "worker.clos"))
    ]


__all__ = ["BACK_S", "QUEUE", "SILENT_S", "Runs", "app_on", "fresh_prefix", "told", "until"]


async def has_failed(job: Job[object]) -> bool:
    return await job.state() == "failed"
