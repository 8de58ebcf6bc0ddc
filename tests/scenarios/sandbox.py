"""What the sandboxed processors of S000-13 run; imported in child processes only."""

import os
import time
from collections.abc import Mapping
from typing import Any

from toril import Job


class Card:
    def __init__(self, text: str) -> None:
        self.text = text


def make_container() -> Mapping[type, object]:
    return {Card: Card("from the factory")}


def block(job: Job[Any]) -> list[float]:
    """Spin without ever giving the interpreter away for long, then sleep a little."""
    began = time.monotonic()
    while time.monotonic() < began + job.data["spin"]:
        pass
    job.progress(50)
    job.log("spun")
    time.sleep(job.data["sleep"])
    return [os.getpid(), began, time.monotonic()]


def leave(job: Job[Any]) -> None:
    os._exit(job.data)


class Reader:
    def __init__(self, card: Card) -> None:
        self._card = card

    def process(self, job: Job[Any]) -> str:
        return self._card.text
