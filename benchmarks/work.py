"""How fast one worker process runs jobs that do nothing, and what a claim costs.

toril keeps a record of each job, its events, and the newest 1,000 results; huey takes a job out
of its table before it runs it, and keeps nothing.
"""

from collections.abc import Callable
from pathlib import Path

from common import Result, child, describe, folder, in_turn, options, ratio, table

JOBS = 50_000
FEWER = 10_000  # for those that would take too long


def main() -> None:
    given = options(__doc__ or "")
    less = 10 if given.quick else 1

    def toril(concurrency: int, jobs: int) -> Callable[[Path], Result]:
        return lambda where: _drain("", where, jobs // less, concurrency)

    def huey(workers: int) -> Callable[[Path], Result]:
        return lambda where: _drain("huey_", where, FEWER // less, workers)

    with folder(given) as where:
        print("# Running no-op jobs of 100 bytes, synchronous=FULL\n")
        describe(where)
        found = in_turn(
            {
                "toril, concurrency 100": toril(100, JOBS),
                "huey, 1 thread": huey(1),
                "toril, concurrency 1": toril(1, FEWER),
                "huey, 4 threads": huey(4),
            },
            where,
            given.rounds,
        )
        few, many = 100, 100_000 // less
        costs = in_turn(
            {f"{n:,} waiting": lambda spot, n=n: _claims(spot, n) for n in (few, many)},
            where,
            min(given.rounds, 3),
        )
    theirs = max(result["jobs/s"] for name, result in found.items() if name.startswith("huey"))
    table(
        ["", "jobs/s", "µs CPU a job", "of the best huey"],
        [
            [name, result["jobs/s"], result["µs CPU"], ratio(result["jobs/s"], theirs)]
            for name, result in found.items()
        ],
    )
    table(
        ["a claim with", "µs for 1 job", "µs for 100 jobs"],
        [[name, *cost.values()] for name, cost in costs.items()],
    )


def _drain(peer: str, where: Path, jobs: int, concurrency: int) -> Result:
    child(f"{peer}fill", where, jobs)
    result: Result = child(f"{peer}work", where, jobs, concurrency)
    return result


def _claims(where: Path, waiting: int) -> Result:
    found: Result = {}
    for size in (1, 100):
        spot = where / str(size)
        spot.mkdir()
        found[str(size)] = child("claim_cost", spot, waiting, size)
    return found


if __name__ == "__main__":
    main()
