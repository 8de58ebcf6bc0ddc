"""Texts of others, made fit for a terminal: nothing in them moves the cursor or turns the line.

Never here: what is shown.
"""

import json
import os
import unicodedata
from typing import Any, TextIO

CELL = 80
LINE = 500
# Controls, format characters (they turn the direction), surrogates, private and unassigned ones,
# and what ends a line or a paragraph.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def coloured(stream: TextIO) -> bool:
    """Say whether to write colours to this: a terminal whose user did not ask for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def safe(text: object, most: int = CELL) -> str:
    """Give a text of one line and at most so many characters, with what is unseen spelt out."""
    given = str(text)
    shown = given[: most + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(map(_visible, shown))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def safe_lines(text: str, most: int = LINE) -> list[str]:
    """Give the lines of a text, each of them safe."""
    return [safe(line, most) for line in text.split("\n")]


def read_json(text: str | None) -> Any:
    """Read JSON text that somebody stored; what cannot be read stays a text."""
    if text is None:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def write_json(value: object) -> str:
    """Write JSON of one line, of ASCII alone: also what it quotes is harmless to a terminal."""
    return json.dumps(value).replace("\x7f", "\\u007f")


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
