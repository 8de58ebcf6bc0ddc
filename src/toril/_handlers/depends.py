"""`Depends`, which marks a parameter that is filled in by what another function makes.

Never here: reading signatures, and making anything.
"""

import inspect
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
)
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, TypeVar, get_args, overload

from toril.errors import ConfigError

T = TypeVar("T")

Lifetime = Literal["worker", "job"]
_LIFETIMES: tuple[str, ...] = get_args(Lifetime)


@dataclass(frozen=True, slots=True)
class DependsOn:
    """A parameter's default or annotation that says what to call for its value."""

    call: Callable[..., Any] | None
    scope: Lifetime | None


# The order matters: a generator function must not be taken for one that returns a generator.
@overload
def Depends(
    call: Callable[..., AbstractAsyncContextManager[T] | AbstractContextManager[T]],
    *,
    scope: Lifetime | None = None,
) -> T: ...
@overload
def Depends(
    call: Callable[..., AsyncGenerator[T, Any] | AsyncIterator[T]],
    *,
    scope: Lifetime | None = None,
) -> T: ...
@overload
def Depends(
    call: Callable[..., Generator[T, Any, Any] | Iterator[T]], *, scope: Lifetime | None = None
) -> T: ...
@overload
def Depends(call: Callable[..., Awaitable[T]], *, scope: Lifetime | None = None) -> T: ...
@overload
def Depends(call: Callable[..., T], *, scope: Lifetime | None = None) -> T: ...
@overload
def Depends(call: None = None, *, scope: Lifetime | None = None) -> Any: ...


def Depends(call: Callable[..., Any] | None = None, *, scope: Lifetime | None = None) -> Any:
    """Mark a parameter whose value is what `call` returns or yields.

    Works as a default (`pool: Pool = Depends(make_pool)`) and in an annotation
    (`Annotated[Pool, Depends(make_pool)]`); without `call` the annotated class is called. `call`
    may be `def` or `async def`, may yield its value once and clean up after that, and its own
    parameters may be dependencies, provided types or the `Job`.

    Args:
        call: What makes the value.
        scope: "worker" makes the value once per worker (once per child process with
            isolation="process"), "job" makes it for each attempt of a job. Default: "job" if it
            yields or needs something with that scope, otherwise "worker". What the constructor
            of a processor asks for always has the scope "worker".

    Raises:
        ConfigError: `call` is not callable, or the scope is unknown.
    """
    given: object = call
    if given is not None and not callable(given):
        if inspect.iscoroutine(given):
            given.close()
        raise ConfigError(
            f"Depends({given!r:.80}) needs a function, not what it returned",
            field="Depends",
            value=given,
            hint="write Depends(make_pool), not Depends(make_pool())",
        )
    check_scope(scope)
    return DependsOn(call, scope)


def check_scope(scope: object) -> None:
    """Check how long something shall live.

    Raises   ConfigError: the scope is unknown.
    """
    if scope is not None and scope not in _LIFETIMES:
        raise ConfigError(
            f"scope={scope!r} is unknown", field="scope", value=scope, hint='use "worker" or "job"'
        )


def read_depends(mark: object) -> DependsOn | None:
    """Return what a default or an annotation depends on; None: it is no mark.

    FastAPI's own mark counts, too: what it makes lives as long as one attempt.
    """
    if isinstance(mark, DependsOn):
        return mark
    kind = type(mark)
    if kind.__module__ != "fastapi.params" or kind.__name__ not in ("Depends", "Security"):
        return None
    return DependsOn(getattr(mark, "dependency", None), "job")
