"""What holds on every page: keys, live data, freezing, access, a server or a store that is away."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import Screen, Site, eventually, new_screen
from tests.browser.site import USER
from tests.support.servers import RedisServer, fresh_prefix

ONE_STORE = pytest.mark.parametrize("store", ["sqlite"], indirect=True)


@ONE_STORE
async def test_everything_can_be_reached_by_keys_alone(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    for key, text in (
        ("q", "sorted by need"),
        ("s", "Half a day"),
        ("w", "web-1"),
        ("j", "opens it"),
    ):
        await screen.press("g", key)
        if key != "q":
            await screen.sees(text)
    await screen.open("jobs?q=state:failed", "KeyError")
    await screen.press("j", "j", "k")
    assert await screen.page.evaluate("document.activeElement.closest('tbody') !== null")
    await screen.press("x")
    await screen.sees("1 selected")
    await screen.press("Enter")
    await screen.page.locator("aside.panel").wait_for()
    first = screen.page.url
    assert "panel=" in first
    await screen.press("Enter")
    await screen.until("location.pathname.endsWith('/job')")
    await screen.page.go_back()
    await screen.page.locator("aside.panel").wait_for()
    await screen.press("Escape")
    await screen.until("!location.search.includes('panel')")
    assert screen.clicks == 0


@ONE_STORE
async def test_help_theme_range_and_commands(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.press("?")
    await screen.sees("Next and previous row")
    await screen.press("Escape", "4")
    await screen.until("location.search.includes('range=24h')")
    await screen.press("t")
    await screen.until("document.documentElement.dataset.theme === 'dark'")
    await screen.page.reload()
    assert await screen.page.evaluate("document.documentElement.dataset.theme") == "dark"
    await screen.sees("Needs attention")
    await screen.press("Control+k")
    await screen.page.keyboard.type("sched")
    await screen.press("Enter")
    await screen.sees("nightly-report")


@ONE_STORE
async def test_single_keys_can_be_switched_off(screen: Screen) -> None:
    await screen.open("settings", "Single-key shortcuts")
    await screen.click("Off")
    await screen.press("g", "q")
    await screen.press("?")
    assert await screen.page.locator("dialog").count() == 0
    assert screen.page.url.endswith("settings")


async def test_numbers_change_by_themselves(screen: Screen) -> None:
    await screen.open("queue?name=search%3Aindex", "search:index")
    before = await screen.page.locator(".tabs a", has_text="completed").inner_text()
    tab = screen.page.locator(".tabs a", has_text="completed")
    await eventually(lambda: _changed(tab, before), True)


async def _changed(tab: object, before: str) -> bool:
    return await tab.inner_text() != before  # type: ignore[attr-defined]


@ONE_STORE
async def test_a_frozen_page_fetches_nothing_more(screen: Screen) -> None:
    await screen.open("", "Needs attention")
    await screen.press("Space")
    await screen.sees("frozen")
    asked: list[str] = []
    screen.page.on("request", lambda request: asked.append(request.url))
    await screen.page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    await screen.page.evaluate("window.dispatchEvent(new Event('focus'))")
    await screen.page.wait_for_timeout(6_500)
    assert asked == []
    await screen.press("Space")
    await screen.sees("live")


@pytest.mark.parametrize("window", [{"extra_http_headers": {USER: "eve"}}])
@ONE_STORE
async def test_a_viewer_sees_no_buttons_that_would_be_refused(screen: Screen) -> None:
    await screen.open("job?queue=billing&id=invoice-21", "Why it failed")
    assert await screen.page.get_by_role("button", name="Retry").count() == 0
    assert await screen.page.get_by_role("button", name="Reveal").count() == 0
    await screen.open("queue?name=email", "email")
    for name in ("Pause", "Retry failed", "Limits", "Empty"):
        assert await screen.page.get_by_role("button", name=name).count() == 0


@ONE_STORE
async def test_copying_works_without_the_clipboard_api(screen: Screen) -> None:
    await screen.page.add_init_script("delete Navigator.prototype.clipboard")
    await screen.open("job?queue=billing&id=invoice-21", "Why it failed")
    await screen.click(screen.page.get_by_role("button", name="Copy", exact=True).first)
    await screen.sees("Copied")


@ONE_STORE
async def test_what_is_shown_can_be_exported(screen: Screen, tmp_path: Path) -> None:
    await screen.open("jobs?q=queue:billing", "send_invoice")
    await screen.click(screen.page.locator("summary", has_text="Export"))
    async with screen.page.expect_download() as download:
        await screen.click("CSV")
    target = tmp_path / "jobs.csv"
    await (await download.value).save_as(target)
    lines = target.read_text("utf-8").splitlines()
    assert lines[0].startswith("queue,id,name,state")
    assert len(lines) > 20
    assert any("invoice-21" in line and "KeyError" in line for line in lines)


@ONE_STORE
async def test_views_are_saved_in_the_browser(screen: Screen) -> None:
    await screen.open("jobs?q=state:failed+queue:billing", "KeyError")
    await screen.click("Save view")
    await screen.page.get_by_label("Name").fill("bad invoices")
    await screen.press("Enter")
    await screen.open("jobs", "bad invoices")
    await screen.click(screen.page.get_by_role("link", name="bad invoices"))
    await screen.sees("KeyError")


@pytest.fixture
def own_redis() -> Iterator[tuple[RedisServer, Site]]:
    with RedisServer() as server:
        site = Site(server.url, fresh_prefix())
        site.ready()
        yield server, site
        site.close()


async def test_a_store_that_is_away_is_said_and_the_data_stays(
    chromium: Browser, own_redis: tuple[RedisServer, Site]
) -> None:
    server, site = own_redis
    context, screen = await new_screen(chromium, site)
    await screen.open("", "Needs attention", "billing")
    server.pause()
    await screen.page.locator(".live", has_text="Data is").wait_for()
    await screen.sees("billing")
    server.resume()
    await screen.page.locator(".live", has_text="live").wait_for()
    await context.close()


async def test_a_server_that_is_gone_is_said(chromium: Browser, tmp_path: Path) -> None:
    site = Site(f"sqlite:///{tmp_path / 'jobs.db'}", fresh_prefix())
    site.ready()
    context, screen = await new_screen(chromium, site)
    await screen.open("", "Needs attention")
    site.close()
    await screen.sees("does not answer")
    await screen.sees("billing")
    await context.close()
