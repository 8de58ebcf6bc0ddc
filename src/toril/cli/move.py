"""`toril move`: says what it is about to do, does it, and says what became of it.

Never here: how jobs are moved.
"""

import asyncio
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any

import msgspec
import typer

from toril._jobs.environment import read_settings
from toril._model.times import to_ms
from toril._transfer import Move, Moved, MovePlan
from toril.errors import ConfigError, TorilError

INCOMPLETE = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class MoveOptions:
    """The arguments and options of `toril move`."""

    source: Annotated[str, typer.Argument(metavar="SRC", help="URL of the store to move from.")] = (
        field(repr=False)
    )
    target: Annotated[str, typer.Argument(metavar="DST", help="URL of the store to move to.")] = (
        field(repr=False)
    )
    queues: Annotated[str, typer.Option(help="Queues to move, such as a,b. Default: all.")] = ""
    prefix: Annotated[
        str, typer.Option(help="Prefix of the queues. Default: $TORIL_PREFIX, else bull.")
    ] = ""
    to_prefix: Annotated[
        str, typer.Option(help="Prefix in the target store. Default: the same.")
    ] = ""
    wait: Annotated[str, typer.Option(help="How long to wait for running jobs to end.")] = "30s"
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be moved.")] = (
        False
    )
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False


def move(words: MoveOptions) -> None:
    """Move queues to another store: jobs in every state, flows, schedules and settings.

    Stop the workers of the source first: while a job runs, nothing is moved. If the move is
    interrupted, run it again with the same URLs: nothing is lost or done twice.
    """
    here = words.prefix or read_settings(os.environ).prefix
    screen = Screen(quiet=words.as_json)
    moving = Move(
        words.source,
        words.target,
        prefixes=(here, words.to_prefix or here),
        patience_s=to_ms(words.wait, field="wait") / 1000,
        tell=screen.progress,
    )
    outcome = asyncio.run(_move(moving, words, screen))
    if words.as_json:
        typer.echo(msgspec.json.encode(outcome).decode())
    if any(queue.get("left") or queue.get("problems") for queue in outcome["queues"]):
        raise typer.Exit(INCOMPLETE)


async def _move(moving: Move, words: MoveOptions, screen: "Screen") -> dict[str, Any]:
    names = [name for each in words.queues.split(",") if (name := each.strip())]
    async with moving:
        stores = {"source": moving.source.url, "target": moving.target.url}
        plans = await moving.plan(names)
        screen.plans(plans, stores)
        if words.dry_run:
            return {**stores, "queues": [_planned(plan) for plan in plans]}
        if not words.yes:
            _ask(plans)
        try:
            moved = await moving.run(plans)
        except (TorilError, asyncio.CancelledError):
            screen.cut_off()
            raise
        screen.moved(moved)
        return {**stores, "queues": [_told(each) for each in moved]}


def _ask(plans: Sequence[MovePlan]) -> None:
    if not sys.stdin.isatty():
        raise ConfigError("nobody is there to be asked", field="yes", hint="add --yes")
    total = sum(plan.counts.total for plan in plans)
    typer.confirm(f"Move {_jobs(total)}?", abort=True, err=True)


def _planned(plan: MovePlan) -> dict[str, Any]:
    return {"queue": plan.queue, **plan.counts.by_state, "schedules": plan.schedules}


def _told(moved: Moved) -> dict[str, Any]:
    told = asdict(moved)
    del told["total"]
    return told


def _jobs(count: int) -> str:
    return f"{count:,} {'job' if count == 1 else 'jobs'}"


class Screen:
    """What a person sees: tables on the output, a line that moves where it is a terminal."""

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._live = sys.stderr.isatty() and not quiet

    def plans(self, plans: Sequence[MovePlan], stores: dict[str, str]) -> None:
        """Print what is about to be moved."""
        self._say(f"from {stores['source']}", f"to   {stores['target']}")
        states = list(plans[0].counts.by_state)
        held = [name for name in states if any(plan.counts.by_state[name] for plan in plans)]
        head = ["queue", *(name.replace("_", "-") for name in held), "schedules"]
        rows = [
            [plan.queue, *(f"{plan.counts.by_state[name]:,}" for name in held), str(plan.schedules)]
            for plan in plans
        ]
        self._say(*_table(head, rows))
        begun = [plan.queue for plan in plans if plan.begun]
        if begun:
            self._say(f"goes on where it was cut off: {', '.join(begun)}")

    def progress(self, queue: str, done: int, total: int) -> None:
        """Print the progress."""
        if self._live:
            typer.echo(f"\r\x1b[K{queue}: {done:,} of {total:,}", nl=False, err=True)

    def moved(self, moved: Sequence[Moved]) -> None:
        """Print the result."""
        self._clear()
        rows = [
            [each.queue, f"{each.jobs:,}", str(each.schedules), f"{each.left:,}"] for each in moved
        ]
        self._say(*_table(["queue", "jobs moved", "schedules", "left behind"], rows))
        for each in moved:
            self._say(*(f"{each.queue}: {problem}" for problem in each.problems))
            if each.paused:
                self._say(f"{each.queue}: it is paused where it is now")

    def cut_off(self) -> None:
        """Print how to continue."""
        self._clear()
        if not self._quiet:
            typer.echo("run it again to go on; the source's queues may be paused", err=True)

    def _clear(self) -> None:
        if self._live:
            typer.echo("\r\x1b[K", nl=False, err=True)

    def _say(self, *lines: str) -> None:
        if not self._quiet:
            for line in lines:
                typer.echo(line)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(
            cell.ljust(width) if at == 0 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in (head, *rows)
    ]
