"""What a handler receives is what was passed: converted as annotated, or refused when enqueued."""

import math
import uuid
from collections import OrderedDict, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum, IntEnum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import annotated_types
import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretBytes, SecretStr
from pydantic.alias_generators import to_camel
from pydantic_core import core_schema

from toril import BadArguments, ConfigError, JobFailed, Toril
from toril._handlers.returns import Returns
from toril._handlers.signature import Misfit, Signature

T = TypeVar("T")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 2


class Word(StrEnum):
    A = "a"


class Markup(str):
    """As markupsafe's."""


class UserId(int):
    pass


class Metres(float):
    """As numpy's float64."""


class Point(NamedTuple):
    x: int
    y: int


class Movie(TypedDict):
    title: str


@dataclass
class Card:
    id: int
    at: datetime | None = None
    parts: list["Card"] = field(default_factory=list["Card"])


@dataclass
class Sticker(Card):
    glue: str = "strong"


class Box(BaseModel, extra="forbid"):
    w: int

    @pydantic.computed_field(alias="theArea")
    @property
    def area(self) -> int:
        return self.w**2


class Order(BaseModel):
    box: Box
    boxes: list[Box] = []
    by_name: dict[str, Box] = {}


@dataclass
class Shelf:
    boxes: list[Box]


class Page(BaseModel, Generic[T]):
    items: list[T]


class Cat(BaseModel):
    kind: Literal["cat"] = "cat"
    lives: int = 9


class Dog(BaseModel):
    kind: Literal["dog"] = "dog"
    name: str = "Rex"


class Puppy(Dog):
    age: int = 1


class Rich(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")

    raw: bytes = b"\xff\x00"
    price: Decimal = Decimal("1.10")
    at: datetime = datetime(2026, 1, 2, 3, 4, 5, 6)
    aware: datetime = datetime(2026, 1, 2, tzinfo=UTC)
    took: timedelta = timedelta(days=1, microseconds=1)
    tags: set[str] = {"a", "b"}
    pair: tuple[int, str] = (1, "x")
    where: Path = Path("a/b")
    colour: Colour = Colour.RED
    key: uuid.UUID = uuid.UUID(int=1)
    stored: str = Field("s", alias="storedAs")
    text: pydantic.Json[list[int]] = Field(default_factory=lambda: [1])


class Cached(BaseModel):
    n: int
    _cache: object = pydantic.PrivateAttr(default_factory=object)


class Alike(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, extra="allow")

    first_name: str


@pydantic.dataclasses.dataclass
class Checked:
    n: Annotated[int, Field(gt=0)]
    boxes: list[Box] = field(default_factory=list[Box])


class Login(BaseModel):
    user: str
    password: SecretStr


class Open(BaseModel):
    password: SecretStr

    @pydantic.field_serializer("password", when_used="json")
    def reveal(self, password: SecretStr) -> str:
        return password.get_secret_value()


class Hidden(BaseModel):
    note: str = Field("none", exclude=True)


class Rounded(BaseModel):
    ratio: float

    @pydantic.field_serializer("ratio")
    def cut(self, ratio: float) -> float:
        return round(ratio, 1)


class Half(BaseModel):
    model_config = ConfigDict(ser_json_bytes="base64")

    raw: bytes


class Measured(BaseModel):
    value: float | None = None


class Named(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")

    value: float


def taking(kind: Any) -> Signature:
    def work(x: Any) -> None: ...

    work.__annotations__ = {"x": kind}
    return Signature(work, title="work")


def passed(kind: Any, value: object) -> Any:
    made = taking(kind)
    _, given = made.read(made.write((value,), {}))
    return given["x"]


SAME = [
    (str, Markup("<b>")),
    (int, UserId(5)),
    (float, Metres(1.5)),
    (float, 1),
    (UserId, UserId(5)),
    (list[Markup], [Markup("<b>")]),
    (Metres | None, Metres(1.0)),
    (Any, OrderedDict(a=1)),
    (dict[str, int], defaultdict(int, a=1)),
    (Level, Level.HIGH),
    (int, Level.HIGH),
    (str, Word.A),
    (Colour, Colour.RED),
    (Point, Point(1, 2)),
    (tuple[int, int], Point(1, 2)),
    (Movie, {"title": "x"}),
    (set[int], {1, 2}),
    (frozenset[str], frozenset({"a"})),
    (tuple[int, str], (1, "x")),
    (dict[int, str], {1: "a"}),
    (dict[uuid.UUID, int], {uuid.UUID(int=1): 1}),
    (Decimal, Decimal("1.10")),
    (datetime, datetime(2026, 1, 2, 3, 4, 5, 6)),
    (datetime, datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin"))),
    (date, date(2026, 1, 2)),
    (time, time(1, 2, 3)),
    (timedelta, timedelta(days=-1, microseconds=1)),
    (uuid.UUID, uuid.UUID(int=1)),
    (bytes, b"\xff\x00"),
    (Path, Path("a/b")),
    (Card, Card(1, datetime(2026, 1, 2), [Card(2)])),
    (Sticker, Sticker(1)),
    (Box, Box(w=2)),
    (Order, Order(box=Box(w=2), boxes=[Box(w=3)], by_name={"a": Box(w=4)})),
    (list[Box], [Box(w=2)]),
    (dict[str, list[Box]], {"a": [Box(w=2)]}),
    (Shelf, Shelf([Box(w=2)])),
    (Page[Box], Page[Box](items=[Box(w=1)])),
    (Page[Box], Page(items=[Box(w=1)])),
    (Annotated[Cat | Dog, Field(discriminator="kind")], Dog(name="Ada")),
    (list[Annotated[Cat | Dog, Field(discriminator="kind")]], [Cat(), Dog()]),
    (Cat | None, None),
    (Rich, Rich(storedAs="t")),
    (Alike, Alike(firstName="Ada", more=1)),
    (Checked, Checked(1, [Box(w=1)])),
    (Open, Open(password=SecretStr("hunter2"))),
    (Annotated[SecretStr, pydantic.PlainSerializer(SecretStr.get_secret_value)], SecretStr("x")),
    (pydantic.Base64Bytes, b"plain"),
    (Annotated[int, Field(gt=0)], 1),
    (Annotated[int, msgspec.Meta(gt=0)], 1),
    (pydantic.PositiveInt, 1),
    (pydantic.HttpUrl, pydantic.HttpUrl("http://a/")),
]


@pytest.mark.parametrize(("kind", "value"), SAME, ids=[f"{n}" for n in range(len(SAME))])
def test_an_argument_arrives_as_it_was(kind: Any, value: object) -> None:
    back = passed(kind, value)

    assert back == value or (isinstance(value, datetime) and back.timestamp() == value.timestamp())


@pytest.mark.parametrize(("kind", "value"), SAME, ids=[f"{n}" for n in range(len(SAME))])
def test_a_result_comes_back_as_it_was(kind: Any, value: object) -> None:
    returns = returning(kind)
    back = returns.read(returns.write(value))

    assert back == value or (isinstance(value, datetime) and back.timestamp() == value.timestamp())


def returning(kind: Any) -> Returns:
    def work() -> Any: ...

    work.__annotations__ = {"return": kind}
    return Returns(Signature(work, title="work"), title="work")


class Fuzzy:
    """A value of somebody's own that pydantic stores, and that has no comparison."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            lambda _: cls(),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: 1),
        )


class Kennel(BaseModel):
    pets: list[Dog]
    best: Dog | None = None


MASKED = "is stored as asterisks, and a job's data is clear text"
CHANGED = [
    (Login, Login(user="a", password=SecretStr("hunter2")), rf"x\.password=.*SecretStr {MASKED}"),
    (SecretStr, SecretStr("hunter2"), rf"x=.*SecretStr {MASKED}"),
    (list[SecretBytes], [SecretBytes(b"hunter2")], rf"x\[0\]=.*SecretBytes {MASKED}"),
    (Hidden, Hidden(note="hunter2"), r"x\.note=.*its JSON form does not keep it"),
    (Rounded, Rounded(ratio=0.123), r"x\.ratio=.*its JSON form does not keep it"),
    (Half, Half(raw=b"\xff"), r"x\.raw=.*its JSON form does not keep it"),
    (list[Half], [Half(raw=b"\x01")], r"x\[0\]\.raw=.*its JSON form does not keep it"),
    (Dog, Puppy(), r"x=.*Puppy would arrive as Dog"),
    (Card, Sticker(1), r"x=.*Sticker would arrive as Card"),
    (list[Card], [Sticker(1)], r"x\[0\]=.*Sticker would arrive as Card"),
    (Measured, Measured(value=math.nan), r"work\.x\.value: JSON has no such number"),
    (list[Measured], [Measured(value=math.inf)], r"\[0\]\.value: JSON has no such number"),
    (Card, Card(math.nan), r"work\.x\.id: JSON has no such number"),  # type: ignore[arg-type]
    (str, Path("a"), r"x=.*PosixPath would arrive as str"),
    (str, Decimal(1), r"x=.*Decimal would arrive as str"),
    (str, b"a", r"x=.*bytes would arrive as str"),
    (str, Colour.RED, r"x=.*Colour would arrive as str"),
    (list[str], [datetime(2026, 1, 2)], r"x\[0\]=.*datetime would arrive as str"),
    (dict[str, int], Card(1), r"x"),
    (list[int], {1}, r"x=.*set would arrive as list"),
    (Any, {1}, r"x=.*set would arrive as list"),
    (Any, {"a": {2: 1}}, r"x\.a\[2\]=.*its key is not text"),
    (Movie, {"title": "x", "year": 1}, r"x\.year=.*would be lost"),
    (UserId, "5", r"x=.*expected int, got str"),
    (UserId, True, r"x=.*expected int, got bool"),
    (Any, Kennel(pets=[Puppy()]), r"x\.pets\[0\]: this Puppy would lose the fields"),
    (Any, {"a": [Kennel(pets=[], best=Puppy())]}, r"x\.a\[0\]\.best: this Puppy would lose"),
    (datetime, datetime(1890, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")), r"x=.*another value"),
    (Annotated[int, Field(gt=0)], 0, r"x=.*greater than 0"),
    (Annotated[int, Field(gt=0)], "5", r"x=.*str would arrive as int"),
    (Annotated[int, annotated_types.Gt(0)], 0, r"x=.*greater than 0"),
    (list[Annotated[int, Field(gt=0)]], [1, 0], r"x\.1=.*greater than 0"),
    (Annotated[int, msgspec.Meta(gt=0)], 0, r"x=.*expected int >= 1"),
    (pydantic.PositiveInt, 0, r"x=.*greater than 0"),
    (Annotated[str, Field(max_length=2)], "abc", r"x=.*at most 2"),
    (Checked, Checked.__new__(Checked), r"x"),
    (Box, {"w": "wide"}, r"x\.w=.*valid integer"),
    (Box, object(), r"x=.*serialize"),
]


@pytest.mark.parametrize(
    ("kind", "value", "words"), CHANGED, ids=[f"{n}" for n in range(len(CHANGED))]
)
def test_an_argument_that_would_change_is_refused(kind: Any, value: object, words: str) -> None:
    with pytest.raises(BadArguments, match=words) as refused:
        taking(kind).write((value,), {})

    assert "hunter2" not in str(refused.value)
    assert not isinstance(refused.value, Misfit)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (Login, Login(user="a", password=SecretStr("hunter2"))),
        (Hidden, Hidden(note="x")),
        (Rounded, Rounded(ratio=0.123)),
        (Half, Half(raw=b"\xff")),
        (Dog, Puppy()),
        (Card, Sticker(1)),
        (Measured, Measured(value=math.nan)),
        (list[int], {1}),
        (Any, {1}),
    ],
    ids=[f"{n}" for n in range(9)],
)
def test_a_result_that_would_change_is_refused(kind: Any, value: object) -> None:
    with pytest.raises(ConfigError, match="result of work"):
        returning(kind).write(value)


@pytest.mark.parametrize(
    ("kind", "value", "back"),
    [
        (Box, {"w": 2}, Box(w=2)),
        (Box, {"w": 2, "theArea": 4}, Box(w=2)),
        (Order, {"box": {"w": 2, "area": 4}, "boxes": [{"w": 1, "area": 1}]}, None),
        (Card, {"id": 1}, Card(1)),
        (datetime, "2026-01-02T00:00:00Z", datetime(2026, 1, 2, tzinfo=UTC)),
        (set[int], [1, 1], {1}),
        (Any, Point(1, 2), [1, 2]),
        (Sequence[int], (1, 2), [1, 2]),
        (Any, datetime(2026, 1, 2), "2026-01-02T00:00:00"),
        (dict[str, Any], {"a": [Card(1)]}, {"a": [{"id": 1, "at": None, "parts": []}]}),
        (Named, Named(value=math.inf), Named(value=math.inf)),
        (Annotated[str, pydantic.StringConstraints(to_lower=True)], "ABC", "abc"),
    ],
    ids=[f"{n}" for n in range(12)],
)
def test_json_becomes_what_is_annotated(kind: Any, value: object, back: object) -> None:
    assert passed(kind, value) == (back or Order(box=Box(w=2), boxes=[Box(w=1)]))


def test_a_value_that_cannot_be_compared_is_taken_as_it_comes() -> None:
    assert isinstance(passed(Fuzzy, Fuzzy()), Fuzzy)
    # What is private to a model is no part of it.
    assert passed(Cached, Cached(n=1)).n == 1


async def test_both_stores_keep_models_as_arguments_and_results(anywhere: Toril) -> None:
    @anywhere.task
    async def ship(order: Order, *more: Box, count: Annotated[int, Field(gt=0)] = 1) -> Order:
        assert isinstance(order.box, Box)
        return Order(box=Box(w=order.box.area * count), boxes=list(more))

    @anywhere.task
    async def tags() -> set[str]:
        return {"a"}

    one = await ship.enqueue(Order(box=Box(w=2)), Box(w=1), count=3)
    (two,) = await ship.enqueue_many([{"order": Order(box=Box(w=3))}])
    three = await tags.enqueue()
    four = await anywhere.flow("parents", "p", children=[ship.node(Order(box=Box(w=1)))]).add()
    del four
    await anywhere.worker().run_until_idle()

    assert await one.result(timeout=5) == Order(box=Box(w=12), boxes=[Box(w=1)])
    assert await two.result(timeout=5) == Order(box=Box(w=9))
    assert await three.result(timeout=5) == {"a"}
    bad: Any = ship
    with pytest.raises(BadArguments, match=r"count=.*greater than 0"):
        bad.node(Order(box=Box(w=1)), count=0)
    with pytest.raises(BadArguments, match=r"call 0: .*count="):
        await bad.enqueue_many([{"order": Order(box=Box(w=1)), "count": 0}])


async def test_a_secret_in_a_result_fails_its_job_once(anywhere: Toril) -> None:
    runs: list[int] = []

    @anywhere.task(attempts=3)
    async def work() -> Login:
        runs.append(1)
        return Login(user="a", password=SecretStr("hunter2"))

    job = await work.enqueue()
    await anywhere.worker().run_until_idle()

    with pytest.raises(
        JobFailed, match=rf"result of .*work\.password: a SecretStr {MASKED}"
    ) as failed:
        await job.result(timeout=5)
    assert (runs, "hunter2" in failed.value.reason) == ([1], False)
