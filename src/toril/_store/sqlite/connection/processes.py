"""Who has the file open: a lock that ends with its process, and a doorbell to wake it.

The lock is an OS lock on a file of the process's own: the kernel drops it when the process
dies, whatever killed it, and keeps it while the process is only stopped. The doorbell is a
datagram socket: writers ring it after COMMIT. Both have names that are made of the process's id
and chance; the names that are in the database are others' text, and no path is made of one
that does not look like that. Never here: SQL.
"""

import contextlib
import os
import re
import secrets
import socket
import stat
import sys
import tempfile
import weakref
from collections.abc import Sequence
from pathlib import Path

from toril.errors import StoreUnavailable

from .path_checks import LIVE

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
# On Linux an open folder has a short path as well, however long its own one is.
OPEN_FOLDERS = Path("/proc/self/fd")
ENTRIES = 100
_LOCK = re.compile(r"([0-9]{1,10}-[0-9a-f]{8})\.lock", re.ASCII)
_PORT = re.compile(r"udp:([0-9]{1,5})", re.ASCII)
_BY_DESCRIPTOR = os.open in os.supports_dir_fd and os.unlink in os.supports_dir_fd
_open: "weakref.WeakSet[Presence]" = weakref.WeakSet()


def _after_fork() -> None:
    # The child shares the lock's open file: it must not keep its parent's lock alive.
    for presence in list(_open):
        presence.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class Folder:
    """A private folder, held open: what is named in it can be nowhere else."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.handle: int | None = None
        if _BY_DESCRIPTOR:
            flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
            self.handle = os.open(
                path, flags | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
            )
        info = (
            os.stat(path, follow_symlinks=False) if self.handle is None else os.fstat(self.handle)
        )
        own = not hasattr(os, "geteuid") or info.st_uid in (0, os.geteuid())
        if not own or not stat.S_ISDIR(info.st_mode) or (os.name != "nt" and info.st_mode & 0o022):
            self.close()
            raise StoreUnavailable(
                f"cannot use the folder {path}: it belongs to somebody else, or other users may "
                "change it (remove it, or make it yours with mode 700)"
            )

    def open(self, name: str, *, create: bool) -> int:
        """Open a file in it, never through a link."""
        flags = os.O_RDWR | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NOFOLLOW", 0)
        flags |= os.O_CREAT | os.O_EXCL if create else 0
        if self.handle is None:
            return os.open(self.path / name, flags, 0o600)
        return os.open(name, flags, 0o600, dir_fd=self.handle)

    def remove(self, name: str) -> None:
        """Remove a file from it, if it is there."""
        with contextlib.suppress(OSError):
            if self.handle is None:
                os.unlink(self.path / name)
            else:
                os.unlink(name, dir_fd=self.handle)

    def socket_path(self, name: str) -> str | None:
        """Return a path to a socket in it that is short enough, or None."""
        path = str(self.path / name)
        if len(os.fsencode(path)) > MAX_SOCKET_PATH and self.handle is not None:
            path = str(OPEN_FOLDERS / str(self.handle) / name)
            if not OPEN_FOLDERS.is_dir():
                return None
        return path if len(os.fsencode(path)) <= MAX_SOCKET_PATH else None

    def close(self) -> None:
        """Let it go."""
        if self.handle is not None:
            os.close(self.handle)
            self.handle = None


class Presence:
    """This process at one store: its lock and its doorbell, both gone after `close`."""

    def __init__(self, path: Path) -> None:
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        self.lock = f"{name}.lock"
        self._live = path.with_name(path.name + LIVE)
        self._lock_handle: int | None = None
        self._folder = self._enter()
        self._bells: Folder | None = self._folder
        if hasattr(socket, "AF_UNIX") and self._folder.socket_path(_bell_of(self.lock)) is None:
            self._bells = _bell_folder()
        self.bell_socket, self.bell = self._hang_bell()
        _open.add(self)

    def _enter(self) -> Folder:
        """Make the folder and take the lock; the last process to leave may remove the folder."""
        for _ in range(ENTRIES):
            with contextlib.suppress(FileNotFoundError):
                self._live.mkdir(mode=0o700, exist_ok=True)
                folder = Folder(self._live)
                try:
                    handle = folder.open(self.lock, create=True)
                except OSError:
                    folder.close()
                    raise
                self._lock_handle = handle
                if _take(handle):
                    return folder
                raise StoreUnavailable(f"cannot lock {self._live / self.lock}")
        raise StoreUnavailable(f"cannot make a lock in {self._live}: it vanishes again and again")

    def _hang_bell(self) -> tuple[socket.socket, str | None]:
        address: str | None = None
        if hasattr(socket, "AF_UNIX"):
            bell = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            path = self._bells and self._bells.socket_path(_bell_of(self.lock))
            if path:
                bell.bind(path)
                os.chmod(path, 0o600)
                address = path
        else:
            bell = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            bell.bind(("127.0.0.1", 0))
            address = f"udp:{bell.getsockname()[1]}"
        bell.setblocking(False)
        return bell, address

    def is_gone(self, lock: str) -> bool:
        """Return whether the process that has this lock is gone; its traces stay.

        A lock that can be taken, or is not there any more, has no living owner.
        """
        if not HAS_LOCKS:
            return False
        if not _LOCK.fullmatch(lock):
            return True
        try:
            handle = self._folder.open(lock, create=False)
        except FileNotFoundError:
            return True
        except OSError:
            return False
        try:
            return _take(handle)
        finally:
            os.close(handle)

    def clear(self, lock: str) -> None:
        """Remove what the process with this lock left behind."""
        if _LOCK.fullmatch(lock):
            self._folder.remove(lock)
            if self._bells is not None:
                self._bells.remove(_bell_of(lock))

    def ring(self, others: Sequence[tuple[str, str | None]]) -> None:
        """Wake the processes with these locks and bells.

        One that cannot be reached looks on its own before long.
        """
        for lock, bell in others:
            address = self._address(lock, bell)
            if address is not None:
                with contextlib.suppress(OSError):
                    self.bell_socket.sendto(b"!", address)

    def ring_self(self) -> None:
        """Wake whoever listens to the own doorbell."""
        self.ring([(self.lock, self.bell)])

    def _address(self, lock: str, bell: str | None) -> str | tuple[str, int] | None:
        if hasattr(socket, "AF_UNIX"):
            if self._bells is None or not _LOCK.fullmatch(lock):
                return None
            return self._bells.socket_path(_bell_of(lock))
        port = _PORT.fullmatch(bell or "")
        return ("127.0.0.1", int(port[1])) if port and 0 < int(port[1]) < 65_536 else None

    def abandon(self) -> None:
        """Let go of the handles in a forked child; the files stay the parent's."""
        if self._lock_handle is not None:
            os.close(self._lock_handle)
            self._lock_handle = None
        self.bell_socket.close()
        self._folder.close()
        if self._bells is not None:
            self._bells.close()

    def close(self) -> None:
        """Release lock and doorbell."""
        _open.discard(self)
        if self._lock_handle is None:
            return
        self.clear(self.lock)
        self.abandon()
        with contextlib.suppress(OSError):
            self._live.rmdir()


def process_of(lock: str) -> int | None:
    """Return the id of the process that has a lock of this name; None where it has no name."""
    return int(lock.partition("-")[0]) if _LOCK.fullmatch(lock) else None


def _bell_of(lock: str) -> str:
    return lock.removesuffix(".lock") + ".bell"


def _bell_folder() -> Folder | None:
    """Return a private folder with a short path, for where that beside the database is too long.

    None when another user has taken its name: this process then looks on its own now and then.
    """
    for parent in (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir()):
        if os.path.isabs(parent):
            path = Path(parent, f"toril-{os.geteuid()}")
            with contextlib.suppress(OSError, StoreUnavailable):
                path.mkdir(mode=0o700, exist_ok=True)
                folder = Folder(path)
                if folder.socket_path(_bell_of("0" * 10 + "-" + "f" * 8)) is not None:
                    return folder
                folder.close()
    return None
