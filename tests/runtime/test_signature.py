"""The parameters of a task: bound like a call, checked against annotations, and read back."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from toril import BadArguments, ConfigError, Job
from toril._run.signature import Signature, reader
from toril.errors import TaskError


@dataclass
class User:
    name: str
    age: int = 0


def thumbnail(path: str, size: int = 256) -> str:
    return path


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
        (r"thumbnail.path: a function cannot be stored", (thumbnail,), {}),
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
    read = reader(User, title="work")

    assert read is not None
    assert User("a", 2) == read('{"name":"a","age":2}')


def test_a_result_of_another_type_says_so() -> None:
    read = reader(int, title="work")

    assert read is not None
    with pytest.raises(TaskError, match="work did not return what it is annotated with"):
        read('"x"')
