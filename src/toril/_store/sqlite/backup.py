"""Copy an open store into another file, while everything runs.

SQLite's backup reads one moment of the file; a plain copy would mix several, and would miss what
is still in the log. Never here: reading or changing a job.
"""

import contextlib
import os
import secrets
from pathlib import Path

import apsw

from toril._store.sqlite.connection.runner import connect, translate
from toril._store.sqlite.connection.shared_file import aside
from toril.errors import ConfigError, StoreCorrupt, StoreUnavailable

from .engine import MEMORY, Engine

BESIDE = ("-wal", "-shm", "-journal")


def backup(engine: Engine, target: Path, *, force: bool) -> int:
    """Write a checked copy to `target`, for its owner alone, and return its size; blocking.

    The copy has its name when it is complete and synced, never before.

    Raises   ConfigError: the target cannot be one. StoreUnavailable · StoreFull · StoreCorrupt.
    """
    target = target.absolute()
    _check(engine, target, force=force)
    draft = target.with_name(f".{target.name}-{secrets.token_hex(4)}")
    try:
        os.close(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        _copy(engine, draft)
        size = draft.stat().st_size
        if force:
            os.replace(draft, target)
        else:
            _name(draft, target)
        _sync_folder(target.parent)
    except OSError as error:
        raise StoreUnavailable(
            f"cannot write {target}: {error.strerror} ({error.errno})"
        ) from error
    except apsw.Error as error:
        raise translate(error, str(draft)) from error
    finally:
        for end in ("", *BESIDE):
            with contextlib.suppress(OSError):
                os.unlink(f"{draft}{end}")
    return size


def _check(engine: Engine, target: Path, *, force: bool) -> None:
    if engine.path == MEMORY:
        raise ConfigError(
            "a store in memory has no file", field="url", hint="use a file: sqlite:///jobs.db"
        )
    if os.path.realpath(target) == engine.path:
        raise _refused(target, "it is the store itself", "name another file")
    if not target.parent.is_dir():
        raise _refused(target, f"the folder {target.parent} does not exist", "create it first")
    if target.is_dir():
        raise _refused(target, "it is a folder", "name a file in it")
    if os.path.lexists(target) and not force:
        raise _refused(target, "it exists already", "add --force (force=True) to replace it")
    for end in BESIDE:
        if os.path.lexists(f"{target}{end}"):
            raise _refused(
                target, f"{target}{end} is of a database that is in use", "name another file"
            )


def _refused(target: Path, why: str, hint: str) -> ConfigError:
    return ConfigError(f"cannot back up to {target}: {why}", field="path", value=target, hint=hint)


def _copy(engine: Engine, draft: Path) -> None:
    with aside():
        copy = connect(str(draft), synchronous="full")
    try:
        engine.copy_to(copy)
        with aside():
            # One file and no log beside it, until somebody opens it as a store.
            copy.pragma("journal_mode", "delete")
            told = str(copy.pragma("integrity_check", 1))
    finally:
        with aside():
            copy.close()
    if told != "ok":
        raise StoreCorrupt(
            f"{engine.path} is damaged, and was not backed up: {told} (see: toril doctor)"
        )


def _name(draft: Path, target: Path) -> None:
    """Rename the copy to its name, unless there is such a file by now."""
    try:
        os.link(draft, target)
    except FileExistsError as error:
        raise _refused(
            target, "it exists already", "add --force (force=True) to replace it"
        ) from error
    except OSError:  # a file system without links
        os.rename(draft, target)


def _sync_folder(folder: Path) -> None:
    if os.name != "nt":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
