"""A store under torture, whichever it is: its apps, its worker processes, its audit, its verdict."""

import asyncio
import os
import random
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.robustness.chaos import audit as sqlite_audit
from tests.robustness.chaos.app import JOBS, PARENTS
from tests.robustness.chaos.fleet import Fleet, fleet
from tests.robustness.chaos.ledger import Ledger, Line, Verdict, judge
from tests.robustness.faults import audit as redis_audit
from tests.support.proxy import FaultProxy
from tests.support.servers import RedisServer
from toril import Job, Toril

PREFIX = "bull"
STORES = ("sqlite", "redis")
on_redis = pytest.mark.parametrize("site", ["redis"], indirect=True)
on_sqlite = pytest.mark.parametrize("site", ["sqlite"], indirect=True)
ROUNDS = int(os.environ.get("TORIL_ROUNDS", "1"))
# Short, so that a round is; what is promised is measured in locks, and does not depend on it.
QUICK = ("lock=1s", "interval=300ms")


def seed() -> int:
    """Give the seed of this run: a fresh one, or the one that is asked for."""
    return int(os.environ.get("TORIL_SEED", random.SystemRandom().randrange(10**6)))


class Site:
    """A store of a test's own, with the ledger of what happens there."""

    def __init__(self, store: str, folder: Path) -> None:
        self.store = store
        self.file = folder / "jobs.db"
        self.ledger = Ledger(folder / "ledger")
        self.server = RedisServer(appendonly=True) if store == "redis" else None

    def __enter__(self) -> "Site":
        if self.server:
            self.server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ledger.close()
        if self.server:
            self.server.close()

    @property
    def url(self) -> str:
        return self.server.url if self.server else f"sqlite:///{self.file}"

    def app(self) -> Toril:
        """Make an app whose queues keep all that happens, so that it can be audited."""
        return self._kept(Toril(self.url, prefix=PREFIX))

    def app_through(self, proxy: FaultProxy) -> Toril:
        """Make such an app that reaches its server through a proxy."""
        assert self.server is not None
        return self._kept(Toril(self.server.url_of(port=proxy.port), prefix=PREFIX))

    def _kept(self, app: Toril) -> Toril:
        for queue in (JOBS, PARENTS):
            app.queue(queue, keep="all", events_limit=10_000_000)
        return app

    def workers(self, count: int, *options: str) -> AbstractAsyncContextManager[Fleet]:
        """Have so many worker processes; they are up when this is entered."""
        return self.programs("tests.robustness.faults.program", count, *(options or QUICK))

    @asynccontextmanager
    async def programs(self, module: str, count: int, *options: str) -> AsyncIterator[Fleet]:
        args = (self.url, PREFIX, self.ledger.path, *options)
        async with fleet(module, *args, count=count) as processes:
            await processes.all_up(count)
            yield processes

    def noted(self, word: str, job: Job[object]) -> list[Line]:
        """Give what the ledger says about a job."""
        lines = self.ledger.lines()
        return [line for line in lines if (line.word, *line.facts[1:2]) == (word, job.id)]

    def verdict(self, *queues: str) -> Verdict:
        """Judge what happened, and audit what stands in the store."""
        lines = self.ledger.lines()
        if self.server is None:
            with sqlite_audit.Audit(self.file) as file:
                verdict = judge(lines, file.fates(), file.finishes())
                verdict.unsound = file.findings()
            return verdict
        with self.server.client() as client:
            keys = redis_audit.Audit(client, PREFIX, queues or (JOBS, PARENTS))
            verdict = judge(lines, keys.fates(), keys.finishes())
            verdict.unsound = keys.findings()
        return verdict


async def drained(app: Toril, *queues: str, within: float = 30.0) -> None:
    """Wait until every job is done, as long as that may take; the verdict says what is not."""
    asked = [app.queue(name) for name in queues or (JOBS, PARENTS)]
    deadline = asyncio.get_running_loop().time() + within
    while asyncio.get_running_loop().time() < deadline:
        counts = [await queue.counts() for queue in asked]
        if not any(c.ready or c.active or c.delayed or c.waiting_children for c in counts):
            return
        await asyncio.sleep(0.05)
