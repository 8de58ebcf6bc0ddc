"""Whether a million jobs slow toril down: its calls to Redis, and its rate.

Takes minutes and some 2 GB of memory, so `make bench` leaves it out. The p99 and the longest are of all
script calls together, as Redis timed them (INFO latencystats).
"""

import time

from common import Result, ratio, say, table
from redis_common import TORIL, Failed, Server, answer, describe, options, present, start_server

MANY, FEW = 1_000_000, 10_000
DRAIN = 10_000
FAR_S = 3600
CONCURRENCY = (100, 500)


def main() -> None:
    given = options(__doc__ or "", rounds=1)
    many = MANY // given.less
    with start_server() as server:
        print(f"# {many:,} jobs in Redis\n")
        describe(server, present(given, among=(TORIL,)))
        server.client.config_set("latency-tracking-info-percentiles", "50 99 100")
        rows: list[list[object]] = []
        for concurrency in CONCURRENCY:
            base = 0.0
            for what, waiting, delayed, due_s in (
                (f"{FEW:,} waiting", FEW, 0, 0),
                (f"{many:,} waiting", many, 0, 0),
                (f"{FEW:,} waiting, {many:,} delayed", FEW, many, FAR_S),
                (f"{many:,} delayed, all due", 0, many, 1),
            ):
                _fill(server, waiting, delayed, due_s)
                found = _drain(server, concurrency)
                base = base or found["jobs/s"]
                rows.append([what, concurrency, *found.values(), ratio(found["jobs/s"], base)])
                say(".")
    say("\n")
    table(
        [
            "toril", "at once", "jobs/s", "µs CPU a job", "µs Redis a job",
            "call p50 ms", "call p99 ms", "longest ms", f"of {FEW:,}",
        ],
        rows,
    )  # fmt: skip


def _fill(server: Server, waiting: int, delayed: int, due_s: int) -> None:
    server.empty()
    if delayed:
        answer(server, TORIL, "fill_later", delayed, due_s, limit_s=600)
    if waiting:
        answer(server, TORIL, "fill", waiting, limit_s=600)
    time.sleep(min(due_s, 1))


def _drain(server: Server, concurrency: int) -> Result:
    server.client.config_resetstat()
    before = server.cpu_s()
    told = answer(server, TORIL, "work", DRAIN, concurrency)
    # It went on with the others until it was told to end.
    redis = (server.cpu_s() - before) / told["ran"] * 1e6
    stats = server.info()
    calls = [
        stats[f"latency_percentiles_usec_{name}"]
        for name in ("evalsha", "eval", "fcall")
        if f"latency_percentiles_usec_{name}" in stats
    ]
    if not calls:
        raise Failed("the server timed no script")
    worst = {key: max(float(call[key]) for call in calls) / 1000 for key in calls[0]}
    return {"jobs/s": told["jobs/s"], "µs CPU": told["µs CPU"], "µs Redis": redis, **worst}


if __name__ == "__main__":
    main()
