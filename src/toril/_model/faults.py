"""Why attempts failed, so that failures of one cause are found together.

A fault has the type of the error, the innermost function of the user's own code, and its message
without what differs from job to job. Never here: looking at a traceback (isolation).
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from .checks import MAX_WHOLE
from .times import Millis

MOST_GROUPS = 500
"""How many groups of errors a queue keeps: those that were seen last."""
MOST_IDS = 10_000
"""How many jobs of a group are known, the newest."""
SAMPLES = 20
MOST_POINTS = 144
POINT_MS: Millis = 300_000
LONGEST_MESSAGE = 300
LONGEST_NAME = 200

_DIFFERS = re.compile(
    r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
    r"|\b0[xX][0-9a-fA-F]+"
    r"|\b(?=[0-9a-f]*[0-9])[0-9a-f]{8,}\b"
    r"|(?<!\w)'[^'\n]*'(?!\w)"
    r'|"[^"\n]*"'
    r"|\d+(?:[.,:]\d+)*"
)


def blank(message: str) -> str:
    """Return the first line of a message with numbers, hex, quoted text and UUIDs as "#".

    Example:
        ```python
        blank("user 481: no such mailbox 'ada'")  # user #: no such mailbox #
        ```
    """
    first = message.strip().partition("\n")[0][: 4 * LONGEST_MESSAGE]
    return _DIFFERS.sub("#", first)[:LONGEST_MESSAGE]


class Cause(msgspec.Struct, frozen=True, array_like=True):
    """The cause of a failed attempt.

    Shape    kind: the type of the error, or how the attempt ended. place: "module:function", or the
             name of the job. message: see `blank`. version: of the worker's code.
    """

    kind: str
    place: str
    message: str
    version: str | None = None

    @property
    def fingerprint(self) -> str:
        """Twelve hex digits that failures of one cause share."""
        text = "\x00".join((self.kind, self.place, self.message))
        return hashlib.blake2b(text.encode("utf-8", "replace"), digest_size=6).hexdigest()


def cause(kind: str, place: str, message: str) -> Cause:
    """Return a cause with its texts cut to what is stored."""
    return Cause(kind[:LONGEST_NAME], place[:LONGEST_NAME], blank(message))


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorGroup:
    """Failed attempts of one queue that have one cause.

    Shape    kind: the type of the error. place: "module:function" of the innermost frame of the
             user's own code. message: with numbers, quoted text and ids as "#". tasks and versions:
             where it was seen, the newest last. sample_ids: jobs, the newest first. points: how many
             attempts failed in five minutes, by the start of these; the newest 144.
    """

    queue: str
    fingerprint: str
    kind: str
    place: str
    message: str
    count: int
    first_ms: Millis
    last_ms: Millis
    tasks: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()
    sample_ids: tuple[str, ...] = ()
    points: tuple[tuple[Millis, int], ...] = field(default=(), repr=False)


class StoredGroup(msgspec.Struct):
    """A group as it is stored: JSON with these keys.

    Shape    k kind, p place, m message, n count, a first, z last, t tasks, v versions, i ids, b counts
             by the number of five minutes since 1970.
    """

    k: str = ""
    p: str = ""
    m: str = ""
    n: int = 0
    a: Millis = 0
    z: Millis = 0
    t: list[str] = []
    v: list[str] = []
    i: list[str] = []
    b: dict[str, int] = {}

    def add(self, fault: Cause, job: str, task: str, at: Millis) -> None:
        """Add a failed attempt."""
        self.k, self.p, self.m = fault.kind, fault.place, fault.message
        self.n += 1
        self.a, self.z = min(self.a or at, at), min(max(self.z, at), MAX_WHOLE)
        self.t = _newest(self.t, task)
        if fault.version is not None:
            self.v = _newest(self.v, fault.version)
        self.i = [job, *[each for each in self.i if each != job]][:SAMPLES]
        bucket = str(at // POINT_MS)
        self.b[bucket] = self.b.get(bucket, 0) + 1
        if len(self.b) > MOST_POINTS:
            del self.b[min(self.b)]

    def group(self, queue: str, fingerprint: str) -> ErrorGroup:
        """Return the group as a value."""
        points = sorted((int(at[:12]) * POINT_MS, n) for at, n in self.b.items() if at.isdigit())
        return ErrorGroup(
            queue=queue,
            fingerprint=fingerprint,
            kind=self.k,
            place=self.p,
            message=self.m,
            count=self.n,
            first_ms=self.a,
            last_ms=self.z,
            tasks=tuple(self.t),
            versions=tuple(self.v),
            sample_ids=tuple(self.i),
            points=tuple(points),
        )


def _newest(known: Iterable[str], name: str) -> list[str]:
    return [*[each for each in known if each != name], name][-SAMPLES:]
