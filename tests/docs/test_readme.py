"""The README is short, and its picture shows a real run and loads nothing from elsewhere."""

import re

from .pages import README, ROOT, prose

MOST_LINES = 120


def test_it_is_short_and_says_first_how_to_install() -> None:
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= MOST_LINES
    assert text.index("pip install toril") < text.index("```python") < text.index("## Features")
    for head in ("## Speed and guarantees", "## Limits"):
        assert head in prose(README)


def test_its_picture_stands_alone() -> None:
    (name,) = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README.read_text("utf-8"))
    picture = (ROOT / name).read_text("utf-8")
    assert "toril&#160;queues" in picture
    assert set(re.findall(r"https?://[^\s\"')]+", picture)) <= {
        "http://www.w3.org/2000/svg",
        "https://www.textualize.io",  # a comment of the library that drew it
    }
