"""`toril init`: a new project. Its files are in the folder `project` beside this module."""

import keyword
import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

from toril._model.printable import LINE, safe
from toril.errors import ConfigError

# What stands for the name of the package, in texts and in the name of a folder.
_NAME, _FOLDER = "PACKAGE", "package"


@dataclass(frozen=True, kw_only=True)
class InitOptions:
    """The arguments and options of `toril init`."""

    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder of the project; created if needed.")
    ] = Path()
    name: Annotated[str, typer.Option(help="Name of the package. Default: that of the folder.")] = (
        ""
    )


def init(words: InitOptions) -> None:
    """Write a new project: app, queues, a task, a worker, scripts, and tests that pass."""
    name = _package(words)
    written = {words.folder / path: text for path, text in _files(name)}
    taken = [path for path in written if path.exists()]
    if taken:
        raise ConfigError(
            f"{taken[0]} exists already, and nothing was written", hint="choose an empty folder"
        )
    for path, text in written.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        if path.parent.name == "scripts":
            path.chmod(0o755)
    where = safe(str(words.folder), LINE)
    typer.echo(f"wrote {len(written)} files to {where}; next: scripts/start-worker, and pytest")


def _package(words: InitOptions) -> str:
    """Return the name of the package: what was typed, or what can be made of the folder's name."""
    if words.name:
        name = words.name
    else:
        name = re.sub(r"\W+", "_", words.folder.resolve().name).strip("_").lower()
    if not name.isidentifier() or keyword.iskeyword(name):
        raise ConfigError(
            f"name={name!r} is not the name of a package",
            field="name",
            value=name,
            hint="--name shop",
        )
    return name


def _files(name: str) -> Iterator[tuple[PurePosixPath, str]]:
    for path, source in _walk(files("toril.cli") / "project", PurePosixPath()):
        parts = [name if part == _FOLDER else part for part in path.parts]
        parts[-1] = {"gitignore": ".gitignore"}.get(parts[-1], parts[-1])
        yield PurePosixPath(*parts), source.read_text("utf-8").replace(_NAME, name)


def _walk(folder: Traversable, at: PurePosixPath) -> Iterator[tuple[PurePosixPath, Traversable]]:
    for each in sorted(folder.iterdir(), key=lambda each: each.name):
        if each.is_dir():
            yield from _walk(each, at / each.name)
        elif each.name.endswith(".txt"):
            yield at / each.name.removesuffix(".txt"), each
