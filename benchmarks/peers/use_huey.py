"""Huey, which takes a job out of its list before it runs it."""

import threading
from typing import Any

from huey import RedisHuey
from peer import QUEUE, Peer, Ran, main


class Huey(Peer):
    packages = ("huey", "redis")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._huey = RedisHuey(QUEUE, url=url)
        self._ran: Ran | None = None
        self._noop = self._huey.task(name="noop")(self._run)

    def _run(self, text: str) -> None:
        if self._ran is not None:
            self._ran(text)

    def add(self, text: str) -> None:
        self._noop(text=text)

    def add_later(self, text: str, seconds: float) -> None:
        self._noop.schedule(kwargs={"text": text}, delay=seconds)

    def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        self._ran = ran
        consumer = self._huey.create_consumer(
            workers=concurrency, periodic=False, check_worker_health=False
        )
        consumer.start()
        threading.Event().wait()


main(Huey)
