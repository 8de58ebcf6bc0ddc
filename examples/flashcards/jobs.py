"""The jobs of the cards: three queues, their processors, and the flow that ties them together.

    toril worker jobs.py

Settings: TORIL_URL, or REDIS_HOST and REDIS_PORT. CARDS is the folder of the cards; CARDS_SECOND
shortens the time that work takes; CARDS_RATE and CARDS_CONCURRENCY limit `image:optimize`.
"""

import asyncio
import os
from typing import Any

from cards import FlashCardsService

from toril import Flow, Job, Toril, handles

SECOND = float(os.environ.get("CARDS_SECOND", "1"))
OPTIMIZE, CHECK, UPLOAD = "image:optimize", "image:check-valid", "image:upload"

# All names in the store begin with the prefix; in the code, queues have their bare names.
jobs = Toril(prefix="flash-cards")
jobs.provide(FlashCardsService, FlashCardsService())
jobs.queue(OPTIMIZE, rate=os.environ.get("CARDS_RATE", "200/60s"))

# In child processes, which import the module: it computes for long.
AT_ONCE = int(os.environ.get("CARDS_CONCURRENCY", "1"))
jobs.processor(OPTIMIZE, "pictures:optimize", name="optimize-size", concurrency=AT_ONCE)


@jobs.processor(CHECK)
class Checks:
    """Two checks, one after the other: concurrency is 1 unless you say otherwise."""

    @handles("check-term")
    async def check_term(self, job: Job[Any]) -> bool:
        await asyncio.sleep(5 * SECOND)
        return True

    @handles("check-policy")
    async def check_policy(self, job: Job[Any]) -> bool:
        await asyncio.sleep(8 * SECOND)
        return True


@jobs.processor(UPLOAD)
class Upload:
    """Runs when the children of its job have completed; the service is injected."""

    def __init__(self, cards: FlashCardsService) -> None:
        self.cards = cards

    @handles("uploading-image")
    async def upload(self, job: Job[Any]) -> str:
        children = await job.children()
        await asyncio.sleep(5 * SECOND)
        image = f"image_url_from_s3_{children['optimize-size']}"
        self.cards.set_image(job.data["id"], image)
        return image


@jobs.on("active")
def on_active(job: Job[Any]) -> None:
    print(f"Job has been started: {job.id} {job.name}", flush=True)


@jobs.on("completed")
def on_completed(job: Job[Any], result: Any) -> None:
    print(f"Job has been finished: {job.id} {job.name}", flush=True)


@jobs.on("failed")
def on_failed(job: Job[Any], error: Exception) -> None:
    print(f"Job has been failed: {job.id} {job.name}: {error}", flush=True)


def card_flow(card: int, file: str) -> Flow:
    """Return the jobs of a new card: it is uploaded when it is optimised and checked twice."""
    return jobs.flow(
        UPLOAD,
        "uploading-image",
        {"id": card},
        children=[
            (OPTIMIZE, "optimize-size", {"id": card, "file": file}, {"delay": SECOND}),
            (CHECK, "check-term", {"id": card}),
            (CHECK, "check-policy", {"id": card}),
        ],
    )
