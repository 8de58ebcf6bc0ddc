"""What a picture goes through; only child processes import this, and Pillow."""

import os
import time
from typing import Any

from cards import FlashCardsService
from PIL import Image

from toril import Job

SECOND = float(os.environ.get("CARDS_SECOND", "1"))
WIDTH = 320


def optimize(job: Job[Any]) -> str:
    """Make a picture small, and return the name of its file. It blocks: it has a process."""
    service, card, name = FlashCardsService(), job.data["id"], job.data["file"]
    job.log(f"process {os.getpid()}")
    job.progress(10)
    time.sleep(job.data.get("seconds", 10) * SECOND)  # a larger picture than you have here
    with Image.open(service.picture(card, name)) as picture:
        picture.thumbnail((WIDTH, WIDTH))
        picture.convert("RGB").save(service.picture(card, name, small=True), "JPEG")
    job.progress(100)
    return name
