"""The database file as this process has it open: its connections, and whether they are on it still.

All stores of a process on one file share this. After a commit, and before it is acknowledged, it
sees whether the files on disk are those that are open. When the log was deleted, what is in it
is saved and all connections are opened again. Never here: what runs on a connection.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import apsw

from toril._store.forks import keep
from toril._store.threads import new_lock
from toril.errors import StoreCorrupt, StoreError, StoreUnavailable

from .file_locks import FileId, Locks, alone_at, file_id
from .path_checks import prepare_file, real_path
from .runner import migrate, translate
from .sql import SQLiteConnection

ATTEMPTS = 20
# A folder that has not changed for so long will show its next change in its time.
SETTLED_NS = 2_500_000_000
FORK_S = 1.0
# How often a file is asked whether somebody wrote over it.
LOOK_S = 0.02


class Connect(Protocol):
    """What makes a connection."""

    def __call__(self, path: str, *, synchronous: str) -> SQLiteConnection:
        """Open one."""
        ...


@dataclass
class Handle:
    """A connection to the file, and whose turn it is to use it."""

    db: SQLiteConnection
    level: str = "full"
    # How often it was opened.
    generation: int = 0
    turn: threading.Lock = field(default_factory=new_lock)


@dataclass(frozen=True)
class Ids:
    """Which files they are: the database, its log, the index of its log."""

    db: FileId | None
    log: FileId | None
    index: FileId | None


class SharedFile:
    """One database file in one process. `join` gives it, each `leave` lets it go."""

    def __init__(self, path: str, connect: Connect) -> None:
        self.path = path
        self._folder = os.path.dirname(path)
        self._connect_to = connect
        self.members = 0
        self.handles: list[Handle] = []
        # Held while its connections are opened, closed or replaced.
        self.mending = new_lock()
        self._sound = True
        self._is_open = True
        # The generations of which all commits are in the file.
        self._saved: dict[int, bool] = {}
        self.generation = 0
        self._settled: tuple[int, int, int] | None = None
        # When the file was written last, and how far its log was copied into it.
        self._written: tuple[int, tuple[bytes, int]] | None = None
        self._overwritten = False
        self._looked_at = 0.0
        self._locks = self._start()
        self._ids = Ids(self._locks.ids[0], None, self._locks.ids[1])

    def _start(self) -> Locks:
        """Make the file ready, and hold it: from here on nobody deletes its log."""
        prepare_file(Path(self.path))
        first = self._connect_to(self.path, synchronous="full")
        try:
            migrate(first, self.path)
            return Locks(self.path)
        except OSError as error:
            raise StoreUnavailable(
                f"cannot open {self.path}: {error.strerror} ({error.errno})"
            ) from error
        except apsw.Error as error:
            raise translate(error, self.path) from error
        finally:
            first.close()

    # Its connections.

    def open(self, level: str) -> Handle:
        """Open one more connection.

        Raises   StoreUnavailable · StoreCorrupt: it cannot be used.
        """
        with self.mending:
            if self.handles and not self.is_intact():
                self._mend()
            handle = Handle(self._connect(level), level, self.generation)
            self.handles.append(handle)
            return handle

    def _connect(self, level: str) -> SQLiteConnection:
        db = self._connect_to(self.path, synchronous=level)
        with contextlib.ExitStack() as undo:
            undo.callback(db.close)
            try:
                db.pragma("user_version")  # which opens the log and its index
            except apsw.Error as error:
                raise translate(error, self.path) from error
            if self._ids.log is None:
                log = self._locks.follow_log(f"{self.path}-wal")
                self._ids = Ids(self._ids.db, log, self._ids.index)
                if self._ids != self._on_disk():
                    raise StoreUnavailable(
                        f"{self.path} was replaced while it was opened: try again"
                    )
            undo.pop_all()
        return db

    @contextlib.contextmanager
    def turn(self, handle: Handle) -> Generator[SQLiteConnection]:
        """Use a connection on its own.

        Raises   StoreUnavailable: it is not on the file any more, and cannot be.
        """
        self.take(handle)
        try:
            yield handle.db
        finally:
            handle.turn.release()

    def take(self, handle: Handle) -> None:
        """Wait for the turn on a connection that is on the file; release `handle.turn` after it."""
        for _ in range(ATTEMPTS):
            handle.turn.acquire()
            if self.is_untouched():
                return
            handle.turn.release()
            self.mend()
        raise StoreUnavailable(f"{self.path} is replaced again and again")

    def lock_writer(self) -> None:
        """Keep other processes from writing; see `Locks`."""
        self._locks.lock_writer()

    def unlock_writer(self) -> None:
        """Let them write again."""
        self._locks.unlock_writer()

    # Whether they are on the file.

    @property
    def id(self) -> FileId | None:
        """Which file it is."""
        return self._ids.db

    def is_at(self, place: FileId) -> bool:
        """Return whether this is the file with that identity."""
        return self._ids.db == place

    def is_intact(self) -> bool:
        """Return whether the files on disk are the open ones; cheap while their folder is quiet."""
        if not self._sound:
            return False
        try:
            info = os.stat(self._folder)
        except OSError:
            self._sound = False
            return False
        mark = (info.st_dev, info.st_ino, info.st_mtime_ns)
        if mark == self._settled:
            return True
        self._sound = self._on_disk() == self._ids
        # Times may be coarse: a change soon after the last one could leave no mark.
        if sys.platform != "win32" and time.time_ns() - info.st_mtime_ns > SETTLED_NS:
            self._settled = mark
        return self._sound

    def _on_disk(self) -> Ids:
        return Ids(file_id(self.path), file_id(f"{self.path}-wal"), file_id(f"{self.path}-shm"))

    def is_untouched(self) -> bool:
        """Return whether only checkpoints have written to the file; they leave their mark."""
        now = time.monotonic()
        if now < self._looked_at + LOOK_S or not self._sound:
            return self._sound
        self._looked_at = now
        before = self._locks.copied()
        try:
            written = os.stat(self.path).st_mtime_ns
        except OSError:
            return True  # it is gone, which is found out elsewhere
        after = self._locks.copied()
        if before is None or after is None or before != after:
            return True  # it is being written to from the log, and is looked at again
        known, self._written = self._written, (written, after)
        if known is None or written == known[0] or after != known[1]:
            return True
        self._overwritten, self._sound = True, False
        return False

    # What to do when they are not.

    def mend(self, since: int | None = None) -> bool:
        """Save what is only in a deleted log, and open everything again.

        Returns whether all commits of the generation `since` are in the file for certain.

        Raises   StoreUnavailable: that is not safe; nothing was changed.
        """
        with self.mending:
            if since is None or since == self.generation:
                self._mend()
            return since is not None and self._saved.get(since, False)

    def _mend(self) -> None:
        with contextlib.ExitStack() as turns:
            for handle in self.handles:
                turns.enter_context(handle.turn)
            if self._overwritten and self._is_open and self._on_disk() == self._ids:
                self._check_pages()
            elif self._is_open and self._on_disk() == self._ids:
                self._sound, self._saved = True, {self.generation: True}
                return
            self._sound = False
            saved = self._is_open and self._save()
            self._saved = {self.generation: saved}
            self._reopen()

    def _check_pages(self) -> None:
        """Look whether a file that was written over is sound; it may only have been touched.

        Raises   StoreCorrupt: its pages and those of the log do not fit together.
        """
        try:
            fresh = self._connect_to(self.path, synchronous="normal")
            try:
                told = str(fresh.pragma("quick_check", 1))
            finally:
                fresh.close()
        except (apsw.Error, StoreError) as error:
            told = str(error)
        if told != "ok":
            raise StoreCorrupt(
                f"{self.path} was overwritten while it was open, and does not fit its log any "
                f"more: {told}; nothing is stored any more (stop what uses it, remove "
                f"{self.path}-wal and {self.path}-shm, and restore the backup again)"
            )

    def _save(self) -> bool:
        """Bring everything committed into the file; return whether that is certain.

        Raises   StoreUnavailable: the files are such that nothing may be touched.
        """
        there, known = self._on_disk(), self._ids
        if there == known:
            return False  # written over: the file is sound, but what is cached of it is old
        if there.db != known.db:
            # Nothing of the old log may be taken for the new file's.
            self._empty_log()
            if there.db is None or there.log == known.log or there.index == known.index:
                raise StoreUnavailable(
                    f"{self.path} was moved, removed or replaced while it was open: nothing is "
                    "stored any more (put it back, or restart what uses it; to use another file "
                    f"here, stop that first, and remove {self.path}-wal and {self.path}-shm)"
                )
            return False
        if there.log is None and there.index in (None, known.index):
            return self._rescue()
        if there.log == known.log:
            # Whoever made the new index read the log first.
            return self._rescue() if there.index is None else False
        if self._locks.log_is_empty():
            return True  # another process has saved it
        with alone_at(self.path) as alone:
            if alone:
                return self._rescue()
        raise StoreUnavailable(
            f"{self.path}-wal was deleted while it was open, and another program has begun a new "
            "one: nothing is stored any more, and the newest jobs are only in this process (stop "
            "the other program, delete the new -wal and -shm files, and they are saved)"
        )

    def _rescue(self) -> bool:
        if not self._empty_log():
            raise StoreUnavailable(
                f"{self.path}-wal or -shm was deleted while it was open, and another process "
                "reads the old one: nothing is stored until that has ended"
            )
        return True

    def _empty_log(self) -> bool:
        """Copy the log into the open file, sync it, and empty the log; return whether that worked."""
        for handle in self.handles:
            self._locks.lock_writer()
            try:
                handle.db.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
            except apsw.Error:
                return False
            else:
                return True
            finally:
                self._locks.unlock_writer()
        return True

    def _reopen(self) -> None:
        self._close()
        self.generation += 1
        try:
            self._locks = self._start()
            self._ids = Ids(self._locks.ids[0], None, self._locks.ids[1])
            self._is_open = True
            for handle in self.handles:
                handle.db = self._connect(handle.level)
                handle.generation = self.generation
        except (OSError, StoreError):
            self._close()
            raise
        self._settled, self._sound = None, True
        self._written, self._overwritten = None, False

    def _close(self) -> None:
        """Close all connections, and then the locks: SQLite then leaves the files alone."""
        for handle in self.handles:
            handle.db.close()
        if self._is_open:
            self._locks.close()
        self._is_open = False

    def leave(self, *handles: Handle) -> None:
        """Close connections; the last store of a process takes its log into the file."""
        with _registry, self.mending:
            self.members -= 1
            if not self.is_intact():
                with contextlib.suppress(StoreError):
                    self._mend()
            if self.members == 0:
                _files.remove(self)
                if self.is_intact():
                    self._locks.release()
            for handle in handles:
                self._drop(handle)
            if self.members == 0 and self._is_open:
                self._locks.close()

    def drop(self, handle: Handle) -> None:
        """Close one connection."""
        with self.mending:
            self._drop(handle)

    def _drop(self, handle: Handle) -> None:
        with handle.turn:
            handle.db.close()
        self.handles.remove(handle)

    # Forks: in no process may a lock be held by a connection that nobody uses.

    def turns(self) -> list[threading.Lock]:
        """Return the locks under which its connections are used."""
        return [handle.turn for handle in self.handles]

    def abandon(self) -> None:
        """Let go of the descriptors in a forked child; everything stays the parent's."""
        self._sound = self._is_open = False
        self._locks.close()


_files: list[SharedFile] = []
_registry = new_lock()


def join(path: str, connect: Connect) -> SharedFile:
    """Return this process's hold on a file, which it makes or opens when it is the first."""
    real = real_path(path)
    with _registry:
        here = file_id(real)
        if here in _inherited:
            raise StoreUnavailable(
                f"{real} was in the middle of a transaction when this process was forked, and "
                "cannot be opened safely here: fork again, or start a new process (spawn)"
            )
        found = next((each for each in _files if here and each.is_at(here)), None)
        if found is None:
            found = SharedFile(real, connect)
            _files.append(found)
        found.members += 1
        return found


_paused: list[threading.Lock] = []
# Held while a connection is used that belongs to no file here, such as that of a backup: SQLite has
# locks of its own for the whole process, and one that is held during a fork stays held in the child.
_aside = new_lock()
# Files that were in the middle of a transaction when the parent of this process forked.
_inherited: set[FileId | None] = set()


@contextlib.contextmanager
def aside() -> Generator[None]:
    """Use SQLite on a connection that is no handle of a file; no fork comes in between."""
    with _aside:
        yield


def _before_fork() -> None:
    """Let nobody be inside SQLite: the child would inherit its locks as if it held them."""
    until = time.monotonic() + FORK_S

    def pause(*locks: threading.Lock) -> None:
        _paused.extend(
            each for each in locks if each.acquire(timeout=max(until - time.monotonic(), 0))
        )

    # Each step keeps the locks that are looked up next from becoming more.
    pause(_registry, _aside)
    pause(*(file.mending for file in _files))
    pause(*(turn for file in _files for turn in file.turns()))


def _after_fork() -> None:
    while _paused:
        _paused.pop().release()


def _after_fork_in_child() -> None:
    global _registry, _aside
    safe = {id(lock) for lock in _paused}
    _after_fork()
    _registry, _aside = new_lock(), new_lock()
    for file in _files:
        if not all(id(each) in safe for each in (file.mending, *file.turns())):
            _inherited.add(file.id)
        keep(file)
        file.abandon()
    _files.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork_in_child
    )
