"""The card application that several scenarios share: its queues, its handlers and its flow."""

import asyncio
from typing import Any

from tests.scenarios.helpers import (
    Journal,
    tally,
)
from toril import Job, Toril

IMAGES = "image:optimize"
CHECKS = "image:check-valid"
UPLOADS = "image:upload"
CARD = {"file": "cat.jpg", "id": 7}


async def echo(job: Job[Any]) -> Any:
    return job.data


async def refuse(job: Job[Any]) -> None:
    raise ValueError("no")


class FlashCardsService:
    def __init__(self) -> None:
        self.images: dict[int, str] = {}

    def set_image(self, card: int, image: str) -> None:
        self.images[card] = image


class Cards:
    """The queues, handlers and flow of the card application; times are those of the cards ÷ 20."""

    def __init__(self, app: Toril) -> None:
        self.app = app
        self.images, self.checks, self.uploads = map(app.queue, (IMAGES, CHECKS, UPLOADS))
        self.checking, self.optimizing = Journal(), Journal()
        self.service = FlashCardsService()
        app.provide(FlashCardsService, self.service)

        @self.images.handler("optimize-size")
        async def optimize(job: Job[Any]) -> Any:
            with self.optimizing.run(job.name):
                await asyncio.sleep(0.5)
            return job.data["file"]

        @self.checks.handler()
        async def check(job: Job[Any]) -> Any:
            with self.checking.run(job.name):
                await asyncio.sleep(0.25 if job.name == "check-term" else 0.4)
            return True

        @app.processor(UPLOADS)
        class Uploads:
            def __init__(self, cards: FlashCardsService) -> None:
                self.cards = cards

            async def process(self, job: Job[Any]) -> None:
                await asyncio.sleep(0.25)
                values = await job.children_values()
                file = next(value for key, value in values.items() if IMAGES in key)
                self.cards.set_image(job.data["id"], f"image_url_from_s3_{file}")

    async def post(self, *, delay: str = "50ms", **optimize: Any) -> dict[str, Job[Any]]:
        tree = await self.app.flow(
            UPLOADS,
            "uploading-image",
            {"id": 7},
            children=[
                (IMAGES, "optimize-size", CARD, {"delay": delay, **optimize}),
                (CHECKS, "check-term", {"id": 7}),
                (CHECKS, "check-policy", {"id": 7}),
            ],
        ).add()
        return {job.name: job for job in tree.walk()}

    async def tallies(self) -> dict[str, dict[str, int]]:
        return {
            queue.name: await tally(queue) for queue in (self.images, self.checks, self.uploads)
        }
