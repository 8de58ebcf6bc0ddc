"""Durations, moments and rates: what people write, turned into whole milliseconds.

Here lives every conversion between the surface (seconds, `timedelta`, text, aware datetimes) and
the integer milliseconds that everything below works with. Nothing here may read a clock or guess
a time zone.
"""

import math
import re
import warnings
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_UP, Decimal
from typing import Final, NoReturn

from toril.errors import ConfigError

from .suggest import nearest

Millis = int
"""A whole number of milliseconds: a length, or the time since 1970-01-01 UTC."""

Duration = int | float | timedelta | str
"""A length of time as people give it: seconds, a `timedelta`, or text such as "1h30m"."""

MAX_MS: Final[Millis] = 2**53 - 1
"""The longest duration: the largest whole number that JSON readers in other languages keep."""

SUSPICIOUS_SECONDS: Final = 10_000
"""A bare number above this, given as a delay, was probably meant as milliseconds."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MS: Final = timedelta(milliseconds=1)
_FORMS: Final = 'seconds (1.5), a timedelta, or text such as "500ms", "5s", "2m", "1h30m", "1d"'
_MAX_TEXT: Final = 64

# Longest first: the order is also the one in which the parts of a text must come.
_UNITS: Final[dict[str, Millis]] = {
    "w": 604_800_000,
    "d": 86_400_000,
    "h": 3_600_000,
    "m": 60_000,
    "s": 1_000,
    "ms": 1,
}
_MISSPELT: Final[dict[str, str]] = {
    **dict.fromkeys(("week", "weeks", "wk", "wks"), "w"),
    **dict.fromkeys(("day", "days"), "d"),
    **dict.fromkeys(("hour", "hours", "hr", "hrs"), "h"),
    **dict.fromkeys(("minute", "minutes", "min", "mins"), "m"),
    **dict.fromkeys(("second", "seconds", "sec", "secs"), "s"),
    **dict.fromkeys(("millisecond", "milliseconds", "millis", "milli", "msec", "msecs"), "ms"),
}
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_TEXT: Final = re.compile(r"\s*".join(f"(?:({_NUMBER}){unit})?" for unit in _UNITS))
_LOOSE_PART: Final = re.compile(rf"\s*({_NUMBER})\s*([A-Za-z]*)[\s,]*")
_RATE: Final = re.compile(r"\s*([0-9]{1,15})\s*/\s*(\S.*?)\s*")


class DurationWarning(UserWarning):
    """A bare number was given where seconds are meant, and it looks like milliseconds."""


def to_ms(value: Duration, *, field: str) -> Millis:
    """Convert a duration to milliseconds, rounded to the nearest, a half up.

    Raises: ConfigError for what is negative, not finite, a bool, too long or no duration at all.
    """
    return _convert(value, field)


def delay_ms(value: Duration, *, field: str = "delay", stacklevel: int = 2) -> Millis:
    """Convert a delay to milliseconds, and warn about a number that looks like milliseconds.

    `stacklevel` is that of `warnings.warn`, seen from here: 2 blames the caller of this function.

    Raises: ConfigError as `to_ms` does.
    """
    converted = to_ms(value, field=field)
    if isinstance(value, int | float) and value > SUSPICIOUS_SECONDS:
        warnings.warn(
            f"{field}={value!r} means seconds, that is {describe(converted)}. If milliseconds "
            f'were meant, write "{value:.15g}ms"; if not, write "{value:.15g}s"',
            DurationWarning,
            stacklevel=stacklevel,
        )
    return converted


def at_ms(moment: datetime, *, field: str) -> Millis:
    """Convert an aware datetime to milliseconds since 1970-01-01 UTC, rounded down.

    Raises: ConfigError for a naive datetime, and for one before 1970.
    """
    return _convert_moment(moment, field)


def moment(ms: Millis) -> datetime:
    """Convert milliseconds since 1970-01-01 UTC to a datetime in UTC.

    Raises: ConfigError when no datetime can hold it.
    """
    try:
        return _EPOCH + timedelta(milliseconds=ms)
    except OverflowError as error:
        message = f"ms={ms} lies outside the years 1 to 9999"
        raise ConfigError(message, field="ms", value=ms) from error


def describe(ms: Millis) -> str:
    """Report a duration in words that lose nothing: "1 h 30 min", "250 ms"."""
    rest = abs(ms)
    parts: list[str] = []
    for name, size in _UNITS.items():
        if name == "w":
            continue  # "14 d" reads better than "2 w", and nobody writes weeks and days
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {'min' if name == 'm' else name}")
    return ("-" if ms < 0 else "") + (" ".join(parts) or "0 ms")


def parse_rate(text: str) -> tuple[int, Millis]:
    """Read a rate such as "200/60s", "10/s" or "100/1h" as (most, window in milliseconds).

    Raises: ConfigError for a number or a window below 1, and for what is no rate.
    """
    return _parse_rate(text)


def rate_text(most: int, window_ms: Millis) -> str:
    """Write a rate so that `parse_rate` reads it, and the same rate always the same way."""
    return f"{most}/{describe(window_ms).replace(' min', 'm').replace(' ', '')}"


# The checks take `object`: callers without a type checker pass anything.


def _convert(value: object, field: str) -> Millis:
    if isinstance(value, bool):
        _refuse(value, field, "a bool is not a duration")
    if isinstance(value, int | float):
        return _from_seconds(value, field)
    if isinstance(value, timedelta):
        # Whole microseconds: total_seconds() would lose digits of a long timedelta.
        micros = value // timedelta(microseconds=1)
        return _bounded(-1 if micros < 0 else (micros + 500) // 1000, value, field)
    if not isinstance(value, str):
        _refuse(value, field, f"a {type(value).__name__} is not a duration")
    return _from_text(value, field)


def _from_seconds(value: int | float, field: str) -> Millis:
    if isinstance(value, float) and not math.isfinite(value):
        _refuse(value, field, "a duration is finite")
    if abs(value) > MAX_MS:
        return _bounded(MAX_MS + 1 if value > 0 else -1, value, field)
    ms = value * 1000 if isinstance(value, int) else math.floor(value * 1000 + 0.5)
    return _bounded(-1 if value < 0 else ms, value, field)


def _from_text(text: str, field: str) -> Millis:
    match = _TEXT.fullmatch(text.strip()) if len(text) <= _MAX_TEXT else None
    if match is None or not match[0]:
        _refuse_text(text, field)
    counts = zip(match.groups(default="0"), _UNITS.values(), strict=True)
    total = sum((Decimal(count) * size for count, size in counts), Decimal(0))
    return _bounded(int(total.to_integral_value(ROUND_HALF_UP)), text, field)


def _bounded(ms: Millis, value: object, field: str) -> Millis:
    if ms < 0:
        _refuse(value, field, "a duration is not negative")
    if ms > MAX_MS:
        _refuse(value, field, "it is too long")
    return ms


def _convert_moment(value: object, field: str) -> Millis:
    if not isinstance(value, datetime):
        message = f"{field}={value!r} is no datetime"
        raise ConfigError(message, field=field, value=value, hint="give an aware datetime")
    if value.utcoffset() is None:
        raise ConfigError(
            f"{field}={value!r} has no time zone, so it names no moment",
            field=field,
            value=value,
            hint="add one: .replace(tzinfo=UTC), .astimezone(), or datetime.now(UTC)",
        )
    ms = (value - _EPOCH) // _MS
    if ms < 0:
        message = f"{field}={value!r} lies before 1970"
        raise ConfigError(message, field=field, value=value, hint="give a later moment")
    return ms


def _parse_rate(text: object) -> tuple[int, Millis]:
    match = _RATE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        _refuse_rate(text, "it is no rate")
    # A bare unit is one of it: "10/s" is "10/1s".
    window = match[2] if match[2][:1] in "0123456789-+." else f"1{match[2]}"
    try:
        window_ms = to_ms(window, field="window")
    except ConfigError as error:
        nearest = _nearest_text(window)
        _refuse_rate(text, "its window is no duration", nearest and f"{match[1]}/{nearest}", error)
    if int(match[1]) < 1 or window_ms < 1:
        _refuse_rate(text, "both its number and its window must be at least 1")
    return int(match[1]), window_ms


def _refuse(value: object, field: str, reason: str, nearest: str | None = None) -> NoReturn:
    message = f"{field}={value!r}: {reason}"
    hint = f'did you mean "{nearest}"? ' if nearest else ""
    raise ConfigError(message, field=field, value=value, hint=f"{hint}accepted: {_FORMS}")


def _refuse_text(text: str, field: str) -> NoReturn:
    if len(text) > _MAX_TEXT:
        _refuse(f"{text[:_MAX_TEXT]}…", field, "the text is too long for a duration")
    if text.lstrip().startswith(("-", "\N{MINUS SIGN}")):
        _refuse(text, field, "a duration is not negative")
    _refuse(text, field, "the text is not a duration", _nearest_text(text))


def _refuse_rate(
    text: object, reason: str, nearest: str | None = None, cause: Exception | None = None
) -> NoReturn:
    hint = f'did you mean "{nearest}"? ' if nearest else ""
    raise ConfigError(
        f"rate={text!r}: {reason}",
        field="rate",
        value=text,
        hint=f'{hint}accepted: a number, "/" and a window, such as "200/60s", "10/s", "100/1h"',
    ) from cause


def _nearest_text(text: str) -> str | None:
    """Guess the duration that a text was meant to be, or give None."""
    counts: dict[str, str] = {}
    position = 0
    while position < len(text):
        match = _LOOSE_PART.match(text, position)
        unit = _nearest_unit(match[2]) if match else None
        if match is None or unit is None or unit in counts:
            return None
        counts[unit] = match[1]
        position = match.end()
    return "".join(f"{counts[unit]}{unit}" for unit in _UNITS if unit in counts) or None


def _nearest_unit(name: str) -> str | None:
    lower = name.lower()
    if not lower or lower in _UNITS:
        return lower or "s"
    close = nearest(lower, _MISSPELT, cutoff=0.7)
    return None if close is None else _MISSPELT[close]
