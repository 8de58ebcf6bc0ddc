"""Read the pages of the documentation: which blocks of code they have, and what surrounds them.

A comment in the line above a block says how it is treated:

    <!-- not run: why -->         it does not run, and why it cannot
    <!-- run until: text -->      its command runs until it prints the text, and is then stopped
    <!-- needs: redis -->         URLs of Redis in it mean the tests' server
    <!-- needs: node -->          Node runs it, with BullMQ installed; Redis as above

A Python or JavaScript block whose first line is a comment with a file name (`# app.py`) is written
to that file; a later block imports or runs it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ALL = sorted(DOCS.rglob("*.md"))
"""Every page."""
README = ROOT / "README.md"
PAGES = [
    README, *(page for page in ALL if page.relative_to(DOCS).parts[0] in {"start", "guides"})
]  # fmt: skip
"""The pages whose code runs; that of a translation is the same."""

_FENCE = re.compile(
    r"(?P<above>[^\n]*)\n(?P<indent> *)```(?P<kind>\w+)[^\n]*\n(?P<body>.*?)\n(?P=indent)```",
    re.DOTALL,
)
_MARK = re.compile(r"<!-- (?P<mark>not run|run until|needs): (?P<what>[^>]+) -->")
_FILE = re.compile(r"(#|//) (?P<name>[\w/.-]+\.\w+)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code: its language, its text, and the line of the page where it begins."""

    kind: str
    text: str
    line: int
    why_not: str | None = None
    until: str | None = None
    needs: str | None = None

    @property
    def file(self) -> str | None:
        """The file that this block is the text of, if any."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match["name"] if match else None


def name_of(page: Path) -> str:
    """Return how a page is called in test ids and messages."""
    return page.relative_to(DOCS if page in ALL else ROOT).with_suffix("").as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = "\n" + page.read_text("utf-8")
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        indent = len(match["indent"])
        body = "\n".join(line[indent:] for line in match["body"].split("\n"))
        marks = {mark["mark"]: mark["what"] for mark in _MARK.finditer(match["above"])}
        found.append(
            Block(
                match["kind"],
                body,
                text.count("\n", 0, match.start("body")),
                why_not=marks.get("not run"),
                until=marks.get("run until"),
                needs=marks.get("needs"),
            )
        )
    return found


def prose(page: Path) -> str:
    """Return the text of a page without its blocks of code and its comments."""
    text = re.sub(r"^ *```.*?^ *```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"<!--.*?-->", "", text, flags=re.DOTALL)
