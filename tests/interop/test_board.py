"""Bull Board in a real browser, on queues of toril's: what it shows, and what its buttons do."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from tests.interop.conftest import Sides
from tests.interop.node import Peer, browser
from tests.interop.sides import does, tree, until
from tests.interop.toril_side import TorilSide
from tests.support.servers import RedisServer

HOUR = 3_600_000
QUEUES = ["cards", "uploads", "images"]


@pytest.fixture(scope="session")
def screen(server: RedisServer) -> Iterator[Peer]:
    running = Peer(6, server.port, browser(), program="board.mjs")
    running.ready()
    yield running
    running.stop()


@pytest.fixture
def toril(sides: Sides) -> TorilSide:
    side = sides("toril")
    assert isinstance(side, TorilSide)
    return side


class Board:
    """A Bull Board on one prefix, and the page that shows it."""

    def __init__(self, screen: Peer, url: str) -> None:
        self._screen = screen
        self._url = url

    async def visit(self, path: str, *texts: str) -> None:
        """Go to a page, and wait until it shows these texts."""
        await self._screen.ask("visit", url=f"{self._url}{path}")
        await self.sees(*texts)

    async def sees(self, *texts: str) -> None:
        """Wait until these texts are shown."""
        await self._screen.ask("sees", texts=texts)

    async def click(self, selector: str) -> None:
        """Click the first of what a selector finds."""
        await self._screen.ask("click", selector=selector)

    async def sure(self, selector: str) -> None:
        """Click, and say yes when asked."""
        await self.click(selector)
        await self.click('button:text-is("Confirm")')

    def button(self, job: str, number: int) -> str:
        """Name a button of a job's card by its place: they have pictures, not words."""
        return f'xpath=//a[contains(@href,"/queue/cards/{job}")]/following::button[{number}]'


@pytest.fixture
async def board(screen: Peer, toril: TorilSide) -> AsyncIterator[Board]:
    url = await screen.ask("board", prefix=toril.prefix, queues=QUEUES)
    yield Board(screen, url)
    await screen.ask("visit", url="about:blank")
    await screen.ask("close", prefix=toril.prefix)


async def test_it_shows_the_queues_with_their_jobs(toril: TorilSide, board: Board) -> None:
    await toril.add("cards", "optimize", does(["progress", 42], ["return", {"ok": 1}]))
    await toril.add("cards", "broken", does(["throw", "rude words"]))
    await toril.work("cards", "ann")
    await until(lambda: toril.counts("cards"), {"completed": 1, "failed": 1})
    await toril.add("cards", "late", {"card": "cat.jpg"}, delay=HOUR)

    await board.visit("/", "cards", "uploads", "images", "3 Jobs")
    await board.visit("/queue/cards?status=completed", "optimize", "by ann-", "42%", "ok:")
    await board.visit("/queue/cards?status=failed", "broken", "ValueError: rude words")
    await board.visit("/queue/cards?status=delayed", "late", "cat.jpg", "Will run at")


async def test_it_shows_workers(toril: TorilSide, board: Board) -> None:
    await toril.add("cards", "n", {}, delay=HOUR)
    await board.visit("/queue/cards", "No workers")

    await toril.work("cards", "ann")
    await until(lambda: _count(toril), 1)

    await board.visit("/queue/cards", "LATEST")
    await board.click('[title="Queue info"]')
    await board.sees("Connected workers", "Workers\n1")


async def _count(toril: TorilSide) -> int:
    return len(await toril.workers("cards"))


async def test_it_shows_a_flow(toril: TorilSide, board: Board) -> None:
    made = await toril.add_flow(tree("uploads", "the-root", tree("images", "the-child")))

    await board.visit(f"/queue/uploads/{made.id}", "Job flow", "the-root", "the-child")
    await board.visit(f"/queue/images/{made.children[0].id}", "Job flow", "the-root", "the-child")


async def test_it_shows_schedulers(toril: TorilSide, board: Board) -> None:
    await toril.upsert("cards", "yearly", {"pattern": "0 5 1 2 *", "tz": "Asia/Tokyo"}, "tick")
    await toril.upsert("cards", "hourly", {"every": HOUR}, "tock")

    await board.visit(
        "/job-schedulers", "yearly", "0 5 1 2 *", "Asia/Tokyo", "hourly", "tick", "tock"
    )


async def test_its_retry_button_runs_a_job_again(toril: TorilSide, board: Board) -> None:
    job = await toril.add("cards", "n", does(["throw", "once", 1], ["return", 1]))
    await toril.work("cards")
    await until(lambda: toril.counts("cards"), {"failed": 1})

    await board.visit("/queue/cards?status=failed", "once")
    await board.sure(board.button(job, 1))

    assert await toril.result("cards", job) == 1


async def test_its_promote_button_runs_a_delayed_job(toril: TorilSide, board: Board) -> None:
    job = await toril.add("cards", "n", does(["return", 1]), delay=HOUR)
    await toril.work("cards")

    await board.visit("/queue/cards?status=delayed", "Will run at")
    await board.sure('button:has-text("Promote all")')

    assert await toril.result("cards", job) == 1


async def test_its_pause_button_stops_torils_worker(toril: TorilSide, board: Board) -> None:
    await toril.work("cards")

    await board.visit("/queue/cards", "LATEST")
    await board.click('button[aria-haspopup="menu"]')
    await board.sure("text=Pause")
    await until(lambda: toril.is_paused("cards"), True)
    job = await toril.add("cards", "n", does(["return", 1]))
    await board.visit("/queue/cards", "WAITING\n1")
    assert await toril.counts("cards") == {"waiting": 1}
    await board.click('button[aria-haspopup="menu"]')
    await board.sure("text=Resume")

    assert await toril.result("cards", job) == 1


async def test_its_clean_button_takes_finished_jobs(
    toril: TorilSide, board: Board, keys: Any
) -> None:
    await toril.add_bulk("cards", [("n", does(), {})] * 3)
    await toril.work("cards")
    await until(lambda: toril.counts("cards"), {"completed": 3})
    # It spares what finished within the last seconds.
    for job in ("1", "2", "3"):
        keys.zincrby(f"{toril.prefix}:cards:completed", -60_000, job)

    await board.visit("/queue/cards?status=completed", "COMPLETED\n3")
    await board.sure('button:has-text("Clean all")')

    await until(lambda: toril.counts("cards"), {})


async def test_its_remove_button_takes_one_job(toril: TorilSide, board: Board) -> None:
    await toril.add_bulk("cards", [("one", {}, {}), ("two", {}, {})])

    await board.visit("/queue/cards?status=waiting", "one", "two")
    await board.sure(
        'xpath=(//a[contains(@href,"/queue/cards/1")]/following::*[@role="tab"])[1]'
        "/preceding::button[1]"
    )

    await until(lambda: toril.counts("cards"), {"waiting": 1})
    assert await toril.ids("cards", "waiting") == ["2"]
