"""The SQL itself: every statement is sound, is used, and stays fast when there are many rows.

What a plan may not do is read a table that grows with the jobs from end to end.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

import toril._store.sqlite
from toril._store.sqlite.connection.runner import connect
from toril._store.sqlite.connection.sql import SQLiteConnection
from toril._store.sqlite.connection.statements import migrations, schema, statements

ROWS = 100_000
NAMES = sorted(statements())
# A large text is handed over by itself, by a statement of the same columns.
LARGE = "_large"
# Looks at every row, after a call that a damaged row has failed.
MEND = "mend."
CONTROL = {"db.begin", "db.commit", "db.rollback"}
# Tables that have a row for each job, or more.
GROWING = r"jobs|children|events|tries|logs|dedup|metrics|linked|found|above|indexed"
# An index of the jobs that run is as long as workers have places.
SCAN = re.compile(rf"SCAN ({GROWING})\b(?!.* USING (COVERING )?INDEX jobs_active)")
# What must be found in order, without sorting what else there is.
ORDERED = (
    "claim.candidates",
    "claim.due",
    "finish.beyond",
    "finish.too_old",
    "finish.expired",
    "read.ready",
    "read.delayed",
    "read.finished",
    "read.events",
)
SOURCE = Path(toril._store.sqlite.__file__).parent

FILL = f"""
INSERT INTO queues (key, name) VALUES (1, 'full'), (2, 'empty');
WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {ROWS})
INSERT INTO jobs (key, queue, id, name, data, opts, state, position, created_ms)
SELECT i, 1, i, 'n', '{{}}', '{{}}', 'waiting', i, i FROM n;
INSERT INTO children (parent, queue, id, name, outcome)
SELECT 1 + key / 100, 'full', id, 'n', 'completed' FROM jobs;
INSERT INTO events (queue, last, first, at_ms, body) SELECT 1, key, key, key, '[]' FROM jobs;
INSERT INTO dedup (queue, word, id) SELECT 1, id, id FROM jobs;
"""


@pytest.fixture(scope="module")
def full() -> Iterator[SQLiteConnection]:
    """A store with 100,000 of everything."""
    db = connect(":memory:", synchronous="full")
    db.execute(schema())
    db.execute(FILL)
    yield db
    db.close()


def nothing_for(sql: str) -> tuple[None, ...]:
    """Give as many bindings as a statement has."""
    return (None,) * max(map(int, re.findall(r"\?(\d+)", sql)), default=0)


def plan(db: SQLiteConnection, name: str) -> list[str]:
    sql = statements()[name]
    rows: Any = db.execute("EXPLAIN QUERY PLAN " + sql, nothing_for(sql))
    return [step for *_, step in rows]


def words() -> set[str]:
    """Give every string that the store's modules contain."""
    trees = [ast.parse(path.read_text("utf-8")) for path in SOURCE.rglob("*.py")]
    nodes = (node for tree in trees for node in ast.walk(tree))
    return {
        node.value for node in nodes if isinstance(node, ast.Constant) and type(node.value) is str
    }


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in CONTROL and not name.startswith(MEND)]
)
def test_a_statement_reads_no_growing_table_from_end_to_end(
    full: SQLiteConnection, name: str
) -> None:
    """That it has a plan says that it is sound: its tables and columns exist."""
    steps = plan(full, name)

    assert [step for step in steps if SCAN.match(step)] == [], steps


@pytest.mark.parametrize("name", ORDERED)
def test_a_page_is_read_in_the_order_of_an_index(full: SQLiteConnection, name: str) -> None:
    steps = plan(full, name)

    assert [step for step in steps if "TEMP B-TREE" in step] == [], steps


def test_every_statement_is_used() -> None:
    used = words()
    # Pages are read from either end by a pair of statements.
    pairs = {f"{word}_last" for word in used if word.startswith("read.")}

    pairs |= {f"{word}{LARGE}" for word in used}
    assert MEND in used

    assert [name for name in NAMES if name not in used | pairs and not name.startswith(MEND)] == []


def test_every_statement_that_is_named_exists() -> None:
    groups = {name.partition(".")[0] for name in NAMES}
    named = {word for word in words() if re.fullmatch(r"[a-z]+\.[a-z_]+", word)}

    assert {word for word in named if word.partition(".")[0] in groups} - set(NAMES) == set()


def test_the_migrations_add_up_to_the_schema() -> None:
    stepped, whole = apsw.Connection(":memory:"), apsw.Connection(":memory:")
    for step in migrations():
        stepped.execute(step)
    whole.execute(schema())

    tables = "SELECT type, name, tbl_name, sql FROM sqlite_schema ORDER BY type, name"
    assert list(whole.execute(tables)) == list(stepped.execute(tables))
