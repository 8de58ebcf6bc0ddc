"""The cards: rows in a table of the application's own. Never here: jobs and pictures."""

import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """One card: a term, its picture, and what became of it.

    Shape    state: new · uploaded · refused · failed. image: the name of the stored file.
    Units    settled_at in seconds since the epoch.
    """

    id: int
    term: str
    original: str
    bytes_before: int
    state: str
    bytes_after: int | None
    image: str | None
    reason: str | None
    settled_at: float | None


class Cards:
    """The table of cards; its methods block, and may be called from any thread."""

    def __init__(self, path: Path) -> None:
        self._statements = _statements()
        self._lock = threading.Lock()
        self._connection = sqlite3.connect(path, check_same_thread=False)
        self._connection.row_factory = sqlite3.Row
        self._write("create", {})

    def add(self, term: str, original: str, bytes_before: int) -> int:
        """Add a new card, and give its id."""
        return self._write("add", (term, original, bytes_before))

    def all(self) -> list[Card]:
        """Read every card, in the order in which they were added."""
        with self._lock, closing(self._connection.execute(self._statements["list"])) as rows:
            return [Card(**dict(row)) for row in rows]

    def uploaded(self, card: int, image: str, bytes_after: int) -> None:
        """Note that the card's picture is stored; saying it twice changes nothing."""
        self._settle("uploaded", card, image=image, bytes_after=bytes_after)

    def refused(self, card: int, reason: str) -> None:
        """Note that the card may not have its picture."""
        self._settle("refused", card, reason=reason)

    def failed(self, card: int, reason: str) -> None:
        """Note that a job of the card failed for good; the first reason stays."""
        self._settle("failed", card, reason=reason)

    def close(self) -> None:
        """Close the table."""
        with self._lock:
            self._connection.close()

    def _settle(self, statement: str, card: int, **facts: object) -> None:
        self._write(statement, {"id": card, "now": time.time(), **facts})

    def _write(self, statement: str, values: Any) -> int:
        with self._lock, self._connection:
            cursor = self._connection.execute(self._statements[statement], values)
            return cursor.lastrowid or 0


def _statements() -> dict[str, str]:
    text = Path(__file__).with_suffix(".sql").read_text("utf-8")
    named = (part.partition("\n") for part in text.split("-- name: ")[1:])
    return {name.strip(): statement for name, _, statement in named}
