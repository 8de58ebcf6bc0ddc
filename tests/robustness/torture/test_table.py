"""The table of the suite tells the truth: every test that it names is there."""

import re
from pathlib import Path

import pytest

from tests.robustness.torture.table import TABLE

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize("scenario", TABLE)
def test_every_test_that_a_row_names_is_there(scenario: str) -> None:
    _, sqlite, redis = TABLE[scenario]

    for name in (*(sqlite or ()), *(redis or ())):
        file, _, function = name.partition("::")
        text = (ROOT / file).read_text("utf-8")
        assert re.search(rf"^(async )?def {function or 'test_'}", text, re.MULTILINE), name
