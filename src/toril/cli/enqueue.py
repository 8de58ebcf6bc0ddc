"""`toril add` and `toril call`: jobs from a shell.

Never here: what an option means; its text goes to the queue or the task as it was typed.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, cast

import typer

from toril._app.app import Toril
from toril._app.queue import AddOptions
from toril._handlers.task import Task
from toril._jobs.environment import hush
from toril._jobs.job import Job
from toril._jobs.node import EnqueueOptions
from toril._model.printable import LINE, safe
from toril._serve.load import app_of, load_app, load_task
from toril.errors import BadArguments, ConfigError

from .render import show_json, write_json
from .target import FAILED, StoreOptions, find_app, find_queue, opened, run

_TEXT_KINDS = ("text",)


@dataclass(frozen=True, kw_only=True)
class JobFlags:
    """The options of a job, as flags of a command."""

    id: Annotated[str, typer.Option(help="Id of the job; one with this id is added once.")] = ""
    delay: Annotated[str, typer.Option(help="Start this long from now, such as 10m.")] = ""
    at: Annotated[str, typer.Option(help="Start at this time, such as 2030-01-31T09:00+01:00.")] = (
        ""
    )
    priority: Annotated[int | None, typer.Option(help="0 to 2,097,151; lower starts first.")] = None
    attempts: Annotated[int | None, typer.Option(help="How often it may be tried.")] = None
    backoff: Annotated[str, typer.Option(help="Wait before another attempt, such as 5s.")] = ""
    timeout: Annotated[str, typer.Option(help="Limit of one attempt.")] = ""
    expires: Annotated[str, typer.Option(help="Fail if it has not started by then.")] = ""
    lifo: Annotated[bool, typer.Option("--lifo", help="Start before jobs that wait already.")] = (
        False
    )
    dedup: Annotated[str, typer.Option(help="Key: no second job with it while one waits.")] = ""
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None
    header: Annotated[
        list[str] | None, typer.Option(metavar="NAME=TEXT", help="A header; may be repeated.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class AddCommandOptions(JobFlags, StoreOptions):
    """The arguments and options of `toril add`."""

    queue: Annotated[str, typer.Argument(metavar="QUEUE", help="Name of the queue.")]
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the job.")]
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Its data as JSON; - reads standard input.")
    ] = "{}"
    create: Annotated[
        bool, typer.Option("--create", help="Create the queue, or the file, if there is none.")
    ] = False


@dataclass(frozen=True, kw_only=True)
class CallOptions(JobFlags):
    """The arguments and options of `toril call`."""

    task: Annotated[
        str, typer.Argument(metavar="TASK", help="The task: module:task or app.py:task.")
    ]
    arg: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="An argument: text, or JSON if the parameter is not text."
        ),
    ] = None
    args: Annotated[str, typer.Option(help="All arguments as a JSON object; - reads them.")] = ""
    app: Annotated[str, typer.Option(help="The app, if the module of the task has none.")] = ""
    url: Annotated[str, typer.Option(help="URL of the store. Default: that of the app.")] = field(
        default="", repr=False
    )
    prefix: Annotated[str, typer.Option(help="Prefix. Default: that of the app.")] = ""
    wait: Annotated[
        str, typer.Option(help="Wait this long for the result, and print it as JSON.")
    ] = ""
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False


def add(words: AddCommandOptions) -> None:
    """Add a job to a queue by its name."""
    data, options = _json(_read(words.data), "DATA"), cast("AddOptions", _options(words))

    async def work() -> Job[Any]:
        if words.create:
            async with find_app(words) as app:
                return await app.queue(words.queue).add(words.name, data, **options)
        async with opened(words) as app:
            try:
                queue = await find_queue(app, words.queue)
            except ConfigError as error:
                raise ConfigError(f"{error}; --create creates it") from None
            return await queue.add(words.name, data, **options)

    _tell(words.as_json, run(work()))


def call(words: CallOptions) -> None:
    """Add a job of a task: its arguments are checked before anything is stored."""
    hush()
    given = load_app(words.app) if words.app else None
    task, module = load_task(words.task)
    app = given or app_of(module, words.task.rpartition(":")[0])
    if not any(each is task for each in app.tasks()):
        raise ConfigError(
            f"{words.task}: the app has no such task", hint="name the app that includes it: --app"
        )
    if words.url or words.prefix:
        app.move_to(words.url or None, words.prefix or None)
    try:
        run(_call(app, task, words))
    except BadArguments as error:
        raise ConfigError(str(error)) from error


async def _call(app: Toril, task: Task[..., Any], words: CallOptions) -> None:
    bound = task.using(**cast("EnqueueOptions", _options(words)))
    try:
        # The store is opened only when the arguments fit.
        job = await bound.enqueue_json(json.dumps(_arguments(task, words)))
        if words.wait:
            typer.echo(write_json(await _result(job, words.wait)))
        else:
            _tell(words.as_json, job)
    finally:
        await app.close()


async def _result(job: Job[Any], wait: str) -> Any:
    try:
        return await job.result(timeout=wait)
    except TimeoutError as error:
        place = safe(f"{job.queue}:{job.id}")
        typer.echo(f"error: {place} has not ended within {wait}", err=True)
        raise typer.Exit(FAILED) from error


def _tell(as_json: bool, job: Job[Any]) -> None:
    if as_json:
        show_json({"queue": job.queue, "id": job.id, "created": job.created})
    else:
        verb = "added" if job.created else "exists already:"
        typer.echo(f"{verb} {safe(f'{job.queue}:{job.id}', LINE)}")


# Reading what was typed.


def _options(words: JobFlags) -> dict[str, Any]:
    """Return the options that were typed, as `Queue.add` takes them."""
    given: dict[str, Any] = {
        name: value
        for name in (
            "id", "delay", "priority", "attempts", "backoff", "timeout", "expires", "lifo", "dedup",
        )
        if (value := getattr(words, name)) not in ("", None, False)
    }  # fmt: skip
    if words.at:
        given["at"] = _moment(words.at)
    if words.tag:
        given["tags"] = words.tag
    if words.header:
        given["headers"] = _pairs(words.header, "header")
    return given


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(
            f"at={text!r} is not a time", field="at", value=text, hint="2030-01-31T09:00+01:00"
        ) from None


def _arguments(task: Task[..., Any], words: CallOptions) -> dict[str, Any]:
    if words.args and words.arg:
        raise ConfigError("--args excludes --arg", field="args")
    if words.args:
        return _object(_json(_read(words.args), "--args"))
    kinds = {each.name: each.kind for each in task.parameters()}
    pairs = _pairs(words.arg or [], "arg")
    return {name: _value(text, kinds.get(name, "any")) for name, text in pairs.items()}


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    raise ConfigError("--args is not a JSON object", field="args")


def _value(text: str, kind: str) -> Any:
    """Read one argument: JSON, unless the parameter takes text or this is no JSON."""
    if kind in _TEXT_KINDS:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _pairs(given: list[str], field: str) -> Mapping[str, str]:
    for each in given:
        if "=" not in each:
            raise ConfigError(f"--{field} {each}: write NAME=VALUE", field=field, value=each)
    return {name: text for name, _, text in (each.partition("=") for each in given)}


def _read(text: str) -> str:
    return sys.stdin.read() if text == "-" else text


def _json(text: str, what: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise ConfigError(
            f"{what} is not JSON: {error}", hint='quote it for the shell: \'{"to": "ada"}\''
        ) from None
