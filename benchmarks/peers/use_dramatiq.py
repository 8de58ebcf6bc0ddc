"""Dramatiq."""

import threading
from typing import Any

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from peer import QUEUE, Peer, Ran, main


class Dramatiq(Peer):
    packages = ("dramatiq", "redis")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._broker = RedisBroker(url=url)
        self._broker.middleware = [
            one for one in self._broker.middleware if type(one).__name__ != "Prometheus"
        ]
        self._ran: Ran | None = None
        self._noop = dramatiq.actor(
            self._run, actor_name="noop", queue_name=QUEUE, broker=self._broker
        )

    def _run(self, text: str) -> None:
        if self._ran is not None:
            self._ran(text)

    def add(self, text: str) -> None:
        self._noop.send(text=text)

    def add_later(self, text: str, seconds: float) -> None:
        self._noop.send_with_options(kwargs={"text": text}, delay=round(seconds * 1000))

    def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        self._ran = ran
        dramatiq.Worker(self._broker, worker_threads=concurrency).start()
        threading.Event().wait()


main(Dramatiq)
