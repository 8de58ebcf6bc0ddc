"""The processes that benchmarks measure: `python children.py MODE ARGUMENT…` prints JSON.

Each does its work in one process of its own, as a user's program would, on defaults where
nothing else is said.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any

from common import KEEP, PAYLOAD, QUEUE, percentile, run

from toril import Job, Toril

CALL = 1_000  # how many jobs one add_many takes


def toril_file(folder: str) -> Path:
    return Path(folder).absolute() / "toril.db"


def make_app(folder: str) -> Toril:
    app = Toril(f"sqlite:///{toril_file(folder)}")
    app.queue(QUEUE, keep=KEEP)
    return app


def make_huey(folder: str, *, fsync: bool | None = None) -> Any:
    """Make the peer on its defaults: WAL, and SQLite's own default of synchronous=FULL."""
    from huey import SqliteHuey

    return SqliteHuey(QUEUE, filename=str(Path(folder) / "huey.db"), fsync=fsync)


def told(began: float, cpu: float, jobs: int) -> dict[str, float]:
    seconds = time.perf_counter() - began
    return {
        "jobs/s": jobs / seconds,
        "µs CPU": (time.process_time() - cpu) / jobs * 1e6,
    }


# Adding.


async def add_many(folder: str, jobs: int) -> dict[str, float]:
    async with make_app(folder) as app:
        queue = app.queue(QUEUE)
        await queue.add("warm", PAYLOAD)
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(jobs // CALL):
            await queue.add_many([("noop", PAYLOAD)] * CALL)
        return told(began, cpu, jobs)


async def add_at_once(folder: str, jobs: int, adders: int) -> dict[str, float]:
    async with make_app(folder) as app:
        queue = app.queue(QUEUE)
        await queue.add("warm", PAYLOAD)

        async def add() -> None:
            for _ in range(jobs // adders):
                await queue.add("noop", PAYLOAD)

        began, cpu = time.perf_counter(), time.process_time()
        async with asyncio.TaskGroup() as group:
            for _ in range(adders):
                group.create_task(add())
        return told(began, cpu, jobs)


def huey_add(folder: str, jobs: int) -> dict[str, float]:
    noop = huey_noop(make_huey(folder), lambda: None)
    noop("warm")
    began, cpu = time.perf_counter(), time.process_time()
    for _ in range(jobs):
        noop(PAYLOAD["text"])
    return told(began, cpu, jobs)


# Working.


async def fill(folder: str, jobs: int, delay_s: int = 0) -> dict[str, float]:
    async with make_app(folder) as app:
        one = ("noop", PAYLOAD, {"delay": delay_s}) if delay_s else ("noop", PAYLOAD)
        began, cpu = time.perf_counter(), time.process_time()
        for _ in range(0, jobs, CALL):
            await app.queue(QUEUE).add_many([one] * min(CALL, jobs))
        return told(began, cpu, jobs)


async def work(folder: str, jobs: int, concurrency: int) -> dict[str, float]:
    async with make_app(folder) as app:
        ran = count()

        @app.task(queue=QUEUE)
        async def noop(text: str) -> None:
            next(ran)

        worker = app.worker(QUEUE, concurrency=concurrency)
        began, cpu = time.perf_counter(), time.process_time()
        await worker.start()
        await worker.drained()
        result = told(began, cpu, jobs)
        await worker.stop()
        assert next(ran) == jobs, "not every job ran once"
        counts = await app.queue(QUEUE).counts()
        assert counts.completed < jobs or jobs <= KEEP, "retention did no work"
        return result


async def work_part(folder: str, jobs: int, concurrency: int) -> dict[str, float]:
    """Run some of the jobs that wait, and time each call of `finish`, which claims the next ones."""
    async with make_app(folder) as app:
        ran, over = count(1), asyncio.Event()

        @app.task(queue=QUEUE)
        async def noop(text: str) -> None:
            if next(ran) == jobs:
                over.set()

        store: Any = app.context.store
        finish, took = store.finish, []

        async def timed(*args: Any) -> Any:
            began = time.perf_counter()
            answer = await finish(*args)
            took.append((time.perf_counter() - began) * 1000)
            return answer

        store.finish = timed
        worker = app.worker(QUEUE, concurrency=concurrency)
        began, cpu = time.perf_counter(), time.process_time()
        await worker.start()
        await over.wait()
        result = told(began, cpu, jobs)
        await worker.stop()
        ends = {"p50 ms": percentile(took, 50), "p99 ms": percentile(took, 99), "max ms": max(took)}
        return result | ends


async def _page(queue: Any, state: str) -> None:
    async for _ in queue.jobs(state, limit=50):
        pass


async def look(folder: str, times: int) -> dict[str, float]:
    """Give the median ms of what a dashboard asks."""
    async with make_app(folder) as app:
        queue = app.queue(QUEUE)
        asks: dict[str, Callable[[], Any]] = {"counts": queue.counts, "overview": app.overview}
        for state in ("waiting", "delayed", "active", "completed", "failed"):
            asks[f"50 {state} jobs"] = partial(_page, queue, state)
        found: dict[str, float] = {}
        for name, ask in asks.items():
            took: list[float] = []
            for _ in range(times):
                began = time.perf_counter()
                await ask()
                took.append((time.perf_counter() - began) * 1000)
            found[name] = median(took)
        return found


def huey_noop(huey: Any, ran: Callable[[], object]) -> Any:
    def noop(text: str) -> None:
        ran()

    # Whoever adds and whoever works have to mean the same task.
    noop.__module__ = "bench"
    return huey.task()(noop)


def huey_fill(folder: str, jobs: int) -> None:
    noop = huey_noop(make_huey(folder, fsync=False), lambda: None)
    for _ in range(jobs):
        noop(PAYLOAD["text"])


def huey_work(folder: str, jobs: int, workers: int) -> dict[str, float]:
    huey = make_huey(folder)
    ran, over = count(1), []

    def note() -> None:
        if next(ran) >= jobs:
            over.append(time.perf_counter())

    huey_noop(huey, note)
    consumer = huey.create_consumer(workers=workers, periodic=False, check_worker_health=False)
    began, cpu = time.perf_counter(), time.process_time()
    consumer.start()
    while not over:
        time.sleep(0.005)
    result = told(began, cpu, jobs)
    consumer.stop(graceful=True)
    return result


async def claim_cost(folder: str, waiting: int, size: int) -> float:
    """Give the median µs of claiming so many jobs while so many wait; they are put back."""
    from toril._model.decide import Action, Decision, End
    from toril._store.sqlite.store import SQLiteStore
    from toril._store.values import ClaimRequest

    await fill(folder, waiting)
    store = SQLiteStore(toril_file(folder))
    await store.open()
    took: list[float] = []
    for number in range(200):
        request = ClaimRequest(queue=QUEUE, limit=size, token=str(number))
        began = time.perf_counter()
        (claimed,) = await store.claim([request])
        took.append((time.perf_counter() - began) * 1e6)
        assert len(claimed.jobs) == size
        back = [
            Decision(
                queue=QUEUE, id=claim.record.id, token=claim.token, handle=claim.handle,
                action=Action.RELEASE, end=End.RELEASED, counted=False,
            )
            for claim in claimed.jobs
        ]  # fmt: skip
        await store.finish(back)
    await store.close()
    return median(took)


# Waiting.


def tell(*facts: float) -> None:
    sys.stdout.write(" ".join(map(str, facts)) + "\n")
    sys.stdout.flush()


async def wait_for_jobs(folder: str) -> None:
    """Work until the standard input ends; say when each job began, and on "cpu" the CPU used."""
    async with make_app(folder) as app:
        app.queue(QUEUE).handler()(_tell_start)
        async with app.worker(QUEUE, concurrency=10):
            loop = asyncio.get_running_loop()
            tell(0)
            while await loop.run_in_executor(None, sys.stdin.readline):
                tell(time.process_time())


async def _tell_start(job: Job[Any]) -> None:
    at, now_ms = time.monotonic_ns(), time.time() * 1000
    tell(at, now_ms - (job.record.created_ms + job.data.get("delay_ms", 0)))


def huey_wait_for_jobs(folder: str) -> None:
    huey = make_huey(folder)
    huey_noop(huey, lambda: tell(time.monotonic_ns(), 0))
    consumer = huey.create_consumer(workers=1, periodic=False, check_worker_health=False)
    consumer.start()
    tell(0)
    while sys.stdin.readline():
        tell(time.process_time())
    consumer.stop(graceful=True)


async def start_in_one_process(folder: str, samples: int, silence: float) -> list[float]:
    """Add jobs where they are worked, each after a silence; give the ms from add to start."""
    took: list[float] = []
    async with make_app(folder) as app:
        queue = app.queue(QUEUE)
        started: asyncio.Queue[int] = asyncio.Queue()

        @queue.handler()
        async def start(job: Job[Any]) -> None:
            started.put_nowait(time.monotonic_ns())

        async with app.worker(QUEUE, concurrency=10):
            for _ in range(samples):
                await asyncio.sleep(silence)
                began = time.monotonic_ns()
                await queue.add("noop", PAYLOAD)
                took.append((await started.get() - began) / 1e6)
    return took


MODES: dict[str, Callable[..., Any]] = {
    function.__name__: function
    for function in (
        add_many, add_at_once, huey_add, fill, work, work_part, look, huey_fill, huey_work, claim_cost,
        wait_for_jobs, huey_wait_for_jobs, start_in_one_process,
    )
}  # fmt: skip


def main(mode: str, folder: str, *args: str) -> None:
    function = MODES[mode]
    numbers = [float(arg) if "." in arg else int(arg) for arg in args]
    if asyncio.iscoroutinefunction(function):
        answer = run(function(folder, *numbers))
    else:
        answer = function(folder, *numbers)
    if answer is not None:
        print(json.dumps(answer))


if __name__ == "__main__":
    main(*sys.argv[1:])
