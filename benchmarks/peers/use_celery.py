"""Celery, with its solo pool and without results, which is where it is fastest."""

import logging
import warnings
from typing import Any

import toil
from celery import Celery
from peer import QUEUE, Peer, Ran, main


class WithCelery(Peer):
    packages = ("celery", "kombu", "redis")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._app = Celery(QUEUE, broker=url)
        self._app.conf.update(
            task_ignore_result=True,
            task_default_queue=QUEUE,
            worker_hijack_root_logger=False,
            worker_redirect_stdouts=False,  # the answer is written there
            broker_connection_retry_on_startup=True,
        )
        self._ran: Ran | None = None

        @self._app.task(name="noop")
        def noop(text: str) -> None:
            if self._ran is not None:
                self._ran(text)

        self._noop = noop

    def add(self, text: str) -> None:
        self._noop.apply_async(kwargs={"text": text})

    def add_later(self, text: str, seconds: float) -> None:
        self._noop.apply_async(kwargs={"text": text}, countdown=seconds)

    def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        self._ran = ran
        logging.disable(logging.INFO)
        pool = "solo" if concurrency == 1 else "threads"
        self._app.Worker(pool=pool, concurrency=concurrency, queues=queues).start()

    def toil(self, places: int, way: str) -> None:
        self._ran = toil.do
        logging.disable(logging.INFO)
        # It warns whoever is root in a container.
        warnings.simplefilter("ignore")
        self._app.Worker(pool=way, concurrency=places, queues=[QUEUE]).start()


main(WithCelery)
