"""toril, through nothing but what it documents."""

import asyncio
import logging
from datetime import timedelta
from typing import Any

import toil
from peer import KEEP, QUEUE, Peer, Ran, main

from toril import Toril

AHEAD = 2


class Ours(Peer):
    packages = ("toril", "redis", "uvloop")

    def _app(self) -> Toril:
        # It warns that this server keeps nothing on disk, as is meant here.
        logging.getLogger("toril").setLevel(logging.ERROR)
        app = Toril(self.url)
        app.queue(QUEUE, keep="all" if KEEP is None else KEEP)
        return app

    async def open(self) -> None:
        self._queue = (await self._app().__aenter__()).queue(QUEUE)

    async def add(self, text: str) -> None:
        await self._queue.add("noop", {"text": text})

    async def add_later(self, text: str, seconds: float) -> None:
        await self._queue.add("noop", {"text": text}, delay=timedelta(seconds=seconds))

    async def add_many(self, texts: list[str]) -> None:
        await self._queue.add_many([("noop", {"text": text}) for text in texts])

    async def add_many_later(self, texts: list[str], seconds: float) -> None:
        delay = timedelta(seconds=seconds)
        await self._queue.add_many([("noop", {"text": text}, {"delay": delay}) for text in texts])

    async def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        async with self._app() as app:

            async def noop(text: str) -> None:
                ran(text)

            for name in queues:
                app.task(queue=name)(noop)
            worker = app.worker(queues, concurrency=concurrency)
            await worker.start()
            await asyncio.Event().wait()

    async def toil(self, places: int, way: str) -> None:
        async with self._app() as app:
            given: dict[str, Any] = {"queue": QUEUE, "name": "noop"}
            in_hand = places
            if way == "children":
                given["isolation"] = "process"
                # So that a child never waits for its next job to be claimed.
                in_hand += AHEAD
            app.task(**given)(toil.do_async if way == "loop" else toil.do)
            worker = app.worker(QUEUE, concurrency=in_hand, processes=places)
            await worker.start()
            await asyncio.Event().wait()


main(Ours)
