"""Whether a million jobs slow toril down on SQLite: its calls, its rate, and what a dashboard asks.

Takes minutes and some 1 GB of disk, so `make bench` leaves it out.
"""

import shutil
from pathlib import Path

from common import Result, child, describe, folder, options, ratio, say, table

MANY, FEW = 1_000_000, 10_000
DRAIN = 10_000
FAR_S = 3600
CONCURRENCY = 100
LOOKS = 20


def main() -> None:
    given = options(__doc__ or "", rounds=3)
    many = MANY // 10 if given.quick else MANY
    with folder(given) as where:
        print(f"# {many:,} waiting and {many:,} delayed jobs in one file, synchronous=FULL\n")
        describe(where)
        small, large = where / "small", where / "large"
        for spot in (small, large):
            spot.mkdir()
        fill(small, FEW * (given.rounds + 1), 0)
        adds = {"waiting": fill(large, many, 0), "delayed": fill(large, many, FAR_S)}
        looks: Result = child("look", large, LOOKS)
        drains = _drains(small, large, given.rounds)
        shutil.rmtree(small)
    base = adds["waiting"]["jobs/s"]
    table(
        [f"add_many, {many:,} jobs", "jobs/s", "µs CPU a job", "of waiting"],
        [[name, *found.values(), ratio(found["jobs/s"], base)] for name, found in adds.items()],
    )
    table(["a call with all of them there", "ms"], [[name, ms] for name, ms in looks.items()])
    table(
        [f"running {DRAIN:,}", "jobs/s", "µs CPU a job", "finish p50 ms", "p99 ms", "longest ms"],
        [[name, *found.values()] for name, found in drains],
    )


def fill(where: Path, jobs: int, delay_s: int) -> Result:
    found: Result = child("fill", where, jobs, delay_s)
    say(".")
    return found


def _drains(small: Path, large: Path, rounds: int) -> list[tuple[str, Result]]:
    """Run some jobs of each in turn: other work on the machine then slows down both."""
    found: list[tuple[str, Result]] = []
    for _ in range(rounds):
        for name, where in (("few wait", small), ("all wait", large)):
            found.append((name, child("work_part", where, DRAIN, CONCURRENCY)))
            say(".")
    say("\n")
    return sorted(found, key=lambda each: each[0], reverse=True)


if __name__ == "__main__":
    main()
