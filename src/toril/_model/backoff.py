"""How long a failed job waits before its next attempt.

The three kinds of backoff, the arithmetic of a wait, and the form in which a backoff is stored
(BullMQ's). Randomness is an argument. A custom backoff is stored by name only; its function
belongs to the worker.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from toril.errors import ConfigError

from . import times
from .checks import MAX_WHOLE, check_text, shown
from .times import MAX_MS, Duration, Millis

_BUILT_IN: Final = frozenset({"fixed", "exponential"})


@dataclass(frozen=True, slots=True, init=False)
class Fixed:
    """Wait the same time before every further attempt.

    Args:
        delay: A duration: seconds, a `timedelta`, or text such as "5s".
        jitter: The random part of each wait, 0 to 1.

    Raises:
        ConfigError: The delay is no duration, or the jitter is not between 0 and 1.

    Example:
        ```python
        @app.task(attempts=3, backoff=Fixed("5s"))
        ```
    """

    delay_ms: Millis
    jitter: float

    def __init__(self, delay: Duration, jitter: float = 0.0) -> None:
        # Written by hand so that a duration comes in and whole milliseconds are what is kept.
        object.__setattr__(self, "delay_ms", times.delay_ms(delay, stacklevel=3))
        object.__setattr__(self, "jitter", _share(jitter))


@dataclass(frozen=True, slots=True, init=False)
class Exponential:
    """Wait `delay`, then twice, four times, eight times as long, at most `maximum`.

    Args:
        delay: The first wait, a duration: seconds, a `timedelta`, or text such as "1s".
        jitter: The random part of each wait, 0 to 1.
        maximum: The longest wait, a duration; None: no limit.

    Raises:
        ConfigError: A value is no duration, the jitter is not between 0 and 1, or `maximum` is
            shorter than `delay`.

    Example:
        ```python
        @app.task(attempts=5, backoff=Exponential("1s", jitter=0.5, maximum="10m"))
        ```
    """

    delay_ms: Millis
    jitter: float
    maximum_ms: Millis | None

    def __init__(
        self, delay: Duration, jitter: float = 0.0, maximum: Duration | None = None
    ) -> None:
        first = times.delay_ms(delay, stacklevel=3)
        most = None if maximum is None else times.delay_ms(maximum, field="maximum", stacklevel=3)
        if most is not None and most < first:
            raise ConfigError(
                f"maximum={maximum!r} is shorter than delay={delay!r}",
                field="maximum",
                value=maximum,
                hint="raise maximum, or use Fixed for waits that never grow",
            )
        object.__setattr__(self, "delay_ms", first)
        object.__setattr__(self, "jitter", _share(jitter))
        object.__setattr__(self, "maximum_ms", most)


@dataclass(frozen=True, slots=True)
class Custom:
    """Use the backoff function of the worker (`app.worker(backoff=...)`).

    Args:
        name: The name that is stored with the job, as in BullMQ.

    Example:
        ```python
        await queue.add("import", {}, attempts=3, backoff=Custom())
        ```
    """

    name: str = "custom"

    def __post_init__(self) -> None:
        _check_name(self.name)


Backoff = Fixed | Exponential | Custom


def delay(backoff: Backoff, attempt: int, random: Callable[[], float]) -> Millis:
    """Return the wait in ms after the failure of `attempt` (1 for the first), 0 for none.

    `random` returns a number from 0 to below 1, and is only called if there is jitter.

    Raises:
        ConfigError: A custom backoff (only the worker knows its function), or an attempt below 1.
    """
    whole = _whole(backoff, attempt)
    if isinstance(backoff, Custom) or not backoff.jitter:
        return whole
    # In this order, so that the same random number gives the same wait as in Node.
    part = random() * whole * backoff.jitter + whole * (1 - backoff.jitter)
    return min(math.floor(part), whole)


def preview(backoff: Backoff, attempts: int) -> list[Millis]:
    """Return the waits in ms between this many attempts, without jitter.

    Raises:
        ConfigError: A custom backoff.
    """
    return [_whole(backoff, attempt) for attempt in range(1, attempts)]


def to_wire(backoff: Backoff) -> dict[str, object]:
    """Return the stored form: BullMQ's, with our own `max` where a maximum is set."""
    if isinstance(backoff, Custom):
        return {"type": backoff.name}
    kind = "fixed" if isinstance(backoff, Fixed) else "exponential"
    wire: dict[str, object] = {"type": kind, "delay": backoff.delay_ms}
    if backoff.jitter:
        wire["jitter"] = backoff.jitter
    if isinstance(backoff, Exponential) and backoff.maximum_ms is not None:
        wire["max"] = backoff.maximum_ms
    return wire


def from_wire(value: object) -> Backoff:
    """Read the stored form; a bare number is a fixed wait, an unknown type is custom.

    Raises: ConfigError for what BullMQ could not have stored.
    """
    if isinstance(value, int | float):
        return Fixed(_wire_ms(value, "backoff"))
    if not isinstance(value, dict):
        message = f"backoff={shown(value)} is neither a number nor an object with a type"
        raise ConfigError(message, field="backoff", value=value)
    # Checked item by item below: JSON gives no more than `object`.
    fields: dict[object, object] = value  # pyright: ignore[reportUnknownVariableType]
    kind = fields.get("type")
    if not isinstance(kind, str) or kind not in _BUILT_IN:
        return Custom(_check_name(kind))
    first = _wire_ms(fields.get("delay"), "backoff.delay")
    jitter = _share(fields.get("jitter") or 0)
    if kind == "fixed":
        return Fixed(first, jitter)
    most = fields.get("max")
    return Exponential(first, jitter, None if most is None else _wire_ms(most, "backoff.max"))


def _whole(backoff: Backoff, attempt: int) -> Millis:
    """Return the wait without jitter."""
    if attempt < 1:
        message = f"attempt={attempt} is below 1, the number of the first attempt"
        raise ConfigError(message, field="attempt", value=attempt)
    if isinstance(backoff, Custom):
        raise ConfigError(
            f"backoff={backoff.name!r} is custom, and only the worker's function knows its waits",
            field="backoff",
            value=backoff.name,
            hint=f"give the worker a backoff function named {backoff.name!r}",
        )
    if isinstance(backoff, Fixed):
        return backoff.delay_ms
    most = MAX_MS if backoff.maximum_ms is None else backoff.maximum_ms
    # 2**53 takes any delay beyond MAX_MS, so a larger power would only cost memory.
    return min(backoff.delay_ms << min(attempt - 1, 53), most)


def _share(jitter: object) -> float:
    if isinstance(jitter, int | float) and not isinstance(jitter, bool) and 0 <= jitter <= 1:
        return float(jitter)
    raise ConfigError(
        f"jitter={shown(jitter)} is not a share from 0 to 1",
        field="jitter",
        value=jitter,
        hint="0 leaves nothing to chance, 0.5 half of the wait, 1 all of it",
    )


def _check_name(name: object) -> str:
    if isinstance(name, str) and name and name not in _BUILT_IN:
        return check_text(name, "backoff", most=MAX_WHOLE)
    raise ConfigError(
        f"backoff type {shown(name)} is no name of a custom backoff",
        field="backoff",
        value=name,
        hint='use Fixed or Exponential, or a name of your own such as "custom"',
    )


def _wire_ms(value: object, field: str) -> Duration:
    """Check a number of milliseconds from the wire and give it as text, which is exact."""
    if value is None:
        return 0
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_MS:
        return f"{value if isinstance(value, int) else math.floor(value + 0.5)}ms"
    message = f"{field}={shown(value)} is no number of milliseconds"
    raise ConfigError(message, field=field, value=value, hint="0 or more")
