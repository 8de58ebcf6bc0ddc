"""The command line, command by command; one line says what went wrong, and what to do.

Never here: what a command does.
"""

import errno
import importlib
import importlib.util
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

import typer

from toril.errors import ConfigError, TorilError

from . import edit, look
from .backup import BackupWords, backup
from .commands import command
from .doctor import DoctorWords, doctor
from .move import MoveWords, move
from .output import Commands, show_error
from .place import StoreWords
from .serve import DevWords, WorkerWords, dev, worker
from .streams import open_standard_streams
from .torture import TortureWords, torture

FAILED, MISUSED = 1, 2
# What is written to a full disk; its reader may be gone, too, which typer ends by itself.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
INTERRUPTED = 130

cli = typer.Typer(
    cls=Commands,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Background jobs for Python.",
)


def run() -> None:
    """Run the command line, and end the process with its exit code."""
    open_standard_streams()
    try:
        cli(prog_name="toril")
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


command(cli, WorkerWords, name="worker")(worker)
command(cli, DevWords, name="dev")(dev)


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


command(cli, MoveWords, name="move")(move)
command(cli, TortureWords, name="torture")(torture)
command(cli, StoreWords, name="queues")(look.queues)
command(cli, look.JobsWords, name="jobs")(look.jobs)
command(cli, look.JobWords, name="job")(look.job)
command(cli, look.SomeWords, name="workers")(look.workers)
command(cli, look.SomeWords, name="schedules")(look.schedules)
command(cli, look.EventsWords, name="events")(look.events)
command(cli, edit.QueueWords, name="pause")(edit.pause)
command(cli, edit.QueueWords, name="resume")(edit.resume)
command(cli, edit.RetryWords, name="retry")(edit.retry)
command(cli, edit.JobsToEdit, name="promote")(edit.promote)
command(cli, edit.CancelWords, name="cancel")(edit.cancel)
command(cli, edit.RemoveWords, name="remove")(edit.remove)
command(cli, edit.CleanWords, name="clean")(edit.clean)
command(cli, edit.DrainWords, name="drain")(edit.drain)
command(cli, edit.ObliterateWords, name="obliterate")(edit.obliterate)
command(cli, DoctorWords, name="doctor")(doctor)
command(cli, BackupWords, name="backup")(backup)
