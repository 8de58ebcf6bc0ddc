"""The parameters of a task: bound like a call, checked against annotations, and read back."""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Optional, TypedDict

import msgspec
import pydantic
import pytest

from toril import BadArguments, ConfigError, Job, Toril
from toril._handlers.returns import Returns
from toril._handlers.signature import Signature
from toril.errors import TaskError


@dataclass
class User:
    name: str
    age: int = 0


def thumbnail(path: str, size: int = 256) -> str:
    return path


def reader(kind: Any) -> Callable[[str], Any]:
    def work() -> Any: ...

    work.__annotations__ = {"return": kind}
    return Returns(Signature(work, title="work"), title="work").read


def signature(function: Callable[..., Any]) -> Signature:
    return Signature(function, title=function.__name__)


@pytest.mark.parametrize(
    ("text", "args", "kwargs"),
    [
        ('{"path":"cat.jpg"}', ("cat.jpg",), {}),
        ('{"path":"cat.jpg","size":128}', ("cat.jpg", 128), {}),
        ('{"path":"cat.jpg","size":128}', ("cat.jpg",), {"size": 128}),
        ('{"size":1,"path":"x"}', (), {"size": 1, "path": "x"}),
    ],
)
def test_a_call_is_stored_by_name(text: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    assert text == signature(thumbnail).write(args, kwargs)


@pytest.mark.parametrize(
    ("message", "args", "kwargs"),
    [
        ("missing a required argument: 'path'", (), {}),
        ("got an unexpected keyword argument 'siz'", ("x",), {"siz": 1}),
        ("too many positional arguments", ("x", 1, 2), {}),
        ("multiple values for argument 'path'", ("x",), {"path": "y"}),
        (r"thumbnail\(size=...\): expected int, got str", ("x",), {"size": "big"}),
        (r"thumbnail\(path=...\): expected str, got int", (1,), {}),
        (r"thumbnail.path: function is not JSON", (thumbnail,), {}),
    ],
)
def test_a_call_that_does_not_fit_is_refused(
    message: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> None:
    with pytest.raises(BadArguments, match=message):
        signature(thumbnail).write(args, kwargs)


def test_a_refusal_shows_the_signature() -> None:
    with pytest.raises(BadArguments, match=r"thumbnail\(path: str, size: int = 256\) -> str"):
        signature(thumbnail).write((), {})


def test_a_default_is_left_to_the_function() -> None:
    assert signature(thumbnail).read('{"path":"x"}') == ((), {"path": "x"})


def test_a_fault_deep_inside_is_named_by_its_path() -> None:
    def greet(user: User) -> None: ...

    with pytest.raises(BadArguments, match=r"greet\(user\.age=\.\.\.\): expected int, got str"):
        signature(greet).read('{"user":{"name":"a","age":"b"}}')


def test_rich_types_come_back_as_they_were() -> None:
    def rich(user: User, at: datetime, tags: set[int], where: Path) -> None: ...

    at = datetime.fromisoformat("2026-01-02T03:04:05+00:00")
    given = {"user": User("a", 1), "at": at, "tags": {1, 2}, "where": Path("a/b")}
    made = signature(rich)

    assert ((), given) == made.read(made.write((), given))


def test_what_has_no_annotation_is_any_json() -> None:
    def loose(a, b=None): ...  # type: ignore[no-untyped-def]

    made = signature(loose)

    assert made.read(made.write(([1, "x"],), {"b": {"c": None}})) == (
        (),
        {"a": [1, "x"], "b": {"c": None}},
    )


def test_a_parameter_for_the_job_is_no_part_of_the_data() -> None:
    def work(job: Job[Any], path: str) -> None: ...

    made = signature(work)
    marker: Any = object()

    assert made.write(("x",), {}) == '{"path":"x"}'
    assert ((), {"path": "x", "job": marker}) == made.read('{"path":"x"}', marker)


def test_a_job_by_its_name_only_is_known_too() -> None:
    def work(job: "Missing.Job[int]", path: "Missing") -> None: ...  # type: ignore[name-defined]  # noqa: F821

    assert signature(work).write((1,), {}) == '{"path":1}'


def test_every_kind_of_parameter_is_laid_out_again() -> None:
    def every(a: int, /, b: int, *rest: int, c: int, **more: int) -> None: ...

    made = signature(every)
    text = made.write((1, 2, 3, 4), {"c": 5, "d": 6})

    assert text == '{"a":1,"b":2,"rest":[3,4],"c":5,"more":{"d":6}}'
    assert made.read(text) == ((1, 2, 3, 4), {"c": 5, "d": 6})


def test_a_type_that_json_cannot_hold_is_refused_when_declared() -> None:
    def work(call: Callable[[], int] | User | dict[str, int]) -> None: ...

    with pytest.raises(ConfigError, match=r"work\(call\): a parameter of this type"):
        signature(work)


def test_data_from_elsewhere_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadArguments, match="unknown field"):
        signature(thumbnail).read('{"path":"x","extra":1}')
    with pytest.raises(BadArguments, match="cannot be read"):
        signature(thumbnail).read("{")


def test_a_result_is_read_as_its_type() -> None:
    read = reader(User)

    assert User("a", 2) == read('{"name":"a","age":2}')


def test_a_result_of_another_type_says_so() -> None:
    read = reader(int)

    with pytest.raises(TaskError, match="work did not return what it is annotated with"):
        read('"x"')


class Connection:
    """What nobody can make of JSON."""


SHARED = Connection()


@dataclass
class Report:
    about: object
    rows: list[int]


@dataclass
class Borrowed:
    by: Connection


@dataclass
class Unfinished:
    part: "Nowhere"  # type: ignore[name-defined]  # noqa: F821  # the fault itself


class Facts(TypedDict):
    found: object


class Pair(NamedTuple):
    left: object
    right: int


class Row(msgspec.Struct):
    cells: dict[str, object]


class Model(pydantic.BaseModel):
    a: int

    @pydantic.computed_field
    def double(self) -> int:
        return self.a * 2


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        (list[object], '[1,"a",null]', [1, "a", None]),
        (dict[str, object], '{"a":[1]}', {"a": [1]}),
        (dict[str, Any], '{"a":[1]}', {"a": [1]}),
        (object, '{"a":1}', {"a": 1}),
        (object | None, "1", 1),
        (int | object, '"x"', "x"),
        (list[int | object], '["x"]', ["x"]),
        (Sequence[object], "[1]", [1]),
        (tuple[object, ...], "[1]", (1,)),
        (Annotated[object, "anything"], "1", 1),
        (Report, '{"about":{"b":1},"rows":[1]}', Report({"b": 1}, [1])),
        (Facts, '{"found":[1]}', {"found": [1]}),
        (Pair, '["x",1]', Pair("x", 1)),
        (Row, '{"cells":{"a":1}}', Row({"a": 1})),
        (Model, '{"a":1,"double":2}', Model(a=1)),
        (list[Model], '[{"a":1}]', [Model(a=1)]),
        (Model | None, "null", None),
        (Model | User, '{"a":1}', Model(a=1)),
    ],
)
def test_what_an_annotation_leaves_open_is_read_as_it_is(kind: Any, text: str, value: Any) -> None:
    async def work(x: Any) -> Any: ...

    work.__annotations__ = {"x": kind, "return": kind}
    made = signature(work)
    read = reader(kind)

    assert value == read(text)
    assert made.read(f'{{"x":{text}}}') == ((), {"x": value})


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Connection, '{"host":"x"}'),
        (list[Connection], "[1]"),
        (Connection | None, "3"),
        (int | Connection, "1"),
        (tuple[int, Connection], "[1,2]"),
        (Borrowed, '{"by":7}'),
        (Iterator[int], "[1]"),
        (Callable[[], int], "null"),
        (Path | int, '"a"'),
        (Unfinished, '{"part":1}'),
        (type, '"int"'),
    ],
)
def test_a_result_of_a_type_that_nothing_makes_of_json_is_plain(kind: Any, text: str) -> None:
    read = reader(kind)

    assert msgspec.json.decode(text) == read(text)


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Report, '{"about":1,"rows":["x"]}'),
        (list[tuple[int, object]], '[["x",1]]'),
        (Model, '{"a":"x"}'),
    ],
)
def test_what_an_annotation_does_say_of_a_result_is_checked(kind: Any, text: str) -> None:
    read = reader(kind)

    with pytest.raises(TaskError, match="work did not return what it is annotated with"):
        read(text)


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (Connection, "Connection"),
        (list[Connection], "Connection"),
        (dict[str, Connection], "Connection"),
        (tuple[int, Connection], "Connection"),
        (Borrowed, "Connection"),
        (Iterator[int], "Iterator"),
        (Unfinished, "Nowhere"),
    ],
)
def test_a_parameter_that_no_job_can_give_is_refused_when_declared(kind: Any, word: str) -> None:
    def work(given: Any) -> None: ...

    work.__annotations__ = {"given": kind}
    with pytest.raises(ConfigError, match=rf"work\(given\).*{word}.*annotate it") as refused:
        signature(work)

    assert refused.value.field == "given"


def test_a_parameter_that_may_be_left_out_may_be_of_any_type() -> None:
    def work(n: int, given: Connection | None = None, other: Connection = SHARED) -> None: ...

    made = signature(work)

    assert made.read(made.write((1,), {})) == ((), {"n": 1})
    with pytest.raises(BadArguments, match=r"work\(other=\.\.\.\).*Connection"):
        made.read('{"n":1,"other":1}')


async def test_a_task_that_returns_objects_has_its_result_read(memory: Toril) -> None:
    @memory.task()
    async def work(items: list[object]) -> list[object]:
        return items

    job = await work.enqueue([1, "a", None])
    await memory.worker().run_until_idle()

    assert await job.result(timeout=5) == [1, "a", None]


# Annotations that cannot be resolved.


def late(when: datetime, price: "Missing | None" = None, *, job: "Job[Missing] | None" = None): ...  # type: ignore[no-untyped-def, name-defined]  # noqa: F821


def test_one_annotation_that_cannot_be_resolved_leaves_the_others_checked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made = signature(late)
    at = datetime.fromisoformat("2026-01-02T03:04:05+00:00")

    assert made.read(made.write((at, "any"), {})) == ((at, "any"), {"job": None})
    with pytest.raises(BadArguments, match=r"late\(when=...\): invalid RFC3339"):
        made.write(("nonsense",), {})
    (line,) = [each.message for each in caplog.records if each.name == "toril.task"]
    assert "task 'late': parameter 'price' is neither converted nor checked: Missing" in line


def test_a_name_that_is_defined_after_its_task_is_found(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, Any] = {"Any": Any, "dataclass": dataclass}
    made = Signature(_in_module(names, 'def work(card: "Card"): ...'), title="work")
    _in_module(names, "@dataclass\nclass Card:\n    id: int\n\ndef other(): ...", "other")

    with pytest.raises(BadArguments, match=r"work\(card\.id=...\): expected int"):
        made.write(({"id": "x"},), {})
    assert not caplog.records


def _in_module(names: dict[str, Any], text: str, name: str = "work") -> Callable[..., Any]:
    exec(text, names)
    found: Callable[..., Any] = names[name]
    return found


def test_a_result_that_cannot_be_resolved_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def work(n: int) -> "Missing": ...  # type: ignore[name-defined]  # noqa: F821

    made = signature(work)
    with pytest.raises(BadArguments):
        made.write(("x",), {})
    assert "its result is neither converted nor checked" in caplog.text


def test_a_callable_object_is_checked_by_its_call() -> None:
    class Work:
        def __call__(self, n: int, m: "int" = 1) -> None: ...

    with pytest.raises(BadArguments, match="expected int"):
        Signature(Work(), title="work").write(("x",), {})
    with pytest.raises(BadArguments, match="expected int"):
        Signature(functools.partial(Work(), m=2), title="work").write(("x",), {})


QUOTED: list[Any] = [
    Job,
    Job[int],
    Job | None,
    Optional[Job],  # noqa: UP045  # another spelling of it
    Optional["Job[int]"],
    Annotated[Job[Any], "mine"],
    Annotated[Job | None, "mine"],
    "Job",
    "'Job'",
    "Job[Missing]",
    "Job | None",
    "Optional[Job[Missing]]",
    "Annotated[Job, Missing]",
    "Missing.Job[int] | None",
    "Missing.part.Job",
]


@pytest.mark.parametrize("hint", QUOTED, ids=str)
def test_every_way_to_ask_for_the_job_is_known(hint: Any, caplog: pytest.LogCaptureFixture) -> None:
    def work(path: str, job: Any = None) -> None: ...

    work.__annotations__ = {"path": "str", "job": hint, "return": None}
    made = signature(work)
    marker: Any = object()

    assert made.read(made.write(("x",), {}), marker) == ((), {"path": "x", "job": marker})
    with pytest.raises(BadArguments, match="expected str, got int"):
        made.write((1,), {})
    assert not caplog.records


async def test_a_job_that_may_be_none_is_filled_in(memory: Toril) -> None:
    @memory.task
    async def work(n: int, job: Job | None = None) -> str:
        assert job is not None
        return job.name

    job = await work.enqueue(1)
    await memory.worker().run_until_idle()

    assert await job.result(timeout=5) == "work"


class Line(msgspec.Struct):
    text: str


def test_a_constraint_that_cannot_be_checked_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def work(lines: dict[Line, Annotated[int, pydantic.Field(gt=0)]] | None = None) -> None: ...

    signature(work)

    assert "pydantic cannot read parameter 'lines': its constraints are not checked" in caplog.text
