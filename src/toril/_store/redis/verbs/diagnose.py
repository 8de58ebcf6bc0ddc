"""What endangers jobs on a server: its version, settings, memory, disk and clock. Only reads.

Never here: queues and workers (the runtime examines those in any store).
"""

import time
from collections.abc import Mapping

from toril._model.diagnosis import ERROR, OK, WARN, Finding, unlocked
from toril._model.stored import whole
from toril._model.times import describe
from toril._store.redis.core.server import Server
from toril._store.redis.core.server_checks import inspect, read_info
from toril.errors import ConfigError

from . import read, strays

# Of a clock that differs: when it shows in times that are told, and when schedules run wrongly.
SKEW_MS = (1_000, 60_000)
FULL = 0.9
LISTED = 1_000
# Some lose jobs in ordinary operation; the others may one day.
_LEVELS = {"store.evicts": ERROR}


async def examine(server: Server) -> list[Finding]:
    """Look at the server and at the locks of active jobs."""
    told = await inspect(server.link)
    found = [Finding(name="store.version", level=OK, message=told.shown)]
    for notice in told.notices:
        message, _, hint = notice.message.partition("; ")
        level = _LEVELS.get(notice.name, WARN)
        found.append(Finding(name=notice.name, level=level, message=message, hint=hint))
    named = {each.name for each in found}
    if "store.unchecked" not in named:
        info = read_info(str(await server.link.read("INFO")))
        found += [*_settings(info, named), *_memory(info), *_disk(info), *_role(info)]
    return [*found, await _clock(server), *await _unlocked(server), *await _strays(server)]


def _settings(info: Mapping[str, str], named: set[str]) -> list[Finding]:
    found: list[Finding] = []
    if "store.evicts" not in named:
        found.append(Finding(name="store.evicts", level=OK, message="no job is evicted"))
    if "store.forgets" not in named:
        kept = info.get("aof_enabled") == "1"
        message = "changes are appended to disk" if kept else "only snapshots are written to disk"
        level = OK if kept else WARN
        hint = "" if kept else "set appendonly yes: a restart loses what came after the last one"
        found.append(Finding(name="store.forgets", level=level, message=message, hint=hint))
    return found


def _memory(info: Mapping[str, str]) -> list[Finding]:
    used, most = whole(info.get("used_memory")), whole(info.get("maxmemory"))
    if not most:
        return []
    share = f"{used / most:.0%} of its memory is used"
    if used < FULL * most:
        return [Finding(name="store.room", level=OK, message=share)]
    return [
        Finding(
            name="store.room",
            level=WARN,
            message=f"{share}: when it is full, adds are refused",
            hint="raise maxmemory, or keep fewer finished jobs (keep=)",
        )
    ]


def _disk(info: Mapping[str, str]) -> list[Finding]:
    words = ("rdb_last_bgsave_status", "aof_last_write_status", "aof_last_bgrewrite_status")
    failed = [word for word in words if info.get(word, "ok") != "ok"]
    if not failed:
        return []
    return [
        Finding(
            name="store.disk",
            level=ERROR,
            message=f"the server could not write to its disk ({', '.join(failed)}): it may refuse "
            "changes, and a restart loses jobs",
            hint="look into the server's log, and at the room on its disk",
        )
    ]


def _role(info: Mapping[str, str]) -> list[Finding]:
    if info.get("role", "master") == "master":
        return []
    return [
        Finding(
            name="store.replica",
            level=ERROR,
            message="the server is a replica: it refuses every change",
            hint="give the URL of the primary, or redis+sentinel://",
        )
    ]


async def _clock(server: Server) -> Finding:
    before = time.time()
    try:
        seconds, micros = await server.link.read("TIME")
    except ConfigError:
        return Finding(
            name="clock",
            level=WARN,
            message="the server's clock was not compared: this user may not run TIME",
            hint="allow it with ACL SETUSER … +time",
        )
    here = (before + time.time()) / 2
    return judge_clock(round((whole(seconds) + whole(micros) / 1e6 - here) * 1000))


def judge_clock(ahead: int) -> Finding:
    """Return what it means that the server's clock is this many milliseconds ahead of this machine's."""
    off, wrong = abs(ahead), "ahead of" if ahead > 0 else "behind"
    if off < SKEW_MS[0]:
        return Finding(name="clock", level=OK, message="the clocks agree within a second")
    return Finding(
        name="clock",
        level=WARN if off < SKEW_MS[1] else ERROR,
        message=f"the server's clock is {describe(off)} {wrong} this machine's: schedules and "
        "delays that are stored from here start at another time than was meant",
        hint="let both follow NTP",
    )


async def _unlocked(server: Server) -> list[Finding]:
    found: list[Finding] = []
    for queue in await read.queues(server):
        base = server.base(queue)
        ids = await server.link.read("LRANGE", f"{base}active", 0, LISTED - 1)
        locks = await server.link.many([("EXISTS", f"{base}{job_id}:lock") for job_id in ids])
        bare = [job_id for job_id, there in zip(ids, locks, strict=True) if not there]
        # One that has just ended stands in the list no more.
        active = f"{base}active"
        still: list[str] = await server.link.read("LRANGE", active, 0, -1) if bare else []
        bare = [job_id for job_id in bare if job_id in still]
        if bare:
            found.append(unlocked(queue, len(bare), bare[0]))
    return found


async def _strays(server: Server) -> list[Finding]:
    jobs: dict[str, list[str]] = {}
    for queue, job_id in await strays.find(server, await read.queues(server)):
        jobs.setdefault(queue, []).append(job_id)
    return [
        Finding(
            name="job.stray",
            level=WARN,
            queue=queue,
            message=f"{_count(ids)} in no list of the queue (such as {ids[0]!r}): no worker finds "
            "them there",
            hint="a worker of this queue puts them back, 500 keys of the server a round; start one "
            "if none runs",
        )
        for queue, ids in jobs.items()
    ]


def _count(ids: list[str]) -> str:
    return "1 job is" if len(ids) == 1 else f"{len(ids):,} jobs are"
