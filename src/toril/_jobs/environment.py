"""Where jobs are: what was typed, what the code says, `TORIL_URL` and `TORIL_PREFIX`.

`toril worker --url` wins, then `Toril(url)` in the code, then the environment, then the default. The
same holds for the prefix. Never here: what a URL means.
"""

import logging
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from toril._model.suggest import nearest
from toril._model.urls import hide
from toril._store.connect import show_url

from .redis_settings import url_of_parts

DEFAULT_URL = "sqlite:///toril.db"
DEFAULT_PREFIX = "bull"
# The flags of `toril worker`, as a container sets them.
WORKER_FLAGS = (
    "QUEUES", "CONCURRENCY", "PROCESSES", "GRACE", "LOCK", "STALLED_INTERVAL", "MAX_STALLS", "NAME",
    "HEALTH", "IMPORT", "LOG_LEVEL",
)  # fmt: skip
KNOWN = (
    "TORIL_URL",
    "TORIL_PREFIX",
    "TORIL_APP",
    "TORIL_DASHBOARD_AUTH",
    *(f"TORIL_WORKER_{flag}" for flag in WORKER_FLAGS),
)

EVERYTHING = ""
_said: set[str] = set()
# Where `--url` and `--prefix` have sent apps: from the URL and prefix that their code gives.
_moved: dict[tuple[str, str], tuple[str, str]] = {}

log = logging.getLogger("toril.settings")


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What holds where the code does not say otherwise."""

    url: str = field(default=DEFAULT_URL, repr=False)
    prefix: str = DEFAULT_PREFIX


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read the settings; log a warning for a TORIL_ variable that does not exist."""
    for name in environment:
        if name.startswith("TORIL_") and name not in KNOWN:
            guess = nearest(name, KNOWN)
            facts = {"variable": name, "nearest": guess}
            log.warning("settings.unknown variable=%r nearest=%r", name, guess, extra=facts)
    return Settings(
        url=environment.get("TORIL_URL") or _redis_url(environment) or DEFAULT_URL,
        prefix=environment.get("TORIL_PREFIX") or DEFAULT_PREFIX,
    )


def _redis_url(environment: Mapping[str, str]) -> str | None:
    return url_of_parts(lambda part: environment.get(f"REDIS_{part.upper()}"))


def choose(url: str | None, prefix: str | None) -> Settings:
    """Return where an app keeps its jobs; log a warning if the code overrules the environment."""
    settings = read_settings(os.environ)
    chosen = Settings(url=url or settings.url, prefix=prefix or settings.prefix)
    pairs = (("TORIL_URL", "url", url), ("TORIL_PREFIX", "prefix", prefix))
    for variable, name, given in pairs:
        value = os.environ.get(variable)
        if given and value and value != given:
            _warn_overruled(variable, name, value, given)
    moved = _moved.get((chosen.url, chosen.prefix))
    return Settings(url=moved[0], prefix=moved[1]) if moved else chosen


def _warn_overruled(variable: str, name: str, value: str, given: str) -> None:
    key = f"{variable} {value} {given}"
    if not _said.isdisjoint((key, EVERYTHING)):
        return
    _said.add(key)
    show = show_url if name == "url" else hide
    log.warning(
        "settings.overruled %s=%s is not used: the code gives %s=%r; leave it out in Toril(...), or "
        "use toril worker --%s",
        variable,
        show(value),
        name,
        show(given),
        name,
        extra={"variable": variable},
    )


def move(old: tuple[str, str], new: tuple[str, str]) -> None:
    """Let apps whose code gives this URL and prefix keep their jobs elsewhere."""
    _moved[old] = new


def moves() -> list[tuple[str, str, str, str]]:
    """Return every move, to be repeated in a child process."""
    return [(*old, *new) for old, new in _moved.items()]


def hush() -> None:
    """Say nothing of where jobs are: another process has, or nobody wants to know."""
    _said.add(EVERYTHING)


def announce(url: str) -> None:
    """Say on the error output where jobs are kept when nobody said where, once a process."""
    if _said.isdisjoint((url, EVERYTHING)):
        _said.add(url)
        with suppress(OSError, ValueError, AttributeError):  # it may be closed
            sys.stderr.write(f"toril: jobs are kept in {url}\n")
