"""Read the .sql files: named statements, each with its purpose, and the migrations.

A statement starts with a line `-- name.of.it: what it is for`. Never here: SQL, or running it.
"""

import re
from functools import cache
from importlib.resources import files

_HEAD = re.compile(r"^-- ([a-z_]+\.[a-z_]+): (.+)$", re.MULTILINE)
_FOLDER = files("toril._store.sqlite").joinpath("sql")
_GROUPS = (
    "db",
    "add",
    "claim",
    "finish",
    "edit",
    "remove",
    "read",
    "queue",
    "schedule",
    "presence",
    "move",
    "mend",
    "series",
    "errors",
    "notes",
    "search",
)


@cache
def statements() -> dict[str, str]:
    """Return every named statement by its name."""
    found: dict[str, str] = {}
    for group in _GROUPS:
        text = _FOLDER.joinpath(f"{group}.sql").read_text(encoding="utf-8")
        heads = list(_HEAD.finditer(text))
        for head, after in zip(heads, [*heads[1:], None], strict=True):
            name = head.group(1)
            if name in found:
                raise ValueError(f"statement {name} stands twice")
            found[name] = text[head.end() : after.start() if after else len(text)].strip()
    return found


@cache
def migrations() -> tuple[str, ...]:
    """Return the migrations in order; the n-th (from 1) makes version n."""
    folder = _FOLDER.joinpath("migrations")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return tuple(folder.joinpath(name).read_text(encoding="utf-8") for name in names)


def schema() -> str:
    """Return the tables as they stand after all migrations."""
    return _FOLDER.joinpath("schema.sql").read_text(encoding="utf-8")
