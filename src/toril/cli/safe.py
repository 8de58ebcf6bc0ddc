"""Texts of others, made fit for a terminal: nothing in them moves the cursor or turns the line.

Never here: what is shown.
"""

import json
import os
from typing import Any, TextIO

from toril._model.printable import CELL, LINE, safe, safe_lines

__all__ = ["CELL", "LINE", "coloured", "read_json", "safe", "safe_lines", "write_json"]


def coloured(stream: TextIO) -> bool:
    """Say whether to write colours to this: a terminal whose user did not ask for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


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
