"""arq, polling every 5 ms: its default of half a second is what a job would wait."""

import logging
from datetime import timedelta
from typing import Any

from arq import create_pool
from arq.connections import RedisSettings
from arq.worker import Worker, func
from peer import QUEUE, Peer, Ran, main

POLL_S = 0.005


class Arq(Peer):
    packages = ("arq", "redis", "uvloop")

    async def open(self) -> None:
        settings = RedisSettings.from_dsn(self.url)
        self._pool = await create_pool(settings, default_queue_name=QUEUE)

    async def add(self, text: str) -> None:
        await self._pool.enqueue_job("noop", text=text)

    async def add_later(self, text: str, seconds: float) -> None:
        await self._pool.enqueue_job("noop", text=text, _defer_by=timedelta(seconds=seconds))

    async def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        async def noop(context: dict[Any, Any], text: str) -> None:
            ran(text)

        logging.disable(logging.INFO)
        worker = Worker(
            [func(noop, name="noop")],
            queue_name=QUEUE,
            redis_settings=RedisSettings.from_dsn(self.url),
            max_jobs=concurrency,
            poll_delay=POLL_S,
            handle_signals=False,
        )
        await worker.async_run()


main(Arq)
