"""`toril backup`: a copy of a store in a file, while everything runs.

Never here: copying.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from .place import StoreWords, opened, run
from .safe import LINE, safe
from .show import show_json

KIB = 1024


@dataclass(frozen=True, kw_only=True)
class BackupWords(StoreWords):
    """What may be typed after `toril backup`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the copy.")]
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False


def backup(words: BackupWords) -> None:
    """Copy a SQLite store to a file while workers and producers keep running.

    The copy is one moment of the store. It is checked, and FILE appears when it is complete.
    """
    size, source = run(_backup(words))
    path = str(words.file.absolute())
    if words.as_json:
        show_json({"source": source, "file": path, "bytes": size})
    else:
        typer.echo(f"backed up {safe(source, LINE)} to {safe(path, LINE)} ({size / KIB:,.0f} KiB)")


async def _backup(words: BackupWords) -> tuple[int, str]:
    async with opened(words) as app:
        size = await app.backup(words.file, force=words.force)
        return size, app.context.store.url
