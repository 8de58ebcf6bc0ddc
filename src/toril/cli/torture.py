"""`toril torture`: kill workers in a storm on the reader's own store, and judge what became of it.

Workers write to a ledger, one line each act, that owes nothing to the store. Never here: other
faults; the test suite has them.
"""

import asyncio
import os
import random
import secrets
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, Process
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from toril._run.app import Toril
from toril._run.job import Job

from .output import show_error

QUEUE = "torture"
WORKERS = 3
CONCURRENCY = 5
BACKLOG = 60
GAP_S = (0.05, 0.45)
DRAIN_S = 60.0
JOB_MS = (5, 50)
SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class TortureWords:
    """What may be typed after `toril torture`."""

    url: Annotated[
        str | None,
        typer.Option(help="The store; left out, a new SQLite file. A prefix of its own is used."),
    ] = None
    kills: Annotated[int, typer.Option(min=1, help="How many workers are killed.")] = 40
    seed: Annotated[int | None, typer.Option(help="Repeat a run's choices.")] = None


class Ledger:
    """A file of lines that are there whole or not at all, whoever dies while writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def note(self, word: str, *facts: object) -> None:
        """Write one line: when, who, and what."""
        line = "|".join(map(str, (time.monotonic_ns(), os.getpid(), word, *facts))) + "\n"
        os.write(self._handle, line.encode())

    def lines(self) -> list[list[str]]:
        """Give every line in the order of time."""
        lines = [line.split("|") for line in self.path.read_text("utf-8").splitlines()]
        return sorted(lines, key=lambda line: int(line[0]))


@dataclass(slots=True)
class Judgement:
    """What became of the jobs that the store had acknowledged."""

    jobs: int = 0
    runs: int = 0
    kills: int = 0
    hits: int = 0
    explained: int = 0
    lost: list[str] = field(default_factory=list[str])
    stuck: list[str] = field(default_factory=list[str])
    unexplained: list[str] = field(default_factory=list[str])

    @property
    def clean(self) -> bool:
        """Say whether nothing is as it must not be."""
        return not (self.lost or self.stuck or self.unexplained)

    def __str__(self) -> str:
        return (
            f"{self.jobs} jobs, {self.runs} runs, {self.kills} kills of which {self.hits} hit a "
            f"running job; {len(self.lost)} lost, {len(self.stuck)} stuck, {self.explained} runs "
            f"again explained by a kill and {len(self.unexplained)} not"
        )


def torture(words: TortureWords) -> None:
    """Kill -9 workers at random while jobs keep coming, and see that none is lost."""
    seed = random.SystemRandom().randrange(10**6) if words.seed is None else words.seed
    with tempfile.TemporaryDirectory(prefix="toril-torture-") as folder:
        url = words.url or f"sqlite:///{folder}/jobs.db"
        typer.echo(f"killing {words.kills} workers, seed {seed}")
        judgement = asyncio.run(_storm(url, Path(folder) / "ledger", words.kills, seed))
    typer.echo(str(judgement))
    for what in ("lost", "stuck", "unexplained"):
        for found in getattr(judgement, what)[:SHOWN]:
            show_error(AssertionError(f"{what}: job {found}"))
    raise typer.Exit(0 if judgement.clean else 1)


async def _storm(url: str, path: Path, kills: int, seed: int) -> Judgement:
    ledger, rng = Ledger(path), random.Random(seed)
    prefix = f"torture-{secrets.token_hex(4)}"
    # What is kept must not go, or it could not be counted.
    async with Toril(url, prefix=prefix, warn_unserved=False) as app:
        queue = app.queue(QUEUE, keep="all")
        workers = [await _start(url, prefix, path) for _ in range(WORKERS)]
        over = asyncio.Event()
        try:
            producing = asyncio.create_task(_produce(app, ledger, rng, over))
            await _until_seen(ledger, workers)
            for _ in range(kills):
                await asyncio.sleep(rng.uniform(*GAP_S))
                await _kill_one(ledger, workers, rng)
                workers.append(await _start(url, prefix, path))
            over.set()
            await producing
            await _drain(app)
            return await _judge(app, ledger)
        finally:
            for worker in workers:
                worker.kill()
                await worker.wait()
            await queue.obliterate(force=True)


async def _start(url: str, prefix: str, path: Path) -> Process:
    command = (sys.executable, "-m", "toril.cli.torture", url, prefix, str(path))
    return await asyncio.create_subprocess_exec(*command, stdin=DEVNULL, stderr=DEVNULL)


def _seen(ledger: Ledger) -> set[int]:
    return {int(line[1]) for line in ledger.lines() if line[2] == "up"}


async def _until_seen(ledger: Ledger, workers: list[Process]) -> None:
    """Wait for two at least: else the newest would always be hit, in its first moments."""
    while len(_seen(ledger) & {worker.pid for worker in workers}) < WORKERS - 1:  # noqa: ASYNC110  # other processes write it
        await asyncio.sleep(0.02)


async def _kill_one(ledger: Ledger, workers: list[Process], rng: random.Random) -> None:
    await _until_seen(ledger, workers)
    up = _seen(ledger)
    victim = rng.choice([worker for worker in workers if worker.pid in up])
    workers.remove(victim)
    at = time.monotonic_ns()
    victim.kill()
    await victim.wait()
    ledger.note("killed", victim.pid, at)


async def _produce(app: Toril, ledger: Ledger, rng: random.Random, over: asyncio.Event) -> None:
    queue = app.queue(QUEUE)
    while not over.is_set():
        if (await queue.counts()).ready < BACKLOG:
            batch = [("work", {"ms": rng.randint(*JOB_MS)}) for _ in range(20)]
            for job in await queue.add_many(batch):
                ledger.note("added", job.id)
        else:
            await asyncio.sleep(0.02)


async def _drain(app: Toril) -> None:
    deadline = time.monotonic() + DRAIN_S
    while time.monotonic() < deadline:
        counts = await app.queue(QUEUE).counts()
        if not (counts.ready or counts.active or counts.delayed):
            return
        await asyncio.sleep(0.05)


async def _judge(app: Toril, ledger: Ledger) -> Judgement:
    """Hold the ledger against the store."""
    added, starts, ended, killed = _read(ledger)
    judgement = Judgement(jobs=len(added), runs=sum(map(len, starts.values())), kills=len(killed))
    hit: set[int] = set()
    for job_id in added:
        job = await app.queue(QUEUE).job(job_id)
        state = None if job is None else str(await job.state())
        if state in (None, "failed") or not ended[job_id]:
            judgement.lost.append(f"{job_id}: {state or 'gone'}")
        elif state != "completed":
            judgement.stuck.append(f"{job_id}: {state}")
        for place, (at, pid) in enumerate(starts[job_id]):
            if pid in killed and (pid not in ended[job_id]):
                hit.add(pid)
            if place == 0:
                continue
            before = starts[job_id][place - 1][1]
            if killed.get(before, at) < at:
                judgement.explained += 1
            else:
                judgement.unexplained.append(f"{job_id}: run {place + 1}")
    judgement.hits = len(hit)
    return judgement


Starts = dict[str, list[tuple[int, int]]]


def _read(ledger: Ledger) -> tuple[list[str], Starts, dict[str, Counter[int]], dict[int, int]]:
    added: list[str] = []
    starts: Starts = defaultdict(list)
    ended: dict[str, Counter[int]] = defaultdict(Counter)
    killed: dict[int, int] = {}
    for at, pid, word, *facts in ledger.lines():
        match word:
            case "added":
                added.append(facts[0])
            case "start":
                starts[facts[0]].append((int(at), int(pid)))
            case "end":
                ended[facts[0]][int(pid)] += 1
            case "killed":
                killed[int(facts[0])] = int(facts[1])
            case _:
                pass
    return added, starts, ended, killed


async def _work(url: str, prefix: str, path: str) -> None:
    """Be one of the workers that are killed."""
    ledger = Ledger(Path(path))
    async with Toril(url, prefix=prefix) as app:

        async def run(job: Job[Any]) -> None:
            ledger.note("start", job.id)
            await asyncio.sleep(job.data["ms"] / 1000)
            ledger.note("end", job.id)

        quick: dict[str, Any] = {"lock": "1s", "stalled_interval": "300ms"}
        worker = app.worker(QUEUE, run, concurrency=CONCURRENCY, **quick)
        worker.on("ready")(lambda: ledger.note("up"))
        await worker.run()


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:4]))
