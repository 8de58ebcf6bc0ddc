"""A translated page has the code of the English one, block for block, and says as much."""

import re
from pathlib import Path

import pytest

from .pages import DOCS, blocks, name_of, prose

TRANSLATED = sorted((DOCS / "vi").rglob("*.md"))


def english(page: Path) -> Path:
    """Return the page that this one is a translation of."""
    return DOCS / page.relative_to(DOCS / "vi")


def test_the_whole_start_is_translated() -> None:
    assert [english(page) for page in TRANSLATED] == sorted((DOCS / "start").glob("*.md"))


@pytest.mark.parametrize("page", TRANSLATED, ids=name_of)
def test_the_code_is_that_of_the_english_page(page: Path) -> None:
    here = [(block.kind, block.text, block.until) for block in blocks(page)]
    assert here == [(block.kind, block.text, block.until) for block in blocks(english(page))]


@pytest.mark.parametrize("page", TRANSLATED, ids=name_of)
def test_a_translation_has_the_same_headings_lists_and_tables(page: Path) -> None:
    shapes = [
        re.findall(r"^(#+|-|\||\d+\.)", prose(each), re.MULTILINE) for each in (page, english(page))
    ]
    assert shapes[0] == shapes[1]
