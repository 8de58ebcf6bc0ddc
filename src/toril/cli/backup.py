"""`toril backup`: a copy of a store in a file, while everything runs.

Never here: copying.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from toril._model.printable import LINE, safe

from .render import show_json
from .target import StoreOptions, opened, run

KIB = 1024


@dataclass(frozen=True, kw_only=True)
class BackupOptions(StoreOptions):
    """The arguments and options of `toril backup`."""

    file: Annotated[Path, typer.Argument(metavar="FILE", help="Where to write the copy.")]
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False


def backup(words: BackupOptions) -> None:
    """Copy a SQLite store to a file while workers and producers keep running.

    The copy is one moment of the store. It is checked; FILE appears when it is complete.
    """
    size, source = run(_backup(words))
    path = str(words.file.absolute())
    if words.as_json:
        show_json({"source": source, "file": path, "bytes": size})
    else:
        typer.echo(f"backed up {safe(source, LINE)} to {safe(path, LINE)} ({size / KIB:,.0f} KiB)")


async def _backup(words: BackupOptions) -> tuple[int, str]:
    async with opened(words) as app:
        size = await app.backup(words.file, force=words.force)
        return size, app.store_url
