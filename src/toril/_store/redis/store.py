"""The Redis store: each verb hands its work to a module of its own.

An event loop has connections of its own, made when it first asks. Never here: Lua, or what a verb
does.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path

from toril._model.decide import Decision
from toril._model.diagnosis import Finding
from toril._model.faults import ErrorGroup
from toril._model.notes import Note, NoteKind
from toril._model.record import NewJob, Record, Ref, is_durable
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
from toril._store.clock import REAL
from toril._store.forks import Forkable, follow_forks
from toril._store.protocol import NOBODY, Renewer
from toril._store.redis.core import presence
from toril._store.redis.net.address import Address
from toril._store.redis.net.renewer import RedisRenewer
from toril._store.redis.verbs import (
    add,
    configure,
    consume,
    diagnose,
    edit,
    errors,
    expire,
    notes,
    read,
    remove,
    schedule,
    search,
    series,
    stream,
    transfer,
)
from toril._store.redis.verbs.renew import renewing
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

from .session import LoopSession
from .sessions import LoopSessions


class RedisStore(Forkable):
    """Jobs on a Redis or Valkey server, shared with every process that reaches it, BullMQ's too."""

    # While the server works on one, the worker runs the jobs of the other.
    trips = 2
    switch_interval = None
    broken = None
    clock = REAL

    def __init__(self, address: Address, prefix: str) -> None:
        self._address = address
        self._prefix = prefix
        self._sites = LoopSessions(
            lambda: LoopSession.connect(address, prefix, self._notice), self._notice
        )
        self._open = False
        self.on_taken_back: set[Callable[[], None]] = set()
        self.on_notice: set[Callable[[str, str], None]] = set()
        self._told: set[tuple[str, str]] = set()
        follow_forks(self)

    @property
    def url(self) -> str:
        """Where the jobs are, without secrets."""
        return self._address.shown

    @property
    def prefix(self) -> str:
        """What the keys of every queue begin with."""
        return self._prefix

    async def open(self, *, anew: bool = False) -> None:
        """Connect and check the server; see the protocol."""
        self._open = True
        if anew:
            await self._sites.close_here()
        await self._site()

    async def close(self) -> None:
        """Let the connections go; see the protocol."""
        self._open = False
        await self._sites.close()

    def after_fork_in_child(self) -> None:
        """Call none of the parent's workers; the connections drop themselves."""
        self.on_taken_back = set()

    async def _site(self) -> LoopSession:
        site = self._sites.get()
        if site is not None:
            return site
        if not self._open:
            raise StoreUnavailable(f"{self.url} is not open: call open() first")
        return await self._sites.open()

    def _notice(self, name: str, text: str) -> None:
        # Each loop looks at the server; what is wrong with it is said once.
        told = (name, text)
        if told in self._told:
            return
        if name not in ("store.lost", "store.back", "store.close_timeout"):
            self._told.add(told)
        for tell in tuple(self.on_notice):
            tell(name, text)

    # Produce.

    async def add(
        self, groups: Sequence[Sequence[NewJob]], *, now: Millis | None = None
    ) -> list[tuple[AddAnswer, ...] | TorilError]:
        """Store groups of jobs; see the protocol."""
        site = self._sites.get() or await self._site()
        if any(map(is_durable, groups)):
            return await site.durable.add(groups, now)
        return await add.add(site.server, groups, now)

    # Consume.

    async def claim(
        self, requests: Sequence[ClaimRequest], *, now: Millis | None = None
    ) -> list[Claimed]:
        """Take jobs under a lock; see the protocol."""
        site = self._sites.get() or await self._site()
        return site.note(await consume.claim(site.server, requests, now))

    async def wait(self, queues: Sequence[str], *, timeout_ms: Millis) -> frozenset[str]:
        """Wait for jobs to claim; see the protocol."""
        site = await self._site()
        if not timeout_ms:
            return await consume.peek(site.server, queues)
        return await site.wait(queues, timeout_ms)

    def renewer(self) -> Renewer:
        """Return what renews locks from a thread."""
        return RedisRenewer(self._address, renewing(self._prefix))

    async def finish(
        self,
        decisions: Sequence[Decision],
        requests: Sequence[ClaimRequest] = (),
        *,
        now: Millis | None = None,
    ) -> Finished:
        """Carry out decisions, then claim; see the protocol."""
        site = self._sites.get() or await self._site()
        finished, beside = await consume.finish(site.server, decisions, requests, now)
        site.note(finished.claimed)
        site.note_beside(beside)
        return finished

    async def recover(
        self,
        queues: Sequence[str],
        *,
        max_stalls: int = 3,
        dead: Mapping[str, str] = NOBODY,
        now: Millis | None = None,
    ) -> list[Recovered]:
        """Take jobs back from workers that are gone; see the protocol."""
        site = await self._site()
        names = queues or await read.queues(site.server)
        found: list[Recovered] = []
        damaged: list[str] = []
        cursor = "" if dead else site.cursor
        for _ in range(expire.MOST_LOOKS):
            how = consume.Recovery(max_stalls, dead, cursor)
            rescue = await consume.recover(site.server, names, how, now)
            found += rescue.taken
            damaged = rescue.damaged
            site.note_strays(rescue.strays, rescue.cursor)
            await expire.end_overdue(site.server, rescue.late, now)
            if len(rescue.late) < expire.A_LOOK:
                break
            cursor = ""
        site.note_damaged(damaged, "is taken back", "active, wait, stalled, marker, events, meta")
        if dead:
            await presence.forget(site.server, dead)
        return found

    async def trim(
        self, queues: Sequence[str] = (), *, spare_ms: Millis = 0, now: Millis | None = None
    ) -> int:
        """Remove what is kept for too long; see the protocol."""
        site = await self._site()
        names = queues or await read.queues(site.server)
        gone, damaged = await consume.trim(site.server, names, spare_ms, now)
        site.note_damaged(damaged, "is removed", "completed, failed, events, meta, toril:settings")
        return gone

    # Edit.

    async def update(
        self, patches: Sequence[JobPatch], *, now: Millis | None = None
    ) -> list[TorilError | None]:
        """Change jobs; see the protocol."""
        return await edit.update((await self._site()).server, patches, now)

    async def log(
        self, lines: Sequence[LogLine], *, now: Millis | None = None
    ) -> list[int | TorilError]:
        """Append to the logs of jobs; see the protocol."""
        return await edit.log((await self._site()).server, lines, now)

    async def retry(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Run finished jobs again; see the protocol."""
        return await edit.retry((await self._site()).server, selection, now)

    async def promote(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Make delayed jobs ready; see the protocol."""
        return await edit.promote((await self._site()).server, selection, now)

    async def remove(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Take jobs away; see the protocol."""
        return await remove.remove((await self._site()).server, selection, now)

    # Read.

    async def get(self, refs: Sequence[Ref]) -> list[Record | None]:
        """Read jobs; see the protocol."""
        return await read.get((await self._site()).server, refs)

    async def find(self, query: Query) -> Page:
        """List jobs; see the protocol."""
        server = (await self._site()).server
        if query.fingerprint is not None:
            return await errors.blamed(server, query)
        if query.where or query.fields_only:
            return await search.find(server, query)
        return await read.find(server, query)

    async def counts(self, queues: Sequence[str]) -> list[Counts]:
        """Count jobs by state; see the protocol."""
        return await read.counts((await self._site()).server, queues)

    async def children(
        self, parent: Ref, *, outcome: str | None = None, offset: int = 0, limit: int = 1000
    ) -> Children:
        """List a job's children; see the protocol."""
        server = (await self._site()).server
        return await read.children(server, parent, outcome, (offset, limit))

    async def logs(
        self, job: Ref, *, offset: int = 0, limit: int = 1000, newest_first: bool = False
    ) -> Logs:
        """Read a job's log; see the protocol."""
        server = (await self._site()).server
        return await read.logs(server, job, (offset, limit), newest_first=newest_first)

    async def metrics(self, queue: str, kind: str, *, since_ms: Millis = 0) -> Metrics:
        """Read finished jobs a minute; see the protocol."""
        return await read.metrics((await self._site()).server, queue, kind, since_ms)

    async def series(self, query: SeriesQuery) -> list[Series]:
        """Read counters over time; see the protocol."""
        return await series.series((await self._site()).server, query)

    async def errors(
        self, queues: Sequence[str], *, since_ms: Millis = 0, limit: int = 500
    ) -> list[ErrorGroup]:
        """List groups of errors; see the protocol."""
        return await errors.errors((await self._site()).server, queues, since_ms, limit)

    async def queues(self) -> list[str]:
        """Return the names of the queues; see the protocol."""
        return await read.queues((await self._site()).server)

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """List the workers; see the protocol."""
        return await read.workers((await self._site()).server, queue)

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
        return await notes.note((await self._site()).server, kind, id, body, instead_of, now)

    async def notes(
        self, kind: NoteKind, *, before: str | None = None, limit: int = 100
    ) -> list[Note]:
        """List notes; see the protocol."""
        return await notes.notes((await self._site()).server, kind, before, limit)

    # Queue.

    async def settings(self, queues: Sequence[str]) -> list[QueueSettings]:
        """Read queues' settings; see the protocol."""
        return await read.settings((await self._site()).server, queues)

    async def configure(
        self, queue: str, patch: SettingsPatch, *, now: Millis | None = None
    ) -> QueueSettings:
        """Change a queue's settings; see the protocol."""
        return await configure.configure((await self._site()).server, queue, patch, now)

    # Schedule.

    async def put_schedule(
        self, draft: ScheduleDraft, *, now: Millis | None = None
    ) -> ScheduleInfo:
        """Create or replace a schedule; see the protocol."""
        return await schedule.put((await self._site()).server, draft, now)

    async def schedules(self, queue: str | None = None) -> list[ScheduleInfo]:
        """List schedules; see the protocol."""
        return await schedule.schedules((await self._site()).server, queue)

    async def advance(
        self, job: Ref, schedule_id: str, next_ms: Millis | None, *, now: Millis | None = None
    ) -> ScheduleInfo | None:
        """Arm a schedule's next run; see the protocol."""
        server = (await self._site()).server
        return await schedule.advance(server, job, schedule_id, next_ms, now)

    async def drop_schedule(
        self, queue: str, schedule_id: str, *, now: Millis | None = None
    ) -> bool:
        """Forget a schedule; see the protocol."""
        return await schedule.drop((await self._site()).server, queue, schedule_id, now)

    async def examine(self) -> list[Finding]:
        """Look at the server and its clock; see the protocol."""
        return await diagnose.examine((await self._site()).server)

    async def backup(self, path: Path, *, force: bool) -> int:
        """Refuse: a server makes its own backups; see the protocol."""
        raise ConfigError(
            f"{self.url} is a server, which makes its own backups",
            field="url",
            hint="copy its data file: redis-cli --rdb FILE; or copy its jobs into a file: toril move",
        )

    def await_word(self, processes: Collection[int]) -> None:
        """Do nothing: only locks tell on a server that a process has died; see the protocol."""

    # Move.

    async def pack(self, refs: Sequence[Ref]) -> list[Parcel | None]:
        """Read jobs to send them to another store; see the protocol."""
        return await transfer.pack((await self._site()).server, refs)

    async def restore(self, shipment: Shipment, *, now: Millis | None = None) -> Receipt:
        """Take jobs and schedules from another store; see the protocol."""
        return await transfer.restore((await self._site()).server, shipment, now)

    # Events.

    async def events(
        self, queue: str, after: str | None, *, limit: int = 500, timeout_ms: Millis = 0
    ) -> list[Event]:
        """Read events; see the protocol."""
        site = await self._site()
        return await stream.events(site, queue, after, limit, timeout_ms)

    async def last_event(self, queue: str) -> str:
        """Return the id of the newest event; see the protocol."""
        return await stream.last_event((await self._site()).server, queue)
