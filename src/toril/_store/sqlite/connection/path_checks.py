"""Check a path before SQLite opens it: its folder, its kind, its owner, its modes, its neighbours.

An existing database file is only looked at, never opened: a process that closes any descriptor
of a file drops all its POSIX locks on it, and SQLite's with them. Never here: opening.
"""

import contextlib
import os
import stat
from pathlib import Path

from toril.errors import StoreUnavailable

# Beside the database file: its log, the index of its log, a rollback journal, the locks.
BESIDE = ("-wal", "-shm", "-journal")
LIVE = "-live"
_NETWORK = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs", "vboxsf")
)


def network_file_system(path: Path, mounts: str | None = None) -> str | None:
    """Return the network file system that `path` is on, or None; `mounts` as in /proc/mounts."""
    best, kind = "", None
    target = str(path.absolute())
    for point, fs in _mounts(mounts):
        inside = target == point or target.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fs
    return kind if kind in _NETWORK else None


def _mounts(text: str | None) -> list[tuple[str, str]]:
    """Return the mount points and the kinds of their file systems."""
    if text is None:
        try:
            text = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return []
    # Blanks in a name are written as octal numbers there.
    rows = [line.split(" ") for line in text.splitlines()]
    return [(row[1].replace("\\040", " "), row[2]) for row in rows if len(row) > 2]


def real_path(path: str) -> str:
    """Return the path without symbolic links: SQLite names the files beside it by that one.

    Raises   StoreUnavailable: somebody else made a link on the way.
    """
    here = Path(path)
    for part in (here, *here.parents):
        info = _look(part)
        if info is not None and stat.S_ISLNK(info.st_mode) and not _is_trusted(info):
            raise _refused(
                path, f"{part} is a symbolic link of user {info.st_uid}", "name the file itself"
            )
    return os.path.realpath(path)


def prepare_file(path: Path) -> None:
    """Check the folder, the file and what is beside it; create the file when there is none.

    One thread of a process at a time: another one could open the new file in between.

    Raises   StoreUnavailable: it cannot be used safely, or not at all.
    """
    check_folder(path)
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
    try:
        if _look(path) is None:
            with contextlib.suppress(FileExistsError):  # another one was quicker
                # A new file: nobody in this process can have a lock on it that this closes.
                os.close(os.open(path, flags, 0o600))
    except OSError as error:
        raise StoreUnavailable(f"cannot open {path}: {error.strerror} ({error.errno})") from error
    check_files(path)


def check_folder(path: Path) -> None:
    """Check where the file is, or shall be.

    Raises   StoreUnavailable: no folder, a network file system, or a folder others may change.
    """
    folder = path.parent
    info = _look(folder)
    if info is None or not folder.is_dir():
        raise _refused(path, f"the folder {folder} does not exist", "create it first")
    kind = network_file_system(path)
    if kind is not None:
        raise _refused(
            path,
            f"it is on a network file system ({kind}), where SQLite's locks do not hold",
            "put it on a local disk",
        )
    if str(path) in (point for point, _ in _mounts(None)):
        raise _refused(
            path,
            "the file itself is a mount point, so the files beside it would not be shared",
            "mount its folder",
        )
    _check_owner(path, folder, info)
    if info.st_mode & stat.S_IWOTH and not info.st_mode & stat.S_ISVTX and os.name != "nt":
        raise _refused(
            path, f"every user may change the folder {folder}", f"run: chmod o-w {folder}"
        )


def check_files(path: Path) -> None:
    """Check the file and what is beside it.

    Raises   StoreUnavailable: something is not what this store makes, or others may change it.
    """
    info = _look(path)
    if info is None:
        raise _refused(path, "it does not exist")
    if not stat.S_ISREG(info.st_mode):
        raise _refused(path, "it is not a file")
    _check_private(path, path, info)
    if info.st_nlink > 1:
        raise _refused(
            path,
            f"it has {info.st_nlink} names (hard links), and each would have a log of its own",
            f"find them with: find {path.parent} -samefile {path}; keep one, or copy the file "
            "with: toril backup",
        )
    for end in (*BESIDE, LIVE):
        beside = Path(f"{path}{end}")
        found = _look(beside)
        if found is None:
            continue
        sound = stat.S_ISDIR if end == LIVE else stat.S_ISREG
        if not sound(found.st_mode):
            kind = "folder" if end == LIVE else "file"
            raise _refused(path, f"{beside} is not a {kind}", "move it away")
        _check_private(path, beside, found)


def _check_private(path: Path, what: Path, info: os.stat_result) -> None:
    _check_owner(path, what, info)
    if info.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and os.name != "nt":
        raise _refused(path, f"other users may change {what}", f"run: chmod go-w {what}")


def _check_owner(path: Path, what: Path, info: os.stat_result) -> None:
    if not _is_trusted(info):
        raise _refused(
            path,
            f"{what} belongs to user {info.st_uid}, and this process runs as user {os.geteuid()}",
            "run it as that user, or change the owner with chown",
        )


def _is_trusted(info: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or info.st_uid in (0, os.geteuid())


def _look(path: Path) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _refused(path, f"{error.strerror} ({error.errno})") from error
    except ValueError as error:
        raise _refused(path, str(error)) from error


def _refused(path: object, why: str, remedy: str = "") -> StoreUnavailable:
    return StoreUnavailable(f"cannot open {path}: {why}{f' ({remedy})' if remedy else ''}")
