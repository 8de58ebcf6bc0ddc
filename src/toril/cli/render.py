"""Tables and lists: rich on a terminal, plain and aligned off one, JSON for scripts.

Never here: which facts there are.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

import typer
from rich.cells import cell_len
from rich.console import Console, JustifyMethod
from rich.table import Table
from rich.text import Text

from toril._jobs.clock import now_ms
from toril._model.printable import CELL, safe
from toril._model.times import Millis, moment
from toril._serve.console import coloured
from toril.errors import ConfigError

Rows = Sequence[Sequence[str]]
# To so many columns the last one of a table shrinks.
LEAST, GAP = 20, 2
_STYLES = {
    "failed": "red",
    "error": "red",
    "warn": "yellow",
    "paused": "yellow",
    "gone": "yellow",
    "completed": "green",
    "ok": "green",
    "active": "cyan",
}
_UNITS = (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000))


def show_json(value: object) -> None:
    """Write one JSON document."""
    typer.echo(write_json(value))


def show_table(heads: Sequence[str], rows: Rows, *, what: str, numbers: Iterable[str] = ()) -> None:
    """Write a table of `what`, or that there are none. Cells are made safe here.

    Shape    numbers: the columns that end at the right.
    """
    if not rows:
        typer.echo(f"no {what}", err=True)
        return
    clean = [[safe(cell, CELL) for cell in row] for row in rows]
    right = [head in set(numbers) for head in heads]
    if sys.stdout.isatty():
        _rich(heads, clean, right)
    else:
        for line in plain(heads, clean, right):
            typer.echo(line)


def _rich(heads: Sequence[str], rows: Rows, right: Sequence[bool]) -> None:
    """Write a table for a terminal, of which only the last column gives way when it is narrow."""
    console = Console(highlight=False, markup=False, emoji=False)
    widths = [max(map(cell_len, column)) for column in zip(heads, *rows, strict=True)]
    taken = sum(widths[:-1]) + GAP * len(widths)
    widths[-1] = min(widths[-1], max(console.width - taken, LEAST))
    console.width = max(console.width, taken + widths[-1])
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, GAP, 0, 0))
    for head, is_right, width in zip(heads, right, widths, strict=True):
        justify: JustifyMethod = "right" if is_right else "left"
        table.add_column(head, justify=justify, width=width, no_wrap=True, overflow="ellipsis")
    for row in rows:
        # Text, not str: markup in it means nothing.
        table.add_row(*(Text(cell, style=_STYLES.get(cell, "")) for cell in row))
    console.print(table)


def plain(heads: Sequence[str], rows: Rows, right: Sequence[bool]) -> list[str]:
    """Align a table with blanks alone."""
    every = [list(heads), *(list(row) for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*every, strict=True)]
    return ["  ".join(map(_pad, row, widths, right)).rstrip() for row in every]


def _pad(cell: str, width: int, right: bool) -> str:
    blanks = " " * (width - cell_len(cell))
    return blanks + cell if right else cell + blanks


def show_facts(facts: Iterable[tuple[str, Sequence[str]]]) -> None:
    """Write names and what they are, one or more lines each; the lines are safe already."""
    listed = [(name, lines) for name, lines in facts if lines]
    width = max((len(name) for name, _ in listed), default=0)
    colour = coloured(sys.stdout)
    for name, lines in listed:
        for at, line in enumerate(lines):
            head = (name if at == 0 else "").ljust(width)
            typer.echo(f"{typer.style(head, bold=True) if colour else head}  {line}".rstrip())


def ask(question: str, *, yes: bool) -> None:
    """Ask before something is destroyed; the process ends with 1 when the answer is no.

    Raises   ConfigError: nobody is there to be asked.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError(f"would {question}, but nobody is there to be asked", hint="add --yes")
    typer.confirm(f"{question[:1].upper()}{question[1:]}?", abort=True, err=True)


# Times.


def iso(ms: Millis | None) -> str | None:
    """Write a time as ISO 8601 in UTC, to the millisecond."""
    at = _moment(ms)
    return None if at is None else at.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def ago(ms: Millis | None) -> str:
    """Return how long ago a time was, or how far ahead it is."""
    if ms is None:
        return ""
    away = ms - now_ms()
    return f"in {_length(away)}" if away > 0 else f"{_length(-away)} ago"


def stamp(ms: Millis | None) -> str:
    """Write a time, and how long ago it was."""
    return "" if ms is None else f"{iso(ms)}  ({ago(ms)})"


def _length(ms: Millis) -> str:
    for at, (name, size) in enumerate(_UNITS):
        if ms >= size:
            rest = _UNITS[at + 1] if at + 1 < len(_UNITS) else None
            more = f" {ms % size // rest[1]}{rest[0]}" if rest and ms % size >= rest[1] else ""
            return f"{ms // size}{name}{more}"
    return f"{ms}ms"


def _moment(ms: Millis | None) -> datetime | None:
    try:
        return None if ms is None else moment(ms)
    except ConfigError:
        return None


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
