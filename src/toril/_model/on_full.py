"""What an add does when its queue holds `max_waiting` jobs: be refused, or wait for room.

Never here: counting what waits, and waiting.
"""

from collections.abc import Mapping
from typing import Any, Literal, get_args

from toril.errors import ConfigError

from .checks import shown
from .times import Millis, to_ms

OnFull = Literal["raise", "wait"]
WORDS: tuple[str, ...] = get_args(OnFull)

DEFAULT_WAIT_MS = 60_000
"""How long an add waits that does not say so."""


def full_wait(before: Millis | None, given: Mapping[str, Any]) -> Millis | None:
    """Return how long an add waits for room, or None when it is refused at once.

    `before` is what holds when `given` says nothing.

    Raises   ConfigError: a word that is not known, or a time limit for an add that does not wait.
    """
    word = given.get("on_full", "raise" if before is None else "wait")
    if not isinstance(word, str) or word not in WORDS:
        raise ConfigError(
            f"on_full={shown(word)} is not known",
            field="on_full",
            value=word,
            hint=f"use one of {', '.join(WORDS)}",
        )
    if "full_timeout" not in given:
        usual = DEFAULT_WAIT_MS if before is None else before
        return usual if word == "wait" else None
    timeout = given["full_timeout"]
    if word == "raise":
        raise ConfigError(
            f"full_timeout={shown(timeout)} has no effect: the add does not wait",
            field="full_timeout",
            value=timeout,
            hint='add on_full="wait"',
        )
    return to_ms(timeout, field="full_timeout")
