"""Write the reference pages that come from the code: the command line, and the events.

`make docs` runs it; tests/docs compares the pages with what it writes.
"""

import inspect
import re
import typing
from collections.abc import Iterator
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

from typer.main import get_command

from toril import events, hooks
from toril.cli.root import cli

DOCS = Path(__file__).parents[1] / "docs"
HEAD = "<!-- Written by `make docs` from the code. Do not edit. -->\n"

CLI = """# Command line

Every command and option of `toril`. For tasks step by step, see
[the command line](../guides/command-line.md), [running in production](../guides/production.md),
[moving stores](../guides/moving.md) and [backup and restore](../guides/backup.md).

`toril --version` prints the version. `toril COMMAND --help` prints what is on this page.
"""

EVENTS = """# Events

Events of queues, listeners, and the records that listeners get. How to use them is in
[events and progress](../guides/events.md) and [monitoring](../guides/monitoring.md).

## Events of a queue

`app.events()`, `queue.events()` and `job.events()` yield these classes of `toril.events`. Every event has `kind`, `id`
(text; sorts by age within a queue), `queue`, and `at_ms` (milliseconds since 1970, by the store's clock). Events about a job
also have `job_id`, and `await event.job()` returns the job, or None if it is gone.

The names are BullMQ's, and its clients emit and read the same events.

| `kind` | class | fields | meaning |
|---|---|---|---|
"""

LISTENERS = """
## Listeners

`@app.on("completed")` calls a function for what happens in every worker of the app, `@worker.on("completed")` for one worker.
The first argument is what the event is about; the function may be `async def`. See [hooks](../guides/hooks.md).

| event | arguments | when |
|---|---|---|
"""

# What listeners are called with, and when. A test compares the names with the code.
LISTENER_ARGUMENTS = {
    "added": ("job", "this process stored a job; `app.on` only"),
    "active": ("job", "an attempt begins"),
    "completed": ("job, result", "the job completed"),
    "failed": ("job, error", "the job failed for good"),
    "cancelled": ("job, error", "the job was cancelled; `failed` follows"),
    "attempt_failed": ("job, error", "an attempt failed, whether or not there is another one"),
    "progress": ("job, value", "the job reported progress"),
    "stalled": ("job id", "a job was taken back from a worker that died"),
    "drained": ("", "nothing waits and nothing runs in the queues of the worker"),
    "error": ("error", "the worker could not do something; it continues"),
    "lock_lost": ("job", "another worker has the job; the result of this one is refused"),
    "ready": ("", "the worker starts jobs"),
    "closing": ("", "the worker starts no more jobs"),
    "closed": ("", "the worker has ended"),
}

HOOKS = """
## Records

`@app.on(hooks.JobCompleted)` and `@worker.on(...)` also take a class of `toril.hooks`: the listener gets the records of that
class and of its subclasses. Records about a job have the fields of `JobHappening`, records about a worker those of
`WorkerHappening`.

| record | fields | meaning |
|---|---|---|
"""


def cell(text: str) -> str:
    """Return a text as a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())


def summary(kind: type[Any]) -> str:
    """Return the first paragraph of a class's docstring."""
    return cell(inspect.getdoc(kind).split("\n\n")[0]) if inspect.getdoc(kind) else ""


def type_name(annotation: object) -> str:
    """Return how people write a type."""
    text = annotation if isinstance(annotation, str) else inspect.formatannotation(annotation)
    text = re.sub(
        r"\b(?:toril|typing|collections|builtins|datetime)\.(?:[\w.]+\.)?(?=\w)", "", text
    )
    return cell(text)


# The command line.


def cli_page() -> str:
    """Return the page of the command line."""
    group: Any = get_command(cli)
    parts = [HEAD, CLI]
    for name, command in group.commands.items():
        parts.append(_command(name, command))
        within: dict[str, Any] = getattr(command, "commands", {})
        parts += [_command(f"{name} {sub}", each) for sub, each in within.items()]
    return "\n".join(parts)


def _command(name: str, command: Any) -> str:
    arguments = [each for each in command.params if each.param_type_name == "argument"]
    options = [each for each in command.params if each.param_type_name == "option"]
    usage = " ".join([f"toril {name}", *(_usage(each) for each in arguments), "[OPTIONS]"])
    text = inspect.cleandoc(command.help or "")
    lines = [f"## toril {name}", "", text, "", "```text", usage, "```", ""]
    if arguments:
        lines += ["| argument | meaning |", "|---|---|"]
        lines += [f"| `{_metavar(each)}` | {cell(each.help or '')} |" for each in arguments]
        lines += [""]
    lines += ["| option | value | default | meaning |", "|---|---|---|---|"]
    lines += [_option(each) for each in options if each.name != "help"]
    return "\n".join([*lines, ""])


def _metavar(argument: Any) -> str:
    return str(argument.metavar or argument.name).upper().strip("{}[]")


def _usage(argument: Any) -> str:
    shown = _metavar(argument) + ("..." if argument.nargs != 1 else "")
    return shown if argument.required else f"[{shown}]"


def _option(option: Any) -> str:
    names = ", ".join(f"`{each}`" for each in sorted(option.opts, key=len, reverse=True))
    value = "" if option.is_flag else _value(option)
    given = option.default not in (None, "", False, (), []) and not callable(option.default)
    default = f"`{option.default}`" if given else ""
    return f"| {names} | {value} | {default} | {cell(option.help or '')} |"


def _value(option: Any) -> str:
    # Releases of typer keep the type in different places.
    described = getattr(option, "type_descriptor", None)
    name = described.annotation.__name__ if described else str(option.type.name)
    words = {"int": "number", "integer": "number", "Path": "path", "path": "path"}
    return words.get(name, "text")


# Events.


def events_page() -> str:
    """Return the page of the events."""
    rows = [_event(kind) for kind in [*events.KINDS.values(), events.Custom]]
    listeners = [
        f"| `{name}` | {arguments} | {meaning} |"
        for name, (arguments, meaning) in LISTENER_ARGUMENTS.items()
    ]
    records = [_record(kind) for kind in hook_records()]
    parts = [HEAD, "\n", EVENTS, *_lines(rows), LISTENERS, *_lines(listeners), HOOKS]
    return "".join([*parts, *_lines(records)])


def _lines(rows: list[str]) -> Iterator[str]:
    for row in rows:
        yield row + "\n"


def _event(kind: type[events.Event]) -> str:
    base = events.JobEvent if issubclass(kind, events.JobEvent) else events.Event
    own = {each.name for each in fields(kind)} - {each.name for each in fields(base)}
    shown = ["`job_id`"] if base is events.JobEvent else []
    shown += [_field(kind, each) for each in fields(kind) if each.name in own]
    name = "any other" if kind is events.Custom else f"`{kind.kind}`"
    return f"| {name} | `{kind.__name__}` | {', '.join(shown)} | {summary(kind)} |"


def _field(kind: type[Any], each: Any) -> str:
    hints = typing.get_type_hints(kind)
    default = each.default is not MISSING and each.default not in ("", None, 0)
    shown = f" = {each.default!r}" if default and isinstance(each.default, str | int) else ""
    return f"`{each.name}`: {type_name(hints[each.name])}{shown}"


def hook_records() -> list[type[hooks.Happening]]:
    """Return the classes that hooks get, the general ones first."""
    found = [
        each
        for each in (getattr(hooks, name) for name in hooks.__all__)
        if isinstance(each, type) and issubclass(each, hooks.Happening)
    ]
    return sorted(found, key=lambda kind: (len(kind.__mro__), kind.__name__))


def _record(kind: type[Any]) -> str:
    above = {each.name for base in kind.__mro__[1:] for each in _fields(base)}
    own = [each for each in _fields(kind) if each.name not in above]
    return (
        f"| `{kind.__name__}` | {', '.join(_field(kind, each) for each in own)} | {summary(kind)} |"
    )


def _fields(kind: type[Any]) -> tuple[Any, ...]:
    return fields(kind) if hasattr(kind, "__dataclass_fields__") else ()


PAGES = {"reference/cli.md": cli_page, "reference/events.md": events_page}


def main() -> None:
    """Write the pages."""
    for name, page in PAGES.items():
        (DOCS / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
