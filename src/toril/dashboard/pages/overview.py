"""All queues at a glance, and who is asking.

Never here: what needs attention (attention).
"""

from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version

from toril.dashboard.access import PERMISSIONS
from toril.dashboard.board import PageCall
from toril.dashboard.hub import WorkerTotals, totals
from toril.dashboard.rows import QueueSummary, StateCounts
from toril.types import QueueView

_STATES = (
    "waiting", "prioritized", "delayed", "active", "waiting_children", "completed", "failed",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Nothing:
    """A request without words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeAnswer:
    """Who asks, and what the dashboard is.

    Attributes:
        queues: The only queues that the user may see; None: all.
        read_only_reason: Why nothing can be changed: "no-auth", "permissions", or None.
        zone: The server's time zone.
        tasks_known: Whether the tasks of the app are known, for forms.
    """

    user: str
    permissions: list[str]
    queues: list[str] | None
    reveal: bool
    read_only: bool
    read_only_reason: str | None
    version: str
    store: str
    address: str
    environment: str
    zone: str
    title: str
    tasks_known: bool
    now_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OverviewAnswer:
    """Every queue, and what they are together.

    Attributes:
        took_ms: How long the store took to answer.
        interval_s: How often the stream sends updates.
        errors: Error groups seen in the last hour; None: not recorded.
        tasks: Tasks that are known; None: none are.
    """

    at_ms: int
    took_ms: float
    interval_s: float
    queues: list[QueueSummary]
    workers: WorkerTotals
    counts: StateCounts
    schedules: int
    errors: int | None = None
    flows: int | None = None
    tasks: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestAnswer:
    """Words that a search can begin with."""

    tasks: list[str]
    queues: list[str]
    workers: list[str]
    states: list[str]
    fields: list[str] = field(default_factory=list[str])


@dataclass(frozen=True, slots=True, kw_only=True)
class SuggestQuery:
    """What has been typed so far."""

    q: str = ""


async def me(call: PageCall, _: Nothing) -> MeAnswer:
    """Return who asks, and what the dashboard is."""
    access, board = call.access, call.board
    reason = None
    if access.read_only:
        reason = "permissions" if board.secured else "no-auth"
    return MeAnswer(
        user=access.user,
        permissions=[name for name in PERMISSIONS if access.may(name)],
        queues=None if access.queues is None else sorted(access.queues),
        reveal=access.may("reveal"),
        read_only=access.read_only,
        read_only_reason=reason,
        version=version("toril"),
        store="redis" if board.app.store_url.startswith(("redis", "valkey", "unix")) else "sqlite",
        address=board.app.store_url,
        environment=board.environment,
        zone=datetime.now().astimezone().tzname() or "UTC",
        title=board.title,
        tasks_known=bool(board.app.tasks()),
        now_ms=board.now(),
    )


async def overview(call: PageCall, _: Nothing) -> OverviewAnswer:
    """Return every queue that the user may see."""
    board = call.board
    snapshot = await board.sampler.snapshot()
    rows = [row for row in board.rows(snapshot) if call.access.sees(row.name)]
    views = [view for view in snapshot.queues if call.access.sees(view.name)]
    schedules = await board.sampler.schedules()
    errors = await board.kept.get(("errors", call.queues), lambda: _groups(call, views))
    return OverviewAnswer(
        at_ms=snapshot.at_ms,
        took_ms=snapshot.took_ms,
        interval_s=board.hub.interval_s,
        queues=rows,
        workers=totals(snapshot, call.queues),
        counts=summed(views),
        schedules=sum(call.access.sees(each.queue) for each in schedules),
        errors=errors,
        tasks=len(board.app.tasks()) or None,
    )


async def _groups(call: PageCall, views: list[QueueView]) -> int:
    """Count the error groups that were seen within the last hour."""
    names = [view.name for view in views]
    since = call.board.now() - 3_600_000
    found = await call.app.monitor.errors(*names, since_ms=since) if names else []
    return len({group.fingerprint for group in found})


def summed(views: list[QueueView]) -> StateCounts:
    """Return the counts of these queues together."""
    return StateCounts(
        **{name: sum(getattr(view.counts, name) for view in views) for name in _STATES}
    )


async def suggest(call: PageCall, query: SuggestQuery) -> SuggestAnswer:
    """Return words that a search can begin with."""
    snapshot = await call.board.sampler.snapshot()
    start = query.q.lower()
    tasks = {task.name for task in call.app.tasks() if call.access.sees(task.queue)}
    workers = {each.name for each in snapshot.workers if any(map(call.access.sees, each.queues))}
    queues = call.visible([view.name for view in snapshot.queues])
    return SuggestAnswer(
        tasks=_begin(start, tasks),
        queues=_begin(start, queues),
        workers=_begin(start, workers),
        states=[name.replace("_", "-") for name in _STATES],
    )


def _begin(start: str, words: "set[str] | list[str]") -> list[str]:
    return [word for word in sorted(words) if start in word.lower()][:50]
