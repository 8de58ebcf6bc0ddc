"""Reading what a store holds: nothing raises anything but Unreadable, and nothing is expanded."""

import math
from typing import Any

import pytest

from toril._model.checks import MAX_WHOLE
from toril._model.dead_letter import LETTER_NAME, may_go, read_letter
from toril._model.decide import begins
from toril._model.record import Record
from toril._model.states import State
from toril._model.stored import Unreadable, flag, or_else, reader, whole
from toril._model.stored_options import MAX_TEXT, fault_of, from_text
from toril._model.transfer import from_text as read_receipt
from toril.errors import ConfigError, StoreCorrupt

DEEP = '{"a":' * 1_500 + "1" + "}" * 1_500
DEEP_ID = '{"de":{"id":' + DEEP + "}}"
DEEPER = "[" * 100_000
NUMBERS: dict[str, int] = {
    "7": 7,
    "-7": -7,
    " 7 ": 7,
    "1e3": 1_000,
    "1.9": 1,
    "9" * 30: MAX_WHOLE,
    "-" + "9" * 30: -MAX_WHOLE,
    "1e300": MAX_WHOLE,
    "-1e300": -MAX_WHOLE,
    "9" * 4_000: MAX_WHOLE,
}
NO_NUMBERS = (
    "", None, "x", "nan", "inf", "-inf", "1e400", "9" * 5_000, "²", "0x10", "1,5", "[]", "\0",
    math.inf, math.nan,
)  # fmt: skip


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_read_and_bounded(text: str) -> None:
    assert whole(text) == whole(text, None) == NUMBERS[text]


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_not_a_number_is_the_default(text: str | float | None) -> None:
    assert (whole(text), whole(text, 5), whole(text, None)) == (0, 5, None)


def test_zero_is_a_number() -> None:
    assert whole(0, None) == whole("0", None) == whole(0.0, None) == 0
    assert (flag(True), flag(False)) == (1, 0)


@pytest.mark.parametrize("text", [DEEP, DEEPER, "{", "", "\ud800", "1e999", "9" * 5_000, "\0"])
def test_json_that_cannot_be_read_is_said_to_be_unreadable(text: str) -> None:
    for kind in (dict[str, Any], list[str], int, Record):
        with pytest.raises(Unreadable):
            reader(kind)(text)
        assert or_else(reader(kind), text, None) is None


BAD_OPTIONS = (
    DEEP, DEEPER, "][", "[]", "7", '"x"', '{"attempts":"many"}', '{"attempts":[1]}', '{"delay":"x"}',
    '{"priority":1e300}', '{"priority":-1}', '{"backoff":"x"}', '{"backoff":{"type":[]}}',
    '{"backoff":{"type":"fixed","delay":1e300}}', '{"backoff":{"type":"fixed","jitter":"x"}}',
    '{"backoff":%s}' % ("[" * 900 + "]" * 900), '{"de":7}', '{"de":{"ttl":5}}',
    '{"de":{"id":"k","ttl":"x"}}', DEEP_ID,
    '{"kl":"x"}', '{"kl":-1}', '{"stackTraceLimit":1.5}', '{"sizeLimit":[]}', '{"toril":7}',
    '{"toril":[1]}', '{"toril":{"timeout":"x"}}', '{"toril":{"timeout":-1}}',
    '{"toril":{"soft_timeout":[]}}', '{"toril":{"deadline":1e300}}', '{"toril":{"expires":true}}',
    '{"toril":{"max_runs":0}}', '{"toril":{"max_runs":{}}}', '{"toril":{"at":"x"}}',
    '{"a":"\ud800"}', '{"attempts":1e999}', "{" + " " * MAX_TEXT + "}",
)  # fmt: skip
ODD_OPTIONS = (
    '{"attempts":1e300,"delay":1e300}', '{"removeOnComplete":{"age":1e308}}',
    '{"removeOnFail":{"count":%s}}' % ("9" * 300), '{"removeOnComplete":%s}' % ("9" * 300),
    '{"timestamp":"yesterday"}', '{"de":{"id":"k","ttl":1e300}}', '{"timestamp":1e300}', '{"removeOnComplete":"x"}', "null"[:0],
)  # fmt: skip


@pytest.mark.parametrize("text", BAD_OPTIONS)
def test_bad_options_are_refused_with_one_error(text: str) -> None:
    fault = fault_of(text)
    assert fault is not None
    assert fault.startswith("its stored options cannot be read: ")
    assert len(fault) < 1_000
    if len(text) <= MAX_TEXT:
        with pytest.raises(ConfigError, match="cannot be read"):
            from_text(text)


@pytest.mark.parametrize("text", ODD_OPTIONS)
def test_odd_options_are_read_and_bounded(text: str) -> None:
    options = from_text(text)
    numbers = [options.attempts, options.delay_ms, options.created_ms or 0]
    for keep in (options.keep_completed, options.keep_failed):
        numbers += [] if keep is None else [keep.count or 0, keep.age_ms or 0]
    assert all(0 <= number <= MAX_WHOLE for number in numbers)


@pytest.mark.parametrize("due", ["9" * 5_000, "²", "٣x", "", "inf"])
def test_the_time_in_the_id_of_a_run_may_be_anything(due: str) -> None:
    record = Record(
        queue="q", id=f"repeat:s:{due}", name="x", data="{}", opts="{}", state=State.ACTIVE,
        created_ms=7, schedule="s",
    )  # fmt: skip
    assert begins(record) == 7


@pytest.mark.parametrize("data", [DEEP, DEEPER, "{", "\ud800"])
def test_a_dead_letter_that_cannot_be_read_is_none(data: str) -> None:
    assert read_letter(LETTER_NAME, data) is None
    assert may_go("letters", queue="q", name=LETTER_NAME, data=data)


@pytest.mark.parametrize("text", [DEEP, "{", "7", ""])
def test_a_receipt_that_cannot_be_read_says_so(text: str) -> None:
    with pytest.raises(StoreCorrupt, match="cannot be read"):
        read_receipt(text)
