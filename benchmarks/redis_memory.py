"""What a job takes in Redis while it waits, and when it is completed and all are kept."""

from collections.abc import Callable

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

JOBS = 20_000


def main() -> None:
    given = options(__doc__ or "", rounds=1)
    with start_server() as server:
        print("# Memory of jobs of 100 bytes in Redis\n")
        peers = present(given, among=(TORIL, NODE))
        describe(server, peers)
        jobs = JOBS // given.less
        found = in_turn({peer.name: _weigh(server, peer, jobs) for peer in peers}, given.rounds)
    theirs = found.get(BULLMQ)
    table(
        ["bytes a job", "waiting", "completed", "of Node", "of Node"],
        [
            [
                name,
                *result.values(),
                *(ratio(result[state], theirs[state]) if theirs else "–" for state in result),
            ]
            for name, result in found.items()
            if result
        ],
    )


def _weigh(server: Server, peer: Peer, jobs: int) -> Callable[[], Result]:
    def weigh() -> Result:
        # Scripts stay loaded: they are weighed before.
        for number in (100, 0):
            server.empty()
            empty = server.memory()
            answer(server, peer, "fill", number or jobs, keep="all")
            waiting = server.memory() - empty
            answer(server, peer, "work", number or jobs, peer.concurrency, keep="all")
            completed = server.memory() - empty
        return {"waiting": waiting / jobs, "completed": completed / jobs}

    return weigh


if __name__ == "__main__":
    main()
