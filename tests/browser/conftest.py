"""What the browser tests share: a site on each store, a Chromium, and a page that counts clicks."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, BrowserContext, Locator, Page, async_playwright, expect

from tests.support.frontend import browser, pages_are_built
from tests.support.servers import RedisServer, free_port, fresh_prefix

ROOT = Path(__file__).parents[2]
READY_S = 60.0
# How long a page may take to show something on a busy machine, in ms.
SHOWN_MS = 15_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let all tests of this folder share one event loop: the browser lives on it."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(90))


class Site:
    """A running site: see `tests.browser.site`."""

    def __init__(self, url: str, prefix: str) -> None:
        self.port = free_port()
        self.address = f"http://127.0.0.1:{self.port}/"
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.browser.site", url, prefix, str(self.port)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip

    def ready(self) -> None:
        """Wait until its jobs have run and it answers."""
        assert self._process.stdout is not None
        assert self._process.stdout.readline().strip() == "ready"

    def tell(self, word: str) -> None:
        """Tell it something, such as that the mail server is mended."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


@dataclass
class Screen:
    """A page of the site; it counts clicks, and remembers what the console said."""

    page: Page
    address: str
    clicks: int = 0
    said: list[str] = field(default_factory=list[str])

    async def open(self, path: str = "", *texts: str) -> None:
        """Go to a page and wait until it shows its data, and these texts; that is no click."""
        await self.page.goto(self.address + path)
        await self.page.locator("main > *").first.wait_for(state="attached")
        await expect(self.page.locator(".loading")).to_have_count(0, timeout=SHOWN_MS)
        await self.sees(*texts)
        self.clicks = 0

    async def sees(self, *texts: str) -> None:
        """Wait until these texts are shown."""
        for text in texts:
            await self.page.get_by_text(text).filter(visible=True).first.wait_for()

    async def click(self, what: str | Locator) -> None:
        """Click a link or button by its name, or what a locator finds."""
        found = self.named(what) if isinstance(what, str) else what
        await found.click()
        self.clicks += 1

    def named(self, name: str, role: Literal["link", "button"] | None = None) -> Locator:
        """Find what a person would click, by its name."""
        main = self.page.locator("body")
        if role:
            return main.get_by_role(role, name=name).first
        return (
            main.get_by_role("button", name=name, exact=True)
            .or_(main.get_by_role("link", name=name, exact=True))
            .first
        )

    async def press(self, *keys: str) -> None:
        """Press keys, one after another."""
        for key in keys:
            await self.page.keyboard.press(key)

    async def search(self, text: str) -> None:
        """Search from anywhere, with the keyboard."""
        await self.press("/")
        await self.page.keyboard.type(text)
        await self.press("Enter")

    async def until(self, script: str) -> None:
        """Wait until an expression is true; Playwright's own wait evaluates in the page, where
        the content security policy forbids that.
        """
        await eventually(lambda: self.page.evaluate(f"Boolean({script})"), True)


@pytest.fixture(scope="package")
def sites() -> Iterator[dict[str, Site]]:
    """The sites that run; they end with the tests of this folder, as their workers would disturb others."""
    running: dict[str, Site] = {}
    yield running
    for each in running.values():
        each.close()


@pytest.fixture(scope="package")
def own_server() -> Iterator[RedisServer]:
    """A server of the sites' own: tests of other folders count what the shared one is told."""
    with RedisServer() as server:
        yield server


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def site(
    store: str, sites: dict[str, Site], tmp_path_factory: pytest.TempPathFactory,
    own_server: RedisServer,
) -> Site:  # fmt: skip
    """Give the site on this store; tests share it, and change only what they name."""
    pages_are_built()
    browser()
    if store not in sites:
        file = tmp_path_factory.mktemp("site") / "jobs.db"
        url = own_server.url if store == "redis" else f"sqlite:///{file}"
        sites[store] = Site(url, fresh_prefix())
        sites[store].ready()
    return sites[store]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        running = await playwright.chromium.launch(executable_path=browser(), args=FLAGS)
        yield running
        await running.close()


async def new_screen(
    chromium: Browser, site: Site, **options: Any
) -> tuple[BrowserContext, Screen]:
    """Open a window with a fresh profile."""
    given = {"viewport": {"width": 1440, "height": 900}, "locale": "en-GB", **options}
    context = await chromium.new_context(timezone_id="Europe/Berlin", **given)
    page = await context.new_page()
    page.set_default_timeout(SHOWN_MS)
    screen = Screen(page, site.address)
    page.on("console", lambda message: screen.said.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: screen.said.append(f"thrown: {error}"))
    return context, screen


@pytest.fixture
def window() -> dict[str, Any]:
    """The options of the window; a test overrides them by parametrizing `window`."""
    return {}


@pytest_asyncio.fixture(loop_scope="session")
async def screen(chromium: Browser, site: Site, window: dict[str, Any]) -> AsyncIterator[Screen]:
    context, opened = await new_screen(chromium, site, **window)
    yield opened
    await context.close()
    assert opened.said == []


async def eventually(look: Any, wanted: object) -> None:
    """Wait until an asynchronous question has this answer."""
    for _ in range(200):
        if await look() == wanted:
            return
        await asyncio.sleep(0.1)
    assert await look() == wanted
