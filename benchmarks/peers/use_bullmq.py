"""BullMQ's own port to Python."""

import asyncio
from typing import Any

from bullmq import Queue, Worker
from peer import KEEP, QUEUE, Peer, Ran, main

OPTIONS: dict[str, Any] = {} if KEEP is None else {"removeOnComplete": {"count": KEEP}}


class BullMQ(Peer):
    packages = ("bullmq", "redis", "uvloop")

    async def open(self) -> None:
        self._queue = Queue(QUEUE, {"connection": self.url})

    async def add(self, text: str) -> None:
        await self._queue.add("noop", {"text": text}, OPTIONS)

    async def add_later(self, text: str, seconds: float) -> None:
        await self._queue.add("noop", {"text": text}, {**OPTIONS, "delay": round(seconds * 1000)})

    async def add_many(self, texts: list[str]) -> None:
        await self._queue.addBulk(
            [{"name": "noop", "data": {"text": text}, "opts": OPTIONS} for text in texts]
        )

    async def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        async def noop(job: Any, token: str) -> None:
            ran(job.data["text"])

        options = {"connection": self.url, "concurrency": concurrency}
        workers = [Worker(name, noop, options) for name in queues]
        await asyncio.Event().wait()
        del workers


main(BullMQ)
