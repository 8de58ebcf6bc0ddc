"""What the environment says: `TORIL_URL` and `TORIL_PREFIX`, and warnings about the rest.

Never here: what a URL means.
"""

import difflib
import logging
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

DEFAULT_URL = "sqlite:///toril.db"
DEFAULT_PREFIX = "bull"
KNOWN = ("TORIL_URL", "TORIL_PREFIX")

EVERYTHING = ""
_said: set[str] = set()

log = logging.getLogger("toril.settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds where the code does not say otherwise."""

    url: str = DEFAULT_URL
    prefix: str = DEFAULT_PREFIX


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings; log a warning for a TORIL_ variable that does not exist."""
    for name in environment:
        if name.startswith("TORIL_") and name not in KNOWN:
            guess = next(iter(difflib.get_close_matches(name, KNOWN, n=1)), None)
            facts = {"variable": name, "nearest": guess}
            log.warning("settings.unknown variable=%r nearest=%r", name, guess, extra=facts)
    return Settings(
        url=environment.get("TORIL_URL") or DEFAULT_URL,
        prefix=environment.get("TORIL_PREFIX") or DEFAULT_PREFIX,
    )


def hush() -> None:
    """Let `announce` say nothing: another process has."""
    _said.add(EVERYTHING)


def announce(url: str) -> None:
    """Say on the error output where jobs are kept when nobody said where, once a process."""
    if _said.isdisjoint((url, EVERYTHING)):
        _said.add(url)
        with suppress(OSError, ValueError, AttributeError):  # it may be closed
            sys.stderr.write(f"toril: jobs are kept in {url}\n")
