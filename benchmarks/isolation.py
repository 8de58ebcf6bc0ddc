"""How close to the ideal jobs run that wait or compute, in threads and in processes.

2,000 jobs that wait for 50 ms, and 400 that compute for 10 ms on two places. The ideal is the work
alone, divided by the places: × 1.00 is an endless row of jobs without a gap. Each is compared with
the ideal of its own number of places.

Every place is kept by a job that waits for a gate while the jobs are added; it opens for all at
once, and time runs from the start of the first job to the end of the last. `CPU beside` is what
all processes of a contestant used, without the work that computes; Redis is not in it.
"""

import os
import sys
import tempfile
import time
from argparse import Namespace
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import common
from common import Result, file_system, fsync_ms, processor, table
from redis_common import PEERS, ROSTER, Failed, Peer, Server, answer, in_turn, options, started

sys.path.append(str(PEERS))
import toil

JOBS = {"io": 2_000, "cpu": 400}
WORKS = {"io": "waiting, 50 ms a job", "cpu": "computing, 10 ms a job, on two places"}
START_S = 60.0
GATES_S = 3.0
LIMIT_S = 180.0
# Long enough for what is held ahead to be fetched, and for all places to see the gate.
SETTLE_S = 0.5
OPENING_S = 0.2
LOOK_S = 0.05
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Who runs jobs how: so many programs with so many places each, in one of a peer's ways."""

    peer: str
    how: str
    way: str = "-"
    programs: int = 1
    places: int
    sqlite: bool = False

    @property
    def name(self) -> str:
        store = ", SQLite" if self.sqlite else ""
        return f"{self.peer}{store}: {self.how}"

    @property
    def all_places(self) -> int:
        return self.programs * self.places


def _toril(sqlite: bool, how: str, way: str, places: int, programs: int = 1) -> Setting:
    return Setting(peer="toril", how=how, way=way, programs=programs, places=places, sqlite=sqlite)


SETTINGS = {
    "io": [
        *(
            setting
            for sqlite in (True, False)
            for setting in (
                _toril(sqlite, "100 on the loop", "loop", 100),
                _toril(sqlite, "100 threads", "threads", 100),
                _toril(sqlite, "20 children", "children", 20),
            )
        ),
        Setting(peer="taskiq", how="100 on the loop", places=100),
        Setting(peer="Huey", how="100 threads", places=100),
        Setting(peer="Dramatiq", how="2 processes × 50 threads", programs=2, places=50),
        Setting(peer="Celery", how="prefork, 20 children", way="prefork", places=20),
        Setting(peer="RQ", how="20 SimpleWorkers", way="simple", programs=20, places=1),
        Setting(peer="RQ", how="20 workers, a fork a job", way="fork", programs=20, places=1),
    ],
    "cpu": [
        *(
            setting
            for sqlite in (True, False)
            for setting in (
                _toril(sqlite, "2 children", "children", 2),
                _toril(sqlite, "2 workers × 1 thread", "threads", 1, programs=2),
            )
        ),
        Setting(peer="taskiq", how="2 processes × 1", programs=2, places=1),
        Setting(peer="Huey", how="2 processes × 1 thread", programs=2, places=1),
        Setting(peer="Dramatiq", how="2 processes × 1 thread", programs=2, places=1),
        Setting(peer="Celery", how="prefork, 2 children", way="prefork", places=2),
        Setting(peer="RQ", how="2 SimpleWorkers", way="simple", programs=2, places=1),
        Setting(peer="RQ", how="2 workers, a fork a job", way="fork", programs=2, places=1),
    ],
}


def main() -> None:
    given = options(__doc__ or "", rounds=3, folder=True)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(common.folder(given)))
        # Nothing is pinned: children, threads and the server share what there is.
        server = stack.enter_context(Server())
        print("# Jobs that wait and jobs that compute, beside the ideal\n")
        _describe(server, folder)
        for work, title in WORKS.items():
            settings = _present(given, work)
            if settings:
                _compare(given, work, title, settings, Place(server, folder))


def _compare(
    given: Namespace, work: str, title: str, settings: Sequence[Setting], place: "Place"
) -> None:
    jobs = JOBS[work] // (4 if given.quick else 1)
    found = in_turn(
        {each.name: _measured(each, work, jobs, place) for each in settings}, given.rounds
    )
    head = [title, "places", "seconds", "× ideal", "µs CPU beside", "run twice"]
    rows: list[list[Any]] = []
    for each in settings:
        result = found[each.name]
        values = [*result.values()] if result else ["failed"] * 4
        rows.append([each.name, each.all_places, *values])
    table(head, rows)


def _present(given: Namespace, work: str) -> list[Setting]:
    wanted = [each for each in SETTINGS[work] if _peer(each).key in given.peers]
    missing = {each.peer: why for each in wanted if (why := _peer(each).missing())}
    for name, why in missing.items():
        print(f"without   {name}: {why}")
    return [each for each in wanted if each.peer not in missing]


def _peer(setting: Setting) -> Peer:
    return next(peer for peer in ROSTER if peer.name == setting.peer)


def _describe(server: Server, folder: Path) -> None:
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    info = server.info()
    print(f"machine   {processor()}, {os.cpu_count()} cores, load {load}")
    print(f"server    Redis {info['redis_version']}, no persistence; nothing is pinned")
    kind = file_system(folder)
    print(f"disk      {kind} at {folder}, one fsync {fsync_ms(folder):.2f} ms; synchronous=FULL")


# One run.


@dataclass(frozen=True, slots=True)
class Place:
    """Where jobs are kept."""

    server: Server
    folder: Path


@dataclass(frozen=True, slots=True)
class At:
    """The URL of the store of one run."""

    url: str


def _measured(setting: Setting, work: str, jobs: int, place: Place) -> Callable[[], Result]:
    def measured() -> Result:
        place.server.empty()
        with tempfile.TemporaryDirectory(dir=place.folder) as made:
            where = Path(made)
            os.environ["BENCH_TOIL"] = made
            at = At(f"sqlite:///{where}/jobs.db" if setting.sqlite else place.server.url)
            return _run(setting, work, jobs, at, where)

    return measured


def _run(setting: Setting, work: str, jobs: int, at: At, where: Path) -> Result:
    peer = _peer(setting)
    with _workers(setting, peer, at) as pids:
        _keep_all_places(setting, peer, at, where)
        answer(at, peer, "fill_toil", work, jobs)
        time.sleep(SETTLE_S)
        before = _cpu_s(pids)
        toil.open_gate(where, time.monotonic_ns() + round(OPENING_S * 1e9))
        _await(where, work, jobs, LIMIT_S)
        time.sleep(SETTLE_S)
        used = _cpu_s(pids) - before
    return _told(setting, work, jobs, used, _notes(where, work))


@contextmanager
def _workers(setting: Setting, peer: Peer, at: At) -> Iterator[list[int]]:
    command = peer.command(at.url, "do_toil", setting.places, setting.way)
    with ExitStack() as stack:
        running = [stack.enter_context(started(command)) for _ in range(setting.programs)]
        yield [each.pid for each in running]


def _keep_all_places(setting: Setting, peer: Peer, at: At, where: Path) -> None:
    """Give every place a job that waits for the gate."""
    missing, until = setting.all_places, time.monotonic() + START_S
    while missing:
        # More than one, where a process has fetched more of them than it has places for.
        answer(at, peer, "fill_toil", "gate", missing)
        with suppress(Failed):
            _await(where, "gate", setting.all_places, GATES_S)
        missing = setting.all_places - len(_notes(where, "gate"))
        if missing and time.monotonic() > until:
            raise Failed(f"{setting.name}: {missing} of {setting.all_places} places stay empty")


def _await(where: Path, kind: str, jobs: int, limit_s: float) -> None:
    until = time.monotonic() + limit_s
    while (seen := len(_notes(where, kind))) < jobs:
        if time.monotonic() > until:
            raise Failed(f"after {limit_s:.0f} s {seen} of {jobs} jobs have run")
        time.sleep(LOOK_S)


def _notes(where: Path, kind: str) -> list[list[str]]:
    try:
        lines = (where / "notes").read_text("ascii").splitlines()
    except FileNotFoundError:
        return []
    return [line.split() for line in lines if line.startswith(kind)]


def _told(setting: Setting, work: str, jobs: int, used: float, ran: list[list[str]]) -> Result:
    runs = Counter(number for _, number, *_ in ran)
    if len(runs) != jobs:
        raise Failed(f"{setting.name}: {len(runs)} of {jobs} jobs have run")
    seconds = (max(int(note[3]) for note in ran) - min(int(note[2]) for note in ran)) / 1e9
    each = toil.SECONDS[work]
    beside = used - (each * len(ran) if work == "cpu" else 0)
    return {
        "seconds": seconds,
        "of ideal": seconds / (jobs * each / setting.all_places),
        "µs CPU": beside / jobs * 1e6,
        "run twice": len(ran) - len(runs),
    }


def _cpu_s(pids: Sequence[int]) -> float:
    """Give the CPU that processes and their descendants have used, the reaped ones too."""
    stats = [_stat(path) for path in Path("/proc").glob("[0-9]*/stat")]
    found = {stat[0]: stat for stat in stats if stat is not None}
    wanted = set(pids)
    while more := {pid for pid, (_, parent, _) in found.items() if parent in wanted} - wanted:
        wanted |= more
    return sum(found[pid][2] for pid in wanted if pid in found)


def _stat(path: Path) -> tuple[int, int, float] | None:
    try:
        text = path.read_text("utf-8", "replace")
    except OSError:
        return None
    # The name of the program may hold anything, brackets too.
    fields = text.rpartition(")")[2].split()
    return int(text.partition(" ")[0]), int(fields[1]), sum(map(int, fields[11:15])) * TICK_S


if __name__ == "__main__":
    main()
