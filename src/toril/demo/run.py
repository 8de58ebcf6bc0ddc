"""The demo from its first to its last line: plays it, shows it, and judges it.

Never here: what happens to a picture (`flashcards`), and how anything looks (`screen`).
"""

import asyncio
import logging
import tempfile
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.live import Live

from toril import Job, Toril

from .cards import Card, Cards
from .flashcards import CONCURRENCY, QUEUES, Shelf, Workshop, add_card, make_app
from .photos import find_photos
from .plans import CardPlan, make_plans
from .screen import COLUMNS, Numbers, Scene, attempt_line, closing_line, draw, summary, upload_line

DEADLINE_S = 120.0
LOOK_S = 0.1
PLAIN_WIDTH = 150
JOBS_A_CARD = 4

Show = Callable[[Scene], None]


@dataclass(slots=True)
class Stage:
    """What the demo plays on, what it knows of its cards, and what it has told so far."""

    console: Console
    app: Toril
    cards: Cards
    title: str
    started: float = field(default_factory=time.time)
    names: dict[int, str] = field(default_factory=dict[int, str])
    expected: dict[int, str] = field(default_factory=dict[int, str])
    story: list[str] = field(default_factory=list[str])


def run(
    images: Path | None = None,
    *,
    url: str | None = None,
    console: Console | None = None,
    deadline_s: float = DEADLINE_S,
) -> int:
    """Run the demo on the pictures in a folder, or on photographs that a package brings.

    The jobs live in a file of their own, or on the server that `url` names, from which they are
    removed at the end. Returns 0 when exactly those cards failed that had to, otherwise 1.

    Raises   ConfigError: there are no pictures.
    """
    screen = console or Console()
    if not screen.is_terminal:
        screen.width = max(screen.width, PLAIN_WIDTH)
    photos = find_photos(images)
    with tempfile.TemporaryDirectory(prefix="toril-demo-") as folder, _quiet_log():
        place = url or f"sqlite:///{Path(folder) / 'toril.db'}"
        return asyncio.run(_demo(Path(folder), photos, screen, (place, deadline_s)))


async def _demo(
    folder: Path, photos: list[Path], console: Console, terms: tuple[str, float]
) -> int:
    url, deadline_s = terms
    plans = await asyncio.to_thread(make_plans, photos, folder)
    with closing(Cards(folder / "cards.db")) as cards:
        app = make_app(url, _workshop(folder), cards)
        title = f"{len(plans)} cards, {JOBS_A_CARD} jobs each, in {app.store_url}"
        stage = Stage(console, app, cards, title)
        async with stage.app:
            await _add_cards(stage, plans)
            in_time = await _work(stage, deadline_s)
            scene = await _scene(stage)
            await _leave(stage.app)
    return _judge(stage, scene, None if in_time else f"it was not done within {deadline_s:.0f} s")


async def _leave(app: Toril) -> None:
    """Take everything away again: a server goes on."""
    for name in await app.queues():
        await app.queue(name).obliterate(force=True)


def _workshop(folder: Path) -> Workshop:
    shelves = [folder / "optimized", folder / "uploaded"]
    for shelf in shelves:
        shelf.mkdir()
    return Workshop(*map(Shelf, shelves))


async def _add_cards(stage: Stage, plans: Sequence[CardPlan]) -> None:
    for plan in plans:
        name, size = plan.file.name, plan.file.stat().st_size
        card = stage.cards.add(plan.file.stem.replace("_", " "), name, size)
        stage.names[card], stage.expected[card] = name, plan.expected
        await add_card(stage.app, card, plan.file)


async def _work(stage: Stage, deadline_s: float) -> bool:
    """Run a worker until nothing is left to do; say whether that came in time."""
    worker = stage.app.worker(CONCURRENCY)
    in_turn = asyncio.Lock()  # a child fails before its parent, and is the reason

    @worker.on("attempt_failed")
    def tell(job: Job[Any], error: BaseException) -> None:
        _tell(stage, attempt_line(stage.names[job.data["card"]], job, error))

    @worker.on("failed")
    async def note(job: Job[Any], error: BaseException) -> None:
        tries = f"after {job.attempt} attempts: " if job.attempt > 1 else ""
        async with in_turn:
            await asyncio.to_thread(stage.cards.failed, job.data["card"], f"{tries}{error}")

    try:
        async with asyncio.timeout(deadline_s), worker:
            await _watch(stage)
    except TimeoutError:
        return False
    return True


async def _watch(stage: Stage) -> None:
    """Show how it goes until nothing is left to do."""
    with _shown(stage) as show:
        while True:
            scene = await _scene(stage)
            show(scene)
            if not _left(scene.queues):
                return
            await asyncio.sleep(LOOK_S)


@contextmanager
def _shown(stage: Stage) -> Generator[Show]:
    """Return what shows a scene: a picture that moves, or off a terminal what is new as lines."""
    if stage.console.is_terminal:
        with Live(console=stage.console, auto_refresh=False, transient=True) as live:
            yield lambda scene: live.update(draw(scene), refresh=True)
    else:
        stage.console.print(stage.title, highlight=False, soft_wrap=True)
        told: set[int] = set()
        yield lambda scene: _tell_uploads(stage, scene.cards, told)


def _tell_uploads(stage: Stage, cards: Sequence[Card], told: set[int]) -> None:
    for card in cards:
        if card.state == "uploaded" and card.id not in told:
            told.add(card.id)
            _tell(stage, upload_line(card))


def _tell(stage: Stage, line: str) -> None:
    stage.story.append(line)
    if not stage.console.is_terminal:
        stage.console.print(line, highlight=False, soft_wrap=True)


async def _scene(stage: Stage) -> Scene:
    counts = {queue: await stage.app.queue(queue).counts() for queue in QUEUES}
    return Scene(
        title=stage.title,
        queues={
            queue: {name: getattr(each, name) for name in COLUMNS} for queue, each in counts.items()
        },
        cards=await asyncio.to_thread(stage.cards.all),
        story=stage.story,
    )


def _left(queues: Mapping[str, Numbers]) -> bool:
    unfinished = set(COLUMNS) - {"completed", "failed"}
    return any(numbers[name] for numbers in queues.values() for name in unfinished)


def _judge(stage: Stage, scene: Scene, trouble: str | None) -> int:
    """Show how it ended, and say whether it ended as it had to."""
    console = stage.console
    console.print(summary(scene.cards, since=stage.started))
    wrong = [*([trouble] if trouble else []), *_surprises(stage, scene)]
    for line in wrong:
        console.print(f"unexpected: {line}", style="red", highlight=False, soft_wrap=True)
    console.print(closing_line(scene, time.time() - stage.started), highlight=False, soft_wrap=True)
    return 1 if wrong else 0


def _surprises(stage: Stage, scene: Scene) -> list[str]:
    found = [
        f"{card.original} is {card.state} ({card.reason or 'no reason'}), "
        f"and should be {stage.expected[card.id]}"
        for card in scene.cards
        if card.state != stage.expected[card.id]
    ]
    finished = sum(each["completed"] + each["failed"] for each in scene.queues.values())
    should = len(scene.cards) * JOBS_A_CARD
    return found if finished == should else [*found, f"{finished} of {should} jobs finished"]


@contextmanager
def _quiet_log() -> Generator[None]:
    """Keep the log's warnings off the screen, which tells the same in its own way."""
    nowhere = logging.NullHandler()
    log = logging.getLogger("toril")
    log.addHandler(nowhere)
    try:
        yield
    finally:
        log.removeHandler(nowhere)
