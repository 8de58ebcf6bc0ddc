"""What docs/guarantees.md promises is held by tests: each row names its scenario."""

from pathlib import Path

import pytest

from tests.robustness.torture.table import TABLE

GUARANTEES = Path(__file__).parents[3] / "docs" / "guarantees.md"
NOT_OURS = ("cannot happen", "one machine has one clock", "loses up to a second", "as with power")


HOSTILE = GUARANTEES.parents[1] / "tests" / "robustness" / "hostile"


def rows(columns: int) -> list[list[str]]:
    """Return the rows of the table that has so many columns."""
    lines = GUARANTEES.read_text("utf-8").splitlines()
    cells = [[each.strip() for each in line.split("|")[1:-1]] for line in lines if line[:2] == "| "]
    return [row for row in cells if len(row) == columns][1:]


@pytest.mark.parametrize("row", rows(5), ids=lambda row: row[1])
def test_a_promise_for_a_store_has_tests_on_it(row: list[str]) -> None:
    scenario, fault, sqlite, redis, _ = row
    held = TABLE[scenario][1:]

    for promise, tests in zip((sqlite, redis), held, strict=True):
        is_ours = not any(text in promise for text in NOT_OURS)
        assert tests or not is_ours, f"{fault}: {promise}"


@pytest.mark.parametrize("row", rows(6), ids=lambda row: row[1])
def test_a_promise_about_hostile_input_names_its_test(row: list[str]) -> None:
    name = row[-1].strip("`")
    assert (HOSTILE / name).is_file() or (GUARANTEES.parents[1] / name).is_file()
