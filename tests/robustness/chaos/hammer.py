"""One of the processes that hammer a file: `python -m tests.robustness.chaos.hammer FILE SECONDS`.

It adds, claims, finishes and reads as fast as it can, and prints what it did as JSON.
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Awaitable
from typing import Any, TypeVar

from tests.support.kit import complete
from toril._model.record import Claim, NewJob, Ref
from toril._model.report import Query
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import ClaimRequest
from toril.errors import TorilError

T = TypeVar("T")

QUEUES = ("hammer", "anvil")
BATCH = 20


class Hammer:
    """What one process does, and the count of it."""

    def __init__(self, store: SQLiteStore, seconds: float) -> None:
        self.store = store
        self.until = time.monotonic() + seconds
        self.done: Counter[str] = Counter()
        self.errors: list[str] = []
        self.slowest_s = 0.0

    @property
    def goes_on(self) -> bool:
        return time.monotonic() < self.until

    async def ask(self, what: str, call: Awaitable[T]) -> T:
        """Make one call: no answer may be an error, and none may take long."""
        began = time.monotonic()
        try:
            return await call
        except TorilError as error:
            self.errors.append(f"{what}: {error!r}")
            raise
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self.done[what] += 1

    async def add(self) -> None:
        while self.goes_on:
            for size in (1, BATCH):
                groups = [[NewJob(queue=queue, name="hit")] for queue in QUEUES] * size
                for answer in await self.ask("add", self.store.add(groups)):
                    self._note(answer, "added")
            counts = await self.store.counts(QUEUES)
            # Whoever adds waits for those who work, or the file would only grow.
            while self.goes_on and sum(count.waiting for count in counts) > 2_000:
                await asyncio.sleep(0.01)
                counts = await self.ask("counts", self.store.counts(QUEUES))

    async def work(self) -> None:
        turn = 0
        held: list[Claim] = []
        while self.goes_on or held:
            turn += 1
            wanted = BATCH if self.goes_on else 0
            requests = [
                ClaimRequest(queue=queue, limit=wanted, token=f"{os.getpid()}-{turn}")
                for queue in QUEUES
                if wanted
            ]
            finishing = self.store.finish([complete(claim) for claim in held], requests)
            finished = await self.ask("finish", finishing)
            for word in finished.words:
                self._note(word, "finished")
            held = [claim for claimed in finished.claimed for claim in claimed.jobs]
            self.done["claimed"] += len(held)

    async def read(self) -> None:
        after = "0"
        while self.goes_on:
            for queue in QUEUES:
                page = await self.ask("find", self.store.find(Query(queue=queue, limit=50)))
                refs = [Ref(record.queue, record.id) for record in page.jobs]
                await self.ask("get", self.store.get(refs))
            events = await self.ask("events", self.store.events(QUEUES[0], after, timeout_ms=50))
            after = events[-1].id if events else after

    def _note(self, answer: Any, word: str) -> None:
        if isinstance(answer, TorilError):
            self.errors.append(f"{word}: {answer!r}")
        else:
            self.done[word] += 1


async def main(path: str, seconds: float) -> None:
    store = SQLiteStore(path)
    await store.open()
    hammer = Hammer(store, seconds)
    await asyncio.gather(hammer.add(), hammer.work(), hammer.read())
    await store.close()
    told = {"done": hammer.done, "errors": hammer.errors, "slowest_s": hammer.slowest_s}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
