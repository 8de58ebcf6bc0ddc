"""taskiq on a stream, which acknowledges a job after it ran."""

from typing import Any

import toil
from peer import QUEUE, Peer, Ran, main
from taskiq.api import run_receiver_task
from taskiq_redis import RedisStreamBroker


class Taskiq(Peer):
    packages = ("taskiq", "taskiq-redis", "redis", "uvloop")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._broker = RedisStreamBroker(url, queue_name=QUEUE)
        self._ran: Ran | None = None

        async def noop(text: str) -> None:
            if self._ran is not None:
                self._ran(text)

        self._noop = self._broker.register_task(noop, task_name="noop")

    async def open(self) -> None:
        await self._broker.startup()

    async def add(self, text: str) -> None:
        await self._noop.kiq(text=text)

    async def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        self._ran = ran
        await run_receiver_task(self._broker, max_async_tasks=concurrency, run_startup=True)

    async def toil(self, places: int, way: str) -> None:
        self._broker.register_task(toil.do_async, task_name="noop")
        await run_receiver_task(self._broker, max_async_tasks=places, run_startup=True)


main(Taskiq)
