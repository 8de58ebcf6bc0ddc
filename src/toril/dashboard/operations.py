"""Work on many jobs that goes on in the server: its progress, and how it is stopped.

Never here: which jobs, and what is done to them (pages/act).
"""

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from toril import StoreError, Toril, TorilError
from toril.types import Operation

from .rows import now_ms

KEPT = 200
MOST_REFUSED = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class OperationRow:
    """Work on many jobs.

    Attributes:
        state: running, done, cancelled or failed.
        total: How many jobs it is about, if that is known.
        skipped: How many were not there any more, or in another state by then.
        refused: Up to 100 jobs that were refused, "queue:id", and why.
        error: What ended it, if it failed.
    """

    id: str
    action: str
    selector: str
    by: str
    started_ms: int
    finished_ms: int | None = None
    total: int | None = None
    done: int = 0
    skipped: int = 0
    failed: int = 0
    state: str = "running"
    rate: float | None = None
    refused: dict[str, str] = field(default_factory=dict[str, str])
    error: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What one step of an operation has done."""

    done: int = 0
    skipped: int = 0
    refused: dict[str, str] = field(default_factory=dict[str, str])


class Operations:
    """The operations of this process; `changed` is called when one has gone on."""

    def __init__(self, app: Toril) -> None:
        self._app = app
        self._rows: dict[str, OperationRow] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self.changed: Callable[[OperationRow], object] = lambda _: None

    def rows(self) -> list[OperationRow]:
        """Return the operations, newest first."""
        return [*reversed(self._rows.values())]

    def start(self, row: OperationRow, steps: AsyncIterator[StepResult]) -> OperationRow:
        """Begin work; each step is a bounded call to the store."""
        row = replace(row, id=uuid.uuid4().hex, started_ms=now_ms())
        self._put(row)
        self._tasks[row.id] = asyncio.create_task(self._run(row, steps))
        return row

    def cancel(self, operation_id: str) -> OperationRow | None:
        """Stop an operation after its current step; one that has ended stays as it is."""
        row = self._rows.get(operation_id)
        if row is not None and row.state == "running":
            row = replace(row, state="cancelled", finished_ms=now_ms())
            self._put(row)
        return row

    async def close(self) -> None:
        """Stop what runs."""
        running = list(self._tasks.items())
        for operation_id, task in running:
            self.cancel(operation_id)
            task.cancel()
        await asyncio.gather(*(task for _, task in running), return_exceptions=True)

    async def _run(self, row: OperationRow, steps: AsyncIterator[StepResult]) -> None:
        ended = "done"
        error = None
        try:
            async for step in steps:
                now = _after(self._rows[row.id], step)
                self._put(now)
                await self._store(now)
                if now.state != "running":
                    break
                if now.rate:
                    await asyncio.sleep((step.done + len(step.refused)) / now.rate)
        except TorilError as fault:
            ended, error = "failed", str(fault)
        finally:
            self._tasks.pop(row.id, None)
        now = self._rows[row.id]
        if now.state == "running":
            now = replace(now, state=ended, error=error, finished_ms=now_ms())
            self._put(now)
        await self._store(now)

    async def _store(self, row: OperationRow) -> None:
        """Keep how far it is, for other processes and for after a restart."""
        operation = Operation(
            id=row.id,
            action=row.action,
            selector=row.selector,
            by=row.by,
            started_ms=row.started_ms,
            changed_ms=now_ms(),
            finished_ms=row.finished_ms,
            state=row.state,  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
            total=row.total,
            done=row.done,
            skipped=row.skipped,
            failed=row.failed,
            rate=row.rate,
        )
        with suppress(StoreError):
            await self._app.monitor.save_operation(operation)

    def _put(self, row: OperationRow) -> None:
        self._rows[row.id] = row
        while len(self._rows) > KEPT:
            self._rows.pop(next(iter(self._rows)))
        self.changed(row)


def _after(row: OperationRow, step: StepResult) -> OperationRow:
    refused = {**row.refused, **step.refused}
    return replace(
        row,
        done=row.done + step.done,
        skipped=row.skipped + step.skipped,
        failed=row.failed + len(step.refused),
        refused=dict(list(refused.items())[:MOST_REFUSED]),
    )
