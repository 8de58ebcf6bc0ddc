"""The command line, command by command; one line says what went wrong, and what to do.

Never here: what a command does.
"""

import importlib
import importlib.util
import logging
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from toril._run.worker_options import WorkerOptions
from toril.errors import ConfigError, TorilError

from .commands import command
from .load import load_app
from .move import MoveWords, move
from .worker import describe_worker, make_worker, run_worker

MISUSED = 2
INTERRUPTED = 130
LOG_FORMAT = "%(asctime)s %(levelname)-8s %(message)s"
LEVELS = ("debug", "info", "warning", "error")

cli = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Background jobs for Python.",
)


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    try:
        cli(prog_name="toril")
    except TorilError as error:
        typer.echo(f"error: {' '.join(str(error).split())}", err=True)
        sys.exit(MISUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(f"toril {version('toril')}")
        raise typer.Exit


@cli.callback()
def options(
    _: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Run jobs in the background."""


@cli.command()
def worker(
    target: Annotated[
        str, typer.Argument(help="Where the app is: app.py, app.py:app, module or module:app.")
    ],
    queues: Annotated[
        str,
        typer.Option(help="Queues to work on, as in a,b; all that have a handler if not given."),
    ] = "",
    concurrency: Annotated[
        int | None,
        typer.Option(
            help="How many jobs of each queue run at once; what its processors say, else 10."
        ),
    ] = None,
    grace: Annotated[
        str, typer.Option(help="How long running jobs may go on when it is told to stop.")
    ] = "25s",
    name: Annotated[
        str, typer.Option(help="The worker's name; host and process id if not given.")
    ] = "",
    log_level: Annotated[
        str, typer.Option(help=f"How much to tell of each job: {', '.join(LEVELS)}.")
    ] = "info",
) -> None:
    """Run the jobs of an app until a signal comes."""
    _log_to_stderr(log_level)
    app = load_app(target)
    if concurrency is not None and concurrency < 1:
        raise ConfigError(
            f"concurrency={concurrency} must be at least 1", field="concurrency", value=concurrency
        )
    known = app.registry.places()
    wanted = [queue.strip() for queue in queues.split(",") if queue.strip()] or list(known)
    asked = WorkerOptions(grace=grace)
    asked["queues"] = {
        queue: known.get(queue) or 10 if concurrency is None else concurrency for queue in wanted
    }
    if name:
        asked["name"] = name
    made = make_worker(app, asked)

    def introduce() -> None:
        typer.echo("\n".join(describe_worker(app, made)))

    raise typer.Exit(run_worker(app, made, introduce))


@cli.command()
def demo(
    images: Annotated[
        Path | None, typer.Option(help="A folder of pictures; some photographs if not given.")
    ] = None,
) -> None:
    """Watch flash cards get their pictures."""
    if importlib.util.find_spec("PIL") is None:
        raise ConfigError("the demo needs Pillow", hint='pip install "toril[demo]"')
    # Only here, for Pillow is an extra.
    play: Any = importlib.import_module("toril.demo.run")
    raise typer.Exit(play.run(images))


command(cli, MoveWords, name="move")(move)


def _log_to_stderr(level: str) -> None:
    if level.lower() not in LEVELS:
        raise ConfigError(
            f"log-level={level!r} is no level",
            field="log-level",
            value=level,
            hint=f"one of: {', '.join(LEVELS)}",
        )
    logging.basicConfig(format=LOG_FORMAT, level=level.upper(), stream=sys.stderr)
