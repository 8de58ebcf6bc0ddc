"""What can be stored is written as JSON; the rest is refused by its path."""

import enum
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import PurePosixPath

import pytest

from toril import ConfigError
from toril._run.payload import encode


class Colour(enum.Enum):
    RED = "red"


@dataclass
class Card:
    id: int
    tags: list[object] = field(default_factory=list[object])


class Model:
    """Looks like a pydantic model: that is all the encoder asks for."""

    def model_dump(self, *, mode: str) -> dict[str, str]:
        return {"mode": mode}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("null", None),
        ("1", 1),
        ('{"a":[1,2.5,true,null]}', {"a": [1, 2.5, True, None]}),
        ('{"id":7,"tags":["x"]}', Card(7, ["x"])),
        ('"red"', Colour.RED),
        ('"1.10"', Decimal("1.10")),
        ('"2026-01-02T03:04:05Z"', datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ('"00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1)),
        ('"AQI="', b"\x01\x02"),
        ('"a/b"', PurePosixPath("a/b")),
        ('{"mode":"json"}', Model()),
    ],
)
def test_what_json_can_hold_is_written(text: str, value: object) -> None:
    assert text == encode(value, where="data")


def loop() -> object:
    value: dict[str, object] = {"a": {}}
    value["a"] = {"self": value}
    return value


def deep(levels: int, start: object = 0) -> object:
    value = start
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("message", "make"),
    [
        (r"data\.a\[1\]\.b: JSON has no such number", lambda: {"a": [0, {"b": float("nan")}]}),
        (r"data\[0\]: JSON has no such number", lambda: [float("inf")]),
        (r"data\.tags\[0\]: JSON has no such number", lambda: Card(1, [float("nan")])),
        (r"data\.seen: a set has no order", lambda: {"seen": {1, 2}}),
        (r"data\.b\.f: a function cannot be stored", lambda: {"b": {"f": loop}}),
        (r"data\[2\]: a object cannot be stored", lambda: [1, 2, object()]),
        (r"data\.a\.self: it contains itself", loop),
        (r"data: it is nested more than 100 levels", lambda: deep(150)),
        (r"data: it is nested", lambda: deep(100_000)),
        (r"data\.s: ", lambda: {"ok": "x", "s": "\ud800"}),
    ],
)
def test_what_json_cannot_hold_is_refused_by_its_path(
    message: str, make: Callable[[], object]
) -> None:
    with pytest.raises(ConfigError, match=message):
        encode(make(), where="data")


def test_a_hundred_levels_are_not_too_deep() -> None:
    assert encode(deep(100), where="data") == "[" * 100 + "0" + "]" * 100


def test_one_value_in_two_places_is_no_loop() -> None:
    shared = ["x"]

    assert encode({"a": shared, "b": shared}, where="data") == '{"a":["x"],"b":["x"]}'


def test_a_payload_over_its_limit_is_refused_with_both_sizes() -> None:
    with pytest.raises(ConfigError, match=r"data has 1,002 bytes, max_size=100 are allowed"):
        encode("x" * 1000, where="data", max_size=100)


def test_the_size_is_counted_in_bytes() -> None:
    with pytest.raises(ConfigError, match="has 6 bytes"):
        encode("éé", where="data", max_size=5)
