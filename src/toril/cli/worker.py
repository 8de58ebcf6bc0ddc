"""`toril worker` and `toril dev`: what may be typed, and what it means.

Never here: working (serve), and keeping processes going (supervisor).
"""

import asyncio
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import typer

from toril._model.times import to_ms
from toril._serve.console import FRIENDLY, LEVELS, log_as
from toril._serve.probes import ProbeAddress
from toril._serve.serve import Asked, run_worker
from toril._serve.supervisor import ServePlan, Supervisor
from toril.errors import ConfigError

# Whoever changes a file wants to see what comes of it.
DEV_GRACE = "5s"

_TARGET = typer.Argument(
    metavar="APP",
    help="The app: app.py, app.py:app, module or module:app. Default: $TORIL_APP.",
    envvar="TORIL_APP",
    show_envvar=False,
)
_QUEUES_HELP = "Queues to work on, such as a,b. Default: every queue with a handler."
_QUEUES = typer.Option(help=_QUEUES_HELP)
_URL = typer.Option(help="URL of the store. Default: that of the app, else $TORIL_URL.")
_PREFIX = typer.Option(help="Prefix of the queues. Default: that of the app, else $TORIL_PREFIX.")
_LOG_HELP = f"Log level: {', '.join(LEVELS)}."
_LOG_LEVEL = typer.Option(help=_LOG_HELP)


@dataclass(frozen=True, kw_only=True)
class WorkerCommandOptions:
    """The arguments and options of `toril worker`."""

    target: Annotated[str, _TARGET]
    queues: Annotated[
        str,
        typer.Option(
            help=_QUEUES_HELP,
            envvar="TORIL_WORKER_QUEUES",
        ),
    ] = ""
    url: Annotated[str, _URL] = field(default="", repr=False)
    prefix: Annotated[str, _PREFIX] = ""
    concurrency: Annotated[
        int | None,
        typer.Option(
            envvar="TORIL_WORKER_CONCURRENCY",
            help="How many jobs of each queue run at once in each process. Default: what its "
            "processors declare, else 1.",
        ),
    ] = None
    processes: Annotated[
        int | None,
        typer.Option(
            envvar="TORIL_WORKER_PROCESSES",
            help="Number of worker processes under a supervisor. Default: one, without a supervisor.",
        ),
    ] = None
    grace: Annotated[
        str,
        typer.Option(
            envvar="TORIL_WORKER_GRACE",
            help="How long running jobs may take to end when the worker stops.",
        ),
    ] = "25s"
    lock: Annotated[
        str,
        typer.Option(
            envvar="TORIL_WORKER_LOCK",
            help="Lock duration: how long a silent worker keeps a job. Default: 30s.",
        ),
    ] = ""
    stalled_interval: Annotated[
        str,
        typer.Option(
            envvar="TORIL_WORKER_STALLED_INTERVAL",
            help="How often to look for jobs of dead workers. Default: 5s.",
        ),
    ] = ""
    max_stalls: Annotated[
        int | None,
        typer.Option(
            envvar="TORIL_WORKER_MAX_STALLS",
            help="How many crashes of its worker a job survives. Default: 3.",
        ),
    ] = None
    name: Annotated[
        str,
        typer.Option(
            envvar="TORIL_WORKER_NAME", help="Name of the worker. Default: host and process id."
        ),
    ] = ""
    health: Annotated[
        str,
        typer.Option(
            envvar="TORIL_WORKER_HEALTH",
            help="Serve /live and /ready at this address, such as 127.0.0.1:8080 or :8080.",
        ),
    ] = ""
    imports: Annotated[
        str,
        typer.Option(
            "--import",
            envvar="TORIL_WORKER_IMPORT",
            help="Modules to import besides the app, such as shop.jobs,shop.*.tasks; their "
            "blueprints are included.",
        ),
    ] = ""
    reload: Annotated[
        bool, typer.Option("--reload", help="Restart when a file of the app changes.")
    ] = False
    burst: Annotated[
        bool,
        typer.Option(
            "--burst", help="End when no job waits or runs in its queues; delayed jobs stay."
        ),
    ] = False
    log_level: Annotated[str, typer.Option(help=_LOG_HELP, envvar="TORIL_WORKER_LOG_LEVEL")] = (
        "info"
    )


@dataclass(frozen=True, kw_only=True)
class DevOptions:
    """The arguments and options of `toril dev`."""

    target: Annotated[str, _TARGET]
    queues: Annotated[str, _QUEUES] = ""
    url: Annotated[str, _URL] = field(default="", repr=False)
    prefix: Annotated[str, _PREFIX] = ""
    log_level: Annotated[str, _LOG_LEVEL] = "info"


def worker(words: WorkerCommandOptions) -> None:
    """Run the jobs of an app until a signal arrives."""
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
        imports=[name for each in words.imports.split(",") if (name := each.strip())],
        burst=words.burst,
    )
    health = ProbeAddress.of(words.health) if words.health else None
    if words.processes is None and not words.reload:
        raise typer.Exit(run_worker(asked, health))
    if words.burst:
        raise ConfigError(
            "--burst is for a single process",
            field="burst",
            value=True,
            hint="leave --processes and --reload out",
        )
    if sys.platform == "win32":
        raise ConfigError(
            "several processes, and --reload, do not work on Windows",
            field="processes",
            value=words.processes,
            hint="leave them out, and start toril worker several times",
        )
    plan = ServePlan(
        asked=asked,
        processes=_count(1 if words.processes is None else words.processes),
        grace_s=to_ms(words.grace, field="grace") / 1000,
        log=words.log_level,
        health=health,
        watch=_folder(words.target) if words.reload else None,
    )
    raise typer.Exit(asyncio.run(Supervisor(plan).run()))


def dev(words: DevOptions) -> None:
    """Run the jobs of an app during development: restart when a file changes."""
    log = f"{FRIENDLY}:{words.log_level}"
    worker(
        WorkerCommandOptions(
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
    """Return the folder whose files are watched: that of the app's file, else the one we are in."""
    file = Path(target.partition(":")[0])
    return file.resolve().parent if file.is_file() else Path.cwd()
