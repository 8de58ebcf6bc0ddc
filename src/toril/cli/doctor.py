"""`toril doctor`: what endangers jobs or keeps them from running, and what to do about it.

Never here: examining.
"""

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import typer

from toril._model.diagnosis import ERROR, LEVELS, OK, WARN, Finding
from toril._model.printable import LINE, safe
from toril._serve.console import coloured

from .render import show_json
from .target import FAILED, StoreOptions, find_app, run

_COLOURS = {OK: "green", WARN: "yellow", ERROR: "red"}


@dataclass(frozen=True, kw_only=True)
class DoctorOptions(StoreOptions):
    """The arguments and options of `toril doctor`."""

    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings too.")] = False


def doctor(words: DoctorOptions) -> None:
    """Examine the store, its queues, workers and schedules, and say what to fix.

    Exits with 1 if there is an error, with --strict also if there is a warning.
    """
    findings = run(_examine(words))
    worst = max((LEVELS.index(each.level) for each in findings), default=0)
    if words.as_json:
        told = [asdict(each) for each in findings]
        show_json({"level": LEVELS[worst], "findings": told})
    else:
        _show(findings)
    if worst >= LEVELS.index(WARN if words.strict else ERROR):
        raise typer.Exit(FAILED)


async def _examine(words: DoctorOptions) -> list[Finding]:
    app = find_app(words)
    if not app.is_there():
        return [
            Finding(
                name="store",
                level=ERROR,
                message=f"there is nothing at {app.store_url}",
                hint="say where the jobs are (--url, TORIL_URL, --app); the first add or worker "
                "makes the file",
            )
        ]
    try:
        return await app.examine()
    finally:
        await app.close()


def _show(findings: Sequence[Finding]) -> None:
    colour = coloured(sys.stdout)
    for each in findings:
        level = f"{each.level:<5}"
        if colour:
            level = typer.style(level, fg=_COLOURS[each.level])
        where = f"{safe(each.queue)}: " if each.queue else ""
        typer.echo(f"{level}  {each.name:<16}  {where}{safe(each.message, LINE)}")
        if each.hint:
            typer.echo(f"{'':<25}→ {safe(each.hint, LINE)}")
    levels = [each.level for each in findings]
    wrong = [
        f"{levels.count(level)} {word}{'s' if levels.count(level) > 1 else ''}"
        for level, word in ((ERROR, "error"), (WARN, "warning"))
        if level in levels
    ]
    typer.echo(", ".join(wrong) or "all is well")
