"""See that the tables of a file are those that toril makes: triggers in a file are programs.

Reading the list of tables runs nothing. Never here: making tables.
"""

import re
from functools import cache
from typing import Any

import apsw

from toril._model.stored import reader
from toril.errors import ConfigError, StoreCorrupt

from .sql import SQLiteConnection
from .statements import migrations, statements

APPLICATION_ID = 0x746F7269  # "tori", so that no other program's file is taken for ours
# Type and name of an entry, the table that it belongs to, and its definition.
Entries = dict[tuple[str, str], tuple[str, str]]
_rows = reader(list[list[Any]])
_COMMENT = re.compile(r"--[^\n]*")
_BLANKS = re.compile(r"\s+")


def check_schema(db: SQLiteConnection, where: str) -> None:
    """See that the file is as toril left it at its version; tables beside toril's may be there.

    Raises   ConfigError: it is another program's. StoreCorrupt: its tables were changed.
    """
    with db:  # one snapshot: another process may be making the tables
        version = db.pragma("user_version")
        application = db.pragma("application_id")
        found = _entries(db)
    if version == 0 and application == 0:
        return  # a new file, or another program's, which migrating finds out
    if application != APPLICATION_ID:
        raise other_program(where)
    if version > len(migrations()):
        return  # a newer toril's, which migrating refuses
    expected = _expected(max(version, 0))
    tables = {name for kind, name in expected if kind == "table"}
    for key in expected.keys() | found.keys():
        kind, name = key
        if key not in found:
            raise _changed(where, f"{kind} {name!r} is missing")
        if key in expected:
            if found[key] != expected[key]:
                raise _changed(where, f"{kind} {name!r} is not as toril makes it")
        elif kind == "trigger" or (kind == "index" and found[key][0] in tables):
            raise _changed(where, f"{kind} {name!r} was added to it")


def other_program(where: str) -> ConfigError:
    """Return the error for a file that toril did not make."""
    return ConfigError(
        f"{where} is another program's database",
        field="url",
        value=where,
        hint="give toril a file of its own",
    )


def _changed(where: str, what: str) -> StoreCorrupt:
    return StoreCorrupt(
        f"{where} was changed by something other than toril: {what}; it was left as it is, and "
        "nothing in it was run (restore a backup, or undo the change with the sqlite3 shell)"
    )


def _entries(db: SQLiteConnection) -> Entries:
    text: bytes = db.execute(statements()["db.schema"]).get
    rows = _rows(text.decode(errors="replace"))
    return {(kind, name): (table, _plain(sql or "")) for kind, name, table, sql in rows}


def _plain(sql: str) -> str:
    """Return a definition without comments and line breaks, which versions of toril may change."""
    return _BLANKS.sub(" ", _COMMENT.sub("", sql)).strip()


@cache
def _expected(version: int) -> Entries:
    driver: Any = apsw
    db: SQLiteConnection = driver.Connection(":memory:")
    try:
        for step in migrations()[:version]:
            db.execute(step)
        return _entries(db)
    finally:
        db.close()
