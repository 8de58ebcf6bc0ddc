"""The parameters of a task: binding a call to them, checking it, and reading it back.

The data of a task's job is one JSON object of its bound parameters by name, so that a producer in
any language can add it. A parameter annotated `Job` is no part of it, nor is one that is injected
(`dependencies`): the worker fills them in.
Never here: running the task.
"""

import inspect
import logging
import re
from collections.abc import Callable, Collection, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from types import MappingProxyType, NoneType, UnionType
from typing import Annotated, Any, Literal, NamedTuple, Union, get_args, get_origin
from uuid import UUID

import msgspec

from toril._jobs.job import Job
from toril._jobs.json_roundtrip import LOST, Difference, difference, equal
from toril._jobs.payload import MASKED, refuse_no_numbers, write
from toril.errors import BadArguments, ConfigError

from .annotations import has_fields, hints_of, is_job, is_open, within
from .convert import convert_argument, loosened, unreadable
from .models import Adapter, ModelRefusal, adapter_of, needs_pydantic

log = logging.getLogger("toril.task")

_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
# What msgspec says of a field that is missing, or one that nobody asked for.
_SHAPE = ("Object missing required field", "Object contains unknown field")
_PROBLEM = "a parameter of this type cannot be read from JSON"
_FIX = (
    "annotate it with a type that JSON can hold, or with Any, or build it in the task from its id"
)
# Stands for a parameter that was not given: the function's own default holds, today's one.
_LEFT_OUT = object()

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Misfit(BadArguments):
    """A job's own data does not fit its task.

    Shape    shape: an argument is missing or is not expected, as when a worker runs older or newer
             code than whoever added the job.
    """

    def __init__(self, message: str, *, shape: bool = False) -> None:
        super().__init__(message)
        self.shape = shape


class _Parameter(NamedTuple):
    """A parameter whose value is part of the data.

    Shape    adapter: pydantic reads it. loose: it takes any JSON value. simple: equal values of it
             are the same, as nothing in them has fields and a comparison of its own.
    """

    name: str
    hint: Any
    needed: bool
    adapter: Adapter | None
    loose: bool
    simple: bool


class TaskParameter(NamedTuple):
    """A parameter of a task, as a form shows it.

    Attributes:
        name: Its name.
        type: Its annotation, as text.
        kind: What kind of JSON it takes: text, integer, number, boolean, list, object or any.
        required: Whether a job must have a value for it.
        default: Its default as JSON text, None if it has none or JSON cannot hold it.
    """

    name: str
    type: str
    kind: str
    required: bool
    default: str | None


class Signature:
    """Bind, check and read back the arguments of one function."""

    def __init__(
        self, function: Callable[..., object], *, title: str, injected: Collection[str] = ()
    ) -> None:
        self.title = title
        self._function = function
        self._injected = injected
        self._faults: dict[str, str] = {}
        self._resolve()

    def _resolve(self) -> None:
        hints, self._faults = hints_of(self._function)
        whole = inspect.signature(self._function)
        every = list(whole.parameters.values())
        self._jobs = tuple(each.name for each in every if is_job(hints.get(each.name)))
        self._filled = frozenset((*self._jobs, *self._injected))
        kept = [each for each in every if each.name not in self._filled]
        self._call = whole.replace(parameters=kept)
        self._every = every
        self._plain = all(_can_be_named(each) for each in every)
        self._parameters = [self._parameter(each, hints.get(each.name, Any)) for each in kept]
        self._names = tuple(each.name for each in kept)
        self._needed = frozenset(each.name for each in self._parameters if each.needed)
        self._by_name = {each.name: each for each in self._parameters}
        self._adapters = {each.name: each.adapter for each in self._parameters if each.adapter}
        self._decoder = msgspec.json.Decoder(_struct(self._parameters), dec_hook=convert_argument)
        self.result: Any = hints.get("return", Any)

    def settle(self) -> None:
        """Resolve what could not be resolved before; warn about what still cannot be.

        A name may be defined further down in a module than its task.
        """
        if not self._faults:
            return
        self._resolve()
        faults, self._faults = self._faults, {}
        for name, fault in faults.items():
            what = "its result" if name == "return" else f"parameter {name!r}"
            log.warning(
                "task %r: %s is neither converted nor checked: %s (import the name at run time)",
                self.title,
                what,
                fault,
            )

    def parameters(self) -> list[TaskParameter]:
        """Return what a job's data is made of, in the order of the function."""
        self.settle()
        defaults = {name: each.default for name, each in self._call.parameters.items()}
        return [
            TaskParameter(
                name=each.name,
                type=_type_text(each.hint),
                kind=_kind_of(each.hint),
                required=each.needed,
                default=None if each.needed else _default_text(defaults[each.name]),
            )
            for each in self._parameters
        ]

    def takes(self, name: str) -> bool:
        """Return whether a parameter has this name."""
        return name in self._names

    def write(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Bind a call and return its arguments as JSON text, checked against the annotations.

        What the task will receive equals what was passed.

        Raises   BadArguments: the parameter that is missing, unexpected or of another type, or
                 whose value would arrive as another one.
        """
        self.settle()
        bound = self._bind(args, kwargs)
        written = self._dumped(bound) if self._adapters else bound
        try:
            text = write(written, where=self.title)
        except ConfigError as error:
            raise BadArguments(str(error)) from error
        try:
            found = self._decode(text)
        except Misfit as error:
            # What does not fit here is a call, and not the data of the job that makes it.
            raise BadArguments(str(error)) from error
        for name, given in bound.items():
            back, parameter = getattr(found, name), self._by_name[name]
            if parameter.simple and equal(given, back):
                continue
            changed = difference(given, back, name, loose=parameter.loose)
            if changed is not None:
                raise BadArguments(f"{self.title}({changed.path}=...): {describe(changed)}")
        return text

    def _dumped(self, bound: dict[str, object]) -> dict[str, object]:
        """Let pydantic write the arguments that it reads."""
        written = dict(bound)
        for name, adapter in self._adapters.items():
            if name not in bound:
                continue
            try:
                text = adapter.dump(bound[name])
                if b"null" in text:
                    refuse_no_numbers(bound[name], f"{self.title}.{name}")
            except ConfigError as error:
                raise BadArguments(str(error)) from error
            except ModelRefusal as error:
                raise BadArguments(f"{self.title}({name}=...): {error}") from error
            written[name] = msgspec.Raw(text)
        return written

    def read(
        self,
        text: str,
        job: Job[Any] | None = None,
        values: Mapping[str, object] = MappingProxyType({}),
    ) -> Arguments:
        """Return the arguments for a call from a job's data; `job` fills the parameters for it.

        Shape    values: those of the injected parameters.
        Raises   Misfit: the parameters cannot take the data.
        """
        self.settle()
        found = self._decode(text)
        if self._plain:
            given = {
                name: value
                for name in self._names
                if (value := getattr(found, name)) is not _LEFT_OUT
            }
            given.update(dict.fromkeys(self._jobs, job))
            given.update(values)
            return (), given
        return self._spread(found, {**dict.fromkeys(self._jobs, job), **values})

    def _bind(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> dict[str, object]:
        if self._plain and len(args) <= len(self._names):
            bound = dict(zip(self._names, args, strict=False))
            before = len(bound)
            bound.update(kwargs)
            fits = len(bound) == before + len(kwargs) and bound.keys() >= self._needed
            if fits and bound.keys() <= set(self._names):
                return bound
        # Anything unusual, and every mistake: slower, and it says what is wrong.
        try:
            return dict(self._call.bind(*args, **kwargs).arguments)
        except TypeError as error:
            raise BadArguments(f"{self.title}: {error}; it is {self}") from error

    def _decode(self, text: str) -> Any:
        try:
            found = self._decoder.decode(text)
        except msgspec.ValidationError as error:
            fault = str(error)
            raise self._misfit(*_parted(fault), shape=fault.startswith(_SHAPE)) from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise Misfit(f"{self.title}: its data cannot be read: {error}") from error
        for name, adapter in self._adapters.items():
            raw = getattr(found, name)
            if raw is _LEFT_OUT:
                continue
            try:
                setattr(found, name, adapter.load(bytes(raw)))
            except ModelRefusal as error:
                path = f"{name}.{error.path}" if error.path else name
                raise self._misfit(error.what, path, shape=error.shape) from error
        return found

    def _misfit(self, what: str, path: str | None, *, shape: bool) -> Misfit:
        where = f"{self.title}({path}=...)" if path else self.title
        return Misfit(f"{where}: {what}; it is {self}", shape=shape)

    def _parameter(self, parameter: inspect.Parameter, hint: Any) -> _Parameter:
        needed = _is_needed(parameter)
        kind = _field_type(parameter, loosened(hint))
        adapter = adapter_of(kind)
        if adapter is None:
            self._check(parameter.name, kind, needed)
            if needs_pydantic(kind):
                log.warning(
                    "task %r: pydantic cannot read parameter %r: its constraints are not checked "
                    "(annotate it with types that pydantic knows)",
                    self.title,
                    parameter.name,
                )
        simple = adapter is None and not any(has_fields(each) for each in within(kind))
        return _Parameter(parameter.name, kind, needed, adapter, is_open(kind), simple)

    def _check(self, name: str, kind: Any, needed: bool) -> None:
        """Refuse a parameter that no job's data can fill."""
        try:
            msgspec.json.Decoder(kind, dec_hook=convert_argument)
            # One that has a default may be there for others than jobs.
            foreign = unreadable(kind) if needed else None
            if foreign is not None:
                raise TypeError(f"cannot convert JSON to {foreign}")
        except (TypeError, NameError, AttributeError) as error:
            raise ConfigError(
                f"{self.title}({name}): {_PROBLEM}: {error}", field=name, value=kind, hint=_FIX
            ) from error

    def _spread(self, found: Any, filled: Mapping[str, object]) -> Arguments:
        """Lay arguments out by kind, where some cannot be given by name."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self._every:
            name = parameter.name
            value: Any = filled.get(name) if name in self._filled else getattr(found, name)
            if value is _LEFT_OUT:
                continue
            match parameter.kind:
                case inspect.Parameter.VAR_POSITIONAL:
                    args.extend(value)
                case inspect.Parameter.VAR_KEYWORD:
                    kwargs.update(value)
                case inspect.Parameter.KEYWORD_ONLY:
                    kwargs[parameter.name] = value
                case _:
                    args.append(value)
        return tuple(args), kwargs

    def __str__(self) -> str:
        return f"{self.title}{self._call}"


def describe(changed: Difference) -> str:
    """Return why a value is refused that would arrive as another one; never its content."""
    kind = type(changed.given).__qualname__
    if hasattr(changed.given, "get_secret_value"):
        return MASKED.format(kind)
    if changed.back is LOST:
        if changed.path.endswith("]"):
            return "its key is not text, as keys are in JSON: convert it, or annotate the keys"
        return f"this {kind} would be lost: the annotation has no such field"
    back = type(changed.back).__qualname__
    if back != kind:
        return f"{kind} would arrive as {back}"
    return f"this {kind} would arrive with another value: its JSON form does not keep it"


def _parted(fault: str) -> tuple[str, str | None]:
    """Split what msgspec says into the problem and the path."""
    found = _FAULT.fullmatch(fault)
    what, path = (found["what"], found["path"]) if found else (fault, None)
    words = what.replace("`", "")
    return words[:1].lower() + words[1:], path


def _can_be_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.POSITIONAL_OR_KEYWORD


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _struct(parameters: list[_Parameter]) -> type[msgspec.Struct]:
    """Make the one type whose decoder checks all parameters at once."""
    left_out = msgspec.field(default=_LEFT_OUT)
    made: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for name, hint, needed, adapter, *_ in parameters:
        kind = hint if adapter is None else msgspec.Raw
        made.append((name, kind) if needed else (name, kind, left_out))
    # Keyword only, so that fields with and without a default may come in any order.
    return msgspec.defstruct("Arguments", made, kw_only=True, forbid_unknown_fields=True)


def _field_type(parameter: inspect.Parameter, hint: Any) -> Any:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return list[hint]
    if parameter.kind is parameter.VAR_KEYWORD:
        return dict[str, hint]
    return hint


# What kind of JSON a type takes; others have fields, or take anything.
_KINDS: dict[Any, str] = {
    bool: "boolean",
    int: "integer",
    float: "number",
    Decimal: "text",
    str: "text",
    bytes: "text",
    list: "list",
    tuple: "list",
    set: "list",
    frozenset: "list",
    dict: "object",
}


def _kind_of(hint: Any) -> str:
    if get_origin(hint) is Annotated:
        return _kind_of(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        kinds = {_kind_of(each) for each in get_args(hint) if each is not NoneType}
        return kinds.pop() if len(kinds) == 1 else "any"
    if get_origin(hint) is Literal:
        kinds = {_kind_of(type(each)) for each in get_args(hint)}
        return kinds.pop() if len(kinds) == 1 else "any"
    kind = get_origin(hint) or hint
    if kind in _KINDS:
        return _KINDS[kind]
    if not isinstance(kind, type):
        return "any"
    if issubclass(kind, Enum | datetime | date | time | timedelta | UUID | PurePath):
        return "text"
    return "object" if has_fields(kind) else "any"


def _type_text(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


def _default_text(default: object) -> str | None:
    if default is inspect.Parameter.empty:
        return None
    try:
        return write(default, where="a default")
    except ConfigError:
        return None
