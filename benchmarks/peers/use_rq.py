"""RQ, in one process (SimpleWorker): a fork for each job costs it five times as much.

Only for `isolation.py` it forks, unless that asks for SimpleWorker.
"""

import logging
import sys
from datetime import timedelta
from typing import Any

import toil
from peer import QUEUE, Peer, Ran, main
from redis import Redis
from rq import Queue, SimpleWorker, Worker

# Jobs name their function by its module.
sys.modules["use_rq"] = sys.modules[__name__]
_ran: list[Ran] = []


def noop(text: str) -> None:
    for ran in _ran:
        ran(text)


noop.__module__ = "use_rq"


class WithRQ(Peer):
    packages = ("rq", "redis")

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._queue = Queue(QUEUE, connection=Redis.from_url(url))

    def add(self, text: str) -> None:
        self._queue.enqueue(noop, text=text)

    def add_later(self, text: str, seconds: float) -> None:
        self._queue.enqueue_in(timedelta(seconds=seconds), noop, text=text)

    def add_many(self, texts: list[str]) -> None:
        self._queue.enqueue_many(
            [Queue.prepare_data(noop, kwargs={"text": text}) for text in texts]
        )

    def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        _ran.append(ran)
        logging.disable(logging.INFO)
        worker = SimpleWorker([self._queue], connection=self._queue.connection)
        # The scheduler is a process of its own, which only delayed jobs need.
        worker.work(logging_level="WARNING", with_scheduler="wait" in sys.argv)

    def toil(self, places: int, way: str) -> None:
        _ran.append(toil.do)
        logging.disable(logging.INFO)
        kind = Worker if way == "fork" else SimpleWorker
        kind([self._queue], connection=self._queue.connection).work(logging_level="WARNING")


main(WithRQ)
