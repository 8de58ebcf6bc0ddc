"""`toril top | errors | mark`: what the store recorded over time.

Never here: how a thing is written (render), or what is recorded.
"""

import asyncio
import sys
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from toril._app.app import Toril
from toril._jobs.clock import now_ms
from toril._model.faults import ErrorGroup
from toril._model.notes import Mark
from toril._model.printable import CELL, LINE, safe
from toril._model.series import Point, Series, quantile
from toril._model.times import Millis, to_ms

from .render import ago, iso, show_json, show_table
from .target import StoreOptions, find_queue, opened, run

# Rates are of the last minutes, run times and failures of the last hour.
LATELY_MS: Millis = 300_000
HOUR_MS: Millis = 3_600_000
HEADS = ["queue", "waiting", "active", "oldest", "in/s", "out/s", "failed 1h", "p95", "workers", ""]
NUMBERS = HEADS[1:9]


@dataclass(frozen=True, kw_only=True)
class TopOptions(StoreOptions):
    """The options of `toril top`."""

    interval: Annotated[
        float, typer.Option(min=0.2, help="Seconds between two looks, on a terminal.")
    ] = 1.0


@dataclass(frozen=True, kw_only=True)
class ErrorsOptions(StoreOptions):
    """The options of `toril errors`."""

    queue: Annotated[str, typer.Option(help="Only this queue.")] = ""
    since: Annotated[str, typer.Option(help='Only errors seen this long ago, such as "2h".')] = ""
    limit: Annotated[int, typer.Option(min=1, max=500, help="At most this many groups.")] = 50


@dataclass(frozen=True, kw_only=True)
class MarkOptions(StoreOptions):
    """The arguments and options of `toril mark`."""

    label: Annotated[str, typer.Argument(metavar="LABEL", help="Such as a version: v2.14.")]
    by: Annotated[str, typer.Option(help="Who made it.")] = ""


@dataclass(frozen=True, kw_only=True)
class QueueNow:
    """A queue at a moment: what is in it, and what happened lately.

    Shape    p95_ms: 95 % of the attempts of the last hour ran no longer; None: none ended.
    """

    queue: str
    waiting: int
    active: int
    failed: int
    oldest_ms: Millis | None
    in_per_s: float
    out_per_s: float
    failed_1h: int
    p95_ms: float | None
    workers: int
    paused: bool


async def look(app: Toril) -> list[QueueNow]:
    """Look at all queues, the ones with most waiting jobs first."""
    views = await app.overview()
    now = now_ms()
    names = [view.name for view in views]
    lately = (
        await app.monitor.series(*names, since_ms=now - LATELY_MS, step="minute") if names else []
    )
    hour = await app.monitor.series(*names, since_ms=now - HOUR_MS) if names else []
    found: list[QueueNow] = []
    for view, few, many in zip(views, lately, hour, strict=True):
        five, sixty = _sum(few), _sum(many)
        found.append(
            QueueNow(
                queue=view.name,
                waiting=view.counts.ready,
                active=view.counts.active,
                failed=view.counts.failed,
                oldest_ms=view.counts.oldest_ms,
                in_per_s=five.enqueued * 1000 / LATELY_MS,
                out_per_s=(five.completed + five.failed) * 1000 / LATELY_MS,
                failed_1h=sixty.failed,
                p95_ms=quantile(sixty.run, 0.95),
                workers=len(view.workers),
                paused=view.settings.paused,
            )
        )
    return sorted(found, key=lambda each: (-each.waiting, -each.active, each.queue))


def _sum(series: Series) -> Point:
    alike = (replace(series, points=(replace(point, at_ms=0),)) for point in series.points)
    return next(iter(Series.sum(alike).points), Point(at_ms=0))


def _row(each: QueueNow) -> list[str]:
    return [
        each.queue,
        f"{each.waiting:,}",
        f"{each.active:,}",
        ago(each.oldest_ms).removesuffix(" ago") if each.oldest_ms else "",
        f"{each.in_per_s:.1f}",
        f"{each.out_per_s:.1f}",
        f"{each.failed_1h:,}",
        "" if each.p95_ms is None else f"{each.p95_ms:,.0f} ms",
        f"{each.workers:,}",
        "paused" if each.paused else "",
    ]


def top(words: TopOptions) -> None:
    """Show all queues, live on a terminal until Ctrl-C: what waits, rates, failures, run times."""
    run(_top(words))


async def _top(words: TopOptions) -> None:
    async with opened(words) as app:
        if words.as_json:
            show_json([_queue_json(each) for each in await look(app)])
        elif not sys.stdout.isatty():
            show_table(
                HEADS, [_row(each) for each in await look(app)], what="queues", numbers=NUMBERS
            )
        else:
            await _live(app, words.interval)


async def _live(app: Toril, interval: float) -> None:
    console = Console(highlight=False, markup=False, emoji=False)
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_screen(app, await look(app)), refresh=True)
            await asyncio.sleep(interval)


def _screen(app: Toril, queues: list[QueueNow]) -> Table:
    waiting, active = sum(q.waiting for q in queues), sum(q.active for q in queues)
    title = f"{app.store_url}   {len(queues)} queues   {waiting:,} waiting   {active:,} active"
    table = Table(
        box=None, title=Text(safe(title, LINE)), title_justify="left", padding=(0, 2, 0, 0)
    )
    for head in HEADS:
        table.add_column(head, justify="right" if head in NUMBERS else "left", no_wrap=True)
    for each in queues:
        style = "yellow" if each.paused or (each.waiting and not each.workers) else ""
        table.add_row(*(Text(safe(cell, CELL), style=style) for cell in _row(each)))
    return table


def _queue_json(each: QueueNow) -> dict[str, Any]:
    told = asdict(each)
    told["oldest_at"] = iso(told.pop("oldest_ms"))
    return told


def errors(words: ErrorsOptions) -> None:
    """List failures by their cause, those seen last first."""

    async def work() -> list[ErrorGroup]:
        since_ms = now_ms() - to_ms(words.since, field="since") if words.since else 0
        async with opened(words) as app:
            queues = [(await find_queue(app, words.queue)).name] if words.queue else []
            return await app.monitor.errors(*queues, since_ms=since_ms, limit=words.limit)

    found = run(work())
    if words.as_json:
        show_json([_group_json(each) for each in found])
        return
    rows = [
        [
            each.fingerprint,
            each.queue,
            f"{each.count:,}",
            ago(each.first_ms),
            ago(each.last_ms),
            f"{each.kind}: {each.message}" if each.message else each.kind,
            each.place,
        ]
        for each in found
    ]
    heads = ["group", "queue", "count", "first", "last", "error", "where"]
    show_table(heads, rows, what="errors", numbers=["count"])


def _group_json(group: ErrorGroup) -> dict[str, Any]:
    told = asdict(group)
    for name in ("first", "last"):
        told[f"{name}_at"] = iso(told.pop(f"{name}_ms"))
    told["points"] = [{"at": iso(at), "count": count} for at, count in group.points]
    return told


def mark(words: MarkOptions) -> None:
    """Mark this moment, such as a deployment, for charts."""

    async def work() -> Mark:
        async with opened(words) as app:
            return await app.monitor.mark(words.label, by=words.by)

    made = run(work())
    if words.as_json:
        show_json({"id": made.id, "at": iso(made.at_ms), "label": made.label, "by": made.by})
    else:
        typer.echo(f"marked {safe(made.label, LINE)}")
