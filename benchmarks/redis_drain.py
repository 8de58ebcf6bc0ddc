"""How fast one worker process runs jobs that do nothing, on Redis, beside what others take.

The jobs are added before. The rate and the CPU run from the first line of the first job to that of
the last; every job is checked to have run, and each that ran twice is counted. The newest 1,000
completed jobs are kept where a peer can, and events are on. Each has the concurrency that suits
it; then toril and BullMQ run few jobs at once, as a worker does whose jobs take long.
"""

from argparse import Namespace
from collections.abc import Callable
from dataclasses import replace

from common import Result, ratio, table
from redis_common import (
    BULLMQ,
    NODE,
    TORIL,
    Peer,
    Server,
    answer,
    describe,
    in_turn,
    options,
    present,
    start_server,
)

# How many jobs at once, and how many jobs in all.
FEW = {1: 10_000, 10: 30_000, 50: 40_000}


def main() -> None:
    given = options(__doc__ or "")
    with start_server() as server:
        print("# Running no-op jobs of 100 bytes from Redis\n")
        peers = present(given)
        describe(server, peers)
        found = in_turn({peer.name: _drain(server, peer, given) for peer in peers}, given.rounds)
        both = [peer for peer in peers if peer in (TORIL, NODE)]
        few = in_turn(
            {
                _few(peer.name, width): _drain(
                    server, replace(peer, concurrency=width, jobs=jobs), given
                )
                for width, jobs in FEW.items()
                for peer in both
            },
            given.rounds,
        )
    theirs = found.get(BULLMQ)
    table(
        ["", "jobs/s", "µs CPU a job", "µs Redis a job", "MB", "run twice", f"of {BULLMQ}"],
        [
            [
                name,
                *result.values(),
                ratio(result["jobs/s"], theirs["jobs/s"]) if theirs else "–",
            ]
            if result
            else [name, *["failed"] * 6]
            for name, result in found.items()
        ],
    )
    if len(both) == 2:
        _table_of_few(few)


def _few(name: str, width: int) -> str:
    return f"{name}, {width} at once"


def _table_of_few(found: dict[str, Result | None]) -> None:
    rows: list[list[object]] = []
    for width in FEW:
        mine, theirs = found[_few(TORIL.name, width)], found[_few(BULLMQ, width)]
        for name, result in ((TORIL.name, mine), (BULLMQ, theirs)):
            figures = [result[key] for key in ("jobs/s", "µs CPU", "µs Redis")] if result else []
            beside = ratio(mine["jobs/s"], theirs["jobs/s"]) if mine and theirs else "–"
            rows.append([width, name, *figures, beside if name == TORIL.name else ""])
    table(["at once", "", "jobs/s", "µs CPU a job", "µs Redis a job", f"of {BULLMQ}"], rows)


def _drain(server: Server, peer: Peer, given: Namespace) -> Callable[[], Result]:
    jobs = peer.jobs // given.less

    def drain() -> Result:
        server.empty()
        answer(server, peer, "fill", jobs)
        before = server.cpu_s()
        told = answer(server, peer, "work", jobs, peer.concurrency)
        redis = (server.cpu_s() - before) / jobs * 1e6
        return {
            "jobs/s": told["jobs/s"],
            "µs CPU": told["µs CPU"],
            "µs Redis": redis,
            "MB": told["MB"],
            "run twice": told["run twice"],
        }

    return drain


if __name__ == "__main__":
    main()
