"""What is noted of the whole store: marks of versions, what people did, work on many jobs, alerts.

Never here: where notes are stored.
"""

from dataclasses import dataclass
from typing import Literal

from toril.errors import ConfigError

from .times import Millis

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
