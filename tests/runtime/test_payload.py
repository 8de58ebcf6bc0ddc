"""What can be stored is written as JSON; the rest is refused by its path."""

import enum
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import PurePosixPath
from typing import NamedTuple

import pydantic
import pytest

from toril import ConfigError
from toril._jobs.payload import encode


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 2


class Word(enum.StrEnum):
    A = "a"


class Login(pydantic.BaseModel):
    user: str
    password: pydantic.SecretStr


class Reading(pydantic.BaseModel):
    value: float | None = None
    parts: list["Reading"] = []


@dataclass
class Card:
    id: int
    tags: list[object] = field(default_factory=list[object])


class Model(pydantic.BaseModel):
    at: datetime

    @pydantic.computed_field
    def year(self) -> int:
        return self.at.year


class Markup(str):
    """As markupsafe's: the text of a template."""

    def __str__(self) -> str:
        return "not what JSON would store"


class UserId(int):
    pass


class Metres(float):
    """As numpy's float64."""


class Point(NamedTuple):
    x: int
    y: int


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
        ('{"at":"2026-01-02T00:00:00","year":2026}', Model(at=datetime(2026, 1, 2))),
        ('{"v":"<b>"}', {"v": Markup("<b>")}),
        ('{"<b>":1}', {Markup("<b>"): 1}),
        ("[5,1.5]", [UserId(5), Metres(1.5)]),
        ('[2,"a"]', [Level.HIGH, Word.A]),
        ('{"a":[1]}', defaultdict(list[int], {"a": [1]})),
        ('{"b":1,"a":2}', OrderedDict([("b", 1), ("a", 2)])),
        ("[[1,2],[3]]", [Point(1, 2), (3,)]),
        ("1" + "0" * 30, 10**30),
    ],
)
def test_what_json_can_hold_is_written(text: str, value: object) -> None:
    assert text == encode(value, where="data")


class Decimals:
    """Looks like numpy's arrays."""

    def tolist(self) -> list[int]:
        return []


def login() -> Login:
    return Login(user="ada", password=pydantic.SecretStr("hunter2"))


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
        (r"data\.b\.f: function is not JSON-serialisable", lambda: {"b": {"f": loop}}),
        (r"data\[2\]: object is not JSON-serialisable", lambda: [1, 2, object()]),
        (r"data: generator is not JSON-serialisable: pass a list", lambda: (n for n in [1])),
        (r"data\.n: Decimals .*pass value.tolist", lambda: {"n": Decimals()}),
        (r"data\.a: the key 1 is of type int", lambda: {"a": {1: "x", "1": "y"}}),
        (r"data\.tags\[0\]: the key .* is of type UUID", lambda: Card(1, [{uuid.UUID(int=1): 1}])),
        (r"data: the key \(1, 2\) is of type tuple", lambda: {(1, 2): 1}),
        (r"data\[0\]: the key None is of type NoneType", lambda: [{None: 1}]),
        (r"data: the key True is of type bool", lambda: {True: 1}),
        (r"data\.m\.value: JSON has no such", lambda: {"m": Reading(value=float("nan"))}),
        (
            r"data\.m\.parts\[0\]\.value: JSON has no such",
            lambda: {"m": Reading(parts=[Reading(value=float("inf"))])},
        ),
        (r"data\.m\.password: a SecretStr is stored as asterisks", lambda: {"m": login()}),
        (r"data\.p: a SecretBytes is stored as", lambda: {"p": pydantic.SecretBytes(b"x")}),
        (r"data\.a\.self: it contains itself", loop),
        (r"data: it is nested more than 100 levels", lambda: deep(150)),
        (r"data: it is nested", lambda: deep(100_000)),
        (r"data\.s: the text cannot be enc", lambda: {"ok": "x", "s": "\ud800"}),
        (r"data\.a\[1\]: the text cannot be", lambda: {"a": ["x", "\ud800"]}),
        (r"data\.a: the key .*: the text cannot be", lambda: {"a": {"\ud800": 1}}),
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


def test_a_secret_is_never_part_of_the_refusal() -> None:
    with pytest.raises(ConfigError) as refused:
        encode({"m": login()}, where="data")

    assert "hunter2" not in repr(refused.value)


def test_a_secret_that_its_model_reveals_is_stored() -> None:
    class Open(Login):
        @pydantic.field_serializer("password", when_used="json")
        def reveal(self, password: pydantic.SecretStr) -> str:
            return password.get_secret_value()

    opened = Open(user="ada", password=pydantic.SecretStr("hunter2"))

    assert encode(opened, where="data") == '{"user":"ada","password":"hunter2"}'
