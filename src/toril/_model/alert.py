"""Alerts: what is watched, and what somebody is told when it is wrong and when that is over.

Never here: looking at a store, and telling.
"""

from dataclasses import dataclass, replace
from typing import Literal

import msgspec

from .times import Millis

AlertKind = Literal[
    "failure_rate", "oldest_waiting", "dead_letters", "workers_gone", "missed_schedules"
]
AlertState = Literal["firing", "resolved"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """Something that is wrong, or was.

    Attributes:
        kind: What is watched.
        state: "firing", or "resolved" when it is over.
        subject: The queue, or "queue:id" of a schedule; "" for the workers as a whole.
        message: What is wrong, in one sentence.
        value: What was seen: a share, seconds, or a number.
        limit: What it is compared with.
        since_ms: When it was seen first, in ms since 1970.
        at_ms: When it was looked at, in ms since 1970.
    """

    kind: AlertKind
    state: AlertState = "firing"
    subject: str = ""
    message: str
    value: float
    limit: float
    since_ms: Millis = 0
    at_ms: Millis = 0


class Incident(msgspec.Struct, frozen=True):
    """An alert as it is stored.

    Shape    told: whether it was sent in this state.
    """

    alert: Alert
    told: bool = False

    def is_pending(self, now: Millis) -> bool:
        """Return whether it must last longer before anybody is told."""
        alert = self.alert
        waits = alert.kind == "workers_gone" and alert.subject and alert.state == "firing"
        return bool(waits) and not self.told and now - alert.since_ms < alert.limit * 1000


def after(before: Incident | None, found: Alert | None, now: Millis) -> Incident | None:
    """Return what to store of an alert: `found` is what was seen now, None: nothing is wrong."""
    if found is not None:
        if before is None or before.alert.state == "resolved":
            return Incident(replace(found, since_ms=now, at_ms=now))
        if before.told:
            return before
        return Incident(replace(found, since_ms=before.alert.since_ms, at_ms=now))
    if before is None or before.alert.state == "resolved":
        return before
    # Nobody was told that it began, so nobody is told that it is over.
    return Incident(replace(before.alert, state="resolved", at_ms=now), told=not before.told)


class Lead(msgspec.Struct, frozen=True):
    """Which process looks after the alerts of an app, and until when (ms since the epoch)."""

    by: str
    until_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """What is watched, and from which value on it is wrong; None: it is not watched.

    Units    *_ms in ms.
    """

    failure_rate: float | None = None
    oldest_waiting_ms: Millis | None = None
    dead_letters: int | None = None
    workers_gone_ms: Millis | None = None
    missed_schedules_ms: Millis | None = None
    queues: tuple[str, ...] = ()
