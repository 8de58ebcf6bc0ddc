"""What running handlers on the loop, in threads and in child processes costs.

Work that waits: 2,000 jobs of 50 ms, 100 at once (400 jobs in 20 child processes). Work that
computes: 400 jobs of 10 ms on two places; only child processes can use two cores for it. The ideal
is the work alone, divided by the places. `µs CPU a job` is that of the worker's own process, which
in the first two modes runs the work too.
"""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from common import HERE, Result, describe, folder, in_turn, options, table

JOBS = {"io": 2_000, "cpu": 400}
IN_CHILDREN = {"io": 400, "cpu": 400}
NAMES = {"io": "waiting, 50 ms each", "cpu": "computing, 10 ms, 2 at once"}
MODES = ("async", "thread", "process")


def main() -> None:
    given = options(__doc__ or "", rounds=3)
    less = 4 if given.quick else 1
    with folder(given) as where:
        print("# Where handlers run, SQLite with synchronous=FULL\n")
        describe(where)
        found = in_turn(
            {
                f"{work} {mode}": _measured(work, mode, _jobs(work, mode) // less)
                for work in JOBS
                for mode in MODES
            },
            where,
            given.rounds,
        )
    for work in JOBS:
        rows = [[mode, *found[f"{work} {mode}"].values()] for mode in MODES]
        table([NAMES[work], "seconds", "× ideal", "µs CPU a job"], rows)


def _jobs(work: str, mode: str) -> int:
    return (IN_CHILDREN if mode == "process" else JOBS)[work]


def _measured(work: str, mode: str, jobs: int) -> Callable[[Path], Result]:
    def measured(where: Path) -> Result:
        command = [sys.executable, str(HERE / "toil.py"), str(where), work, mode, str(jobs)]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
        result: Result = json.loads(done.stdout)
        return result

    return measured


if __name__ == "__main__":
    main()
