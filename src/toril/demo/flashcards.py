"""The flash-card app: what each picture goes through, as processors of three queues.

Never here: where pictures come from, and showing how it goes.
"""

import asyncio
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from toril import Exponential, Fail, Job, Toril, handles

from . import pictures
from .cards import Cards

T = TypeVar("T")

OPTIMIZE, CHECK, UPLOAD = QUEUES = ("image:optimize", "image:check-valid", "image:upload")
CONCURRENCY = {OPTIMIZE: 2, CHECK: 4, UPLOAD: 2}
ATTEMPTS = 4
BACKOFF = Exponential("400ms")


@dataclass(frozen=True, slots=True)
class Shelf:
    """A folder of files, each named by what is in it; putting one twice leaves one."""

    folder: Path

    def put(self, data: bytes) -> Path:
        """Store a file, all of it or nothing, and give its path."""
        path = self.folder / pictures.content_name(data)
        if not path.exists():
            with tempfile.NamedTemporaryFile(dir=self.folder, delete=False) as file:
                file.write(data)
            Path(file.name).replace(path)
        return path


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where optimised pictures lie until they are uploaded, and where they are then."""

    optimized: Shelf
    uploaded: Shelf


class Optimize:
    """Shrink pictures. A picture that is incomplete may be complete at the next attempt."""

    def __init__(self, workshop: Workshop) -> None:
        self.shelf = workshop.optimized

    @handles("optimize-size")
    def optimize(self, job: Job[Any]) -> str:
        """Store the small picture, and return its path; `def`, so it runs in a thread."""
        original = Path(job.data["file"]).read_bytes()
        small = _or_fail(pictures.optimize, original)
        job.log(f"{len(original):,} → {len(small):,} bytes")
        return str(self.shelf.put(small))


class CheckValid:
    """Check pictures; a refusal is final, so it fails the job without another attempt."""

    def __init__(self, cards: Cards) -> None:
        self.cards = cards

    @handles("check-term")
    def check_term(self, job: Job[Any]) -> bool:
        """Check the format and the size of a picture."""
        return self._check(pictures.check_term, job)

    @handles("check-policy")
    def check_policy(self, job: Job[Any]) -> bool:
        """Check that a photograph tells no location."""
        return self._check(pictures.check_policy, job)

    def _check(self, check: Callable[[bytes], None], job: Job[Any]) -> bool:
        try:
            _or_fail(check, Path(job.data["file"]).read_bytes())
        except Fail as refusal:
            self.cards.refused(job.data["card"], refusal.reason)
            raise
        return True


class Upload:
    """Store what the children of a job made; may run twice, and leaves one file and one row."""

    def __init__(self, workshop: Workshop, cards: Cards) -> None:
        self.shelf = workshop.uploaded
        self.cards = cards

    @handles("uploading-image")
    async def upload(self, job: Job[Any]) -> str:
        """Store the optimised picture under its content's hash, and update its card."""
        children = await job.children()
        optimized = Path(children["optimize-size"])
        return await asyncio.to_thread(self._store, job.data["card"], optimized)

    def _store(self, card: int, optimized: Path) -> str:
        data = optimized.read_bytes()
        image = self.shelf.put(data).name
        self.cards.uploaded(card, image, len(data))
        return image


def make_app(url: str, workshop: Workshop, cards: Cards) -> Toril:
    """Make the app: its processors, and what they are given."""
    # On a server that others use too, the demo keeps to queues of its own.
    app = Toril(url, prefix=f"toril-demo-{os.getpid()}")
    app.queue(OPTIMIZE, attempts=ATTEMPTS, backoff=BACKOFF)
    app.provide(Workshop, workshop)
    app.provide(Cards, cards)
    app.processor(OPTIMIZE, concurrency=CONCURRENCY[OPTIMIZE])(Optimize)
    app.processor(CHECK)(CheckValid)
    app.processor(UPLOAD)(Upload)
    return app


async def add_card(app: Toril, card: int, picture: Path) -> None:
    """Start what a card's picture goes through: three jobs, and one that waits for them."""
    data = {"card": card, "file": str(picture)}
    children = [
        (OPTIMIZE, "optimize-size", data),
        (CHECK, "check-term", data),
        (CHECK, "check-policy", data),
    ]
    await app.flow(UPLOAD, "uploading-image", data, children=children).add()


def _or_fail(work: Callable[[bytes], T], data: bytes) -> T:
    """Do some work on a picture; a refusal ends the job for good."""
    try:
        return work(data)
    except pictures.PictureRefused as refusal:
        raise Fail(str(refusal)) from refusal
