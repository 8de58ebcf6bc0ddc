"""How soon a job starts, how late a delayed one is, and what a worker costs while nothing happens.

From the moment before `add()` in one process to the first line of the handler in another, by
CLOCK_MONOTONIC, each after 0.2 to 2 seconds of silence. Redis has a core of its own; the two
processes go where the system puts them.
"""

import random
import time
from argparse import Namespace

from common import say, spread, table
from redis_common import (
    Failed,
    Peer,
    Server,
    Talk,
    describe,
    options,
    present,
    start_server,
)

SILENCE_S = (0.2, 2.0)
SAMPLES = 100
DELAYED = 200
IDLE_S = 20.0
MANY = 50


def main() -> None:
    given = options(__doc__ or "")
    with start_server(pinned=False) as server:
        print("# Latency, lateness and idle cost on Redis\n")
        peers = present(given)
        describe(server, peers)
        _latency(server, peers, given)
        _lateness(server, [peer for peer in peers if "later" in peer.can], given)
        _idle(server, peers, given)


def _latency(server: Server, peers: list[Peer], given: Namespace) -> None:
    rows: list[list[object]] = []
    samples = SAMPLES // given.less
    for peer in peers:
        try:
            took = _starts(server, peer, samples)
        except Failed as error:
            say(f"\n{error}\n")
            continue
        rows.append([peer.name, *spread(took).values(), max(took)])
    say("\n")
    table([f"add → start, ms ({samples} samples)", "p50", "p95", "p99", "last"], rows)


def _starts(server: Server, peer: Peer, samples: int) -> list[float]:
    took, rng = [], random.Random(7)
    server.empty()
    with Talk(server, peer, "produce") as producer:
        producer.hear("ready")
        with Talk(server, peer, "wait", peer.concurrency, 1) as worker:
            _warm(producer, worker)
            for _ in range(samples):
                time.sleep(rng.uniform(*SILENCE_S))
                producer.say("now")
                began = int(producer.hear("at"))
                # A job that ran twice told of it after its measure.
                while (at := int(worker.hear("at"))) < began:
                    continue
                took.append((at - began) / 1e6)
                say(".")
    return took


def _warm(producer: Talk, worker: Talk) -> None:
    """Let a few jobs run that nobody measures: scripts load, connections open."""
    for _ in range(5):
        producer.say("now")
        producer.hear("at")
        worker.hear("at")


def _lateness(server: Server, peers: list[Peer], given: Namespace) -> None:
    rows: list[list[object]] = []
    for peer in peers:
        try:
            late = _late(server, peer, DELAYED // given.less)
        except Failed as error:
            say(f"\n{error}\n")
            continue
        rows.append([peer.name, *spread(late).values(), max(late), min(late)])
        say(".")
    say("\n")
    table(["lateness of delayed jobs, ms", "p50", "p95", "p99", "last", "earliest"], rows)


def _late(server: Server, peer: Peer, jobs: int) -> list[float]:
    rng = random.Random(7)
    server.empty()
    with Talk(server, peer, "produce") as producer:
        producer.hear("ready")
        with Talk(server, peer, "wait", peer.concurrency, 1) as worker:
            _warm(producer, worker)
            for _ in range(jobs):
                producer.say(f"later {rng.randrange(1_000, 8_000)}")
            return [float(worker.hear("late")) for _ in range(jobs)]


def _idle(server: Server, peers: list[Peer], given: Namespace) -> None:
    rows: list[list[object]] = []
    for peer in peers:
        for queues in (1, MANY) if "queues" in peer.can else (1,):
            try:
                rows.append([peer.name, queues, *_cost(server, peer, queues, given)])
            except Failed as error:
                say(f"\n{error}\n")
            say(".")
    say("\n")
    table(
        [
            "an idle worker",
            "queues",
            "% of a core",
            "% of Redis' core",
            "commands/s",
            "connections",
        ],
        rows,
    )


def _cost(server: Server, peer: Peer, queues: int, given: Namespace) -> list[float]:
    seconds = IDLE_S / given.less
    server.empty()
    with Talk(server, peer, "wait", peer.concurrency, queues) as worker:
        with Talk(server, peer, "produce") as producer:
            producer.hear("ready")
            _warm(producer, worker)
        time.sleep(3)
        cpu, redis = worker.cpu(), server.cpu_s()
        time.sleep(seconds)
        cpu, redis = worker.cpu() - cpu, server.cpu_s() - redis
        connections = int(server.info()["connected_clients"]) - 1  # ours
        sent = server.commands(seconds)
    return [cpu / seconds * 100, redis / seconds * 100, sent / seconds, connections]


if __name__ == "__main__":
    main()
