"""`toril worker` and `toril dev`: what may be typed, and what it means.

Never here: working (worker), and keeping processes going (fleet).
"""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from toril._model.times import to_ms
from toril.errors import ConfigError

from .fleet import Fleet, Plan
from .health import Address
from .output import FRIENDLY, LEVELS, log_as
from .worker import Asked, run_worker

# Whoever changes a file wants to see what comes of it.
DEV_GRACE = "5s"

_TARGET = typer.Argument(help="Where the app is: app.py, app.py:app, module or module:app.")
_QUEUES = typer.Option(help="Queues to work on, as in a,b; all that have a handler if not given.")
_URL = typer.Option(help="Where the jobs are, instead of where the app or $TORIL_URL says.")
_PREFIX = typer.Option(
    help="The prefix of the queues, instead of what the app or $TORIL_PREFIX says."
)
_LOG_LEVEL = typer.Option(help=f"How much to tell of each job: {', '.join(LEVELS)}.")


@dataclass(frozen=True, kw_only=True)
class WorkerWords:
    """What may be typed after `toril worker`."""

    target: Annotated[str, _TARGET]
    queues: Annotated[str, _QUEUES] = ""
    url: Annotated[str, _URL] = field(default="", repr=False)
    prefix: Annotated[str, _PREFIX] = ""
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="How many jobs of each queue run at once in each process; what its processors "
            "say, else 1."
        ),
    ] = None
    processes: Annotated[
        int | None,
        typer.Option(
            help="How many processes, kept going by a supervisor; one without, if not given."
        ),
    ] = None
    grace: Annotated[
        str, typer.Option(help="How long running jobs may go on when it is told to stop.")
    ] = "25s"
    lock: Annotated[
        str,
        typer.Option(
            help="How long a job stays a worker's own without a sign of life; 30s if not given."
        ),
    ] = ""
    stalled_interval: Annotated[
        str,
        typer.Option(help="How often it looks for jobs of workers that died; 5s if not given."),
    ] = ""
    max_stalls: Annotated[
        int | None,
        typer.Option(
            help="How often a job may lose its worker before it fails for that; 3 if not given."
        ),
    ] = None
    name: Annotated[
        str, typer.Option(help="The worker's name; host and process id if not given.")
    ] = ""
    health: Annotated[
        str, typer.Option(help="Answer GET /live and /ready here, as in 127.0.0.1:8080 or :8080.")
    ] = ""
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a file of the app changes.")
    ] = False
    log_level: Annotated[str, _LOG_LEVEL] = "info"


@dataclass(frozen=True, kw_only=True)
class DevWords:
    """What may be typed after `toril dev`."""

    target: Annotated[str, _TARGET]
    queues: Annotated[str, _QUEUES] = ""
    url: Annotated[str, _URL] = field(default="", repr=False)
    prefix: Annotated[str, _PREFIX] = ""
    log_level: Annotated[str, _LOG_LEVEL] = "info"


def worker(words: WorkerWords) -> None:
    """Run the jobs of an app until a signal comes."""
    log_as(words.log_level)
    asked = Asked(
        target=words.target,
        queues=[name for each in words.queues.split(",") if (name := each.strip())],
        concurrency=words.concurrency,
        grace=words.grace,
        name=words.name,
        lock=words.lock,
        stalled_interval=words.stalled_interval,
        max_stalls=words.max_stalls,
        url=words.url,
        prefix=words.prefix,
    )
    health = Address.of(words.health) if words.health else None
    if words.processes is None and not words.reload:
        raise typer.Exit(run_worker(asked, health))
    if sys.platform == "win32":
        raise ConfigError(
            "several processes, and --reload, do not work on Windows",
            field="processes",
            value=words.processes,
            hint="leave them out, and start toril worker several times",
        )
    plan = Plan(
        asked=asked,
        processes=_count(1 if words.processes is None else words.processes),
        grace_s=to_ms(words.grace, field="grace") / 1000,
        log=words.log_level,
        health=health,
        watch=_folder(words.target) if words.reload else None,
    )
    raise typer.Exit(asyncio.run(Fleet(plan).run()))


def dev(words: DevWords) -> None:
    """Run the jobs of an app while you write it: it starts anew whenever a file changes."""
    log = f"{FRIENDLY}:{words.log_level}"
    worker(
        WorkerWords(
            target=words.target,
            queues=words.queues,
            url=words.url,
            prefix=words.prefix,
            grace=DEV_GRACE,
            reload=True,
            log_level=log,
        )
    )


def _count(processes: int) -> int:
    if processes < 1:
        raise ConfigError(
            f"processes={processes} must be at least 1", field="processes", value=processes
        )
    return processes


def _folder(target: str) -> Path:
    """Give the folder whose files are watched: that of the app's file, else the one we are in."""
    file = Path(target.partition(":")[0])
    return file.resolve().parent if file.is_file() else Path.cwd()
