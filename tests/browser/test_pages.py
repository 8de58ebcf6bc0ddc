"""Every page in both themes, both languages, on a narrow screen: readable, quiet, and harmless."""

import json
from typing import Any
from urllib.parse import quote

import pytest
from playwright.async_api import Browser

from tests.browser.conftest import Screen, Site, new_screen
from tests.support.frontend import FRONTEND

ODD = quote("a/b .%2e#?c", safe="")
PAGES = [
    "", "queues", "queue?name=email", "queue?name=hostile", "queue?name=%C3%BCnserved", "jobs",
    "jobs?q=state:failed", "jobs?q=state:failed&panel=billing|invoice-21", "jobs?q=nothing:here",
    "job?queue=billing&id=invoice-21", f"job?queue=hostile&id={ODD}", "job?queue=reports&id=report-12",
    "job?queue=reports&id=report-12&flow=waterfall", "add?task=send_welcome",
    "add?queue=billing&id=invoice-21", "schedules", "schedules?schedule=reports|nightly-report",
    "workers", "tasks", "task?name=send_welcome", "operations", "settings", "no-such-page",
    "errors", "flows", "flow?queue=reports&id=report-12", "audit",
]  # fmt: skip
# Pages that show what is not there; the browser reports the answer's status by itself.
ABSENT = {"job?queue=x&id=y": "Not found"}
AXE = FRONTEND / "node_modules" / "axe-core" / "axe.min.js"
# All of its rules, those of good practice too; and those that depend on the theme.
RULES = {
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
    "resultTypes": ["violations"],
}
COLOURS = {
    "runOnly": {"type": "rule", "values": ["color-contrast"]},
    "resultTypes": ["violations"],
}


async def _findings(screen: Screen, rules: dict[str, Any]) -> list[str]:
    found = await screen.page.evaluate(f"axe.run(document, {json.dumps(rules)})")
    return [
        f"{rule['id']}: {node['html'][:200]} {node['any'][0]['message'] if node['any'] else ''}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_axe_finds_nothing_on_any_page_in_either_theme(chromium: Browser, site: Site) -> None:
    context, screen = await new_screen(chromium, site, color_scheme="light")
    script = AXE.read_text("utf-8")
    found: dict[str, list[str]] = {}
    for path in PAGES:
        await screen.open(path)
        await screen.page.evaluate(script)
        findings = await _findings(screen, RULES)
        await screen.page.emulate_media(color_scheme="dark")
        findings += await _findings(screen, COLOURS)
        await screen.page.emulate_media(color_scheme="light")
        if findings:
            found[path] = findings
    await context.close()
    assert found == {}
    assert screen.said == []


@pytest.mark.timeout(200)
@pytest.mark.parametrize("locale", ["en-GB", "vi-VN"])
@pytest.mark.parametrize("store", ["sqlite"], indirect=True)
async def test_nothing_is_wider_than_a_phone(chromium: Browser, site: Site, locale: str) -> None:
    size = {"width": 360, "height": 740}
    context, screen = await new_screen(chromium, site, viewport=size, locale=locale)
    wide = {}
    for path in PAGES:
        await screen.open(path)
        width = await screen.page.evaluate("document.documentElement.scrollWidth")
        if width > 360:
            wide[path] = width
        assert await screen.page.locator("main > *").count() > 0
    await screen.page.get_by_role(
        "button", name="Pages" if locale == "en-GB" else "Các trang"
    ).click()
    name = "Schedules" if locale == "en-GB" else "Lịch chạy"
    await screen.page.locator("nav.rail a", has_text=name).click()
    await screen.sees("nightly-report")
    await context.close()
    assert wide == {}
    assert screen.said == []


@pytest.mark.parametrize("window", [{"locale": "vi-VN"}])
async def test_vietnamese_is_taken_from_the_browser_and_from_the_settings(screen: Screen) -> None:
    await screen.open("", "Cần chú ý", "Không có worker nào phục vụ ünserved")
    assert await screen.page.evaluate("document.documentElement.lang") == "vi"
    assert "Needs attention" not in await screen.page.content()
    await screen.open("settings")
    await screen.click("English")
    await screen.sees("This browser")
    await screen.open("", "Needs attention")


async def test_hostile_texts_are_only_texts(screen: Screen) -> None:
    for path in ("", "queues", "jobs?q=queue:hostile", "queue?name=hostile", "tasks", "settings"):
        await screen.open(path)
        assert await screen.page.title() != "owned"
    await screen.open("jobs?q=queue:hostile+state:failed", "ValueError")
    assert await screen.page.locator("main img, main script, main iframe").count() == 0
    text = await screen.page.inner_text("main")
    assert "\u202e" not in text
    assert "\x00" not in text


async def test_an_id_with_signs_of_addresses_has_a_page(screen: Screen) -> None:
    await screen.open("jobs?q=queue:hostile", "a/b .%2e#?c")
    await screen.click(screen.page.locator("tr", has_text="a/b .%2e#?c").locator("a").first)
    await screen.click("Full page")
    await screen.sees("a/b .%2e#?c", "Arguments")
    await screen.page.reload()
    await screen.sees("a/b .%2e#?c", "Arguments")


async def test_integers_keep_all_digits(screen: Screen) -> None:
    await screen.open("queue?name=%C3%BCnserved", "lonely")
    await screen.click("lonely")
    await screen.sees("9223372036854775808")


@pytest.mark.parametrize("path", ABSENT)
async def test_what_is_not_there_is_said(screen: Screen, path: str) -> None:
    await screen.page.goto(screen.address + path)
    await screen.sees(ABSENT[path])
    assert all("404" in text for text in screen.said)
    screen.said.clear()
