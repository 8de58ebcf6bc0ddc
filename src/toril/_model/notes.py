"""What is noted: marks of versions, what people did, work on many jobs, alerts, pauses.

Never here: where notes are stored.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import msgspec

from toril.errors import ConfigError

from .checks import MAX_WHOLE, check_text, check_whole
from .stored import or_else, reader
from .times import Duration, Millis, at_ms, to_ms

NoteKind = Literal["marks", "audit", "operations", "alerts"]
KEPT: dict[NoteKind, int] = {"marks": 1_000, "audit": 10_000, "operations": 200, "alerts": 1_000}
"""How many notes of each kind are kept, the newest."""
REPLACED = frozenset[NoteKind](["operations", "alerts"])
"""Kinds whose notes have ids that somebody chose."""
LONGEST = 65_536
"""How many characters a note may have as JSON."""

OperationState = Literal["running", "done", "cancelled", "failed"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A note as it is stored: its id, when it was made, and JSON text."""

    id: str
    at_ms: Millis
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A moment that charts show, such as the start of a new version.

    Shape    by: who made it; a worker's name where it made the mark itself.
    Units    at_ms in ms since the epoch.
    """

    id: str = ""
    at_ms: Millis = 0
    label: str
    by: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """What somebody did.

    Shape    user: who. action: what, such as "retry". selector: to which jobs or queue. count: to how
             many. address: from where. before and after: JSON text of what was changed.
    Units    at_ms in ms since the epoch; 0 is now.
    """

    id: str = ""
    at_ms: Millis = 0
    user: str
    action: str
    selector: str = ""
    count: int | None = None
    result: str = ""
    address: str = ""
    reason: str = ""
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """Work on many jobs, and how far it is.

    Shape    id: chosen by whoever begins it. total: how many jobs; None: not known. rate: jobs per
             second, at most. detail: JSON text.
    Units    *_ms in ms since the epoch.
    """

    id: str
    action: str
    started_ms: Millis
    changed_ms: Millis
    selector: str = ""
    by: str = ""
    state: OperationState = "running"
    total: int | None = None
    done: int = 0
    skipped: int = 0
    failed: int = 0
    finished_ms: Millis | None = None
    rate: float | None = None
    detail: str | None = None


def check_note(kind: NoteKind, body: str) -> str:
    """Return the JSON of a note if it is not too long.

    Raises   ConfigError: it is.
    """
    if len(body) > LONGEST:
        raise ConfigError(
            f"a note for {kind} has {len(body):,} characters as JSON, more than {LONGEST:,}",
            field=kind,
            hint="shorten its texts",
        )
    return body


MOST_OF_A_PAUSE = 1_000
"""The longest name and reason of a pause, in characters."""

_stored = reader(tuple[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Who paused a queue, why, since when, and when it resumes without anybody's help.

    Units    ms since the epoch. since_ms None: at the time of the call. until_ms None: never.
    Raises   ConfigError: a text or time that cannot be stored.
    """

    by: str = ""
    reason: str = ""
    since_ms: Millis | None = None
    until_ms: Millis | None = None

    def __post_init__(self) -> None:
        check_text(self.by, "by", most=MOST_OF_A_PAUSE)
        check_text(self.reason, "reason", most=MOST_OF_A_PAUSE)
        for name in ("since_ms", "until_ms"):
            at: object = getattr(self, name)
            if at is not None:
                check_whole(at, name, 0)

    @property
    def text(self) -> str:
        """Its words as stores keep them."""
        return msgspec.json.encode((self.by, self.reason)).decode()


def make_pause(by: str, reason: str, until: datetime | Duration | None, now: Millis) -> Pause:
    """Make a note of what a caller says: `until` is a moment, or a duration from now.

    Raises   ConfigError: a value that cannot be stored.
    """
    ends: Millis | None = None
    if isinstance(until, datetime):
        ends = at_ms(until, field="until")
    elif until is not None:
        ends = now + to_ms(until, field="until")
    return Pause(by=by, reason=reason, until_ms=ends)


def read_pause(text: str | None, since_ms: Millis | None, until_ms: Millis | None) -> Pause | None:
    """Read what a store kept of a pause; None: nothing that can be read."""
    found = or_else(_stored, text, None)
    if found is None:
        return None
    by, reason = found
    return Pause(
        by=by[:MOST_OF_A_PAUSE],
        reason=reason[:MOST_OF_A_PAUSE],
        since_ms=_sound(since_ms),
        until_ms=_sound(until_ms),
    )


def _sound(at: Millis | None) -> Millis | None:
    return None if at is None else min(max(at, 0), MAX_WHOLE)
