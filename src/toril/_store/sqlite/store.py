"""The SQLite store: each verb hands a call to a lane and awaits its answer.

Never here: SQL, or what a verb does (each group of verbs has a module of its own).
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from toril._model.decide import Decision
from toril._model.diagnosis import Finding
from toril._model.faults import ErrorGroup
from toril._model.notes import Note, NoteKind
from toril._model.record import NewJob, Record, Ref, wishes
from toril._model.report import (
    Children,
    Counts,
    JobPatch,
    Logs,
    Metrics,
    Page,
    Query,
    QueueSettings,
    ScheduleInfo,
    Selected,
    Selection,
    SettingsPatch,
    WorkerInfo,
)
from toril._model.series import Series, SeriesQuery
from toril._model.times import Millis
from toril._model.transfer import Parcel, Receipt, Shipment
from toril._store.clock import REAL, Clock
from toril._store.forks import Forkable, follow_forks
from toril._store.protocol import NOBODY, Renewer
from toril._store.sqlite.connection.transaction import Unit
from toril._store.sqlite.verbs import (
    add,
    claim,
    configure,
    edit,
    errors,
    expire,
    finish,
    notes,
    read,
    remove,
    retention,
    schedule,
    search,
    series,
    transfer,
)
from toril._store.sqlite.verbs.claim import Dead
from toril._store.threads import ForkSafeLock, in_thread
from toril._store.values import (
    AddAnswer,
    Claimed,
    ClaimRequest,
    Finished,
    LogLine,
    Recovered,
    ScheduleDraft,
)
from toril.errors import ConfigError, StoreUnavailable, TorilError
from toril.events import Event

from . import backup, diagnose
from .engine import MEMORY, Engine
from .renewer import SQLiteRenewer

_LEVELS = ("full", "normal", "extra")


def _now(unit: Unit, now: Millis | None) -> Millis:
    return unit.now if now is None else now


class SQLiteStore(Forkable):
    """Jobs in one SQLite file, shared by the processes of one machine; or in memory."""

    # At Python's default of 5 ms a busy event loop would starve the writer thread.
    switch_interval = 0.0005
    trips = 1

    def __init__(self, path: str | Path, *, synchronous: str = "full", clock: Clock = REAL) -> None:
        if synchronous not in _LEVELS:
            raise ConfigError(
                f"synchronous={synchronous!r} is not a level",
                field="synchronous",
                value=synchronous,
                hint="use full (survives a power cut), or normal (faster, may lose the newest)",
            )
        self._path = str(path) if str(path) == MEMORY else str(Path(path).absolute())
        self._level = synchronous
        self.clock = clock
        self._engine: Engine | None = None
        self._awaited: frozenset[int] = frozenset()
        self._opening = ForkSafeLock()
        self._reopen = False
        self.on_taken_back: set[Callable[[], None]] = set()
        self.on_notice: set[Callable[[str, str], None]] = set()
        follow_forks(self)

    @property
    def url(self) -> str:
        """Where the jobs are."""
        return f"sqlite:///{self._path}"

    @property
    def path(self) -> str:
        """The absolute path of the file, or `:memory:`."""
        return self._path

    @property
    def broken(self) -> str | None:
        """Return why this store can do nothing any more, or None; see the protocol."""
        return None if self._engine is None else self._engine.broken

    async def open(self, *, anew: bool = False) -> None:
        """Open the file, creating it when there is none; see the protocol."""
        if self._engine is None:
            await in_thread(self._open)

    def _open(self) -> None:
        with self._opening:
            if self._engine is None:
                engine = Engine(self._path, self._level, self.clock)
                engine.on_taken_back = self.on_taken_back
                engine.awaited = self._awaited
                engine.mender.tell = self._note_mended
                self._engine, self._reopen = engine, False

    def _note_mended(self, what: str) -> None:
        for tell in tuple(self.on_notice):
            tell("store.mended", f"rows of {self.url} could not be read and were mended: {what}")

    async def close(self) -> None:
        """Let the file go; see the protocol."""
        engine, self._engine = self._engine, None
        self._reopen = False
        if engine is None or await in_thread(engine.close):
            return
        for tell in tuple(self.on_notice):
            tell(
                "store.close_timeout",
                f"{self.url} was left to be closed by its threads: a call is still under way",
            )

    def after_fork_in_child(self) -> None:
        """Leave the open file to the parent; the next call opens it again."""
        self._reopen = self._reopen or self._engine is not None
        self._engine = None
        self._awaited = frozenset()
        self.on_taken_back = set()

    def _open_engine(self) -> Engine:
        if self._engine is None and self._reopen:
            self._open()
        if self._engine is None:
            raise StoreUnavailable(f"{self._path} is not open: call open() first")
        return self._engine

    # Produce.

    async def add(
        self, groups: Sequence[Sequence[NewJob]], *, now: Millis | None = None
    ) -> list[tuple[AddAnswer, ...] | TorilError]:
        """Store groups of jobs; see the protocol."""
        refused = self._unsynced(groups)
        if refused:
            rest = [group for number, group in enumerate(groups) if number not in refused]
            stored = iter(await self.add(rest, now=now))
            return [refused[n] if n in refused else next(stored) for n in range(len(groups))]
        engine = self._open_engine()
        adding = engine.hand_over(
            lambda unit, some: add.add(unit, some, _now(unit, now)), list(groups)
        )
        if engine.bulletin.queues:
            engine.bulletin.expect(add.ready_soon(groups))
        answers: list[tuple[AddAnswer, ...] | TorilError] = await adding
        return answers

    def _unsynced(self, groups: Sequence[Sequence[NewJob]]) -> dict[int, TorilError]:
        """Return which groups ask for what only a synced commit gives, where commits are not."""
        if self._level != "normal" and self._path != MEMORY:
            return {}
        where = self.url if self._path == MEMORY else f"{self.url}?synchronous={self._level}"
        error = ConfigError(
            f"durable= asks for jobs that survive a power cut, and {where} does not sync its commits",
            field="durable",
            hint="use a file, without ?synchronous=normal, or leave durable out",
        )
        return {number: error for number, group in enumerate(groups) if wishes(group)}

    # Consume.

    async def claim(
        self, requests: Sequence[ClaimRequest], *, now: Millis | None = None
    ) -> list[Claimed]:
        """Take jobs under a lock; see the protocol."""
        return await self._open_engine().write(
            lambda unit, some: claim.claim(unit, some, _now(unit, now)),
            list(requests),
            durable=False,
        )

    async def wait(self, queues: Sequence[str], *, timeout_ms: Millis) -> frozenset[str]:
        """Wait for jobs to claim; see the protocol."""
        engine = self._open_engine()
        until = time.monotonic() + timeout_ms / 1000
        names = frozenset(queues)
        with engine.bulletin.waiter(names, events=False) as waiter:
            while True:
                claimable, later = await engine.read(
                    lambda r: read.peek(r, queues, self.clock.now_ms())
                )
                if claimable:
                    return claimable
                left = until - time.monotonic()
                if left <= 0:
                    return frozenset()
                if later is not None:
                    left = min(left, max(later - self.clock.now_ms(), 0) / 1000 + 0.0005)
                await waiter.wait(left)
                if waiter.ready:
                    return frozenset(waiter.ready)

    def look_again(self) -> None:
        """Let whoever waits look again, for the clock was moved."""
        if self._engine is not None:
            self._engine.bulletin.hear(frozenset())

    def renewer(self) -> Renewer:
        """Return what renews locks from a thread."""
        return SQLiteRenewer(self._open_engine())

    async def finish(
        self,
        decisions: Sequence[Decision],
        requests: Sequence[ClaimRequest] = (),
        *,
        now: Millis | None = None,
    ) -> Finished:
        """Carry out decisions, then claim; see the protocol."""
        engine = self._open_engine()
        words, claimed = await engine.write_both(
            (lambda unit, some: finish.finish(unit, some, _now(unit, now)), list(decisions)),
            lambda unit, _: claim.claim_after_finish(unit, requests, _now(unit, now)),
        )
        return Finished(words=tuple(words), claimed=tuple(claimed or ()))

    def await_word(self, processes: Collection[int]) -> None:
        """Leave the jobs of these processes alone for a moment; see the protocol."""
        self._awaited = frozenset(processes)
        if self._engine is not None:
            self._engine.awaited = self._awaited

    async def recover(
        self,
        queues: Sequence[str],
        *,
        max_stalls: int = 3,
        dead: Mapping[str, str] = NOBODY,
        now: Millis | None = None,
    ) -> list[Recovered]:
        """Take jobs back from workers that are gone; see the protocol.

        Jobs of dead processes are taken back by the store itself before long; this tells of them.
        """
        engine = self._open_engine()
        engine.max_stalls = max_stalls

        def recover(unit: Unit, names: tuple[str, ...]) -> list[Recovered]:
            engine.sweep(unit)
            return claim.recover(unit, names, _now(unit, now), Dead(max_stalls, workers=dead))

        found = await engine.write(recover, tuple(queues))
        gone, _ = await engine.read(engine.dead)
        if gone:
            engine.note_taken_back(await engine.write(engine.bury, gone))
        for _ in range(expire.MOST_ROUNDS):
            at = self.clock.now_ms() if now is None else now
            if not await engine.read(partial(expire.find, queues=tuple(queues), now=at)):
                break
            await engine.write(
                lambda unit, names: expire.end_overdue(unit, names, _now(unit, now)), tuple(queues)
            )
        return [*engine.tell_taken_back(queues), *found]

    async def trim(
        self, queues: Sequence[str] = (), *, spare_ms: Millis = 0, now: Millis | None = None
    ) -> int:
        """Remove what is kept for too long; see the protocol."""
        return await self._open_engine().write(
            lambda unit, names: retention.trim(unit, names, _now(unit, now), spare_ms),
            tuple(queues),
            durable=False,
        )

    # Edit.

    async def update(
        self, patches: Sequence[JobPatch], *, now: Millis | None = None
    ) -> list[TorilError | None]:
        """Change jobs; see the protocol."""
        return await self._open_engine().write(
            lambda unit, some: edit.update(unit, some, _now(unit, now)), list(patches)
        )

    async def log(
        self, lines: Sequence[LogLine], *, now: Millis | None = None
    ) -> list[int | TorilError]:
        """Append to the logs of jobs; see the protocol."""
        return await self._open_engine().write(
            lambda unit, some: edit.log(unit, some), list(lines), durable=False
        )

    async def retry(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Run finished jobs again; see the protocol."""
        return await self._open_engine().write(
            lambda unit, chosen: edit.retry(unit, chosen, _now(unit, now)), selection
        )

    async def promote(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Make delayed jobs ready; see the protocol."""
        return await self._open_engine().write(
            lambda unit, chosen: edit.promote(unit, chosen, _now(unit, now)), selection
        )

    async def remove(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Take jobs away; see the protocol."""
        return await self._open_engine().write(
            lambda unit, chosen: remove.remove(unit, chosen, _now(unit, now)), selection
        )

    # Read.

    async def get(self, refs: Sequence[Ref]) -> list[Record | None]:
        """Read jobs; see the protocol."""
        return await self._open_engine().read(lambda r: read.get(r, refs))

    async def find(self, query: Query) -> Page:
        """List jobs; see the protocol."""
        verb = search.find if query.where or query.fields_only else read.find
        return await self._open_engine().read(lambda r: verb(r, query))

    async def counts(self, queues: Sequence[str]) -> list[Counts]:
        """Count jobs by state; see the protocol."""
        return await self._open_engine().read(lambda r: read.counts(r, queues))

    async def children(
        self, parent: Ref, *, outcome: str | None = None, offset: int = 0, limit: int = 1000
    ) -> Children:
        """List a job's children; see the protocol."""
        return await self._open_engine().read(
            lambda r: read.children(r, parent, outcome, (offset, limit))
        )

    async def logs(
        self, job: Ref, *, offset: int = 0, limit: int = 1000, newest_first: bool = False
    ) -> Logs:
        """Read a job's log; see the protocol."""
        return await self._open_engine().read(
            lambda r: read.logs(r, job, (offset, limit), newest_first=newest_first)
        )

    async def metrics(self, queue: str, kind: str, *, since_ms: Millis = 0) -> Metrics:
        """Read finished jobs a minute; see the protocol."""
        return await self._open_engine().read(lambda r: read.metrics(r, queue, kind, since_ms))

    async def series(self, query: SeriesQuery) -> list[Series]:
        """Read counters over time; see the protocol."""
        return await self._open_engine().read(lambda r: series.series(r, query))

    async def errors(
        self, queues: Sequence[str], *, since_ms: Millis = 0, limit: int = 500
    ) -> list[ErrorGroup]:
        """List groups of errors; see the protocol."""
        return await self._open_engine().read(lambda r: errors.errors(r, queues, since_ms, limit))

    async def queues(self) -> list[str]:
        """Return the names of the queues; see the protocol."""
        return await self._open_engine().read(lambda r: r.rows("queue.all"))

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """List the workers; see the protocol."""
        engine = self._open_engine()
        return await engine.read(lambda r: read.workers(r, queue, r.now, engine.is_gone))

    # Notes.

    async def note(
        self,
        kind: NoteKind,
        body: str,
        *,
        id: str | None = None,
        instead_of: str | None = None,
        now: Millis | None = None,
    ) -> str:
        """Note something of the whole store; see the protocol."""
        return await self._open_engine().write(
            lambda unit, text: notes.note(unit, kind, id, text, instead_of, _now(unit, now)), body
        )

    async def notes(
        self, kind: NoteKind, *, before: str | None = None, limit: int = 100
    ) -> list[Note]:
        """List notes; see the protocol."""
        return await self._open_engine().read(lambda r: notes.notes(r, kind, before, limit))

    # Queue.

    async def settings(self, queues: Sequence[str]) -> list[QueueSettings]:
        """Read queues' settings; see the protocol."""
        return await self._open_engine().read(lambda r: read.settings(r, queues))

    async def configure(
        self, queue: str, patch: SettingsPatch, *, now: Millis | None = None
    ) -> QueueSettings:
        """Change a queue's settings; see the protocol."""
        return await self._open_engine().write(
            lambda unit, change: configure.configure(unit, queue, change, _now(unit, now)), patch
        )

    # Schedule.

    async def put_schedule(
        self, draft: ScheduleDraft, *, now: Millis | None = None
    ) -> ScheduleInfo:
        """Create or replace a schedule; see the protocol."""
        return await self._open_engine().write(
            lambda unit, new: schedule.put(unit, new, _now(unit, now)), draft
        )

    async def schedules(self, queue: str | None = None) -> list[ScheduleInfo]:
        """List schedules; see the protocol."""
        return await self._open_engine().read(
            lambda r: [read.schedule_info(row) for row in r.rows("schedule.list", (queue,))]
        )

    async def advance(
        self, job: Ref, schedule_id: str, next_ms: Millis | None, *, now: Millis | None = None
    ) -> ScheduleInfo | None:
        """Arm a schedule's next run; see the protocol."""
        return await self._open_engine().write(
            lambda unit, at: schedule.advance(unit, job, schedule_id, at, _now(unit, now)), next_ms
        )

    async def drop_schedule(
        self, queue: str, schedule_id: str, *, now: Millis | None = None
    ) -> bool:
        """Forget a schedule; see the protocol."""
        return await self._open_engine().write(
            lambda unit, id: schedule.drop(unit, queue, id, _now(unit, now)), schedule_id
        )

    async def examine(self) -> list[Finding]:
        """Look at the file and what is beside it; see the protocol."""
        return await in_thread(partial(diagnose.examine, self._open_engine()))

    async def backup(self, path: Path, *, force: bool) -> int:
        """Copy the store to a file while it is in use; see the protocol."""
        return await in_thread(partial(backup.backup, self._open_engine(), path, force=force))

    # Move.

    async def pack(self, refs: Sequence[Ref]) -> list[Parcel | None]:
        """Read jobs to send them to another store; see the protocol."""
        return await self._open_engine().read(lambda r: transfer.pack(r, refs))

    async def restore(self, shipment: Shipment, *, now: Millis | None = None) -> Receipt:
        """Take jobs and schedules from another store; see the protocol."""
        return await self._open_engine().write(
            lambda unit, sent: transfer.restore(unit, sent, _now(unit, now)), shipment
        )

    # Events.

    async def events(
        self, queue: str, after: str | None, *, limit: int = 500, timeout_ms: Millis = 0
    ) -> list[Event]:
        """Read events; see the protocol."""
        engine = self._open_engine()
        until = time.monotonic() + timeout_ms / 1000
        number = read.event_number(after)
        with engine.bulletin.waiter(frozenset((queue,)), events=True) as waiter:
            while True:
                found = await engine.read(lambda r: read.events(r, queue, number, limit))
                left = until - time.monotonic()
                if found or left <= 0:
                    return found
                await waiter.wait(left)

    async def last_event(self, queue: str) -> str:
        """Return the id of the newest event; see the protocol."""
        number = await self._open_engine().read(lambda r: r.value("read.last_event", (queue,)))
        return str(number or 0)
