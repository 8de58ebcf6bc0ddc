"""What the verbs of a store take and answer: requests, claims, answers.

Never here: the verbs (protocol).
"""

from dataclasses import dataclass

import msgspec

from toril._model.notes import Pause
from toril._model.options import RateLimit
from toril._model.record import Claim
from toril._model.report import UNSET, Unset
from toril._model.schedule import Rule
from toril._model.times import Millis
from toril.errors import TorilError


class AddAnswer(msgspec.Struct, frozen=True, gc=False):
    """What became of a job handed in.

    Shape    word: added · duplicate (a job with this id exists; id is its) · deduplicated (the
             key is held by the job with this id) · stored-next (kept until that job has finished).
    """

    id: str
    word: str = "added"

    @property
    def created(self) -> bool:
        """Whether a job was stored."""
        return self.word == "added"


class ClaimRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Ask for up to `limit` jobs of one queue under one lock token.

    Shape    skip: names not wanted now (their cap is reached); at most 64 jobs are looked at.
             rate: the worker's own limit, used where the queue has none.
    """

    queue: str
    limit: int
    token: str
    lock_ms: Millis = 30_000
    worker: str | None = None
    skip: frozenset[str] = frozenset()
    rate: RateLimit | None = None


class Claimed(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs claimed from one queue, and when to ask again.

    Shape    next_ms: when the next delayed job is due or the rate limit ends, None if unknown.
             blocked: paused · concurrency · rate · damaged (a key or row of the
             queue cannot be used), or empty. now_ms: the store's clock.
    """

    queue: str
    jobs: tuple[Claim, ...] = ()
    next_ms: Millis | None = None
    blocked: str = ""
    now_ms: Millis = 0


class Finished(msgspec.Struct, frozen=True, kw_only=True):
    """One answer a decision (its word, or why it was refused), and what was claimed besides.

    Shape    words: completed · failed · delayed · waiting · prioritized · waiting-children ·
             active (no child is pending: it goes on).
    """

    words: tuple[str | TorilError, ...]
    claimed: tuple[Claimed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A job taken back from a worker that is gone; `fatal`: its next claim fails it."""

    queue: str
    id: str
    stalls: int
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line for a job's log; `keep` bounds the log to its newest lines."""

    queue: str
    id: str
    text: str
    keep: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """A schedule to be stored, and its first run.

    Shape    data and opts are JSON text. next_ms is the first run of a new schedule of this rule;
             None: nothing is armed (it never fires). owner: see `ScheduleInfo`. pause: arm
             nothing, and note this; None: resume; UNSET: it stays paused if it is.
    """

    queue: str
    id: str
    name: str
    rule: Rule
    data: str = "{}"
    opts: str = "{}"
    next_ms: Millis | None = None
    owner: str | None = None
    pause: Pause | Unset | None = UNSET
