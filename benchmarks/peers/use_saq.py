"""SAQ."""

import math
import time
from typing import Any

from peer import QUEUE, Peer, Ran, main
from saq import Queue, Worker


class Saq(Peer):
    packages = ("saq", "redis", "uvloop")

    async def open(self) -> None:
        self._queue = Queue.from_url(self.url, name=QUEUE)
        await self._queue.connect()

    async def add(self, text: str) -> None:
        await self._queue.enqueue("noop", text=text)

    async def add_later(self, text: str, seconds: float) -> None:
        # It takes whole seconds.
        await self._queue.enqueue("noop", text=text, scheduled=math.ceil(time.time() + seconds))

    async def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        async def noop(context: dict[str, Any], *, text: str) -> None:
            ran(text)

        queue = Queue.from_url(self.url, name=QUEUE)
        await Worker(queue, [("noop", noop)], concurrency=concurrency).start()


main(Saq)
