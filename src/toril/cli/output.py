"""What the command line writes: errors of one line, and logs, plain or friendly.

Never here: when.
"""

import logging
import sys
from typing import Any

import typer

from toril.errors import ConfigError

from .safe import coloured, safe

LONGEST = 2_000
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
    typer.echo(f"error: {safe(' '.join(str(error).split()), LONGEST)}", err=True)


def log_as(how: str) -> None:
    """Log to the error output: `how` is a level, or `friendly:` and a level.

    Raises   ConfigError: there is no such level.
    """
    style, _, level = how.rpartition(":")
    if level.lower() not in LEVELS:
        raise ConfigError(
            f"log-level={level!r} is no level",
            field="log-level",
            value=level,
            hint=f"one of: {', '.join(LEVELS)}",
        )
    handler = logging.StreamHandler(sys.stderr)
    friendly = style == FRIENDLY
    handler.setFormatter(Friendly(coloured(sys.stderr)) if friendly else logging.Formatter(PLAIN))
    logging.basicConfig(level=level.upper(), handlers=[handler])


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
            return f"{time}   {super().format(record)}"
        return f"{time} {self._painted(glyph, colour)} {self._sentence(vars(record))}"

    def _sentence(self, facts: dict[str, Any]) -> str:
        """Say what happened to a job: which, how long it took, why it failed."""
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
