"""What endangers jobs in a file: damage, a log that grows, rights, room.

Changes nothing, except that it corrects wrong counts. Never here: queues and workers (the runtime examines those in any store).
"""

import contextlib
import os
import shutil
import stat
from pathlib import Path

import apsw

from toril._model.diagnosis import ERROR, OK, WARN, Finding, unlocked
from toril._store.sqlite.connection.runner import connect
from toril._store.sqlite.connection.shared_file import aside
from toril._store.sqlite.connection.transaction import to_json
from toril._store.sqlite.verbs.read import Reading

from .engine import MEMORY, Engine

# The first release without the fault that may damage a file when its log is begun anew.
SAFE = (3, 51, 3)
MIB = 1024 * 1024
LARGE_LOG = 256 * MIB
LITTLE_ROOM = 256 * MIB
LISTED = 1_000
PROBLEMS = 3


def examine(engine: Engine) -> list[Finding]:
    """Look at the file, its neighbours and its disk; blocking."""
    found = [_version(engine.path, apsw.sqlite_lib_version()), *_unlocked(engine)]
    found += _counts(engine)
    if engine.path != MEMORY:
        path = Path(engine.path)
        found += [_integrity(engine.path), _log_size(path), _rights(path), _room(path)]
    return found


def _version(path: str, version: str) -> Finding:
    numbers = tuple(int(part) for part in version.split(".")[:3])
    if numbers >= SAFE:
        return Finding(name="store.version", level=OK, message=f"SQLite {version}, {path}")
    return Finding(
        name="store.version",
        level=ERROR,
        message=f"SQLite {version} can damage a file that several processes write to",
        hint="upgrade: pip install -U 'apsw>=3.51.3'",
    )


def _integrity(path: str) -> Finding:
    name = "store.integrity"
    try:
        with aside(), contextlib.closing(connect(path, synchronous="normal")) as db:
            told = str(db.pragma("quick_check", PROBLEMS))
    except apsw.Error as error:
        told = str(error)
    if told == "ok":
        return Finding(name=name, level=OK, message="the file is sound (quick_check)")
    return Finding(
        name=name,
        level=ERROR,
        message=f"the file is damaged: {told}",
        hint="stop all workers, copy the file away, and restore a backup or recover it with "
        "sqlite3 old.db .recover | sqlite3 new.db",
    )


def _log_size(path: Path) -> Finding:
    log = path.with_name(f"{path.name}-wal")
    size = log.stat().st_size if log.exists() else 0
    if size < LARGE_LOG:
        return Finding(name="store.log", level=OK, message=f"the log has {size / MIB:.1f} MiB")
    return Finding(
        name="store.log",
        level=WARN,
        message=f"the log {log.name} has {size / MIB:.0f} MiB: it cannot be reset, which "
        "makes every read slower",
        hint="look for a process that reads the file and never ends, such as an open sqlite3 "
        "shell, and end it",
    )


def _rights(path: Path) -> Finding:
    beside = [path.with_name(path.name + end) for end in ("", "-wal", "-shm")]
    open_to = [file.name for file in beside if file.exists() and _mode(file) & 0o077]
    if not open_to or os.name == "nt":
        return Finding(name="store.rights", level=OK, message="only its owner may open the file")
    modes = ", ".join(f"{name} {_mode(path.with_name(name)):o}" for name in open_to)
    writable = any(_mode(path.with_name(name)) & 0o022 for name in open_to)
    what = "change" if writable else "read"
    return Finding(
        name="store.rights",
        level=WARN,
        message=f"other users of this machine may {what} jobs: {modes}",
        hint=f"chmod 600 {' '.join(str(path.with_name(name)) for name in open_to)}",
    )


def _mode(file: Path) -> int:
    return stat.S_IMODE(file.stat().st_mode)


def _room(path: Path) -> Finding:
    free = shutil.disk_usage(path.parent).free
    if free >= LITTLE_ROOM:
        return Finding(name="store.room", level=OK, message=f"{free / MIB:,.0f} MiB are free")
    return Finding(
        name="store.room",
        level=WARN,
        message=f"{free / MIB:.0f} MiB are free in {path.parent}: when none are, adds are refused",
        hint="make room, or keep fewer finished jobs (keep=)",
    )


def _counts(engine: Engine) -> list[Finding]:
    """Correct numbers of jobs by state that are not those of the rows: nobody else counts them."""
    name = "store.counts"
    wrong = engine.blocking_read(lambda reading: reading.rows("queue.miscounted"))
    if not wrong:
        return [Finding(name=name, level=OK, message="the counts of all queues are correct")]
    engine.blocking(lambda unit, _: unit.recount(), None)
    message = "the counts of this queue were wrong, and have been corrected"
    hint = "do not change the tables of the file with another program"
    return [
        Finding(name=name, level=WARN, queue=queue, message=message, hint=hint) for queue in wrong
    ]


def _unlocked(engine: Engine) -> list[Finding]:
    def look(reading: Reading) -> dict[str, list[str]]:
        dead, _ = engine.dead(reading)
        found: dict[str, list[str]] = {}
        rows = reading.rows("claim.stalled", (reading.now, to_json(dead), "[]", "[]", LISTED))
        for _, queue, job_id, *_ in rows:
            found.setdefault(queue, []).append(job_id)
        return found

    return [unlocked(queue, len(ids), ids[0]) for queue, ids in engine.blocking_read(look).items()]
