"""`toril torture`: kill workers in a storm on the reader's own store, and judge what became of it.

Workers write to a ledger, one line each act, that owes nothing to the store. Never here: other
faults; the test suite has them.
"""

import asyncio
import glob
import os
import random
import secrets
import shutil
import signal
import sys
import tempfile
import threading
import time
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from toril._app.app import Toril
from toril._jobs.job import Job
from toril._serve.console import show_error
from toril._serve.process import kill_now
from toril.errors import TorilError

QUEUE = "torture"
WORKERS = 3
CONCURRENCY = 5
BACKLOG = 60
GAP_S = (0.05, 0.45)
DRAIN_S = 60.0
JOB_MS = (5, 50)
SHOWN = 5
START_S = 30.0
TERMINATED = 143
FAULTS = {
    "lost": "lost",
    "stuck": "stuck",
    "twice": "finished twice",
    "unexplained": "run again without a kill",
}


@dataclass(frozen=True, kw_only=True)
class TortureOptions:
    """The arguments and options of `toril torture`."""

    url: Annotated[
        str | None,
        typer.Option(
            help="URL of the store. Default: a new SQLite file. Uses a prefix of its own."
        ),
    ] = field(default=None, repr=False)
    kills: Annotated[int, typer.Option(min=1, help="How many workers to kill.")] = 40
    seed: Annotated[
        int | None, typer.Option(help="Seed of an earlier run, to repeat its choices.")
    ] = None


class Ledger:
    """A file of lines that are there whole or not at all, whoever dies while writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._followed = 0

    def note(self, word: str, *facts: object) -> None:
        """Write one line: when, who, and what."""
        line = "|".join(map(str, (time.monotonic_ns(), os.getpid(), word, *facts))) + "\n"
        os.write(self._handle, line.encode())

    def fresh(self) -> list[list[str]]:
        """Return the lines that were written since this was asked last."""
        with self.path.open("rb") as file:
            file.seek(self._followed)
            text = file.read()
        self._followed += len(text)
        return [line.split("|") for line in text.decode().splitlines()]

    def lines(self) -> list[list[str]]:
        """Return every line in the order of time."""
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
    twice: list[str] = field(default_factory=list[str])
    unexplained: list[str] = field(default_factory=list[str])

    @property
    def clean(self) -> bool:
        """Whether nothing is as it must not be."""
        return not any(getattr(self, fault) for fault in FAULTS)

    def __str__(self) -> str:
        counts = ", ".join(f"{len(getattr(self, fault))} {told}" for fault, told in FAULTS.items())
        return (
            f"{self.jobs} jobs were acknowledged, and run {self.runs} times, {self.explained} of "
            f"them again after a kill; {self.hits} of {self.kills} kills hit a running job\n"
            f"{counts}: {'every promise was kept' if self.clean else 'A PROMISE WAS BROKEN'}"
        )


def torture(words: TortureOptions) -> None:
    """Kill workers at random while jobs are added, and check that none is lost.

    Exits with 0 if every promise was kept, with 1 if one was broken.
    """
    seed = random.SystemRandom().randrange(10**6) if words.seed is None else words.seed
    with tempfile.TemporaryDirectory(prefix="toril-torture-") as folder:
        url = words.url or f"sqlite:///{folder}/jobs.db"
        typer.echo(f"killing {words.kills} workers, seed {seed}")
        try:
            judgement = asyncio.run(_storm(url, Path(folder), words.kills, seed))
        except asyncio.CancelledError:
            raise typer.Exit(TERMINATED) from None
    typer.echo(str(judgement))
    for fault, told in FAULTS.items():
        for found in getattr(judgement, fault)[:SHOWN]:
            show_error(AssertionError(f"{told}: job {found}"))
    raise typer.Exit(0 if judgement.clean else 1)


async def _storm(url: str, folder: Path, kills: int, seed: int) -> Judgement:
    this = asyncio.current_task()
    assert this is not None
    with suppress(NotImplementedError):  # where there are no such signals
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, this.cancel)
    rng = random.Random(seed)
    async with _own_place(url) as app:
        fleet = TortureFleet(app, folder)
        producing = asyncio.create_task(_produce(app, fleet.ledger, rng))
        try:
            for _ in range(WORKERS):
                await fleet.start()
            for number in range(kills):
                await fleet.ready()
                await asyncio.sleep(rng.uniform(*GAP_S))
                await fleet.kill_one(rng)
                await fleet.start()
                _show_progress(number + 1, kills)
            producing.cancel()
            with suppress(asyncio.CancelledError):
                await producing
            await _drain(app)
            return await _judge(app, fleet.ledger)
        finally:
            producing.cancel()
            await asyncio.gather(producing, return_exceptions=True)
            await fleet.end()


def _show_progress(done: int, kills: int) -> None:
    if sys.stderr.isatty():
        typer.echo(f"\r{done} of {kills} killed", nl=done == kills, err=True)


@asynccontextmanager
async def _own_place(url: str) -> AsyncGenerator[Toril]:
    """Have a prefix that nobody uses, and leave nothing there."""
    app = Toril(url, prefix=f"torture-{secrets.token_hex(4)}", warn_unserved=False)
    # What is kept must not go, or it could not be counted.
    queue = app.queue(QUEUE, keep="all")
    try:
        async with app:
            try:
                yield app
            finally:
                with suppress(TorilError):  # what went wrong before is what is to be told
                    await queue.obliterate(force=True)
                    await _forget_workers(app)
    finally:
        scheme, _, path = app.store_url.partition(":///")
        if scheme == "sqlite":
            _remove_file(path)


async def _forget_workers(app: Toril) -> None:
    dead = {worker.id: "killed" for worker in await app.workers()}
    await app.context.store.recover((QUEUE,), dead=dead)


def _remove_file(path: str) -> None:
    for name in glob.glob(f"{glob.escape(path)}*"):
        if os.path.isdir(name):
            shutil.rmtree(name, ignore_errors=True)
        else:
            os.unlink(name)


class TortureFleet:
    """The worker processes, all of one program, and the ledger they write to."""

    def __init__(self, app: Toril, folder: Path) -> None:
        self._app = app
        self._folder = folder
        # Each with what it says when it goes wrong.
        self._workers: dict[Process, Path] = {}
        self._started = 0
        self._up: set[int] = set()
        self.ledger = Ledger(folder / "ledger")

    async def start(self) -> None:
        """Start one more worker."""
        place = (self._app.prefix, str(self.ledger.path))
        self._started += 1
        said = self._folder / f"errors-{self._started}"
        with said.open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "toril.cli.torture", *place),
                stdin=PIPE,  # which ends with this process, and the worker with that
                stdout=DEVNULL,
                stderr=errors,
                # Not among the words, which others on this machine can read.
                env={**os.environ, "TORIL_URL": self._app.url},
            )
        self._workers[process] = said

    async def ready(self) -> None:
        """Wait for two at least: else the newest would always be hit, in its first moments."""
        deadline = time.monotonic() + START_S
        while len(self._candidates()) < WORKERS - 1:
            ended = next((each for each in self._workers if each.returncode is not None), None)
            if ended is not None:
                raise self._fault(ended, f"ended on its own with {ended.returncode}")
            if time.monotonic() > deadline:
                late = next(each for each in self._workers if each.pid not in self._up)
                raise self._fault(late, f"is not up after {START_S:.0f} s")
            await asyncio.sleep(0.02)

    def _candidates(self) -> list[Process]:
        self._up |= {int(line[1]) for line in self.ledger.fresh() if line[2] == "up"}
        return [each for each in self._workers if each.pid in self._up and each.returncode is None]

    def _fault(self, worker: Process, how: str) -> TorilError:
        said = self._workers[worker].read_text("utf-8", "replace").split("\n")
        last = next((line for line in reversed(said) if line.strip()), "it said nothing")
        return TorilError(f"a worker {how}: {last}")

    async def kill_one(self, rng: random.Random) -> None:
        """Kill one of those that are up."""
        victim = rng.choice(self._candidates())
        said = self._workers.pop(victim)
        at = time.monotonic_ns()
        kill_now(victim)
        await victim.wait()
        said.unlink()
        self.ledger.note("killed", victim.pid, at)

    async def end(self) -> None:
        """Kill them all."""
        for worker in self._workers:
            kill_now(worker)
            await worker.wait()


async def _produce(app: Toril, ledger: Ledger, rng: random.Random) -> None:
    queue = app.queue(QUEUE)
    while True:
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
    added, starts, ended, settled, killed = _read(ledger)
    judgement = Judgement(
        jobs=len(added), runs=sum(len(starts[each]) for each in added), kills=len(killed)
    )
    hit: set[int] = set()
    for job_id in added:
        job = await app.queue(QUEUE).job(job_id)
        state = None if job is None else str(await job.state())
        if state in (None, "failed") or not ended[job_id]:
            judgement.lost.append(f"{job_id}: {state or 'gone'}")
        elif state != "completed":
            judgement.stuck.append(f"{job_id}: {state}")
        if settled[job_id] > 1:
            judgement.twice.append(job_id)
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
Facts = tuple[list[str], Starts, dict[str, Counter[int]], Counter[str], dict[int, int]]


def _read(ledger: Ledger) -> Facts:
    added: list[str] = []
    settled: Counter[str] = Counter()
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
            case "settled":
                settled[facts[0]] += 1
            case "killed":
                killed[int(facts[0])] = int(facts[1])
            case _:
                pass
    return added, starts, ended, settled, killed


async def _work(prefix: str, path: str) -> None:
    """Be one of the workers that are killed."""
    ledger = Ledger(Path(path))
    threading.Thread(target=_end_with_parent, daemon=True).start()
    async with Toril(os.environ["TORIL_URL"], prefix=prefix) as app:

        async def run(job: Job[Any]) -> None:
            ledger.note("start", job.id)
            await asyncio.sleep(job.data["ms"] / 1000)
            ledger.note("end", job.id)

        quick: dict[str, Any] = {"lock": "1s", "stalled_interval": "300ms"}
        worker = app.worker(QUEUE, run, concurrency=CONCURRENCY, **quick)
        worker.on("ready")(lambda: ledger.note("up"))

        @worker.on("completed")
        def settled(job: Job[Any], result: object) -> None:
            ledger.note("settled", job.id)

        await worker.run()


def _end_with_parent() -> None:
    os.read(0, 1)
    os._exit(1)


if __name__ == "__main__":
    asyncio.run(_work(*sys.argv[1:3]))
