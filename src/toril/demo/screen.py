"""What the demo shows: how it goes while it runs, and a table at the end.

Never here: asking for anything; it is all handed in.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from toril import Fail, Job

from .cards import Card

COLOURS = {"new": "dim", "uploaded": "green", "refused": "yellow", "failed": "red"}
# What is counted of each queue, and the word above it.
COLUMNS = {
    "ready": "ready",
    "delayed": "delayed",
    "active": "active",
    "waiting_children": "for children",
    "completed": "completed",
    "failed": "failed",
}
MARKS = {"new": "·", "uploaded": "✓", "refused": "⊘", "failed": "✗"}
NAMED_CARDS = 40
STORY_LINES = 5

Numbers = Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """How the demo is at one moment.

    Shape    queues: what `COLUMNS` names, for each queue. story: what went wrong so far.
    """

    title: str
    queues: Mapping[str, Numbers]
    cards: Sequence[Card]
    story: Sequence[str]


def draw(scene: Scene) -> RenderableType:
    """Draw a scene for a terminal."""
    return Group(
        Text(scene.title, style="bold"),
        "",
        _queues(scene.queues),
        "",
        _progress(scene.cards),
        *([_names(scene.cards)] if len(scene.cards) <= NAMED_CARDS else []),
        "",
        *(Text(line) for line in scene.story[-STORY_LINES:]),
    )


def _queues(queues: Mapping[str, Numbers]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("queue")
    for title in COLUMNS.values():
        table.add_column(title, justify="right", width=max(len(title), 6))
    for queue, numbers in queues.items():
        cells = (_number(name, numbers[name]) for name in COLUMNS)
        table.add_row(Text(queue, style="cyan"), *cells)
    return table


def _number(column: str, count: int) -> Text:
    colour = {"active": "bold cyan", "completed": "green", "failed": "red", "delayed": "yellow"}
    return Text(f"{count}", style=colour.get(column, "") if count else "dim")


def _progress(cards: Sequence[Card]) -> Table:
    states = [card.state for card in cards]
    settled = len(states) - states.count("new")
    row = Table.grid(padding=(0, 2, 0, 0))
    told = Text("  ").join(
        Text(f"{states.count(state)} {state if state != 'new' else 'to go'}", style=colour)
        for state, colour in reversed(COLOURS.items())
        if state in states
    )
    row.add_row("cards", ProgressBar(total=max(len(states), 1), completed=settled, width=30), told)
    return row


def _names(cards: Sequence[Card]) -> Columns:
    names = (
        Text(f"{MARKS[card.state]} {card.original}", style=COLOURS[card.state]) for card in cards
    )
    return Columns(names, padding=(0, 2), equal=True)


def attempt_line(name: str, job: Job[Any], error: BaseException) -> str:
    """Say that an attempt of a job on a picture failed, and whether another one follows."""
    if isinstance(error, Fail):
        return f"{name}  {job.name}  refused: {error}"
    which = f"attempt {job.attempt} of {job.attempt + job.attempts_left}"
    ending = "to be tried again" if job.attempts_left else "the last one"
    return f"{name}  {job.name}  {which} failed, {ending}: {error}"


def upload_line(card: Card) -> str:
    """Say that a card has its picture."""
    return f"{card.original}  uploaded  {card.bytes_before:,} → {card.bytes_after:,} bytes"


def closing_line(scene: Scene, seconds: float) -> str:
    """Sum it all up; scripts read this line."""
    completed, failed = (
        sum(numbers[name] for numbers in scene.queues.values()) for name in ("completed", "failed")
    )
    cards = len(scene.cards)
    return f"demo: {cards} cards, {completed} jobs completed, {failed} failed, {seconds:.1f} s"


def summary(cards: Sequence[Card], *, since: float) -> RenderableType:
    """Draw the end: what became of each picture, how long that took, and why some failed."""
    reasons = (f"{card.original}: {card.state}, {card.reason}" for card in cards if card.reason)
    # Below the table, for they are too long for a column.
    return Group(_table(cards, since), "", *(Text(reason) for reason in reasons), "")


def _table(cards: Sequence[Card], since: float) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("picture", no_wrap=True)
    for title in ("before", "after", "saved", "time"):
        table.add_column(title, justify="right")
    table.add_column("state")
    for card in cards:
        table.add_row(*_cells(card, since))
    return table


def _cells(card: Card, since: float) -> Iterator[RenderableType]:
    after, settled = card.bytes_after, card.settled_at
    yield card.original
    yield f"{card.bytes_before:,}"
    yield "" if after is None else f"{after:,}"
    yield "" if after is None else f"{1 - after / card.bytes_before:.0%}"
    yield "" if settled is None else f"{settled - since:.2f} s"
    yield Text(card.state, style=COLOURS[card.state])
