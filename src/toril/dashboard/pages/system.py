"""For other programs and for the settings page: the store, autoscaling, metrics.

Never here: judging queues (attention).
"""

import os
import platform
from dataclasses import dataclass, field
from importlib.metadata import version

from toril.dashboard.board import PageCall, no_queue
from toril.dashboard.redact import PARTS, WORDS
from toril.dashboard.rows import QueueSummary

from .overview import Nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class FactRow:
    """Something that was looked at, and how it is: ok, warn or error."""

    key: str
    level: str
    value: str
    hint: str = ""
    queue: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RedactionRow:
    """What is hidden in job data."""

    keys: list[str]
    words: list[str]
    tasks: dict[str, list[str]]
    own_rule: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRow:
    """The process that serves this page."""

    pid: int
    host: str
    python: str
    started_ms: int
    viewers: int
    interval_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreAnswer:
    """The store and the dashboard."""

    kind: str
    version: str
    address: str
    ping_ms: float
    facts: list[FactRow]
    redaction: RedactionRow
    process: ProcessRow
    retention: dict[str, str] = field(default_factory=dict[str, str])


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleQuery:
    """Which queue, and how many seconds of work a worker process may have waiting."""

    queue: str
    slots: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ScaleAnswer:
    """What an autoscaler needs to know of a queue.

    Attributes:
        ready: Jobs that could start now.
        running: Jobs that run.
        oldest_ready_s: How long the next job has been waiting, in seconds; 0 if none waits.
        need: How many worker processes the queue needs now.
    """

    ready: int
    running: int
    oldest_ready_s: float
    need: int


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthAnswer:
    """Whether the store answers."""

    ok: bool
    ping_ms: float


async def store(call: PageCall, _: Nothing) -> StoreAnswer:
    """Examine the store; a user who sees only some queues is told only of these."""
    ping = await call.app.ping()
    findings = await call.app.examine()
    redactor = call.board.redactor
    tasks = {task.name: [*task.redact] for task in call.app.tasks() if task.redact}
    return StoreAnswer(
        kind="redis" if call.app.store_url.startswith(("redis", "valkey", "unix")) else "sqlite",
        version=version("toril"),
        address=call.app.store_url,
        ping_ms=round(ping * 1000, 2),
        facts=[
            FactRow(
                key=each.name,
                level=each.level,
                value=each.message,
                hint=each.hint,
                queue=each.queue,
            )
            for each in findings
            if (each.queue is None and call.queues is None)
            or (each.queue is not None and call.access.sees(each.queue))
        ],
        redaction=RedactionRow(
            keys=[*PARTS, *redactor.keys],
            words=sorted(WORDS),
            tasks=tasks,
            own_rule=redactor.rule is not None,
        ),
        process=ProcessRow(
            pid=os.getpid(),
            host=platform.node(),
            python=platform.python_version(),
            started_ms=call.board.started_ms,
            viewers=call.board.hub.viewers,
            interval_s=call.board.hub.interval_s,
        ),
    )


async def scale(call: PageCall, query: ScaleQuery) -> ScaleAnswer:
    """Return how much work waits in a queue, and how many worker processes it needs."""
    snapshot = await call.board.sampler.snapshot()
    rows = {row.name: row for row in call.board.rows(snapshot)}
    if query.queue not in rows or not call.access.sees(query.queue):
        raise no_queue(query.queue)
    row = rows[query.queue]
    waiting = row.ready if row.paused is None else 0
    slots = query.slots or _slots_a_worker(row)
    need = -(-(waiting + row.counts.active) // slots)
    if row.concurrency is not None:
        need = min(need, -(-row.concurrency // slots))
    oldest = (row.oldest_waiting_ms or 0) / 1000
    return ScaleAnswer(ready=row.ready, running=row.counts.active, oldest_ready_s=oldest, need=need)


def _slots_a_worker(row: QueueSummary) -> int:
    return max((row.slots or 0) // row.workers, 1) if row.workers else 1


async def health(call: PageCall, _: Nothing) -> HealthAnswer:
    """Ask the store for an answer.

    Raises   StoreError: there is none.
    """
    return HealthAnswer(ok=True, ping_ms=round(await call.app.ping() * 1000, 2))


async def metrics(call: PageCall, _: Nothing) -> str:
    """Return the state of all queues as Prometheus text."""
    return await call.app.monitor.prometheus(only=call.access.sees)
