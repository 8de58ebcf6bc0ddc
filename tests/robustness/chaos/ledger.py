"""The ledger: what every process says it did, one line each, written so that kill -9 loses none.

A line is one write(2) on a descriptor opened O_APPEND, shorter than PIPE_BUF: it is there whole
or not at all, whoever dies. `judge` reads the lines as an oracle that owes nothing to the store.
"""

import asyncio
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Self

# How many tries each kind of job needs when nothing is killed.
TRIES = {
    "plain": 1, "threaded": 1, "custom": 1, "child": 1, "parent": 1, "retry": 2, "scheduled": 1,
    "dedup": 1,
}  # fmt: skip

Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Line:
    """One line: when (monotonic ns, the same clock in every process), who, and what.

    Shape    up · acked(queue, id, kind) · start(queue, id, run) · end(queue, id, run) ·
             settled(queue, id, run, word) · killed(pid, when)
    """

    at: int
    pid: int
    word: str
    facts: tuple[str, ...]

    @property
    def key(self) -> Key:
        return self.facts[0], self.facts[1]

    @property
    def run(self) -> int:
        return int(self.facts[2])

    @classmethod
    def read(cls, text: str) -> Self:
        at, pid, word, *facts = text.split("|")
        return cls(int(at), int(pid), word, tuple(facts))


class Ledger:
    """A ledger to write to and to read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def note(self, word: str, *facts: object) -> None:
        text = "|".join(map(str, (time.monotonic_ns(), os.getpid(), word, *facts))) + "\n"
        os.write(self._handle, text.encode())

    def lines(self) -> list[Line]:
        return [Line.read(text) for text in self.path.read_text("utf-8").splitlines()]

    async def find(self, word: str, key: Key, run: int) -> Line:
        """Wait for a line about a run of a job."""
        while True:
            for line in self.lines():
                if line.word == word and line.key == key and line.run == run:
                    return line
            await asyncio.sleep(0.005)

    def tail(self, count: int = 40) -> str:
        return "\n".join(self.path.read_text("utf-8").splitlines()[-count:])

    def close(self) -> None:
        os.close(self._handle)


@dataclass(slots=True)
class Verdict:
    """What became of the jobs: Jepsen's words for a queue, and what belongs to ours."""

    acknowledged: int = 0
    executions: int = 0
    kills: int = 0
    hits: int = 0
    explained: int = 0
    recoveries_ms: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    stuck: list[str] = field(default_factory=list)
    unexpected: list[str] = field(default_factory=list)
    unexplained: list[str] = field(default_factory=list)
    finished_twice: list[str] = field(default_factory=list)
    miscounted: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)

    @property
    def findings(self) -> dict[str, list[str]]:
        """Give everything that must not be, by its name; an empty one means a clean verdict."""
        names = (
            "lost", "stuck", "unexpected", "unexplained", "finished_twice", "miscounted", "unsound"
        )  # fmt: skip
        return {name: found[:10] for name in names if (found := getattr(self, name))}

    def __str__(self) -> str:
        times = sorted(self.recoveries_ms)
        recovery = (
            f", ran again after {median(times):.0f} ms (median) … {times[-1]:.0f} ms (last)"
            if times
            else ""
        )
        return (
            f"{self.acknowledged} jobs, {self.executions} executions, {self.kills} kills of which "
            f"{self.hits} hit a running job; {len(self.lost)} lost, {len(self.stuck)} stuck, "
            f"{len(self.unexpected)} unexpected, {self.explained} duplicates explained and "
            f"{len(self.unexplained)} unexplained, {len(self.finished_twice)} finished twice, "
            f"{len(self.miscounted)} miscounted{recovery}"
        )


@dataclass(frozen=True, slots=True)
class Fate:
    """How a job stands in the store: its state, the tries counted, and why it failed."""

    state: str
    attempts: int
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """The lines of a ledger, sorted by what they tell."""

    acked: dict[Key, str]
    starts: dict[Key, list[Line]]
    ended: set[tuple[Key, int, int]]
    settled: dict[tuple[Key, int, int], str]
    killed: dict[int, int]

    @classmethod
    def of(cls, lines: Iterable[Line]) -> Self:
        facts = cls({}, defaultdict(list), set(), {}, {})
        for line in sorted(lines, key=lambda line: line.at):
            match line.word:
                case "acked":
                    facts.acked[line.key] = line.facts[2]
                case "start":
                    facts.starts[line.key].append(line)
                case "end":
                    facts.ended.add((line.key, line.run, line.pid))
                case "settled":
                    facts.settled[line.key, line.run, line.pid] = line.facts[3]
                case "killed":
                    facts.killed[int(line.facts[0])] = int(line.facts[1])
                case _:
                    pass
        return facts


def judge(lines: Iterable[Line], fates: Mapping[Key, Fate], finishes: Mapping[Key, int]) -> Verdict:
    """Hold the ledger against the store: `fates` by job, and how often each was told finished."""
    facts = Facts.of(lines)
    verdict = Verdict(
        acknowledged=len(facts.acked),
        executions=sum(map(len, facts.starts.values())),
        kills=len(facts.killed),
        hits=len(_hit(facts)),
    )
    for key, kind in facts.acked.items():
        _judge_fate(verdict, key, kind, fates.get(key), (key in facts.starts))
        if finishes.get(key, 0) > 1:
            verdict.finished_twice.append(f"{key}: {finishes[key]} finishes were committed")
    for key, starts in facts.starts.items():
        if key not in facts.acked:
            verdict.unexpected.append(f"{key}: ran and was never acknowledged")
        _judge_starts(verdict, facts, key, starts)
    return verdict


def _hit(facts: Facts) -> set[int]:
    """Give the victims that were running a job: it was started and never came to its end."""
    return {
        start.pid
        for key, starts in facts.starts.items()
        for start in starts
        if start.pid in facts.killed and (key, start.run, start.pid) not in facts.ended
    }


def _judge_fate(verdict: Verdict, key: Key, kind: str, fate: Fate | None, ran: bool) -> None:
    if fate is None:
        verdict.lost.append(f"{key}: acknowledged as {kind}, gone from the store")
    elif fate.state == "failed":
        # A job that is given up because its workers crashed is lost all the same.
        verdict.lost.append(f"{key}: failed: {fate.reason}")
    elif fate.state != "completed":
        verdict.stuck.append(f"{key}: still {fate.state}")
    elif not ran:
        verdict.lost.append(f"{key}: completed and never ran")
    elif fate.attempts != TRIES[kind]:
        verdict.miscounted.append(f"{key}: {kind} took {fate.attempts} attempts")


def _judge_starts(verdict: Verdict, facts: Facts, key: Key, starts: list[Line]) -> None:
    """A start that another one follows must have been interrupted, or have failed as planned."""
    runs = Counter(start.run for start in starts)
    for run, times in runs.items():
        if times > 1:
            verdict.unexplained.append(f"{key}: run {run} started {times} times")
    planned = TRIES.get(facts.acked.get(key, ""), 1) - 1
    for start, after in pairwise(starts):
        word = facts.settled.get((key, start.run, start.pid))
        died = facts.killed.get(start.pid)
        if word == "attempt_failed" and planned:
            planned -= 1
        elif word == "waits":
            continue  # for its children: the next run is the one after them
        elif word is not None:
            verdict.unexplained.append(f"{key}: run {after.run} after run {start.run} was {word}")
        elif died is None:
            verdict.unexplained.append(f"{key}: run {start.run} was never killed nor settled")
        elif after.at < died:
            verdict.unexplained.append(f"{key}: run {after.run} began before run {start.run} died")
        else:
            verdict.explained += 1
            verdict.recoveries_ms.append((after.at - died) / 1e6)
    told = [s for s in starts if facts.settled.get((key, s.run, s.pid)) == "completed"]
    if len(told) > 1:
        verdict.finished_twice.append(f"{key}: {len(told)} workers were told that they finished it")
