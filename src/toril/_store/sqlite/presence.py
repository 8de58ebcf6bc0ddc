"""Who has the file open: a lock that ends with its process, and a doorbell to wake it.

The lock is an OS lock on a file of the process's own: the kernel drops it when the process
dies, whatever killed it, and keeps it while the process is only stopped. The doorbell is a
datagram socket: writers ring it after COMMIT. Never here: SQL.
"""

import contextlib
import os
import secrets
import socket
import sys
import tempfile
import weakref
from pathlib import Path

from toril.errors import StoreUnavailable

if sys.platform != "win32":
    import fcntl

    HAS_LOCKS = True

    def _take(handle: int) -> bool:
        """Lock an open file without waiting; say whether that worked."""
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True

else:  # Windows has no flock: there the lock time of a job alone tells
    HAS_LOCKS = False

    def _take(handle: int) -> bool:
        """Say that it is locked: nobody can tell."""
        return True


# A Unix socket's path has to fit in 108 bytes, its end included.
MAX_SOCKET_PATH = 100
ENTRIES = 100
_open: "weakref.WeakSet[Presence]" = weakref.WeakSet()


def _after_fork() -> None:
    # The child shares the lock's open file: it must not keep its parent's lock alive.
    for presence in list(_open):
        presence.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Presence:
    """This process at one store: its lock and its doorbell, both gone after `close`."""

    def __init__(self, path: Path) -> None:
        self.folder = path.with_name(path.name + "-live")
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.lock = f"{name}.lock"
        self._lock_handle = self._enter()
        self.bell_socket, self.bell = _doorbell(self.folder, name)
        _open.add(self)

    def _enter(self) -> int | None:
        """Make the folder and take the lock; the last process to leave may remove the folder."""
        for _ in range(ENTRIES):
            self.folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileNotFoundError):
                return _lock(self.folder / self.lock, create=True)
        raise StoreUnavailable(f"cannot make a lock in {self.folder}: it vanishes again and again")

    def is_dead(self, lock: str) -> bool:
        """Say whether the process that has this lock is gone; its traces are cleared then."""
        gone = self.is_gone(lock)
        if gone:
            with contextlib.suppress(OSError):
                (self.folder / lock).unlink()
        return gone

    def is_gone(self, lock: str) -> bool:
        """Say whether the process that has this lock is gone; its traces stay.

        A lock that can be taken, or is not there any more, has no living owner.
        """
        if not HAS_LOCKS:
            return False
        path = self.folder / lock
        handle = _lock(path, create=False)
        if handle is None:
            return not path.exists()
        os.close(handle)
        return True

    def ring(self, bells: list[str]) -> None:
        """Wake these processes; one that cannot be reached looks by itself before long."""
        for bell in bells:
            with contextlib.suppress(OSError):
                self.bell_socket.sendto(b"!", _address(bell))

    def abandon(self) -> None:
        """Let go of the handles in a forked child; the files stay the parent's."""
        if self._lock_handle is not None:
            os.close(self._lock_handle)
            self._lock_handle = None
        self.bell_socket.close()

    def close(self) -> None:
        """Give lock and doorbell back."""
        _open.discard(self)
        if self._lock_handle is None:
            return
        with contextlib.suppress(OSError):
            (self.folder / self.lock).unlink()
        clear_bell(self.bell)
        self.abandon()
        with contextlib.suppress(OSError):
            self.folder.rmdir()


def process_of(lock: str) -> int | None:
    """Give the id of the process that has a lock of this name; None where it has no name."""
    number = lock.partition("-")[0]
    return int(number) if number.isdigit() else None


def _lock(path: Path, *, create: bool) -> int | None:
    """Open and lock a file without waiting; None when somebody holds it or it is not there."""
    flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        handle = os.open(path, flags | (os.O_CREAT if create else 0), 0o600)
    except OSError:
        if create:
            raise
        return None
    if _take(handle):
        return handle
    os.close(handle)
    return None


def _doorbell(folder: Path, name: str) -> tuple[socket.socket, str]:
    if hasattr(socket, "AF_UNIX"):
        path = str((folder / f"{name}.bell").absolute())
        if len(path.encode()) > MAX_SOCKET_PATH:
            path = str(Path(tempfile.gettempdir(), f"toril-{name}.bell"))
        bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        bell.bind(path)
        os.chmod(path, 0o600)
        address = path
    else:
        bell = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bell.bind(("127.0.0.1", 0))
        address = f"udp:{bell.getsockname()[1]}"
    bell.setblocking(False)
    return bell, address


def _address(bell: str) -> str | tuple[str, int]:
    return ("127.0.0.1", int(bell[4:])) if bell.startswith("udp:") else bell


def clear_bell(bell: str | None) -> None:
    """Remove what a doorbell leaves in the file system."""
    if bell is not None and not bell.startswith("udp:"):
        with contextlib.suppress(OSError):
            Path(bell).unlink()
