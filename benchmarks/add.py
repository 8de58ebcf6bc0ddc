"""How fast jobs are added, each call acknowledged only when it survives a power cut."""

from collections.abc import Callable
from pathlib import Path

from common import Result, child, describe, folder, in_turn, options, ratio, table


def main() -> None:
    given = options(__doc__ or "")
    less = 10 if given.quick else 1

    def contest(mode: str, jobs: int, *more: int) -> Callable[[Path], Result]:
        return lambda where: child(mode, where, jobs // less, *more)

    with folder(given) as where:
        print("# Adding jobs of 100 bytes, synchronous=FULL\n")
        describe(where)
        found = in_turn(
            {
                "toril, add_many of 1,000": contest("add_many", 40_000),
                "toril, 50 awaited at once": contest("add_at_once", 20_000, 50),
                "toril, one after another": contest("add_at_once", 3_000, 1),
                "huey, one after another": contest("huey_add", 5_000),
            },
            where,
            given.rounds,
        )
    theirs = found["huey, one after another"]["jobs/s"]
    table(
        ["", "jobs/s", "µs CPU a job", "of huey"],
        [
            [name, result["jobs/s"], result["µs CPU"], ratio(result["jobs/s"], theirs)]
            for name, result in found.items()
        ],
    )


if __name__ == "__main__":
    main()
