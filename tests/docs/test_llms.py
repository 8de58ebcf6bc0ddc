"""The built site has llms.txt and each page as plain Markdown."""

import re
from pathlib import Path

import pytest

from tools import llms

from .pages import ALL, DOCS, ROOT, name_of


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    llms.write(folder)
    return folder


def test_the_build_of_the_site_writes_them() -> None:
    assert "python -m tools.llms build/site" in (ROOT / "Makefile").read_text("utf-8")


def test_llms_txt_lists_every_page_with_a_title_and_what_it_is_about(site: Path) -> None:
    text = (site / "llms.txt").read_text("utf-8")
    assert re.match(r"# toril\n\n> .+\n\n## ", text)
    listed = {
        target: (title, about)
        for title, target, about in re.findall(r"^- \[(.+?)\]\((.+?)\): (.+)$", text, re.MULTILINE)
    }
    assert set(listed) == {f"{name_of(page)}.md" for page in ALL}
    assert all(len(about) > 15 for _, about in listed.values()), listed
    assert all((site / target).exists() for target in listed)


def test_links_between_the_plain_pages_lead_to_plain_pages(site: Path) -> None:
    for page in ALL:
        plain = site / page.relative_to(DOCS)
        for target in re.findall(r"\]\(([^)#:\s]+\.md)[^)]*\)", plain.read_text("utf-8")):
            assert (plain.parent / target).exists(), f"{plain}: {target}"


def test_the_plain_api_page_describes_what_its_directives_name(site: Path) -> None:
    text = (site / "reference" / "api.md").read_text("utf-8")
    assert ":::" not in text
    for name in ("## toril.Toril", "### Queue.add", "async def enqueue", "### Job.result"):
        assert name in text
    assert "toril._" not in re.sub(r"`[^`\n]*`", "", text)
