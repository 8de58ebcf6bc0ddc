"""Read what a store holds: numbers, times and JSON that anybody may have written.

Nothing here raises anything but `Unreadable`, and nothing expands a text. The stores read stored
text through these functions only; `tests/arch` refuses other ways.
"""

from collections.abc import Callable
from typing import Any, Final, TypeVar, overload

import msgspec

from .checks import MAX_WHOLE

T = TypeVar("T")
D = TypeVar("D")

_MOST: Final = float(MAX_WHOLE)


class Unreadable(ValueError):
    """A stored text is not what it should be."""


@overload
def whole(text: str | float | None) -> int: ...
@overload
def whole(text: str | float | None, default: int) -> int: ...
@overload
def whole(text: str | float | None, default: None) -> int | None: ...
def whole(text: str | float | None, default: int | None = 0) -> int | None:
    """Return stored text as a whole number; what is not a number is `default`.

    A number beyond what JSON readers in other languages keep becomes the nearest that they keep.
    """
    if not text:
        return 0 if text == 0 else default
    try:
        number = int(text)
    except (ValueError, TypeError, OverflowError):
        try:
            given = float(text)
        except (ValueError, TypeError, OverflowError):
            return default
        if not -_MOST <= given <= _MOST:
            return _nearest(given, default)
        number = int(given)
    if -MAX_WHOLE <= number <= MAX_WHOLE:
        return number
    return MAX_WHOLE if number > 0 else -MAX_WHOLE


def _nearest(given: float, default: int | None) -> int | None:
    # Infinity is no number to count with, and neither is "nan", which is unequal to all.
    if given - given != 0:
        return default
    return MAX_WHOLE if given > 0 else -MAX_WHOLE


def flag(value: bool) -> int:
    """Return a truth as a store holds it: 1 or 0."""
    return 1 if value else 0


@overload
def reader() -> Callable[[str | bytes], Any]: ...
@overload
def reader(kind: type[T]) -> Callable[[str | bytes], T]: ...
def reader(kind: Any = Any) -> Callable[[str | bytes], Any]:
    """Make a function that reads JSON text as values of a type.

    Raises   Unreadable: it raises this for whatever is not such JSON, however deep it is nested.
    """
    decode: Callable[[str | bytes], Any] = msgspec.json.Decoder(kind).decode

    def read(text: str | bytes) -> Any:
        try:
            return decode(text)
        except RecursionError as error:
            raise Unreadable("it is nested too deeply") from error
        # ValueError: what is invalid, or half of a surrogate pair, and so cannot be encoded.
        except (ValueError, TypeError, OverflowError) as error:
            raise Unreadable(str(error)) from error

    return read


def or_else(read: Callable[[str | bytes], T], text: str | bytes | None, default: D) -> T | D:
    """Return what `read` makes of a text; `default` for none and for what it cannot read."""
    if not text:
        return default
    try:
        return read(text)
    except Unreadable:
        return default
