"""What every page is given: the app, its rules, and one request of a user.

Never here: HTTP (server), and what a page shows.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from toril import Queue, Task, Toril
from toril.types import AuditEntry, Record

from .access import Access
from .hub import Hub
from .kept import Kept
from .operations import Operations
from .problems import RefusedError, not_found
from .redact import Redactor, hide_in
from .rows import JobRow, QueueSummary, job_row, now_ms, secrets_of
from .sampler import Sampler, Snapshot, snapshot_rows

log = logging.getLogger("toril.dashboard")

JobLink = Callable[[Record], "tuple[str, str] | None"]
OnAction = Callable[[AuditEntry], object]


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """Who did what.

    Attributes:
        address: Where the request came from.
        selector: What it was done to: a job, a queue, or a search.
        count: How many jobs it was about.
        before: What held before, of a setting: JSON text; `after` likewise.
    """

    at_ms: int
    user: str
    address: str
    action: str
    selector: str
    count: int | None = None
    result: str = ""
    reason: str = ""
    before: str | None = None
    after: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """The parts of one dashboard.

    Attributes:
        secured: Whether an `auth` was given; without one nothing can be changed.
        title: The name that its pages show.
        environment: Such as "production"; shown in a badge.
        job_link: Returns an address and a label of a job's page in the application.
        on_action: Called with the audit entry of every action.
    """

    app: Toril
    sampler: Sampler
    hub: Hub
    operations: Operations
    redactor: Redactor
    secured: bool
    kept: Kept = field(default_factory=Kept)
    title: str = "toril"
    environment: str = ""
    job_link: JobLink | None = None
    on_action: OnAction | None = None
    started_ms: int = field(default_factory=now_ms)

    def task(self, queue: str, name: str) -> Task[..., Any] | None:
        """Return the task of jobs with this name, if the app that runs here defines it."""
        return next((t for t in self.app.tasks() if (t.queue, t.name) == (queue, name)), None)

    def rows(self, snapshot: Snapshot) -> list[QueueSummary]:
        """Return the queues as rows of a table."""
        return snapshot_rows(snapshot)

    def secrets(self, record: Record) -> list[str] | None:
        """Return what is secret in a job's data, to hide it elsewhere."""
        return secrets_of(record, self.redactor)

    def now(self) -> int:
        """Return the time in ms since 1970."""
        return now_ms()

    def row(self, record: Record) -> JobRow:
        """Return a job as a row of a table."""
        return job_row(record, self.redactor, now_ms())


@dataclass(frozen=True, slots=True, kw_only=True)
class PageCall:
    """One request: what it is about, and who asks.

    Attributes:
        query: The words of the address.
        address: Where the request came from, for the audit log.
    """

    board: Board
    access: Access
    query: Mapping[str, str] = field(default_factory=dict[str, str])
    address: str = ""

    @property
    def app(self) -> Toril:
        """The app that the dashboard shows."""
        return self.board.app

    @property
    def queues(self) -> frozenset[str] | None:
        """The only queues that the user may see; None: all."""
        return None if self.access.queues is None else frozenset(self.access.queues)

    def need(self, permission: str, queue: str | None = None) -> None:
        """Check that the user may do this, to this queue.

        Raises   RefusedError: the permission is missing; a queue that is not shown is not there.
        """
        if queue is not None and not self.access.sees(queue):
            raise no_queue(queue)
        if self.access.may(permission):
            return
        if not self.board.secured:
            message = "this dashboard is read-only: it was started without auth"
            raise RefusedError(403, "permission", message, hint="start it with --auth, or auth=…")
        raise RefusedError(
            403, "permission", f"{self.access.user} does not have the permission {permission!r}"
        )

    async def audit(self, action: str, selector: str, **facts: Any) -> None:
        """Note who did what: in the log, in the store, and for `on_action`."""
        for name in ("before", "after"):
            if facts.get(name) is not None:
                facts[name] = json.dumps(facts[name])
        facts["reason"] = hide_in(str(facts.get("reason", ""))[:500])
        entry = AuditEntry(
            at_ms=now_ms(),
            user=self.access.user,
            address=self.address,
            action=action,
            selector=hide_in(selector[:1_000]),
            **facts,
        )
        log.info(
            "dashboard.action user=%r action=%r selector=%r count=%s",
            entry.user, entry.action, entry.selector, entry.count,
            extra={"action": entry.action},
        )  # fmt: skip
        await self.app.monitor.audit(entry)
        if self.board.on_action is not None:
            self.board.on_action(entry)

    def queue(self, name: str) -> Queue:
        """Return a queue that the user may see.

        Raises   RefusedError: the user may not. ConfigError: the name cannot be one.
        """
        if not self.access.sees(name):
            raise no_queue(name)
        return self.app.queue(name)

    def visible(self, names: Sequence[str]) -> list[str]:
        """Return those of these queues that the user may see."""
        return [name for name in names if self.access.sees(name)]


def no_queue(name: str) -> RefusedError:
    """Return the refusal of a queue that does not exist, or is not the user's to see."""
    return not_found(f"there is no queue {name!r}")
