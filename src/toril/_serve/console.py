"""What processes of toril write to the terminal: errors of one line, and logs, plain or friendly."""

import logging
import os
import sys
from typing import Any, TextIO

import typer

from toril._model.printable import safe, safe_lines
from toril._model.urls import hide, hide_words
from toril.errors import ConfigError

LONGEST = 2_000
LONGEST_LOGGED = 20_000
LEVELS = ("debug", "info", "warning", "error")
PLAIN = "%(asctime)s %(levelname)-8s %(message)s"
# The friendly log begins with this letter.
FRIENDLY = "friendly"
_GLYPHS = {
    "job.started": ("·", "bright_black"),
    "job.completed": ("✓", "green"),
    "job.failed": ("✗", "red"),
    "job.attempt_failed": ("↻", "yellow"),
    "job.put_back": ("↩", "yellow"),
    "job.stalled": ("!", "yellow"),
}


def show_error(error: BaseException) -> None:
    """Write an error as one line."""
    text = hide_words(str(error), typed())
    typer.echo(f"error: {safe(' '.join(text.split()), LONGEST)}", err=True)


def typed() -> list[str]:
    """Return what was typed, and what the environment says: errors may repeat such words."""
    return [*sys.argv[1:], os.environ.get("TORIL_URL", "")]


def coloured(stream: TextIO) -> bool:
    """Return whether to write colours to this: a terminal whose user did not ask for none."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def log_as(how: str) -> None:
    """Log to the error output: `how` is a level, or `friendly:` and a level.

    Raises   ConfigError: there is no such level.
    """
    style, _, level = how.rpartition(":")
    if level.lower() not in LEVELS:
        raise ConfigError(
            f"log-level={hide(level)!r} is no level",
            field="log-level",
            value=hide(level),
            hint=f"one of: {', '.join(LEVELS)}",
        )
    handler = logging.StreamHandler(sys.stderr)
    friendly = style == FRIENDLY
    handler.setFormatter(Friendly(coloured(sys.stderr)) if friendly else Plain())
    logging.basicConfig(level=level.upper(), handlers=[handler])


class Plain(logging.Formatter):
    """Writes every line, and makes what others said in it safe for a terminal."""

    def __init__(self) -> None:
        super().__init__(PLAIN)

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and what follows it."""
        return _safe_text(super().format(record))


class Friendly(logging.Formatter):
    """Writes what happens to jobs for a person who watches, other lines as they are."""

    def __init__(self, colour: bool) -> None:
        super().__init__()
        self._colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """Write one line, and what follows it."""
        event = str(record.msg).partition(" ")[0]
        time = self._painted(self.formatTime(record, "%H:%M:%S"), "bright_black")
        glyph, colour = _GLYPHS.get(event, ("", ""))
        if not glyph:
            return f"{time}   {_safe_text(super().format(record))}"
        return f"{time} {self._painted(glyph, colour)} {self._sentence(vars(record))}"

    def _sentence(self, facts: dict[str, Any]) -> str:
        """Return what happened to a job: which, how long it took, why it failed."""
        name = f"{facts.get('job_name', '')} {facts.get('queue')}:{facts.get('job_id')}"
        words = [safe(name.strip(), LONGEST)]
        if facts.get("seconds") is not None:
            words.append(f"{facts['seconds'] * 1000:.0f} ms")
        if facts.get("word") in ("delayed", "waiting", "prioritized"):
            words.append(f"→ {facts['word']}")
        if facts.get("reason"):
            words.append(self._painted(safe(facts["reason"], LONGEST), "red"))
        return "  ".join(words)

    def _painted(self, text: str, colour: str) -> str:
        return typer.style(text, fg=colour) if self._colour else text


def _safe_text(text: str) -> str:
    return "\n".join(safe_lines(text.expandtabs(), LONGEST_LOGGED))
