"""The cards: a table in a SQLite file of the application's own."""

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

FOLDER = Path(os.environ.get("CARDS", "cards"))
TABLE = (
    "CREATE TABLE IF NOT EXISTS card (id INTEGER PRIMARY KEY, front TEXT, file TEXT, image TEXT)"
)


class FlashCardsService:
    """Stores cards and their pictures; web server and workers use the same folder."""

    @contextmanager
    def _table(self) -> Iterator[sqlite3.Connection]:
        FOLDER.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(FOLDER / "cards.db", timeout=10)) as table, table:
            table.row_factory = sqlite3.Row
            table.execute(TABLE)
            yield table

    def add(self, front: str, name: str, picture: bytes) -> dict[str, Any]:
        """Store a card and its picture; return the card."""
        with self._table() as table:
            row = table.execute("INSERT INTO card (front, file) VALUES (?, ?)", (front, name))
            card = {"id": row.lastrowid, "front": front, "file": name, "image": None}
            (FOLDER / f"{row.lastrowid}-{name}").write_bytes(picture)
        return card

    def get(self, card: int) -> dict[str, Any] | None:
        """Return a card, or None."""
        with self._table() as table:
            found = table.execute("SELECT * FROM card WHERE id = ?", (card,)).fetchone()
        return None if found is None else dict(found)

    def set_image(self, card: int, image: str) -> None:
        """Say where the picture of a card is."""
        with self._table() as table:
            table.execute("UPDATE card SET image = ? WHERE id = ?", (image, card))

    def picture(self, card: int, name: str, *, small: bool = False) -> Path:
        """Return the file of a picture, as it was uploaded or optimised."""
        return FOLDER / f"{card}-{'small-' if small else ''}{name}"
