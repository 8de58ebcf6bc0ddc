"""What the programs of all peers share: their modes, what they tell, and when they are over.

`python use_NAME.py URL MODE ARGUMENT…`, each in a process of its own and in the environment of
that peer, so nothing here needs more than the standard library. Answers are JSON; `wait` and
`produce` talk in lines with the benchmark that started them.
"""

import asyncio
import inspect
import json
import os
import platform
import resource
import sys
import threading
import time
from collections.abc import Callable, Coroutine
from importlib.metadata import version
from typing import Any

import toil

QUEUE = "bench"
CALL = 1_000  # how many jobs one call of a bulk adds
SETTLE_S = 0.5  # for what is acknowledged after the last job ran
_KEEP = os.environ.get("BENCH_KEEP", "1000")
KEEP = None if _KEEP == "all" else int(_KEEP)  # how many completed jobs stay

Ran = Callable[[str], None]


class Peer:
    """One way to have jobs: how they are added, and how one process works on them."""

    packages: tuple[str, ...] = ()

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> None:
        """Connect, for adding."""

    def add(self, text: str) -> Any:
        """Add a job; give something to await where adding is asynchronous."""
        raise NotImplementedError

    def add_later(self, text: str, seconds: float) -> Any:
        raise NotImplementedError

    def add_many(self, texts: list[str]) -> Any:
        raise NotImplementedError

    def add_many_later(self, texts: list[str], seconds: float) -> Any:
        raise NotImplementedError

    def work(self, ran: Ran, concurrency: int, queues: list[str]) -> Any:
        """Work until the process ends, and call `ran` in the first line of each job."""
        raise NotImplementedError

    def toil(self, places: int, way: str) -> Any:
        """Do the works of toil.py until the process ends, so many at once, in one of its ways."""
        return self.work(toil.do, places, [QUEUE])


def main(make: Callable[[str], Peer]) -> None:
    url, mode, *rest = sys.argv[1:]
    MODES[mode](make(url), *(int(word) if word.isdigit() else word for word in rest))


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run on uvloop if it is there."""
    try:
        import uvloop
    except ImportError:
        return asyncio.run(work)
    return uvloop.run(work)


def texts(jobs: int) -> list[str]:
    """Give a text for each job: none like another, each 100 bytes of JSON as {"text": …}."""
    return [f"{number:08d}" + "x" * 81 for number in range(jobs)]


def about(peer: Peer) -> None:
    found = [f"{name} {version(name)}" for name in peer.packages]
    tell_json({"versions": ", ".join([*found, f"Python {platform.python_version()}"])})


# Adding.


def fill(peer: Peer, jobs: int) -> None:
    """Add jobs, as fast as this peer can."""
    _fill(peer, texts(jobs))


def fill_toil(peer: Peer, kind: str, jobs: int) -> None:
    """Add jobs of toil.py."""
    _fill(peer, toil.texts(kind, jobs))


def _fill(peer: Peer, jobs: list[str]) -> None:
    if _has(peer, "add_many"):
        run(_many(peer, jobs, warm=False))
    elif inspect.iscoroutinefunction(peer.add):
        run(_at_once(peer, jobs, 50, warm=False))
    else:
        run(_in_turn(peer, jobs, warm=False))


def fill_later(peer: Peer, jobs: int, seconds: int) -> None:
    """Add jobs that are due so many seconds after they were added."""
    run(_later(peer, texts(jobs), seconds))


def add(peer: Peer, jobs: int) -> None:
    tell_json(run(_in_turn(peer, texts(jobs))))


def add_at_once(peer: Peer, jobs: int) -> None:
    tell_json(run(_at_once(peer, texts(jobs), 50)))


def add_many(peer: Peer, jobs: int) -> None:
    tell_json(run(_many(peer, texts(jobs))))


async def _in_turn(peer: Peer, jobs: list[str], *, warm: bool = True) -> dict[str, float]:
    await peer.open()
    if warm:
        await _done(peer.add("warm"))
    clock = Clock()
    if inspect.iscoroutinefunction(peer.add):
        for text in jobs:
            await peer.add(text)
    else:
        for text in jobs:
            peer.add(text)
    return clock.told(len(jobs))


async def _at_once(
    peer: Peer, jobs: list[str], adders: int, *, warm: bool = True
) -> dict[str, float]:
    await peer.open()
    if warm:
        await asyncio.gather(*(peer.add("warm") for _ in range(adders)))
    left = iter(jobs)

    async def adder() -> None:
        for text in left:
            await peer.add(text)

    clock = Clock()
    await asyncio.gather(*(adder() for _ in range(adders)))
    return clock.told(len(jobs))


async def _many(peer: Peer, jobs: list[str], *, warm: bool = True) -> dict[str, float]:
    await peer.open()
    if warm:
        await _done(peer.add("warm"))
    clock = Clock()
    for start in range(0, len(jobs), CALL):
        await _done(peer.add_many(jobs[start : start + CALL]))
    return clock.told(len(jobs))


async def _later(peer: Peer, jobs: list[str], seconds: int) -> None:
    await peer.open()
    for start in range(0, len(jobs), CALL):
        await _done(peer.add_many_later(jobs[start : start + CALL], seconds))


async def _done(given: Any) -> Any:
    return await given if inspect.isawaitable(given) else given


def _has(peer: Peer, name: str) -> bool:
    return getattr(type(peer), name) is not getattr(Peer, name)


class Clock:
    """Seconds, and the CPU of this process, from now on."""

    def __init__(self) -> None:
        self._began = time.perf_counter()
        self._cpu = time.process_time()

    def told(self, jobs: int) -> dict[str, float]:
        seconds = time.perf_counter() - self._began
        cpu = time.process_time() - self._cpu
        return {"jobs/s": jobs / seconds, "µs CPU": cpu / jobs * 1e6}


# Working.


def work(peer: Peer, jobs: int, concurrency: int) -> None:
    """Work until every job that `fill` added has run, and tell how it went from the first on."""
    _work(peer, Drain(jobs), concurrency, [QUEUE])


def wait(peer: Peer, concurrency: int, queues: int) -> None:
    """Work until the standard input ends; tell when each job began, and on "cpu" the CPU used."""
    names = [QUEUE, *(f"{QUEUE}-{number}" for number in range(1, queues))]
    threading.Thread(target=_listen, daemon=True).start()
    _work(peer, _tell_start, concurrency, names)


def do_toil(peer: Peer, places: int, way: str) -> None:
    """Work on jobs of toil.py."""
    _until_the_end(peer.toil(places, way))


def _work(peer: Peer, ran: Ran, concurrency: int, queues: list[str]) -> None:
    _until_the_end(peer.work(ran, concurrency, queues))


def _until_the_end(working: Any) -> None:
    if inspect.iscoroutine(working):
        run(working)
    sys.exit("the worker ended by itself")


class Drain:
    """What ran, until nothing is missing any more; then the process tells it and ends."""

    def __init__(self, jobs: int) -> None:
        self._jobs = jobs
        self._runs: list[str] = []
        self._missing: set[str] | None = None
        self._clock: Clock | None = None
        self._lock = threading.Lock()

    def __call__(self, text: str) -> None:
        if text == "warm":
            return
        if self._clock is None:
            self._clock = Clock()
        self._runs.append(text)
        if len(self._runs) >= self._jobs:
            self._check(text)

    def _check(self, text: str) -> None:
        with self._lock:
            if self._missing is None:
                self._missing = set(texts(self._jobs)).difference(self._runs)
            elif not self._missing:
                return
            self._missing.discard(text)
            if not self._missing:
                assert self._clock is not None
                told = self._clock.told(self._jobs - 1)
                threading.Thread(target=self._end, args=(told,)).start()

    def _end(self, told: dict[str, float]) -> None:
        time.sleep(SETTLE_S)
        twice = len(self._runs) - len(set(self._runs))
        tell_json({**told, "MB": _resident_mb(), "run twice": twice, "ran": len(self._runs)})
        os._exit(0)


def _resident_mb() -> float:
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1e6
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most / 1e6 if sys.platform == "darwin" else most / 1e3


def _tell_start(text: str) -> None:
    at, now_ms = time.monotonic_ns(), time.time() * 1000
    if text.startswith("due "):
        tell("late", now_ms - float(text[4:]))
    elif text != "warm":
        tell("at", at)


def _listen() -> None:
    # Not sys.stdin: a child that is forked meanwhile closes it, and would wait for its lock.
    with open(0, encoding="ascii", closefd=False) as lines:
        while lines.readline():
            tell("cpu", time.process_time())
    os._exit(0)


def produce(peer: Peer) -> None:
    """Add a job for each line that is read: "now", or "later MS"; tell the ns before "now"."""
    run(_produce(peer))


async def _produce(peer: Peer) -> None:
    await peer.open()
    await _done(peer.add("warm"))
    loop = asyncio.get_running_loop()
    tell("ready")
    text = texts(1)[0]
    while line := await loop.run_in_executor(None, sys.stdin.readline):
        order, *delay = line.split()
        if order == "now":
            at = time.monotonic_ns()
            await _done(peer.add(text))
            tell("at", at)
        else:
            due = time.time() * 1000 + int(delay[0])
            await _done(peer.add_later(f"due {due}", int(delay[0]) / 1000))
    os._exit(0)


def tell(*facts: object) -> None:
    sys.stdout.write(" ".join(map(str, facts)) + "\n")
    sys.stdout.flush()


def tell_json(facts: dict[str, Any]) -> None:
    tell(json.dumps(facts))


MODES: dict[str, Callable[..., None]] = {
    function.__name__: function
    for function in (
        about, fill, fill_later, fill_toil, add, add_at_once, add_many, work, wait, do_toil, produce,
    )
}  # fmt: skip
