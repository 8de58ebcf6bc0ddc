"""Which errors are worth another attempt: `retry_on=` and `never_retry=`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from toril._model.checks import shown
from toril.errors import ConfigError

from .isolation_options import CHILDS_MAIN, MAIN

ErrorTypes = type[BaseException] | Sequence[type[BaseException]]
"""A class of errors, or several; their subclasses belong to them."""


@dataclass(frozen=True, slots=True)
class RetryRule:
    """The classes of errors by name: an error of a child process is known by its text alone."""

    only: frozenset[str] | None
    never: frozenset[str]

    def allows(self, kinds: Sequence[str]) -> bool:
        """Return whether an error of these classes is worth another attempt."""
        if not self.never.isdisjoint(kinds):
            return False
        return self.only is None or not self.only.isdisjoint(kinds)


def make_rule(retry_on: ErrorTypes | None, never_retry: ErrorTypes | None) -> RetryRule | None:
    """Make the rule of a handler; None: every error is tried again.

    Raises   ConfigError: these are no classes of errors.
    """
    only = None if retry_on is None else _names("retry_on", retry_on)
    never = frozenset[str]() if never_retry is None else _names("never_retry", never_retry)
    return None if only is None and not never else RetryRule(only, never)


def kinds_of(error: BaseException) -> tuple[str, ...]:
    """Return the names of an error's classes, its own first."""
    return tuple(_name(kind) for kind in type(error).__mro__ if issubclass(kind, BaseException))


def _names(field: str, given: ErrorTypes) -> frozenset[str]:
    kinds: Sequence[Any] = list(given) if isinstance(given, Sequence) else [given]
    names: list[str] = []
    for kind in kinds:
        if not isinstance(kind, type) or not issubclass(kind, BaseException):
            raise ConfigError(
                f"{field}={shown(given)} is not a class of errors",
                field=field,
                value=given,
                hint=f"give a class, or several: {field}=(ConnectionError, TimeoutError)",
            )
        names.append(_name(kind))
    return frozenset(names)


def _name(kind: type[BaseException]) -> str:
    module = MAIN if kind.__module__ == CHILDS_MAIN else kind.__module__
    return f"{module}.{kind.__qualname__}"
