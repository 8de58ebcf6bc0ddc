"""Check values that callers pass in, before anything else happens to them.

Every check returns the value, or raises a ConfigError that names the field, the value and the fix.
Never here: which fields there are.
"""

import reprlib
from typing import TypeVar

from toril.errors import ConfigError

T = TypeVar("T")

MAX_TEXT = 4_096
"""The longest name or key, in characters: none needs more, and each is stored many times."""

MAX_WHOLE = 2**53 - 1
"""The largest whole number that JSON readers in other languages keep."""


def shown(value: object) -> str:
    """Return the value as errors show it: shortened, and printable whatever it is."""
    try:
        return reprlib.repr(value)
    except Exception:
        return f"<{type(value).__name__}>"


def check_text(value: object, field: str, *, hint: str = "", most: int = MAX_TEXT) -> str:
    """Return the value as plain text that every store can hold.

    Raises   ConfigError: it is not text, is too long, or cannot be encoded as UTF-8.
    """
    if not isinstance(value, str):
        raise ConfigError(
            f"{field}={shown(value)} must be text, not {_kind(value)}",
            field=field,
            value=value,
            hint=hint or f"pass a str, such as {field}=str(...)",
        )
    if len(value) > most:
        raise ConfigError(
            f"{field}={shown(value)} has {len(value):,} characters, at most {most:,} are allowed",
            field=field,
            value=value,
            hint="use a shorter text",
        )
    # A subclass, such as a member of a text Enum, may print as something else.
    return check_utf8(value if type(value) is str else str.__str__(value), field)


def check_utf8(text: str, field: str) -> str:
    """Return the text if it can be encoded.

    Raises   ConfigError: it has half of a surrogate pair, as undecodable file names have.
    """
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ConfigError(
                f"{field}={shown(text)} is not valid Unicode text: it cannot be encoded as UTF-8",
                field=field,
                value=text,
                hint='replace the character, for example: text.encode("utf-8", "replace").decode()',
            ) from error
    return text


def check_whole(value: object, field: str, low: int, high: int = MAX_WHOLE) -> int:
    """Return the value as a whole number within bounds.

    Raises   ConfigError.
    """
    if isinstance(value, int) and not isinstance(value, bool) and low <= value <= high:
        return int(value)
    open_ended = high == MAX_WHOLE and not (isinstance(value, int) and value > high)
    bounds = f"of at least {low}" if open_ended else f"between {low} and {high}"
    raise ConfigError(
        f"{field}={shown(value)} must be a whole number {bounds}", field=field, value=value
    )


def check_share(value: object, field: str) -> float:
    """Return the value as a share: above 0, and at most 1.

    Raises   ConfigError.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1:
        return float(value)
    raise ConfigError(
        f"{field}={shown(value)} is not a share",
        field=field,
        value=value,
        hint="give a number above 0 and at most 1, such as 0.2",
    )


def check_flag(value: object, field: str) -> bool:
    """Return the value if it is True or False.

    Raises   ConfigError.
    """
    if isinstance(value, bool):
        return value
    raise ConfigError(f"{field}={shown(value)} must be True or False", field=field, value=value)


def check_kind(value: object, kind: type[T], field: str, *, hint: str = "") -> T:
    """Return the value if it is one of this class.

    Raises   ConfigError.
    """
    if isinstance(value, kind):
        return value
    raise ConfigError(
        f"{field}={shown(value)} must be a {kind.__name__}, not {_kind(value)}",
        field=field,
        value=value,
        hint=hint or None,
    )


def check_list(value: object, field: str, *, hint: str) -> None:
    """Check that the value holds items, and is not text or a mapping.

    Raises   ConfigError.
    """
    if isinstance(value, str | bytes) or not hasattr(value, "__iter__") or hasattr(value, "keys"):
        raise ConfigError(
            f"{field}={shown(value)} must be a list", field=field, value=value, hint=hint
        )


def _kind(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"an {name}" if name[0] in "aeiouAEIOU" else f"a {name}"
