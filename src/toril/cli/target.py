"""Where the jobs are that a command is about: a URL, the environment, or an app; and which queue.

A command opens what is there and never makes it. Never here: what is looked at or changed.
"""

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

import typer

from toril._app.app import Toril
from toril._app.overview import known_queues
from toril._app.queue import Queue
from toril._jobs.environment import hush, read_settings
from toril._model.suggest import did_you_mean
from toril._serve.console import show_error
from toril._serve.load import load_app
from toril.errors import ConfigError, JobError, StoreError

T = TypeVar("T")

FAILED = 1
INTERRUPTED = 130

QUEUE = Annotated[
    str, typer.Argument(metavar="QUEUE", help="Name of the queue, or QUEUE:ID of a job.")
]


@dataclass(frozen=True, kw_only=True)
class StoreOptions:
    """The options of every command that looks at or changes a store."""

    url: Annotated[
        str, typer.Option(help="URL of the store. Default: $TORIL_URL, else ./toril.db.")
    ] = field(default="", repr=False)
    prefix: Annotated[
        str, typer.Option(help="Prefix of the queues. Default: $TORIL_PREFIX, else bull.")
    ] = ""
    app: Annotated[
        str, typer.Option(help="Use the store of this app: app.py, app.py:app or module:app.")
    ] = ""
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


@dataclass(frozen=True, kw_only=True)
class ServedStoreOptions:
    """The options of every command that serves what is in a store."""

    store: Annotated[
        str, typer.Argument(metavar="[URL]", help="URL of the store.", show_default=False)
    ] = field(default="", repr=False)
    url: Annotated[
        str, typer.Option(help="URL of the store. Default: $TORIL_URL, else ./toril.db.")
    ] = field(default="", repr=False)
    prefix: Annotated[
        str, typer.Option(help="Prefix of the queues. Default: $TORIL_PREFIX, else bull.")
    ] = ""
    app: Annotated[
        str,
        typer.Option(help="Use this app, its store and tasks: app.py, app.py:app or module:app."),
    ] = ""
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1"


def served_app(words: ServedStoreOptions) -> Toril:
    """Return the app that a command serves.

    Raises   ConfigError: the URL was given twice, the app cannot be loaded, nothing is there.
    """
    if words.store and words.url:
        raise ConfigError("the URL was given twice: leave --url out", field="url")
    url = words.url or words.store
    if words.app:
        app = load_app(words.app)
        if url or words.prefix:
            app.move_to(url or None, words.prefix or None)
    else:
        app = find_app(StoreOptions(url=url, prefix=words.prefix))
    if not app.is_there():
        raise ConfigError(
            f"there is nothing at {app.store_url}",
            hint="say where the jobs are: a URL, TORIL_URL or --app",
        )
    return app


def run(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end; what the store or a job refuses ends the process with 1."""
    try:
        return asyncio.run(work)
    except (StoreError, JobError) as error:
        show_error(error)
        raise typer.Exit(FAILED) from error
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def find_app(words: StoreOptions) -> Toril:
    """Make an app that declares nothing, at the place that was typed.

    Raises   ConfigError: the words exclude each other, or name no store.
    """
    logging.getLogger("toril.store").addFilter(_is_news)
    # A command says where it looked; which of two places an app takes is for `toril worker`.
    hush()
    if words.app:
        if words.url or words.prefix:
            raise ConfigError("--app says where the jobs are: leave --url and --prefix out")
        theirs = load_app(words.app)
        return Toril(theirs.url, prefix=theirs.prefix, warn_unserved=False)
    settings = read_settings(os.environ)
    return Toril(
        words.url or settings.url, prefix=words.prefix or settings.prefix, warn_unserved=False
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Pass what happens to the connection; how the server is set up is for `toril doctor`."""
    return getattr(record, "notice", "store.lost") in ("store.lost", "store.back")


@asynccontextmanager
async def opened(words: StoreOptions) -> AsyncGenerator[Toril]:
    """Open what is there.

    Raises   ConfigError: nothing is there. StoreError: it cannot be used.
    """
    app = find_app(words)
    if not app.is_there():
        raise ConfigError(
            f"there is nothing at {app.store_url}",
            hint="say where the jobs are: --url, TORIL_URL or --app",
        )
    async with app:
        yield app


async def find_queue(app: Toril, name: str) -> Queue:
    """Return a queue that exists.

    Raises   ConfigError: it does not; it names the nearest.
    """
    queue, job_id = await find_place(app, name)
    if job_id is not None:
        raise ConfigError(
            f"there is no queue {name!r}", hint=f"did you mean the queue {queue.name!r}?"
        )
    return queue


async def find_place(app: Toril, word: str) -> tuple[Queue, str | None]:
    """Read a queue, or QUEUE:ID where no queue has that name; ids may have colons as well."""
    # Where nobody has added anything yet, a queue is what workers serve.
    known = known_queues(await app.queues(), await app.workers())
    if word in known:
        return app.queue(word), None
    for at in [at for at, sign in reversed([*enumerate(word)]) if sign == ":"]:
        if word[:at] in known and word[at + 1 :]:
            return app.queue(word[:at]), word[at + 1 :]
    # The list may leave out what others made and nobody registered; no queue has a bad name.
    with suppress(ConfigError):
        if (await app.queue(word).counts()).total:
            return app.queue(word), None
    there = f"there are: {', '.join(known[:20])}" if known else "there is none at all"
    hint = did_you_mean(word.partition(":")[0], known) or there
    raise ConfigError(f"there is no queue {word!r} at {app.store_url}", hint=hint)
