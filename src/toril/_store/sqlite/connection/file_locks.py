"""Locks on the database file that no close() in this process can drop.

SQLite uses POSIX record locks. They belong to the process, and closing any descriptor of the
file drops them: `shutil.copy(db)` or a second SQLite library is enough. Then any other program
believes that it is the last user, and deletes the write-ahead log under an open store. Open file
description locks belong to their descriptor alone, and SQLite's own locks respect them.
Where a system has none, `shared_file` only detects the loss. Never here: which file is the right one.
"""

import contextlib
import os
import struct
import sys
from collections.abc import Generator

import apsw

from toril._store.threads import new_lock

from .runner import BUSY_LIMIT_S, Patience

FileId = tuple[int, int]
# Where SQLite locks: its file format fixes the first two, and its shared memory the third.
_SHARED = (0x40000002, 510)
_IN_USE = (128, 1)
# Of whoever reads, writes, recovers or empties a log.
_AT_WORK = (120, 8)
# A byte beside SQLite's: who holds it may write. Only this library looks at it.
_WRITER = (0x40000000 + 512, 1)

if sys.platform == "linux":
    import fcntl

    HAS_OFD_LOCKS = True

    def _set(handle: int, kind: int, place: tuple[int, int]) -> bool:
        """Set a lock without waiting; return whether that worked."""
        try:
            # `struct flock`: type, whence, start, length, process (0 for this kind of lock).
            request = struct.pack("hhqqi0q", kind, os.SEEK_SET, *place, 0)
            fcntl.fcntl(handle, fcntl.F_OFD_SETLK, request)
        except (BlockingIOError, PermissionError):
            return False
        return True

    _READ, _WRITE, _NONE = fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK
else:
    HAS_OFD_LOCKS = False
    _READ, _WRITE, _NONE = 0, 1, 2

    def _set(handle: int, kind: int, place: tuple[int, int]) -> bool:
        """Return True: SQLite's own locks have to do."""
        return True


def file_id(path: str) -> FileId | None:
    """Return which file is at a path; None where there is none."""
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return info.st_dev, info.st_ino


@contextlib.contextmanager
def alone_at(path: str) -> Generator[bool]:
    """Keep others out of a log that was begun again; tell whether that worked and it is empty."""
    handle: int | None = None
    try:
        with contextlib.suppress(FileNotFoundError):
            handle = os.open(f"{path}-shm", os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        kept_out = handle is None or (HAS_OFD_LOCKS and _set(handle, _WRITE, _AT_WORK))
        yield kept_out and os.path.getsize(f"{path}-wal") == 0
    except OSError:
        yield False
    finally:
        if handle is not None:
            os.close(handle)


class Locks:
    """This process's locks on one database file, shared by every store on it.

    Closing it drops SQLite's locks on the file: only when no connection is open.
    """

    def __init__(self, path: str) -> None:
        self.ids = (file_id(path), file_id(f"{path}-shm"))
        self._handles: list[int] = []
        self._turn = new_lock()
        if HAS_OFD_LOCKS:
            try:
                for place, name in ((_SHARED, path), (_IN_USE, f"{path}-shm")):
                    self._handles.append(os.open(name, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW))
                    self._wait(self._handles[-1], _READ, place)
                self.ids = (self._id(0), self._id(1))
            except (OSError, apsw.Error):
                self.close()
                raise

    def _id(self, number: int) -> FileId:
        info = os.fstat(self._handles[number])
        return info.st_dev, info.st_ino

    def _wait(self, handle: int, kind: int, place: tuple[int, int]) -> None:
        patience, tries = Patience(), 0
        while not _set(handle, kind, place):
            if not patience(tries):
                raise apsw.BusyError("database is locked")
            tries += 1

    def copied(self) -> tuple[bytes, int] | None:
        """Return which log it is and how far it is copied into the file.

        Returns None while it is being copied, and where that cannot be told.
        """
        # They are where the format of the log's index has them: what names the log changes
        # whenever the log begins again.
        text = os.pread(self._handles[1], 132, 0) if len(self._handles) > 1 else b""
        if len(text) < 132:
            return None
        (done,), (begun,) = struct.unpack_from("=I", text, 96), struct.unpack_from("=I", text, 128)
        return (text[32:40], done) if begun <= done else None

    def log_is_empty(self) -> bool:
        """Return whether the log that was deleted under this process has nothing left in it."""
        return len(self._handles) > 2 and os.fstat(self._handles[2]).st_size == 0

    def follow_log(self, path: str) -> FileId | None:
        """Keep the log that is at this path in sight, whatever becomes of its name."""
        if not HAS_OFD_LOCKS:
            return file_id(path)
        with contextlib.suppress(OSError):
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            self._handles.append(handle)
            return self._id(2)
        return None

    def lock_writer(self) -> None:
        """Keep other processes from writing, even if SQLite's own lock is dropped meanwhile."""
        if self._handles:
            if not self._turn.acquire(timeout=BUSY_LIMIT_S):
                raise apsw.BusyError("database is locked")
            try:
                self._wait(self._handles[0], _WRITE, _WRITER)
            except (OSError, apsw.Error):
                self._turn.release()
                raise

    def unlock_writer(self) -> None:
        """Let others write again."""
        if self._handles:
            _set(self._handles[0], _NONE, _WRITER)
            self._turn.release()

    def release(self) -> None:
        """Release the locks, so that SQLite removes its files when it closes."""
        for handle in self._handles[:2]:
            _set(handle, _NONE, (0, 0))

    def close(self) -> None:
        """Close the descriptors."""
        while self._handles:
            os.close(self._handles.pop())
