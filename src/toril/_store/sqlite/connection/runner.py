"""Open the file, and run calls on it: one writing thread with group commit, one reading thread.

Everything that waited while the last commit ran goes into the next transaction together. When
a transaction dies, its calls are replayed one by one, and a call that dies is replayed group by
group: a fault refuses what caused it and nothing else. Nothing is answered before COMMIT.
Never here: what a verb does.
"""

import asyncio
import contextlib
import errno
import itertools
import os
import random
import time
from collections.abc import Callable, Sequence
from copy import copy
from typing import Any, Protocol

import apsw

from toril._store.threads import CallResult, Empty, SimpleQueue, original, start_thread
from toril.errors import (
    StoreCorrupt,
    StoreError,
    StoreFull,
    StoreMismatch,
    StoreRefused,
    StoreUnavailable,
    TorilError,
)

from .call_queue import CallQueue, queue_of
from .schema import APPLICATION_ID, check_schema, other_program
from .sql import SQLiteConnection
from .statements import migrations, statements

BUSY_LIMIT_S = 60.0
# What a system says where there is no room: of the disk, of a quota, of a limit on sizes.
_NO_ROOM = frozenset(
    getattr(errno, name) for name in ("ENOSPC", "EDQUOT", "EFBIG") if hasattr(errno, name)
)


class Stranded(StoreUnavailable):
    """What was committed may be lost with its file; running it again could store it twice."""


def translate(error: apsw.Error, where: str, number: int = 0) -> StoreError:
    """Say in toril's errors what SQLite said; `number` is what the system had said to it."""
    match error:
        case apsw.FullError():
            return StoreFull(f"no room left in {where}: {error} (free some of the disk)")
        case apsw.IOError() if number in _NO_ROOM:
            return StoreFull(f"no room left in {where}: {os.strerror(number)} (errno {number})")
        case apsw.TooBigError():
            return StoreRefused(
                f"{where}: a value is larger than SQLite takes ({error}): nothing was stored"
            )
        case apsw.ConstraintError() | apsw.MismatchError() | apsw.RangeError():
            return StoreRefused(f"{where}: a value cannot be stored: {error}")
        case apsw.CorruptError() | apsw.NotADBError():
            return StoreCorrupt(
                f"{where} is damaged or not a toril store: {error}; it was left as it is (stop "
                "what uses it, copy it away, then restore a backup or recover it with: "
                "sqlite3 old.db .recover | sqlite3 new.db)"
            )
        case apsw.ReadOnlyError():
            return StoreUnavailable(
                f"{where} can only be read: {error} (look at the rights of the file and its "
                "folder, and how its disk is mounted)"
            )
        case apsw.BusyError() | apsw.LockedError():
            return StoreUnavailable(f"{where} has been locked for {BUSY_LIMIT_S:.0f} s: {error}")
        case _:
            return StoreUnavailable(f"{where} failed: {type(error).__name__}: {error}")


class Patience:
    """Wait for the write lock in short random naps, so that no process is starved."""

    def __init__(self) -> None:
        self.until = 0.0

    def __call__(self, tries: int) -> bool:
        now = time.monotonic()
        if tries == 0:
            self.until = now + BUSY_LIMIT_S
        if now > self.until:
            return False
        original("time", "sleep")(random.uniform(0.0002, 0.002 if tries < 50 else 0.01))
        return True


def connect(path: str, *, synchronous: str) -> SQLiteConnection:
    """Open a connection as the store needs it.

    Raises   StoreUnavailable · StoreCorrupt: it cannot be used.
    """
    try:
        driver: Any = apsw
        opened: Any = driver.Connection(path, statementcachesize=200)
        # A SQLite with STAT4 would plan a statement anew for each value bound to it, which costs
        # ten times what most of them do; there are no statistics that such a plan could use.
        opened.config(driver.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        # What is in the file is data: it may not call functions, or change its own tables.
        opened.config(driver.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        opened.config(driver.SQLITE_DBCONFIG_DEFENSIVE, 1)
        db: SQLiteConnection = opened
        db.set_busy_handler(Patience())
        if path != ":memory:":
            _use_log(db)
        db.pragma("synchronous", synchronous)
        db.pragma("foreign_keys", True)
        db.pragma("recursive_triggers", False)
        db.pragma("temp_store", 2)
        db.pragma("cache_size", -16_000)
    except apsw.Error as error:
        raise translate(error, path) from error
    return db


def _use_log(db: SQLiteConnection) -> None:
    """Switch a new file to its write-ahead log, or find that another process just did.

    Two who switch it at once could wait for each other for ever, so SQLite refuses one of them
    without asking how patient it is.
    """
    patience = Patience()
    for tries in itertools.count():
        try:
            db.pragma("journal_mode", "wal")
            return
        except apsw.BusyError:
            if not patience(tries):
                raise


def migrate(db: SQLiteConnection, where: str) -> None:
    """Bring the tables to this version, each step in a transaction of its own.

    Raises   StoreMismatch: a newer toril wrote the file. ConfigError: it is another program's.
             StoreCorrupt: its tables are not those that toril makes.
    """
    steps = migrations()
    try:
        check_schema(db, where)
        if db.pragma("user_version") == len(steps):
            return
        # One process migrates; the others wait here for its write lock and find it done.
        for number, step in enumerate(steps, start=1):
            with Transaction(db):
                version = db.pragma("user_version")
                if version == 0:
                    _check_own(db, where)
                if version > len(steps):
                    raise StoreMismatch(
                        f"{where} has version {version}, this toril knows {len(steps)}: "
                        "upgrade toril; the file was left as it is"
                    )
                if version < number:
                    db.execute(step)
                    db.pragma("user_version", number)
    except apsw.Error as error:
        raise translate(error, where) from error


def _check_own(db: SQLiteConnection, where: str) -> None:
    if db.pragma("application_id") == 0 and db.execute(statements()["db.tables"]).get:
        raise other_program(where)
    db.pragma("application_id", APPLICATION_ID)


class Transaction:
    """A write transaction that takes its lock at once."""

    def __init__(self, db: SQLiteConnection) -> None:
        self.db = db
        self.sql = statements()

    def __enter__(self) -> None:
        self.db.execute(self.sql["db.begin"])

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is None:
            self.db.execute(self.sql["db.commit"])
        elif self.db.in_transaction:
            self.db.execute(self.sql["db.rollback"])


class Work(Protocol):
    """What a lane does around its calls."""

    @property
    def db(self) -> SQLiteConnection:
        """The connection that the calls use."""
        ...

    def begin(self, *, durable: bool) -> Any:
        """Start a transaction and return what the calls act on."""
        ...

    def commit(self, unit: Any) -> None:
        """Make it last, through a power cut if durable; after this the calls are answered."""
        ...

    def rollback(self) -> None:
        """Undo everything since `begin`."""
        ...

    def committed(self, unit: Any) -> None:
        """Wake whoever waits for what was done."""
        ...

    def mend(self, error: Exception) -> bool:
        """Mend what is stored if that may be why calls failed; return whether to try again."""
        ...

    @property
    def shared(self) -> bool:
        """Whether another process wrote between this transaction and the one before."""
        ...


class Call:
    """A verb on its way to a lane: its groups, what to do with them, and who waits for it."""

    __slots__ = (
        "answer", "before", "durable", "future", "groups", "is_batch", "loop", "queue", "run", "whole",
    )  # fmt: skip

    def __init__(
        self, run: Callable[[Any, Any], Any], groups: Any, *, durable: bool, blocking: bool
    ) -> None:
        self.run = run
        self.groups = groups
        self.queue = queue_of(groups)
        self.durable = durable
        self.is_batch = isinstance(groups, list)
        self.answer: Any = None
        # Answers of the parts that were cut off; of a part: the call that it was cut off.
        self.before: list[Any] = []
        self.whole: Call | None = None
        self.loop = None if blocking else asyncio.get_running_loop()
        self.future: Any = CallResult[Any]() if self.loop is None else self.loop.create_future()

    @classmethod
    def beside(cls, other: "Call", run: Callable[[Any, Any], Any]) -> "Call":
        """Return a call to be handed over behind another one, whose caller takes both answers."""
        call = cls.__new__(cls)
        call.run, call.groups, call.durable, call.is_batch = run, None, False, False
        call.answer, call.before, call.whole = None, [], None
        call.loop, call.queue, call.future = other.loop, other.queue, None
        return call

    def cut(self, count: int) -> "Call":
        """Return a call about the first groups, and leave this one the others."""
        part = copy(self)
        part.groups, self.groups = self.groups[:count], self.groups[count:]
        part.whole = self
        return part

    def answers(self) -> list[Any]:
        """Return the answers of all groups, those that were cut off first."""
        answer = self.answer
        return self.before + (answer if isinstance(answer, list) else [answer] * len(self.groups))


def _deliver(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.future is None or call.future.done():
            continue  # its caller was cancelled; what it asked for has happened all the same
        if isinstance(call.answer, BaseException):
            call.future.set_exception(call.answer)
        else:
            call.future.set_result(call.answer)


class CallRunner:
    """A thread that owns a connection and runs calls on it, many in one transaction."""

    def __init__(self, name: str, work: Work, where: str) -> None:
        self._work = work
        self._where = where
        self._inbox: SimpleQueue[tuple[Call, ...]] = SimpleQueue()
        self._closed = False
        self._ended = False
        self._died = False
        self._call_queue = CallQueue[Call]()
        self._batch: list[Call] = []
        self._fault: Exception | None = None
        # How much this thread had used when the last batch ended.
        self._cpu = 0.0
        self._pid = os.getpid()
        self._thread = start_thread(self._main, name)

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return self._ended

    def submit(self, *calls: Call) -> None:
        """Hand calls over, for one transaction in this order; their futures have the answers."""
        if self._pid != os.getpid():
            raise StoreUnavailable(
                f"{self._where} was opened before this process was forked: open it again here"
            )
        if self._closed:
            raise StoreUnavailable(self._failed() if self._died else f"{self._where} was closed")
        self._inbox.put(calls)
        if self._ended:
            self._refuse_what_is_left()

    def close(self, timeout: float) -> bool:
        """Finish what was handed over, then end the thread; return False if that takes longer."""
        if not self._closed:
            self._closed = True
            self._inbox.put(())
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _main(self) -> None:
        try:
            self._serve()
        finally:
            # By an error, if not by close(): then whoever waits must not wait for ever.
            self._died = not self._closed
            self._closed = self._ended = True
            self._refuse_what_is_left()

    def _refuse_what_is_left(self) -> None:
        left, self._batch = self._batch + self._call_queue.take_all(), []
        with contextlib.suppress(Empty):
            while True:
                left += self._inbox.get_nowait()
        for call in left:
            call.answer = StoreUnavailable(self._failed())
        self._answer(left)

    def _failed(self) -> str:
        return (
            f"{self._where}: the thread that uses it ended by an error, which is on the error "
            "output: what was asked of it may be done or not (restart this process)"
        )

    def _serve(self) -> None:
        is_open = True
        self._cpu = time.thread_time()
        while is_open:
            is_open = self._receive()
            self._batch = self._call_queue.take()
            if self._batch:
                self._carry_out_timed(self._batch)
            self._batch = []
        while rest := self._call_queue.take_all():
            self._batch = rest
            self._carry_out(rest)
        self._batch = []

    def _receive(self) -> bool:
        """Take in what was handed over, and wait if nothing can run; False: it was the last."""
        pause = self._call_queue.pause()
        with contextlib.suppress(Empty):
            calls = self._inbox.get(timeout=pause) if pause != 0 else self._inbox.get_nowait()
            while calls:  # nothing at all is the sign to end
                self._call_queue.put(calls)
                calls = self._inbox.get_nowait()
            return False
        return True

    def _carry_out_timed(self, batch: list[Call]) -> None:
        began = time.perf_counter()
        self._carry_out(batch)
        # This thread used next to nothing since the batch before.
        before, self._cpu = self._cpu, time.thread_time()
        wall = time.perf_counter() - began
        self._call_queue.ran(batch, self._cpu - before, wall, others=self._work.shared)

    def _carry_out(self, batch: list[Call]) -> None:
        if not self._succeeds(batch):
            # Somebody's fault: each call by itself, so that it falls on nobody else.
            for call in batch:
                if not self._succeeds([call]):
                    self._apart(call)
        self._answer(batch)

    def _succeeds(self, batch: list[Call]) -> bool:
        """Run calls together; again when what failed them was a bad row that could be mended."""
        if self._together(batch):
            return True
        fault, self._fault = self._fault, None
        return fault is not None and self._work.mend(fault) and self._together(batch)

    def _answer(self, batch: list[Call]) -> None:
        by_loop: dict[Any, list[Call]] = {}
        for call in batch:
            if call.whole is not None:
                call.whole.before = call.answers()
                continue
            if call.before:
                call.answer = call.answers()
            by_loop.setdefault(call.loop, []).append(call)
        for loop, calls in by_loop.items():
            if loop is None:
                _deliver(calls)
            elif not loop.is_closed():
                self._post(loop, calls)

    def _post(self, loop: asyncio.AbstractEventLoop, calls: list[Call]) -> None:
        # The loop may close in between: then nobody is left to hear the answer.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_deliver, calls)

    def _together(self, batch: list[Call]) -> bool:
        work = self._work
        try:
            unit = work.begin(durable=any(call.durable for call in batch))
            for call in batch:
                call.answer = call.run(unit, call.groups)
            work.commit(unit)
        except Stranded as error:
            work.rollback()
            for call in batch:
                call.answer = error
            return True
        except Exception as error:
            work.rollback()
            self._fault = error
            for call in batch:
                call.answer = self._explain(error)
            return False
        work.committed(unit)
        return True

    def _apart(self, call: Call) -> None:
        """Run each group of a failed call on its own; the answers of good ones stand."""
        if not call.is_batch or len(call.groups) < 2:
            return
        answers: list[Any] = []
        for group in call.groups:
            one = Call.__new__(Call)
            one.run, one.groups, one.durable, one.is_batch = call.run, [group], call.durable, True
            done = self._succeeds([one])
            answers.append(one.answer[0] if done else one.answer)
        call.answer = answers

    def _explain(self, error: Exception) -> Exception:
        if isinstance(error, TorilError):
            return error
        if isinstance(error, apsw.Error):
            told: StoreError = translate(error, self._where, self._work.db.system_errno)
        elif isinstance(error, UnicodeError):
            told = StoreRefused(f"{self._where}: a text cannot be encoded as UTF-8: {error}")
        else:
            told = StoreError(f"{self._where} failed: {type(error).__name__}: {error}")
        told.__cause__ = error
        return told
