"""What the pages say of options, errors, commands and events is what the code has."""

import ast
import inspect
import re
import typing
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest
from typer.main import get_command

from tools import reference
from toril import Toril, errors, hooks
from toril.cli.root import cli
from toril.types import JobOptions, Options, QueueOptions, TaskOptions, WorkerOptions

from .pages import ALL, DOCS, ROOT, name_of

CURRENT = "is not current: run `make docs`"


def tables(name: str) -> list[dict[str, list[str]]]:
    """Return the tables of a page: the first cell of each row, and the others."""
    found: list[dict[str, list[str]]] = []
    for line in (DOCS / name).read_text("utf-8").splitlines():
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if not cells:
            found.append({})
        elif not set(cells[0]) <= {"-"}:
            for key in re.findall(r"`([^`]+)`", cells[0]) or [cells[0]]:
                found[-1][key] = cells[1:]
    return [table for table in found if table]


def table(name: str, *, has: str) -> dict[str, list[str]]:
    """Return the table of a page that has this row, without its head."""
    (one,) = [rows for rows in tables(name) if has in rows]
    return dict(list(one.items())[1:])


def own(kind: type[Any]) -> set[str]:
    """Return the keys of a TypedDict that are not options of jobs."""
    return set(typing.get_type_hints(kind)) - set(Options.__annotations__)


@pytest.mark.parametrize("name", reference.PAGES)
def test_generated_pages_are_current(name: str) -> None:
    assert (DOCS / name).read_text("utf-8") == reference.PAGES[name](), f"{name} {CURRENT}"


# Options.


def test_the_table_of_job_options_is_complete() -> None:
    rows = table("guides/tasks.md", has="attempts")
    assert set(rows) == set(Options.__annotations__) | {"id", "parent"}


def test_the_table_of_task_options_is_complete() -> None:
    rows = table("guides/tasks.md", has="recycle_after")
    assert set(rows) == own(TaskOptions)


def example_task() -> None:
    """Have no arguments, as what runs on a schedule."""


@pytest.mark.parametrize("row", ["attempts", "recycle_after"])
def test_the_examples_of_options_work(row: str) -> None:
    app = Toril(":memory:")
    for option, (_, _, example, _) in table("guides/tasks.md", has=row).items():
        if option == "parent":
            continue  # needs a job
        names: dict[str, Any] = {"datetime": datetime, "UTC": UTC}
        given = eval(f"dict({example.strip('`')})", names)
        assert set(given) == {option}
        if option == "full_timeout":
            given["on_full"] = "wait"
        if option == "soft_timeout":
            given["timeout"] = "1h"
        if option == "tz":
            given["cron"] = "@daily"
        if option in {"init", "max_rss", "recycle_after"}:
            given["isolation"] = "process"
        if option == "id":
            assert given["id"]
        elif row == "attempts":
            Toril(":memory:", **given)
        else:
            app.task(**{"name": option, **given})(example_task)


def test_the_defaults_of_job_options_are_those_of_the_code() -> None:
    rows = table("guides/tasks.md", has="attempts")
    options = JobOptions()
    for option in ("attempts", "priority", "lifo"):
        assert rows[option][1] == str(getattr(options, option))
    assert rows["on_crash"][1] == f'`"{options.on_crash}"`'
    assert rows["max_runs"][1] == f"{options.most_runs:,}"
    nothing = {
        "timeout", "soft_timeout", "deadline", "expires", "dedup", "max_size", "durable",
    }  # fmt: skip
    for option in nothing:
        stored = option if hasattr(options, option) else f"{option}_ms"
        assert getattr(options, stored) is None
        assert rows[option][1] == "none"


def test_the_options_of_apps_queues_and_workers_are_in_the_reference() -> None:
    page = "reference/configuration.md"
    takes = set(inspect.signature(Toril).parameters) - {"defaults"} | {"**defaults"}
    assert set(table(page, has="warn_unserved")) == takes
    assert set(table(page, has="events_limit")) == own(QueueOptions)
    assert set(table(page, has="stalled_interval")) == set(WorkerOptions.__annotations__)


def keyword_classes() -> dict[str, ast.ClassDef]:
    """Find the TypedDicts of options, wherever they are in the source."""
    found: dict[str, ast.ClassDef] = {}
    for file in (ROOT / "src" / "toril").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.ClassDef) and any(
                each.arg == "total" for each in node.keywords
            ):
                found[node.name] = node
    return found


@pytest.mark.parametrize("name", sorted(keyword_classes()))
def test_every_option_has_a_docstring_that_editors_show(name: str) -> None:
    body = keyword_classes()[name].body
    for line, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(line, ast.AnnAssign):
            assert isinstance(line.target, ast.Name)
            assert isinstance(following, ast.Expr), f"{name}.{line.target.id} has no docstring"


# Errors, events, commands.


def attributes(kind: type[Exception], base: type[Exception]) -> set[str]:
    """Return the attributes that an error sets, besides those of its base."""
    if "__init__" not in vars(kind):
        return set()
    source = inspect.getsource(kind.__init__)
    inherited = attributes(errors.JobError, Exception) if kind is not errors.JobError else set()
    return set(re.findall(r"self\.(\w+)(?:: \w+)? = ", source)) - inherited


def test_the_table_of_errors_is_complete() -> None:
    rows: dict[str, list[str]] = {}
    for each in tables("reference/exceptions.md"):
        rows |= each
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if isinstance(kind, type) and issubclass(kind, errors.TorilError | errors.Signal)
    }
    for name, kind in kinds.items():
        assert name in rows, name
        shown = set(re.findall(r"`(\w+)`", rows[name][-1]))
        assert attributes(kind, Exception) <= shown, name
    assert {name for name in rows if name in vars(errors)} == set(kinds)


def test_the_page_of_events_names_every_listener() -> None:
    assert set(reference.LISTENER_ARGUMENTS) == set(typing.get_args(hooks.AppEvent))


def test_commands_that_pages_name_exist() -> None:
    known: Mapping[str, Any] = typing.cast("Any", get_command(cli)).commands
    for page in [*ALL, ROOT / "README.md"]:
        text = page.read_text("utf-8")
        for code in re.findall(r"`([^`\n]+)`|^\$ (.+)$", text, re.MULTILINE):
            for name in re.findall(r"(?:^|[;|&$] ?)toril ([a-z]+)", "".join(code)):
                assert name in known, f"{page.name}: toril {name}"


def test_the_findings_of_the_doctor_are_explained() -> None:
    page = (DOCS / "guides" / "command-line.md").read_text("utf-8")
    found: set[str] = set()
    for file in (ROOT / "src" / "toril").rglob("*.py"):
        text = file.read_text("utf-8")
        if "Finding(" in text or "_finding(" in text:
            found |= set(re.findall(r'name="(\w+\.\w+)"', text))
    assert len(found) > 15
    found -= {"queue.served"}  # says that all is well
    assert sorted(name for name in found if f"`{name}`" not in page) == []


def test_names_of_pages_are_unique() -> None:
    assert len({name_of(page) for page in ALL}) == len(ALL)
