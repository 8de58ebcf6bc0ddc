"""The parameters of a task: binding a call to them, checking it, and reading it back.

The data of a task's job is one JSON object of its bound parameters by name, so that a producer in
any language can add it. A parameter annotated `Job` is no part of it: the worker fills it in.
Never here: running the task.
"""

import inspect
import re
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_origin

import msgspec

from toril.errors import BadArguments, ConfigError, TaskError

from .convert import Unreadable, convert, convert_argument, loosened, unreadable
from .job import Job
from .payload import write

_FAULT = re.compile(r"(?P<what>.*?)(?: - at `\$\.?(?P<path>.*)`)?", re.DOTALL)
_PROBLEM = "a parameter of this type cannot be read from JSON"
_FIX = (
    "annotate it with a type that JSON can hold, or with Any, or build it in the task from its id"
)
# Stands for a parameter that was not given: the function's own default holds, today's one.
_LEFT_OUT = object()

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


class Signature:
    """Bind, check and read back the arguments of one function."""

    def __init__(self, function: Callable[..., object], *, title: str) -> None:
        self.title = title
        hints = _hints(function)
        whole = inspect.signature(function)
        every = list(whole.parameters.values())
        self._jobs = tuple(each.name for each in every if _is_job(hints.get(each.name)))
        kept = [each for each in every if each.name not in self._jobs]
        self._call = whole.replace(parameters=kept)
        self._every = every
        self._type = _struct(title, kept, hints)
        self._decoder = msgspec.json.Decoder(self._type, dec_hook=convert_argument)
        self._plain = all(_can_be_named(each) for each in every)
        self._names = tuple(each.name for each in kept)
        self._needed = frozenset(each.name for each in kept if _is_needed(each))
        self.result: Any = hints.get("return", Any)

    def write(self, args: tuple[object, ...], kwargs: Mapping[str, object]) -> str:
        """Bind a call and give its arguments as JSON text, checked against the annotations.

        Raises   BadArguments: the parameter that is missing, unexpected or of another type.
        """
        bound = self._bind(args, kwargs)
        try:
            text = write(bound, where=self.title)
        except ConfigError as error:
            raise BadArguments(str(error)) from error
        self._decode(text)
        return text

    def read(self, text: str, job: Job[Any] | None = None) -> Arguments:
        """Give the arguments for a call from a job's data; `job` fills the parameters for it.

        Raises   BadArguments: somebody added data that the parameters cannot take.
        """
        found = self._decode(text)
        if self._plain:
            given = {
                name: value
                for name in self._names
                if (value := getattr(found, name)) is not _LEFT_OUT
            }
            given.update(dict.fromkeys(self._jobs, job))
            return (), given
        return self._spread(found, job)

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
            return self._decoder.decode(text)
        except msgspec.ValidationError as error:
            raise BadArguments(f"{self._explain(str(error))}; it is {self}") from error
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadArguments(f"{self.title}: its data cannot be read: {error}") from error

    def _explain(self, fault: str) -> str:
        found = _FAULT.fullmatch(fault)
        what, path = (found["what"], found["path"]) if found else (fault, None)
        words = what.replace("`", "")
        words = words[:1].lower() + words[1:]
        return f"{self.title}({path}=...): {words}" if path else f"{self.title}: {words}"

    def _spread(self, found: Any, job: Job[Any] | None) -> Arguments:
        """Lay arguments out by kind, where some cannot be given by name."""
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for parameter in self._every:
            is_job = parameter.name in self._jobs
            value: Any = job if is_job else getattr(found, parameter.name)
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


def reader(kind: Any, *, title: str) -> Callable[[str], Any] | None:
    """Give what reads a task's result back as its return type; None where any JSON will do.

    A type that nothing can make of JSON tells nothing of the result: that comes back as it is.

    Raises   (when called) TaskError: the result is not of that type.
    """
    if kind in (Any, object, None, inspect.Parameter.empty):
        return None
    try:
        decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(loosened(kind), dec_hook=convert)
    except (TypeError, NameError, AttributeError):
        return None

    def read(text: str) -> Any:
        try:
            return decoder.decode(text)
        except Unreadable:
            return msgspec.json.decode(text)
        except msgspec.ValidationError as error:
            raise TaskError(f"{title} did not return what it is annotated with: {error}") from error

    return read


def _hints(function: Callable[..., object]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, AttributeError):
        # A name that is not there at run time (imported for types only, or local to a function).
        return {name: _hint(value) for name, value in inspect.get_annotations(function).items()}


def _hint(annotation: object) -> Any:
    if not isinstance(annotation, str):
        return annotation
    return Job if re.fullmatch(r"(\w+\.)?Job(\[.*\])?", annotation) else Any


def _is_job(hint: object) -> bool:
    return hint is Job or get_origin(hint) is Job


def _can_be_named(parameter: inspect.Parameter) -> bool:
    return parameter.kind is parameter.POSITIONAL_OR_KEYWORD


def _is_needed(parameter: inspect.Parameter) -> bool:
    return parameter.default is parameter.empty and parameter.kind not in (
        parameter.VAR_POSITIONAL,
        parameter.VAR_KEYWORD,
    )


def _struct(
    title: str, parameters: Sequence[inspect.Parameter], hints: Mapping[str, Any]
) -> type[msgspec.Struct]:
    """Make the one type whose decoder checks all parameters at once."""
    made: list[tuple[str, Any] | tuple[str, Any, Any]] = []
    for parameter in parameters:
        hint = _field_type(parameter, loosened(hints.get(parameter.name, Any)))
        needed = _is_needed(parameter)
        try:
            msgspec.json.Decoder(hint, dec_hook=convert_argument)
            # One that has a default may be there for others than jobs.
            foreign = unreadable(hint) if needed else None
            if foreign is not None:
                raise TypeError(f"nothing makes a {foreign} of it")
        except (TypeError, NameError, AttributeError) as error:
            raise ConfigError(
                f"{title}({parameter.name}): {_PROBLEM}: {error}",
                field=parameter.name,
                value=hint,
                hint=_FIX,
            ) from error
        left_out = msgspec.field(default=_LEFT_OUT)
        made.append((parameter.name, hint) if needed else (parameter.name, hint, left_out))
    # Keyword only, so that fields with and without a default may come in any order.
    return msgspec.defstruct("Arguments", made, kw_only=True, forbid_unknown_fields=True)


def _field_type(parameter: inspect.Parameter, hint: Any) -> Any:
    if parameter.kind is parameter.VAR_POSITIONAL:
        return list[hint]
    if parameter.kind is parameter.VAR_KEYWORD:
        return dict[str, hint]
    return hint
