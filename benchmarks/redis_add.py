"""How fast one process adds jobs to Redis, in the three ways that matter."""

from collections.abc import Callable

from common import Result, table
from redis_common import (
    Peer,
    Server,
    answer,
    describe,
    in_turn,
    options,
    present,
    start_server,
)

WAYS = {
    "add": ("one after another", 5_000, None),
    "add_at_once": ("50 awaited at once", 20_000, "at_once"),
    "add_many": ("1,000 a call", 50_000, "many"),
}


def main() -> None:
    given = options(__doc__ or "")
    with start_server() as server:
        print("# Adding jobs of 100 bytes to Redis\n")
        peers = present(given)
        describe(server, peers)
        contests = {
            f"{peer.name} {mode}": _add(server, peer, mode, jobs // given.less)
            for mode, (_, jobs, need) in WAYS.items()
            for peer in peers
            if need is None or need in peer.can
        }
        found = in_turn(contests, given.rounds)
    for field, name in (
        ("jobs/s", "jobs/s"),
        ("µs CPU", "µs CPU a job"),
        ("µs Redis", "µs Redis a job"),
    ):
        table(
            [name, *(way for way, _, _ in WAYS.values())],
            [
                [peer.name, *(_cell(found, f"{peer.name} {mode}", field) for mode in WAYS)]
                for peer in peers
            ],
        )


def _cell(found: dict[str, Result | None], name: str, field: str) -> float | str:
    if name not in found:
        return "–"
    result = found[name]
    return result[field] if result else "failed"


def _add(server: Server, peer: Peer, mode: str, jobs: int) -> Callable[[], Result]:
    def add() -> Result:
        server.empty()
        before = server.cpu_s()
        told = answer(server, peer, mode, jobs)
        return {**told, "µs Redis": (server.cpu_s() - before) / jobs * 1e6}

    return add


if __name__ == "__main__":
    main()
