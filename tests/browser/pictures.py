"""Take the pictures of the documentation: `python -m tests.browser.pictures [folder]`.

Every page in both themes, from the site that the tests look at. A picture of 256 colours is small.
"""

import asyncio
import io
import sys
import tempfile
from pathlib import Path

from PIL import Image
from playwright.async_api import async_playwright

from tests.browser.conftest import FLAGS, Site, new_screen
from tests.support.frontend import browser

FOLDER = Path(__file__).parents[2] / "docs" / "assets" / "dashboard"
PAGES = {
    "overview": "", "queue": "queue?name=email&state=failed", "jobs": "jobs?q=state:failed&panel=billing|invoice-21",
    "job": "job?queue=email&id=39", "flow": "job?queue=reports&id=report-12", "schedules": "schedules?schedule=reports|nightly-report",
    "workers": "workers", "errors": "errors", "tasks": "tasks", "task": "task?name=send_welcome", "add": "add?task=send_welcome",
    "operations": "operations", "audit": "audit", "settings": "settings",
}  # fmt: skip


async def take(folder: Path) -> None:
    """Write a picture of every page in each theme."""
    with tempfile.TemporaryDirectory() as home:
        site = Site(f"sqlite:///{home}/jobs.db", "bull")
        site.ready()
        async with async_playwright() as playwright:
            chromium = await playwright.chromium.launch(executable_path=browser(), args=FLAGS)
            for theme in ("light", "dark"):
                size = {"width": 1280, "height": 800}
                context, screen = await new_screen(
                    chromium, site, color_scheme=theme, viewport=size
                )
                for name, path in PAGES.items():
                    await screen.open(path)
                    await screen.page.wait_for_timeout(400)  # charts are drawn after the data
                    image = Image.open(io.BytesIO(await screen.page.screenshot()))
                    image.convert("RGB").quantize(
                        256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
                    ).save(folder / f"{name}-{theme}.png", optimize=True)
                await context.close()
            await chromium.close()
        site.close()


if __name__ == "__main__":
    wanted = Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER
    wanted.mkdir(parents=True, exist_ok=True)
    asyncio.run(take(wanted))
