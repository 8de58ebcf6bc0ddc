"""Each rule, given code that breaks it and code that only looks as if: a rule must be able to fail."""

import types
from collections.abc import Callable

import pytest

from tests.arch import imports, shape, stored, surface
from tests.arch.source import Module, sample

Rule = Callable[[list[Module]], list[str]]

LONG_BODY = "def f():\n" + "    x = 1\n" * 61
FAIRLY_LONG_BODY = "def f():\n" + "    x = 1\n" * 26
SHORT_BODY = "def f():\n" + "    x = 1\n" * 25
STORE = "class Store:\n    def _hidden(self): ...\n" + "".join(
    f"    async def verb{number}(self): ...\n" for number in range(shape.VERBS)
)

BREAKS: list[tuple[Rule, dict[str, str]]] = [
    (imports.no_cycles, {"_jobs__a": "import toril._jobs.b", "_jobs__b": "from . import a"}),
    (imports.no_cycles, {"_jobs__a": "def f():\n    from toril._jobs import a"}),
    (
        imports.no_cycles,
        {
            "_jobs__a": "from toril._jobs import b",
            "_jobs__b": "if TYPE_CHECKING:\n    from toril._jobs.c import C",
            "_jobs__c": "def f():\n    import toril._jobs.a",
        },
    ),
    (imports.only_downwards, {"_store__protocol": "from toril._app.queue import Queue"}),
    (imports.only_downwards, {"_store__protocol": "from .._app.queue import Queue"}),
    (imports.only_downwards, {"_store__protocol": "from toril import cli", "cli__init": ""}),
    (imports.only_downwards, {"_store__x": "def f():\n    import_module('toril._app.queue')"}),
    (imports.only_downwards, {"_model__times": "from toril._model.states import State"}),
    (imports.only_downwards, {"_model__times": "from toril._model import State"}),
    (imports.only_downwards, {"_handlers__task": "from toril._app.queue import Queue"}),
    (imports.only_downwards, {"_store__sqlite__db": "from toril._store.connect import connect"}),
    (imports.only_downwards, {"errors": "from toril._model.states import State"}),
    (imports.only_downwards, {"cli__main": "import toril.integrations.asgi"}),
    (imports.only_downwards, {"attic": ""}),
    (imports.surfaces_use_public_names, {"cli__look": "app.context.store"}),
    (imports.class_names_are_used_once, {"_app__a": "class A: ...", "cli__b": "class A: ..."}),
    (imports.front_door_stays_shut, {"init": "", "_app__app": "import toril"}),
    (imports.front_door_stays_shut, {"init": "", "cli__main": "from toril import Toril"}),
    (imports.front_door_stays_shut, {"init": "", "cli__main": "from .. import Toril"}),
    (
        imports.guests_use_the_front_door,
        {"_app__app": "", "demo__a": "from toril._app.app import Toril"},
    ),
    (imports.drivers_at_home, {"_app__queue": "import apsw"}),
    (imports.drivers_at_home, {"_store__sqlite__db": "from redis.asyncio import Redis"}),
    (imports.drivers_at_home, {"_store__connect": "def f():\n    import apsw.ext"}),
    (imports.only_connect_names_stores, {"_store__redis__store": "import toril._store.sqlite.connection.runner"}),
    (imports.only_connect_names_stores, {"_store__sqlite__db": "import toril._store.redis.core.keys"}),
    (imports.only_connect_names_stores, {"_app__app": "from toril._store.sqlite.store import S"}),
    (imports.surfaces_leave_the_store_alone, {"cli__main": "import toril._store.connect"}),
    (imports.surfaces_leave_the_store_alone, {"demo": "from toril._store.protocol import Store"}),
    (imports.surfaces_leave_the_store_alone, {"testing": "from ._store import protocol"}),
    *(
        (imports.model_is_pure, {"_model__decide": f"import {name}"})
        for name in (
            "time", "random", "asyncio", "logging", "os", "io", "pathlib", "sqlite3", "apsw",
            "socket", "threading",
        )
    ),
    (imports.model_is_pure, {"_model__decide": "def f():\n    from os.path import join"}),
    (imports.no_logging_below, {"_store__sqlite__db": "import logging"}),
    (imports.no_logging_below, {"_model__flow": "from logging import getLogger"}),
    (imports.no_unsafe_decoding, {"_isolation__os_process": "import pickle"}),
    (imports.no_unsafe_decoding, {"_isolation__executor": "from marshal import loads"}),
    (imports.no_unsafe_decoding, {"init": "import shelve"}),
    (shape.files_are_short, {"errors": "x = 1\n" * 501}),
    (shape.bodies_fit_a_screen, {"errors": LONG_BODY}),
    (shape.most_bodies_are_short, {"errors": SHORT_BODY * 18 + FAIRLY_LONG_BODY}),
    (shape.most_bodies_are_short, {"errors": FAIRLY_LONG_BODY + "def g(): ...\n" * 40}),
    (shape.few_parameters, {"errors": "def f(a, b, /, c, *d, e, f, **g): ..."}),
    (shape.few_parameters, {"errors": "class A:\n    async def f(self, a, b, c, d, e, f, g): ..."}),
    (
        shape.few_parameters,
        {"errors": "class A:\n    @staticmethod\n    def f(a, b, c, d, e, f, g): ..."},
    ),
    (shape.few_verbs, {"_store__protocol": STORE + "    def one_more(self): ...\n"}),
    (shape.few_verbs, {"_store__protocol": "class Shop: ..."}),
    (shape.few_verbs, {"_store__connect": STORE}),
    *(
        (shape.no_sql_in_python, {"_store__sqlite__db": f"run({text!r})"})
        for text in (
            "SELECT id FROM job", "select\n  id\nfrom job", "-- note\nSELECT max(id) FROM job",
            "INSERT OR IGNORE INTO job VALUES (1)", "UPDATE job SET state = 1", "DELETE FROM job",
            "CREATE UNIQUE INDEX a ON b(c)", "ALTER TABLE job ADD x", "PRAGMA journal_mode=WAL",
            "BEGIN IMMEDIATE", "COMMIT", "SAVEPOINT group_1", "ROLLBACK TO group_1",
            "WITH due AS (SELECT 1) SELECT * FROM due", "SELECT count(*) AS n FROM job",
        )
    ),
    (shape.no_sql_in_python, {"_store__sqlite__db": "run(f'SELECT {a} FROM {b}')"}),
    (shape.no_sql_in_python, {"_store__sqlite__db": "run(f'DROP TABLE {b} ')"}),
    (shape.no_sql_in_python, {"_store__sqlite__db": "X = 'SELECT id ' 'FROM job'"}),
    (shape.no_type_checking_blocks, {"errors": "from typing import TYPE_CHECKING"}),
    (shape.no_type_checking_blocks, {"errors": "import typing\nif typing.TYPE_CHECKING: ..."}),
    (shape.no_text_becomes_code, {"cli__load": "eval('1')"}),
    (shape.no_text_becomes_code, {"cli__load": "exec('x = 1')"}),
    (shape.no_text_becomes_code, {"cli__load": "load = __import__"}),
    (shape.model_reads_no_clock, {"_model__times": "datetime.now(UTC)"}),
    (shape.model_reads_no_clock, {"_model__times": "date.today()"}),
    (shape.model_reads_no_clock, {"_model__flow": "str(uuid4())"}),
    (shape.model_reads_no_clock, {"_model__flow": "open('x')"}),
    (shape.few_catch_everything, {"_app__queue": "try: ...\nexcept Exception: ..."}),
    (shape.few_catch_everything, {"_app__queue": "try: ...\nexcept: ..."}),
    (shape.few_catch_everything, {"_app__queue": "try: ...\nexcept (KeyError, Exception): ..."}),
    (shape.few_catch_everything, {"_app__queue": "try: ...\nexcept BaseException: raise"}),
    (shape.few_catch_everything, {"_app__queue": "with suppress(Exception): ..."}),
    (shape.errors_explain_themselves, {"errors": "class LockLost(Exception): ..."}),
    *(
        (stored.stored_text_is_read_by_its_readers, {"_store__redis__x": f"def f(text):\n    {code}"})
        for code in (
            "int(text)", "float(text)", "Decimal(text)", "range(text)", "range(0, high + 1)",
            "timedelta(milliseconds=1, days=text)", "datetime.fromtimestamp(text)",
            "json.loads(text)", "msgspec.json.decode(text)", "msgspec.json.Decoder(dict).decode(text)",
        )
    ),
]  # fmt: skip

KEEPS: list[tuple[Rule, dict[str, str]]] = [
    (imports.surfaces_use_public_names, {"cli__look": "app.url", "_app__app": "self.context"}),
    (imports.class_names_are_used_once, {"_app__a": "class A: ...", "events": "class A: ..."}),
    (imports.no_cycles, {"_jobs__a": "from toril._jobs import b", "_jobs__b": "import time"}),
    (imports.no_cycles, {"init": "from toril._app.app import Toril", "_app__app": ""}),
    (imports.only_downwards, {"_app__queue": "from toril._store.protocol import Store"}),
    (imports.only_downwards, {"_model__states": "from toril._model.times import ms"}),
    (imports.only_downwards, {"_store__connect": "from toril._store.sqlite.store import S"}),
    (imports.only_downwards, {"init": "from toril.sync import x", "__main__": "import toril.cli"}),
    (
        imports.front_door_stays_shut,
        {"init": "", "errors": "", "cli__a": "from toril import errors"},
    ),
    (imports.front_door_stays_shut, {"init": "", "__main__": "import toril"}),
    (imports.front_door_stays_shut, {"init": "", "demo__a": "from toril import Toril"}),
    (
        imports.guests_use_the_front_door,
        {"init": "", "demo__a": "from toril import Toril\nfrom .b import c", "demo__b": ""},
    ),
    (imports.drivers_at_home, {"_store__sqlite__db": "import apsw"}),
    (imports.drivers_at_home, {"_app__queue": "import redistribution"}),
    (imports.only_connect_names_stores, {"_store__sqlite__db": "import toril._store.sqlite.rows"}),
    (imports.only_connect_names_stores, {"_store__connect": "import toril._store.redis.store"}),
    (imports.surfaces_leave_the_store_alone, {"_app__queue": "import toril._store.protocol"}),
    (
        imports.model_is_pure,
        {"_model__times": "import datetime, zoneinfo", "_jobs__x": "import os"},
    ),
    (imports.no_logging_below, {"_worker__hooks": "import logging"}),
    (imports.no_unsafe_decoding, {"_isolation__executor": "import json"}),
    (shape.files_are_short, {"errors": "x = 1\n" * 500}),
    (shape.bodies_fit_a_screen, {"errors": FAIRLY_LONG_BODY}),
    (shape.bodies_fit_a_screen, {"errors": f'def f():\n    """{"a" * 5}\n{"b" * 5}\n"""\n    ...'}),
    (shape.most_bodies_are_short, {"errors": SHORT_BODY * 19 + FAIRLY_LONG_BODY}),
    (shape.few_parameters, {"errors": "class A:\n    def f(self, a, b, c, d, e, **f): ..."}),
    (shape.few_verbs, {"_store__protocol": STORE}),
    (shape.no_sql_in_python, {"errors": '"""SELECT id FROM job"""\nX = "Select a queue"'}),
    (shape.no_sql_in_python, {"errors": 'X = "begin", "update the settings", "from a to b"'}),
    (shape.no_type_checking_blocks, {"errors": "X = 'TYPE_CHECKING'"}),
    (shape.no_text_becomes_code, {"_store__redis__store": "client.eval(script)"}),
    (shape.model_reads_no_clock, {"_model__times": "f(now)", "_jobs__x": "datetime.now()"}),
    (shape.few_catch_everything, {"_isolation__threads": "try: ...\nexcept Exception: ..."}),
    (shape.few_catch_everything, {"_app__queue": "try: ...\nexcept KeyError: ..."}),
    (shape.errors_explain_themselves, {"errors": 'class LockLost(Exception):\n    """Gone."""'}),
    *(
        (
            stored.stored_text_is_read_by_its_readers,
            {"_store__redis__x": f"def f(text):\n    {code}"},
        )
        for code in (
            "whole(text), reader(int), flag(text)",
            "range(0, len(text), SIZE)",
            "bytes(text).decode()",
        )
    ),
    (stored.stored_text_is_read_by_its_readers, {"_jobs__x": "int(text)"}),
]


def named(case: object) -> str:
    return getattr(case, "__name__", "code")


@pytest.mark.parametrize(("rule", "files"), BREAKS, ids=named)
def test_code_that_breaks_it_is_found(rule: Rule, files: dict[str, str]) -> None:
    findings = rule(sample(**files))

    assert findings
    assert all(".py:" in finding for finding in findings), "a finding names its file and line"


@pytest.mark.parametrize(("rule", "files"), KEEPS, ids=named)
def test_code_that_keeps_it_is_left_alone(rule: Rule, files: dict[str, str]) -> None:
    assert rule(sample(**files)) == []


def test_every_rule_is_tried_both_ways() -> None:
    rules = {*imports.RULES, *shape.RULES, *stored.RULES}

    assert {rule for rule, _ in BREAKS} == rules
    assert {rule for rule, _ in KEEPS} == rules


def test_a_finding_names_file_line_and_rule() -> None:
    found = imports.drivers_at_home(sample(_app__queue='"""Queue."""\n\nimport apsw\n'))

    assert found == ["toril/_app/queue.py:3: apsw is imported outside toril._store.sqlite"]


class Ours:
    __module__ = "toril._app.app"


def package(**names: object) -> types.ModuleType:
    made = types.ModuleType("toril")
    vars(made).update(names)
    return made


def test_a_true_list_of_public_names_passes() -> None:
    submodule = types.ModuleType("toril.errors")
    toril = package(__all__=["Toril", "VERSION"], Toril=Ours, VERSION="1", errors=submodule)

    assert surface.public_names(toril) == []


@pytest.mark.parametrize(
    ("names", "finding"),
    [
        ({}, "toril/__init__.py: __all__ is missing"),
        ({"__all__": ["A"], "A": 1, "B": 2}, "toril.B is public but not in __all__"),
        ({"__all__": ["A"], "A": 1, "os": types}, "toril.os is public but not in __all__"),
        ({"__all__": ["A"]}, "toril.__all__ lists A, which is not there"),
        ({"__all__": ["Path"], "Path": types.SimpleNamespace}, "toril.Path comes from types"),
        ({"__all__": ["A", "A"], "A": 1}, "toril.__all__ lists a name twice"),
        (
            {"__all__": [f"A{n}" for n in range(44)], **{f"A{n}": 1 for n in range(44)}},
            "toril.__all__ has 44 names, 43 are allowed",
        ),
    ],
)
def test_a_false_list_of_public_names_is_found(names: dict[str, object], finding: str) -> None:
    assert surface.public_names(package(**names)) == [finding]


def test_a_page_that_differs_from_its_source_is_stale() -> None:
    stale = ["docs/states.md: stale; run `make docs`"]

    assert surface.generated_page("docs/states.md", "old\n", "new") == stale
    assert surface.generated_page("docs/states.md", "new\n", "new") == []


def test_a_readme_longer_than_one_reading_is_found() -> None:
    assert surface.readme_is_short("line\n" * 120) == []
    assert surface.readme_is_short("line\n" * 121) == ["README.md:121: 121 lines, 120 are allowed"]
