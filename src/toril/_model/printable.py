"""Text of others, made safe to print: nothing in it moves the cursor or starts a line.

Never here: what is printed.
"""

import unicodedata

CELL = 80
LINE = 500
# Controls, format characters (they turn the direction), surrogates, private and unassigned ones,
# and what ends a line or a paragraph.
_UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def safe(text: object, most: int = CELL) -> str:
    """Return a text of one line and at most `most` characters, with what is unseen spelt out."""
    given = str(text)
    shown = given[: most + 1]
    if not (shown.isascii() and shown.isprintable()):
        shown = "".join(map(_visible, shown))
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def safe_lines(text: str, most: int = LINE) -> list[str]:
    """Return the lines of a text, each of them safe."""
    return [safe(line, most) for line in text.split("\n")]


def _visible(character: str) -> str:
    if unicodedata.category(character) not in _UNSEEN:
        return character
    return character.encode("unicode_escape").decode("ascii")
