"""The command line, command by command; one line says what went wrong, and what to do.

Never here: what a command does.
"""

import errno
import importlib
import importlib.util
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from toril._serve.console import show_error
from toril.errors import ConfigError, TorilError

from . import change, enqueue, inspect, monitor, schedules
from .backup import BackupOptions, backup
from .commands import Commands, command
from .dashboard import DashboardCommandOptions, dashboard
from .doctor import DoctorOptions, doctor
from .init import InitOptions, init
from .metrics import MetricsOptions, metrics
from .move import MoveOptions, move
from .target import StoreOptions
from .torture import TortureOptions, torture
from .worker import DevOptions, WorkerCommandOptions, dev, worker

FAILED, MISUSED = 1, 2
# What is written to a full disk; its reader may be gone, too, which typer ends by itself.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
INTERRUPTED = 130

cli = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Background jobs for Python.",
)


def run_command(words: Sequence[str] | None = None, name: str = "toril") -> None:
    """Run what was typed, and end the process with its exit code.

    Shape    words: what was typed after the name; that of this process if not given.
    """
    try:
        cli(words, prog_name=name)
    except TorilError as error:
        show_error(error)
        sys.exit(MISUSED)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in FULL:
            raise
        show_error(OSError(f"what was to be said could not be written: {error.strerror}"))
        sys.exit(FAILED)


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


command(cli, InitOptions, name="init")(init)
command(cli, WorkerCommandOptions, name="worker")(worker)
command(cli, DevOptions, name="dev")(dev)

command(cli, DashboardCommandOptions, name="dashboard")(dashboard)
command(cli, MetricsOptions, name="metrics")(metrics)


@cli.command()
def demo(
    images: Annotated[
        Path | None, typer.Option(help="A folder of pictures; some photographs if not given.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="A server to play on, such as redis://localhost.")
    ] = None,
) -> None:
    """Watch flash cards get their pictures."""
    if importlib.util.find_spec("PIL") is None:
        raise ConfigError("the demo needs Pillow", hint='pip install "toril[demo]"')
    # Only here, for Pillow is an extra.
    play: Any = importlib.import_module("toril.demo.run")
    raise typer.Exit(play.run(images, url=url))


command(cli, MoveOptions, name="move")(move)
command(cli, TortureOptions, name="torture")(torture)
command(cli, StoreOptions, name="queues")(inspect.queues)
command(cli, inspect.JobsOptions, name="jobs")(inspect.jobs)
command(cli, inspect.JobCommandOptions, name="job")(inspect.job)
command(cli, inspect.TableOptions, name="workers")(inspect.workers)
cli.add_typer(schedules.cli, name="schedules")
command(cli, inspect.EventsOptions, name="events")(inspect.events)
command(cli, monitor.TopOptions, name="top")(monitor.top)
command(cli, monitor.ErrorsOptions, name="errors")(monitor.errors)
command(cli, monitor.MarkOptions, name="mark")(monitor.mark)
command(cli, enqueue.AddCommandOptions, name="add")(enqueue.add)
command(cli, enqueue.CallOptions, name="call")(enqueue.call)
command(cli, change.PauseOptions, name="pause")(change.pause)
command(cli, change.QueueCommandOptions, name="resume")(change.resume)
command(cli, change.LimitOptions, name="limit")(change.limit)
command(cli, change.RetryOptions, name="retry")(change.retry)
command(cli, change.ReplayOptions, name="replay")(change.replay)
command(cli, change.JobsToEdit, name="promote")(change.promote)
command(cli, change.CancelOptions, name="cancel")(change.cancel)
command(cli, change.RemoveOptions, name="remove")(change.remove)
command(cli, change.CleanOptions, name="clean")(change.clean)
command(cli, change.DrainOptions, name="drain")(change.drain)
command(cli, change.ObliterateOptions, name="obliterate")(change.obliterate)
command(cli, DoctorOptions, name="doctor")(doctor)
command(cli, BackupOptions, name="backup")(backup)
