"""The machine under the verbs: connections, lanes, wake-ups, and who else is there.

Never here: what a verb does.
"""

import asyncio
import contextlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, TypeVar

import apsw

from toril._model.bounds import JOBS_A_CALL
from toril._model.stored import reader
from toril._store.clock import REAL, Clock
from toril._store.forks import Forkable, follow_forks, keep
from toril._store.sqlite.connection.mend import Mender
from toril._store.sqlite.connection.processes import Presence, process_of
from toril._store.sqlite.connection.runner import Call, CallRunner, Stranded, connect, migrate
from toril._store.sqlite.connection.shared_file import ATTEMPTS, Handle, SharedFile, aside, join
from toril._store.sqlite.connection.sql import SQLiteConnection
from toril._store.sqlite.connection.statements import statements
from toril._store.sqlite.connection.transaction import QueueRow, Unit
from toril._store.sqlite.verbs import claim, errors, series
from toril._store.sqlite.verbs.read import Reading, peek
from toril._store.values import Recovered
from toril.errors import StoreError, StoreUnavailable

from .wakeups import Bulletin, Watch

T = TypeVar("T")
U = TypeVar("U")
MEMORY = ":memory:"
ANSWER_S = 90.0
# How long `close` waits for calls under way.
CLOSE_S = 10.0
# Whoever knows how a process died tells within this, or its jobs go back without that.
WORD_S = 0.4
_bells = reader(list[tuple[str, str | None]])
# Jobs taken back that nobody asked about yet; a queue may have no worker here who will.
MAX_UNTOLD = 1_000


class Writing:
    """The writer's work: transactions that wake whoever waits when they are committed."""

    def __init__(
        self, handle: Handle, file: SharedFile | None, bulletin: Bulletin, presence: Presence | None
    ) -> None:
        self.handle = handle
        self.presence = presence
        self.owner = 0
        self._file = file
        self._bulletin = bulletin
        self._sql = statements()
        self._now_level = handle.level
        self._generation = -1
        self._version = -1
        self._busy = self._locked = self.shared = False
        # The queues of the last transaction, as it left them: nobody else has written since.
        self._known: dict[str, QueueRow] = {}
        # The others that have the file open; as long as that is not known, there may be some.
        self._others: list[tuple[str, str | None]] | None = None
        self.mender = Mender()
        self.clock = REAL

    @property
    def db(self) -> SQLiteConnection:
        """Its connection."""
        return self.handle.db

    def begin(self, *, durable: bool) -> Unit:
        """Start a transaction; one that nobody was promised anything about need not be synced.

        A claim or a renewed lock that a power cut takes back harms nobody: the next synced
        commit carries it, and without one the job just runs again.
        """
        if self._file is None:
            self._busy = True
            self.db.execute(self._sql["db.begin"])
            return Unit(self.db, self.owner, self._known, self.clock)
        for _ in range(ATTEMPTS):
            self._take(self._file, self.handle.level if durable else "normal")
            intact = self._file.is_intact()
            if intact:
                self._catch_up()
                if self._locked or not self._others:
                    known = {} if self.shared else self._known
                    return Unit(self.db, self.owner, known)
            # Another process has come, and must be kept out first; or it may have begun a new
            # log, and nothing may be written to the old one.
            self.rollback()
            if not intact:
                self._file.mend()
        raise StoreUnavailable(f"{self._file.path} is replaced again and again")

    def _take(self, file: SharedFile, level: str) -> None:
        file.take(self.handle)
        self._busy = True
        if self._others != []:
            file.lock_writer()
            self._locked = True
        if self._generation != self.handle.generation:
            self._now_level, self._version = self.handle.level, -1
        if level != self._now_level:
            self.db.pragma("synchronous", level)
            self._now_level = level
        self.db.execute(self._sql["db.begin"])

    def _catch_up(self) -> None:
        """See who else is there when another connection has changed the file."""
        if self._generation != self.handle.generation and self.presence is not None:
            who = (socket.gethostname(), os.getpid(), self.presence.lock, self.presence.bell)
            self.owner = self.db.execute(
                self._sql["presence.enter"], (*who, self.clock.now_ms())
            ).get
        version = self.db.data_version()
        self.shared = version != self._version
        if self.shared:
            text: bytes = self.db.execute(self._sql["presence.bells"], (self.owner,)).get
            self._others = _bells(text.decode(errors="replace"))
            self._version = version

    def commit(self, unit: Unit) -> None:
        """Write events and counters, make it all last, and see that it is in the file.

        Raises   StoreUnavailable: the file or its log is gone, and with it what was written.
        """
        unit.flush()
        errors.keep(unit, unit.blamed())
        if unit.many_samples:
            series.fold(unit)
        self.db.execute(self._sql["db.commit"])
        # This number goes up with each commit, whoever makes it; others are seen at the next begin.
        self._known, self._version = unit.known(), self.db.data_version()
        since = self._generation = self.handle.generation
        intact = self._file is None or self._file.is_intact()
        self._release()
        if self._file is not None and not intact:
            self._see_that_it_is_stored(self._file, since)

    def _see_that_it_is_stored(self, file: SharedFile, since: int) -> None:
        try:
            if file.mend(since):
                return
        except StoreError as error:
            raise Stranded(str(error)) from error
        raise Stranded(
            f"{file.path} or the files beside it were replaced or deleted during a commit: what "
            "was being stored may be there or not (look before you repeat it); the store is in "
            "use again"
        )

    def rollback(self) -> None:
        """Undo everything since `begin`."""
        if self._busy:
            try:
                if self.db.in_transaction:
                    # What cannot be rolled back now is rolled back by the next that opens it.
                    with contextlib.suppress(apsw.Error):
                        self.db.execute(self._sql["db.rollback"])
            finally:
                self._version, self._known = -1, {}
                self._release()

    def _release(self) -> None:
        if self._locked and self._file is not None:
            self._locked = False
            self._file.unlock_writer()
        if self._busy:
            self._busy = False
            if self._file is not None:
                self.handle.turn.release()

    def committed(self, unit: Unit) -> None:
        """Wake waiters here and ring the other processes."""
        self._bulletin.tell(unit)
        if self._others and self.presence is not None and (unit.changed or unit.look):
            self.presence.ring(self._others)

    def mend(self, error: Exception) -> bool:
        """Mend rows that may have failed a call; return whether there were any."""
        if not self.mender.may_help(error):
            return False
        try:
            unit = self.begin(durable=True)
            mended = self.mender.mend(unit)
            self.commit(unit)
        except (apsw.Error, StoreError):
            self.rollback()
            return False
        return mended


class ReadingWork:
    """The reader's work: each call reads what was committed before it began."""

    def __init__(self, handle: Handle, file: SharedFile, mend: Callable[[Exception], bool]) -> None:
        self._handle = handle
        self._file = file
        self._mend = mend
        self._busy = False

    shared = False

    @property
    def db(self) -> SQLiteConnection:
        """Its connection."""
        return self._handle.db

    def mend(self, error: Exception) -> bool:
        """Let the writer mend rows that may have failed a call; return whether there were any."""
        return self._mend(error)

    def begin(self, *, durable: bool) -> Reading:
        """Return what reading calls act on."""
        del durable
        self._file.take(self._handle)
        self._busy = True
        return Reading(self.db)

    def commit(self, unit: Reading) -> None:
        """Let others use the connection: nothing was written."""
        self.rollback()

    def rollback(self) -> None:
        """Let others use the connection: nothing was written."""
        if self._busy:
            self._busy = False
            self._handle.turn.release()

    def committed(self, unit: Reading) -> None:
        """Do nothing: nobody waits for a read."""


class Engine(Forkable):
    """One open store file (or a store in memory)."""

    def __init__(self, path: str, level: str, clock: Clock = REAL) -> None:
        self.path = path
        self.bulletin = Bulletin()
        # As the workers here say; None until one does: only they know how often a job may crash.
        self.max_stalls: int | None = None
        self.taken_back: deque[Recovered] = deque(maxlen=MAX_UNTOLD)
        self.on_taken_back: set[Callable[[], None]] = set()
        # Processes of whose end somebody will tell, who knows how they ended.
        self.awaited: frozenset[int] = frozenset()
        self._missed: dict[int, float] = {}
        self._watch: Watch | None = None
        self._reader: CallRunner | None = None
        self._file: SharedFile | None = None
        self._handles: list[Handle] = []
        if path == MEMORY:
            with aside():
                db = connect(path, synchronous=level)
            migrate(db, path)
            self._work = Writing(Handle(db, level), None, self.bulletin, None)
            # Only a store in memory has a clock that a test may move.
            self._work.clock = clock
            self._writer = CallRunner("toril-writer", self._work, path)
            self._work.owner = self._enter()
        else:
            self._open(level)
        self.mender = self._work.mender
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Leave everything to the parent: here nothing of it may even be destroyed."""
        keep(self)

    def _enter(self) -> int:
        row = (socket.gethostname(), os.getpid(), "", None, self._work.clock.now_ms())

        def enter(unit: Unit, groups: None) -> int:
            owner: int = unit.value("presence.enter", row)
            return owner

        return self.blocking(enter, None)

    def _open(self, level: str) -> None:
        """Open the file, let other processes know of this one, and know of them."""
        with contextlib.ExitStack() as undo:
            file = self._file = join(self.path, connect)
            undo.callback(lambda: file.leave(*self._handles))
            self.path = file.path
            presence = Presence(Path(self.path))
            undo.callback(presence.close)
            for _ in range(3):
                self._handles.append(file.open(level))
            writing, reading, watching = self._handles
            self._work = Writing(writing, file, self.bulletin, presence)
            self._writer = CallRunner("toril-writer", self._work, self.path)
            undo.callback(self._writer.close, CLOSE_S)
            self.blocking(lambda unit, _: None, None)
            self._reader = CallRunner(
                "toril-reader", ReadingWork(reading, file, self.mend), self.path
            )
            self._watch = Watch(file, watching, presence, self)
            undo.pop_all()

    @property
    def broken(self) -> str | None:
        """Why nothing works any more: a thread ended by an error. None: all of them run."""
        parts = {"writes": self._writer, "reads": self._reader, "watches": self._watch}
        ended = [does for does, each in parts.items() if each is not None and each.ended]
        return f"{self.path}: the thread that {ended[0]} ended by an error" if ended else None

    def hear(self, db: SQLiteConnection) -> None:
        """Pass on what another process changed; looking here saves whoever waits the look."""
        waited_for = self.bulletin.queues
        ready, _ = peek(Reading(db), tuple(waited_for), REAL.now_ms())
        self.bulletin.hear(ready)

    def dead(self, reading: Reading) -> tuple[list[int], bool]:
        """Find the processes that died with jobs in hand; say whether living ones hold any."""
        presence = self._work.presence
        owners: list[int] = reading.rows("presence.owners", (self._work.owner,))
        if not owners or presence is None:
            return [], False
        others = dict(reading.rows("presence.others", (self._work.owner,)))
        dead = [key for key in owners if key not in others or presence.is_gone(others[key])]
        due = [key for key in dead if self._is_due(key, others.get(key, ""))]
        return due, len(owners) > len(due)

    def is_gone(self, lock: str) -> bool:
        """Return whether the process with this lock is known to have died; nothing is changed."""
        presence = self._work.presence
        return presence is not None and presence.is_gone(lock)

    def _is_due(self, key: int, lock: str) -> bool:
        """Return whether word of how this process died has come, or is waited for no longer."""
        if process_of(lock) not in self.awaited:
            return True
        missed = self._missed.setdefault(key, time.monotonic())
        return time.monotonic() - missed > WORD_S

    def mend(self, error: Exception) -> bool:
        """Mend rows that may have failed a reading call; blocking. Return whether there were any."""
        try:
            return (mender := self._work.mender).may_help(error) and self.blocking(
                mender.mend, None
            )
        except StoreError:
            return False

    def take_back(self, dead: list[int]) -> None:
        """Take the jobs of dead processes back for a worker here; blocking."""
        if self.max_stalls is not None:
            # Closing, locked for long, or no room left: then the next look finds them again.
            with contextlib.suppress(StoreError):
                self.note_taken_back(self.blocking(self.bury, dead))

    def sweep(self, unit: Unit) -> None:
        """Clear away what processes left behind that ended without closing the store.

        One that held jobs stays until a worker takes them back.
        """
        presence = self._work.presence
        if presence is not None:
            holding = set(unit.rows("presence.owners", (unit.owner,)))
            others = unit.rows("presence.others", (unit.owner,))
            idle = [key for key, lock in others if key not in holding and presence.is_gone(lock)]
            self._clear(unit, idle)

    def bury(self, unit: Unit, dead: list[int]) -> list[Recovered]:
        """Take the jobs of dead processes back, and forget those processes."""
        if self.max_stalls is None:
            return []
        found = claim.recover(unit, (), unit.now, claim.Dead(self.max_stalls, dead))
        if len(found) < JOBS_A_CALL:
            self._clear(unit, dead)
        return found

    def note_taken_back(self, found: list[Recovered]) -> None:
        """Keep what was taken back until the workers of its queues ask, and call them."""
        self.taken_back.extend(found)
        for call in tuple(self.on_taken_back) if found else ():
            call()

    def tell_taken_back(self, queues: Collection[str]) -> list[Recovered]:
        """Return what was taken back from dead processes in these queues, or any, and forget it."""
        found = [self.taken_back.popleft() for _ in range(len(self.taken_back))]
        told = [each for each in found if not queues or each.queue in queues]
        self.taken_back.extend(each for each in found if each not in told)
        return told

    def _clear(self, unit: Unit, dead: list[int]) -> None:
        for key in dead:
            lock = unit.value("presence.lock", (key,))
            if lock is not None and self._work.presence is not None:
                self._work.presence.clear(lock)
            unit.run("presence.leave", (key,))

    async def write(self, run: Callable[[Unit, Any], T], groups: Any, *, durable: bool = True) -> T:
        """Run a call in a write transaction."""
        answer: T = await self.hand_over(run, groups, durable=durable)
        return answer

    def hand_over(
        self, run: Callable[[Unit, Any], Any], groups: Any, *, durable: bool = True
    ) -> "asyncio.Future[Any]":
        """Hand a call to the writer; its future will have the answer."""
        call = Call(run, groups, durable=durable, blocking=False)
        self._writer.submit(call)
        future: asyncio.Future[Any] = call.future
        return future

    async def write_both(
        self, first: tuple[Callable[[Unit, Any], T], Any], then: Callable[[Unit, Any], U]
    ) -> tuple[T, U | None]:
        """Run two calls in one write transaction, the second after the first.

        When the second one fails its answer is None: the first one stands.
        """
        one = Call(*first, durable=True, blocking=False)
        two = Call.beside(one, then)
        self._writer.submit(one, two)
        first_answer: T = await one.future
        # Both are answered at once.
        second: U | None = None if isinstance(two.answer, BaseException) else two.answer
        return first_answer, second

    def blocking(
        self, run: Callable[[Unit, Any], T], groups: Any, *, timeout: float = ANSWER_S
    ) -> T:
        """Run a call in a write transaction and block until it is answered."""
        call = Call(run, groups, durable=False, blocking=True)
        self._writer.submit(call)
        answer: T = self._await(call, timeout)
        return answer

    def _await(self, call: Call, timeout: float = ANSWER_S) -> Any:
        try:
            return call.future.result(timeout)
        except TimeoutError as error:
            raise StoreUnavailable(f"{self.path} did not answer for {timeout:.0f} s") from error

    def blocking_read(self, run: Callable[[Reading], T]) -> T:
        """Run a reading call and block until it is answered."""
        if self._reader is None:
            return self.blocking(lambda unit, _: _read_within(unit, run), None)
        call = Call(lambda reading, _: run(reading), None, durable=False, blocking=True)
        self._reader.submit(call)
        answer: T = self._await(call)
        return answer

    async def read(self, run: Callable[[Reading], T]) -> T:
        """Run a reading call."""
        if self._reader is None:
            return await self.write(lambda unit, _: _read_within(unit, run), None, durable=False)
        call = Call(lambda reading, _: run(reading), None, durable=False, blocking=False)
        self._reader.submit(call)
        answer: T = await call.future
        return answer

    def copy_to(self, copy: SQLiteConnection) -> None:
        """Copy the whole store into another database, as it is at one moment; blocking."""
        assert self._file is not None
        handle = self._file.open("normal")
        try:
            with self._file.turn(handle) as db, copy.backup("main", db, "main") as steps:
                # In one step: else each write meanwhile would make it start over.
                steps.step(-1)
        finally:
            self._file.drop(handle)

    def close(self) -> bool:
        """Leave the store; blocking. Return False if its threads have not ended after 10 s."""
        until = time.monotonic() + CLOSE_S
        presence = self._work.presence
        if presence is not None:
            owner = self._work.owner
            with contextlib.suppress(StoreError):  # else it is found dead, as after a crash
                self.blocking(_leave, owner, timeout=CLOSE_S / 2)
        threads = [each for each in (self._watch, self._writer, self._reader) if each]
        ended = [each.close(max(until - time.monotonic(), 0.0)) for each in threads]
        if not all(ended):
            return False
        if self._file is None:
            self._work.db.close()
        else:
            self._file.leave(*self._handles)
        if presence is not None:
            presence.close()
        return True


def _read_within(unit: Unit, run: Callable[[Reading], T]) -> T:
    """Read what this transaction has written as well."""
    unit.flush()
    return run(Reading(unit.db, unit.now))


def _leave(unit: Unit, process: int) -> None:
    unit.run("presence.leave", (process,))
