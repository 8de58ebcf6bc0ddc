"""Read the pages of the documentation: which blocks of code they have, and what surrounds them.

A block runs unless the line above it is a comment that says why it does not:
`<!-- not run: the server is yours -->`. A Python block whose first line is a comment with a file
name (`# app.py`) is written to that file; it is run where the page says `<!-- run: app.py -->`,
or by a later console block.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page for folder in ("start", "guides") for page in (ROOT / "docs" / folder).glob("*.md")
)

_FENCE = re.compile(
    r"(?P<above>[^\n]*)\n(?P<indent> *)```(?P<kind>\w+)[^\n]*\n(?P<body>.*?)\n(?P=indent)```",
    re.DOTALL,
)
_NOT_RUN = re.compile(r"<!-- not run: (?P<why>[^>]+) -->")
_FILE = re.compile(r"# (?P<name>[\w/.-]+\.\w+)$")


@dataclass(frozen=True, slots=True)
class Block:
    """One block of code: its language, its text, and the line of the page where it begins."""

    kind: str
    text: str
    line: int
    why_not: str | None

    @property
    def file(self) -> str | None:
        """The file that this block is the text of, if any."""
        match = _FILE.match(self.text.partition("\n")[0])
        return match["name"] if match else None


def blocks(page: Path) -> list[Block]:
    """Return the blocks of a page, in order."""
    text = "\n" + page.read_text()
    found: list[Block] = []
    for match in _FENCE.finditer(text):
        indent = len(match["indent"])
        body = "\n".join(line[indent:] for line in match["body"].split("\n"))
        not_run = _NOT_RUN.search(match["above"])
        line = text.count("\n", 0, match.start("body"))
        found.append(Block(match["kind"], body, line, not_run["why"] if not_run else None))
    return found
