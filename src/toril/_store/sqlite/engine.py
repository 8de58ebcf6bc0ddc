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

import msgspec

from toril._model.report import WorkerInfo
from toril._model.times import Millis
from toril._store.protocol import Recovered
from toril.errors import StoreError, StoreUnavailable

from . import claim
from .db import Call, Lane, connect, migrate, prepare_file
from .presence import Presence, clear_bell, process_of
from .read import Reading, peek
from .sql import Connection
from .statements import statements
from .unit import Unit, clock, to_json
from .watch import Bulletin, Watch

T = TypeVar("T")
U = TypeVar("U")
MEMORY = ":memory:"
ANSWER_S = 90.0
# Whoever knows how a process died tells within this, or its jobs go back without that.
WORD_S = 0.4
# Jobs taken back that nobody asked about yet; a queue may have no worker here who will.
MAX_UNTOLD = 1_000


def file_at(path: str) -> tuple[int, int] | None:
    """Say which file stands at a path, whatever its name; None where there is none."""
    try:
        info = os.stat(path)
    except OSError:
        return None
    return info.st_dev, info.st_ino


class Writing:
    """The writer's work: transactions that wake whoever waits when they are committed."""

    def __init__(self, db: Connection, path: str, bulletin: Bulletin, level: str) -> None:
        self.db = db
        self._path = path
        self._file = file_at(path)
        self.presence: Presence | None = None
        self.owner = 0
        self._bulletin = bulletin
        self._sql = statements()
        self._level = self._now_level = level
        self._version = -1
        self._bells: list[str] = []

    def begin(self, *, durable: bool) -> Unit:
        """Start a transaction; one that nobody was promised anything about need not be synced.

        A claim or a renewed lock that a power cut takes back harms nobody: the next synced
        commit carries it, and without one the job just runs again.
        """
        level = self._level if durable else "normal"
        if level != self._now_level:
            self.db.pragma("synchronous", level)
            self._now_level = level
        self.db.execute(self._sql["db.begin"])
        if self.presence is not None and self.db.data_version() != self._version:
            self._version = self.db.data_version()
            text: str = self.db.execute(self._sql["presence.bells"], (self.owner,)).get
            self._bells = msgspec.json.decode(text, type=list[str])
        return Unit(self.db, self.owner)

    def commit(self, unit: Unit) -> None:
        """Write events and counters, and make it all last.

        Raises   StoreUnavailable: the file is gone, and with it what was written.
        """
        unit.flush()
        self.db.execute(self._sql["db.commit"])
        # Afterwards: an open file that was replaced takes everything, and nobody finds it there.
        if file_at(self._path) != self._file:
            raise StoreUnavailable(
                f"{self._path} was moved, removed or replaced while it was open: nothing is "
                "stored any more (put it back, or restart what uses it)"
            )

    def rollback(self) -> None:
        """Undo everything since `begin`."""
        if self.db.in_transaction:
            self.db.execute(self._sql["db.rollback"])

    def committed(self, unit: Unit) -> None:
        """Wake waiters here and ring the other processes."""
        self._bulletin.tell(unit)
        if self._bells and self.presence is not None and (unit.changed or unit.look):
            self.presence.ring(self._bells)


class ReadingWork:
    """The reader's work: each call reads what was committed before it began."""

    def __init__(self, db: Connection) -> None:
        self.db = db

    def begin(self, *, durable: bool) -> Reading:
        """Give what reading calls act on."""
        del durable
        return Reading(self.db)

    def commit(self, unit: Reading) -> None:
        """Do nothing: nothing was written."""

    def rollback(self) -> None:
        """Do nothing: nothing was written."""

    def committed(self, unit: Reading) -> None:
        """Do nothing: nobody waits for a read."""


class Engine:
    """One open store file (or a store in memory)."""

    def __init__(self, path: str, level: str) -> None:
        self.path = path
        self.bulletin = Bulletin()
        # As the workers here say; None until one does: only they know how often a job may crash.
        self.max_stalls: int | None = None
        self.taken_back: deque[Recovered] = deque(maxlen=MAX_UNTOLD)
        self.on_taken_back: set[Callable[[], None]] = set()
        # Processes of whose end somebody will tell, who knows how they ended.
        self.awaited: frozenset[int] = frozenset()
        self._missed: dict[int, float] = {}
        self._level = level
        self._memory = path == MEMORY
        self._watch: Watch | None = None
        self._reader: Lane | None = None
        self._reader_db: Connection | None = None
        if not self._memory:
            prepare_file(Path(path))
        with contextlib.ExitStack() as undo:
            db = connect(path, synchronous=level)
            undo.callback(db.close)
            migrate(db, path)
            undo.pop_all()
        self._work = Writing(db, path, self.bulletin, level)
        self._writer = Lane("toril-writer", self._work, path)
        if self._memory:
            self._work.owner = self._enter("", None)
        else:
            self._share()

    def _enter(self, lock: str, bell: str | None) -> int:
        row = (socket.gethostname(), os.getpid(), lock, bell, clock())

        def enter(unit: Unit, groups: None) -> int:
            unit.run("presence.enter", row)
            return unit.db.last_insert_rowid()

        return self.blocking(enter, None)

    def _share(self) -> None:
        """Let other processes know of this one, and know of them."""
        presence = Presence(Path(self.path))
        self._work.owner = self._enter(presence.lock, presence.bell)
        self._work.presence = presence
        self.blocking(self._sweep, presence)
        self._reader_db = connect(self.path, synchronous=self._level)
        self._reader = Lane("toril-reader", ReadingWork(self._reader_db), self.path)
        self._watch = Watch(
            connect(self.path, synchronous=self._level),
            presence,
            heard=self._hear,
            check=self._look_after_others,
        )

    def _hear(self, db: Connection) -> None:
        """Pass on what another process changed; looking here saves whoever waits the look."""
        waited_for = self.bulletin.queues
        ready, _ = peek(Reading(db), tuple(waited_for), clock())
        self.bulletin.hear(ready)

    def dead(self, reading: Reading) -> tuple[list[int], bool]:
        """Find the processes that died with jobs in hand; say whether living ones hold any."""
        presence = self._work.presence
        owners: list[int] = reading.rows("presence.owners", (self._work.owner,))
        if not owners or presence is None:
            return [], False
        others = dict(reading.rows("presence.others", (self._work.owner,)))
        dead = [key for key in owners if key not in others or presence.is_dead(others[key])]
        due = [key for key in dead if self._is_due(key, others.get(key, ""))]
        return due, len(owners) > len(due)

    def is_gone(self, lock: str) -> bool:
        """Say whether the process with this lock is known to have died; nothing is changed."""
        presence = self._work.presence
        return presence is not None and presence.is_gone(lock)

    def _is_due(self, key: int, lock: str) -> bool:
        """Say whether word of how this process died has come, or is waited for no longer."""
        if process_of(lock) not in self.awaited:
            return True
        missed = self._missed.setdefault(key, time.monotonic())
        return time.monotonic() - missed > WORD_S

    def _look_after_others(self, db: Connection) -> bool:
        """Take the jobs of dead processes back for a worker here; say if living ones hold any."""
        dead, alive = self.dead(Reading(db))
        if dead and self.max_stalls is not None:
            # Closing, locked for long, or no room left: then the next look finds them again.
            with contextlib.suppress(StoreError):
                self.note_taken_back(self.blocking(self.bury, dead))
        return alive

    def _sweep(self, unit: Unit, presence: Presence) -> None:
        """Clear away what processes left behind that ended without closing the store.

        One that held jobs stays until a worker takes them back.
        """
        holding = set(unit.rows("presence.owners", (unit.owner,)))
        others = unit.rows("presence.others", (unit.owner,))
        idle = [key for key, lock in others if key not in holding and presence.is_dead(lock)]
        self._clear(unit, idle)

    def bury(self, unit: Unit, dead: list[int]) -> list[Recovered]:
        """Take the jobs of dead processes back, and forget those processes."""
        if self.max_stalls is None:
            return []
        found = claim.recover(unit, (), unit.now, claim.Dead(self.max_stalls, dead))
        if len(found) < claim.MAX_CLAIM:
            self._clear(unit, dead)
        return found

    def note_taken_back(self, found: list[Recovered]) -> None:
        """Keep what was taken back until the workers of its queues ask, and call them."""
        self.taken_back.extend(found)
        for call in tuple(self.on_taken_back) if found else ():
            call()

    def tell_taken_back(self, queues: Collection[str]) -> list[Recovered]:
        """Give what was taken back from dead processes in these queues, or any, and forget it."""
        found = [self.taken_back.popleft() for _ in range(len(self.taken_back))]
        told = [each for each in found if not queues or each.queue in queues]
        self.taken_back.extend(each for each in found if each not in told)
        return told

    def _clear(self, unit: Unit, dead: list[int]) -> None:
        for key in dead:
            clear_bell(unit.value("presence.bell", (key,)))
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
        two = Call(then, None, durable=False, blocking=False)
        self._writer.submit(one, two)
        await asyncio.wait((one.future, two.future))
        second: U | None = None if two.future.exception() else two.future.result()
        return one.future.result(), second

    def blocking(self, run: Callable[[Unit, Any], T], groups: Any, *, durable: bool = False) -> T:
        """Run a call in a write transaction and block until it is answered."""
        call = Call(run, groups, durable=durable, blocking=True)
        self._writer.submit(call)
        answer: T = self._await(call)
        return answer

    def _await(self, call: Call) -> Any:
        try:
            return call.future.result(ANSWER_S)
        except TimeoutError as error:
            raise StoreUnavailable(f"{self.path} did not answer for {ANSWER_S:.0f} s") from error

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

    def close(self) -> None:
        """Leave the store; blocking."""
        presence = self._work.presence
        if presence is not None:
            owner = self._work.owner
            with contextlib.suppress(StoreUnavailable):  # else it is found dead, as after a crash
                self.blocking(lambda unit, key: _forget(unit, "presence.leave", key), owner)
        if self._watch is not None:
            self._watch.close()
        self._writer.close()
        if self._reader is not None and self._reader_db is not None:
            self._reader.close()
            self._reader_db.close()
        self._work.db.close()
        if presence is not None:
            presence.close()


def _read_within(unit: Unit, run: Callable[[Reading], T]) -> T:
    """Read what this transaction has written as well."""
    unit.flush()
    return run(Reading(unit.db))


def _forget(unit: Unit, statement: str, key: object) -> None:
    unit.run(statement, (key,))


def forget_worker(unit: Unit, worker: str) -> None:
    """Take a worker off the list."""
    _forget(unit, "presence.worker_leave", worker)


def announce(unit: Unit, worker: WorkerInfo, now: Millis) -> None:
    """Note that a worker of this process is there."""
    who = (worker.id, unit.owner, worker.name, worker.host, worker.pid)
    what = (to_json(list(worker.queues)), worker.concurrency, worker.rate, worker.active)
    unit.run("presence.worker", (*who, *what, worker.started_ms, now))
