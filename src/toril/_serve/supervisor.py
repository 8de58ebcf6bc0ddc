"""`--processes` and `--reload`: one supervisor, and the worker processes that it keeps going.

The supervisor loads no app and opens no store: it starts processes, sees them end, and passes on
what it saw. Never here: what a worker process does (member), and how it is reached (process).
"""

import asyncio
import logging
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from itertools import count
from pathlib import Path

import typer

from toril._model.printable import LINE, safe

from .channel import Message
from .messages import Beat, Buried, Files, Said, Up, WorkerEnded
from .probes import ProbeAddress, ProbeAnswer, probes
from .process import WorkerProcess
from .reload import changes, files_below
from .serve import Asked, say_health
from .shutdown import LAST_RESORT_S

# How long a process may take to come up.
START_S = 60.0
# One that lived for less died at once: each time in a row the pause before the next is longer.
SHORT_S = 10.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0
# So often the first process of a fleet is tried that never came up.
TRIES = 4
MISUSED = 2
# How much later than it should a process may end before it is killed.
LATE_S = 3.0
# A process that has said nothing for so long does not run its event loop.
SILENT_S = 30.0
# After watching the files has failed, it is tried again so much later.
WATCH_AGAIN_S = 1.0
# Deaths of which no process could be told; each names one worker.
MOST_WORDS = 1_000
SIGNALS = {signal.SIGTERM: "SIGTERM", signal.SIGINT: "SIGINT"}

log = logging.getLogger("toril.fleet")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServePlan:
    """What a fleet is to be.

    Shape    log: as `output.log_as` reads it. health: where probes are answered. watch: the folder
             whose files are watched, and the processes replaced when one changes.
    """

    asked: Asked
    processes: int
    grace_s: float
    log: str
    health: ProbeAddress | None = None
    watch: Path | None = None


@dataclass(slots=True)
class ExitNotice:
    """How a worker died, until a process has taken its jobs back."""

    pid: int
    how: str
    queues: tuple[str, ...]
    told: WorkerProcess | None = None


class GivenUpError(Exception):
    """The fleet never came up; `code` is what its process ended with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Supervisor:
    """The processes, by their places; `run` keeps them going until a signal comes."""

    plan: ServePlan
    _places: dict[int, WorkerProcess | None] = field(
        default_factory=dict[int, "WorkerProcess | None"]
    )
    _vacant: dict[int, asyncio.Event] = field(default_factory=dict[int, asyncio.Event])
    _locks: dict[int, asyncio.Lock] = field(default_factory=dict[int, asyncio.Lock])
    _deaths: Counter[int] = field(default_factory=Counter[int])
    _alive: set[WorkerProcess] = field(default_factory=set[WorkerProcess])
    _words: dict[str, ExitNotice] = field(default_factory=dict[str, ExitNotice])
    _files: set[str] = field(default_factory=set[str])
    _shown: list[str] = field(default_factory=list[str])
    _in_time: bool = True
    _signals: int = 0
    _asked: asyncio.Event = field(default_factory=asyncio.Event)
    _roll: asyncio.Event = field(default_factory=asyncio.Event)
    _retry: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self) -> int:
        """Keep the processes going until a signal comes; give the exit code.

        0: every job ended in time. 1: some were put back. Another: no process ever came up, and
        this is what the last one ended with.
        """
        async with self._beside():
            work = asyncio.create_task(self._work())
            asked = asyncio.create_task(self._asked.wait())
            watching = asyncio.create_task(self._replace_on_change())
            await asyncio.wait((work, asked), return_when=asyncio.FIRST_COMPLETED)
            given_up = work.exception() if work.done() else None
            for task in (work, asked, watching):
                task.cancel()
            await asyncio.gather(work, asked, watching, return_exceptions=True)
            await self._end()
        if isinstance(given_up, GivenUpError):
            return given_up.code
        if given_up is not None:
            raise given_up
        return 0 if self._in_time else 1

    @asynccontextmanager
    async def _beside(self) -> AsyncGenerator[None]:
        loop = asyncio.get_running_loop()
        for number in SIGNALS:
            loop.add_signal_handler(number, self._signalled, number)
        loop.add_signal_handler(signal.SIGHUP, self._roll.set)
        address = self.plan.health
        if address is None:
            yield
            return
        async with probes(address, self.verdict, say_health):
            yield

    def _signalled(self, number: signal.Signals) -> None:
        self._signals += 1
        log.info("fleet.signal signal=%s", SIGNALS[number], extra={"times": self._signals})
        self._asked.set()
        if self._signals > 1:
            for process in self._alive:
                process.hurry()

    # Keeping them going.

    async def _work(self) -> None:
        first = await self._first()
        numbers = range(1, self.plan.processes + 1)
        self._places = dict.fromkeys(numbers)
        self._vacant = {place: asyncio.Event() for place in numbers}
        self._locks = {place: asyncio.Lock() for place in numbers}
        self._fill(1, first)
        async with asyncio.TaskGroup() as group:
            for place in numbers:
                group.create_task(self._keep(place))
            group.create_task(self._replace_on_request())

    async def _first(self) -> WorkerProcess:
        """Bring up one process before the others: what is wrong with all of them is said once."""
        for tries in count(1):
            process = await self._bring_up(1)
            if process.up.is_set():
                return process
            code = process.code or 1
            if self.plan.watch is not None:
                typer.echo("waiting for a file to change …")
                await self._roll.wait()
                self._roll.clear()
            elif code == MISUSED or tries == TRIES:
                self._say("fleet.given_up", f"tries={tries} code={code}: it never came up")
                raise GivenUpError(code)
            else:
                await self._pause(_pause_after(tries + 1))
        raise AssertionError("unreachable")

    async def _keep(self, place: int) -> None:
        """Keep one place filled; whoever dies at once again and again is waited for ever longer."""
        while True:
            while self._places[place] is not None:
                self._vacant[place].clear()
                await self._vacant[place].wait()
            await self._pause(_pause_after(self._deaths[place]))
            async with self._locks[place]:
                if self._places[place] is not None:
                    continue
                process = await self._bring_up(place)
                if process.up.is_set():
                    self._fill(place, process)
                else:
                    self._count_death(place, process)

    def _fill(self, place: int, process: WorkerProcess) -> None:
        self._places[place] = process
        if process.ended.is_set():
            self._vacate(process)

    def _vacate(self, process: WorkerProcess) -> None:
        """Note that the process of a place has died."""
        place = process.place
        if self._places.get(place) is process and not self._asked.is_set():
            self._places[place] = None
            if process.lived_s >= SHORT_S:
                self._deaths[place] = 0
            self._count_death(place, process)
            self._vacant[place].set()

    def _count_death(self, place: int, process: WorkerProcess) -> None:
        self._deaths[place] += 1
        pause = _pause_after(self._deaths[place])
        when = f"in {pause:g} s" if pause else "at once"
        late = "and had worked" if process.up.is_set() else "and had not come up"
        self._say(
            "fleet.process_died",
            f"place={place} pid={process.pid} after={process.lived_s:.1f}s: it {process.how()}, "
            f"{late}; another one starts {when}",
        )

    async def _pause(self, seconds: float) -> None:
        self._retry.clear()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._retry.wait(), seconds)

    async def _bring_up(self, place: int) -> WorkerProcess:
        """Start a process, and wait until it works or has ended."""
        name = self.plan.asked.name
        asked = replace(self.plan.asked, name=f"{name}-{place}") if name else self.plan.asked
        dead = {id: word for id, word in self._words.items() if _untold(word)}
        orders: Message = {
            "asked": asdict(asked),
            "log": self.plan.log,
            "watch": self.plan.watch is not None,
            "first": place == 1,
            "dead": {id: {"how": word.how, "queues": word.queues} for id, word in dead.items()},
            "siblings": self._pids(),
        }
        # What is written for the next time must not stand for a file changed within its second.
        environment = {"PYTHONDONTWRITEBYTECODE": "1"} if self.plan.watch is not None else {}
        process = await WorkerProcess.start(place, orders, self._heard, environment)
        for word in dead.values():
            word.told = process
        self._alive.add(process)
        self._tell_siblings()
        await self._up_or_ended(process)
        return process

    async def _up_or_ended(self, process: WorkerProcess) -> None:
        both = [asyncio.create_task(each.wait()) for each in (process.up, process.ended)]
        try:
            done, _ = await asyncio.wait(both, timeout=START_S, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                self._say("fleet.start_failed", f"pid={process.pid}: not up in {START_S:.0f} s")
                process.kill()
                await process.ended.wait()
            # An end that came just before its word of being up is an end.
            if process.ended.is_set():
                process.up.clear()
        finally:
            for task in both:
                task.cancel()

    # Replacing them, one after the other.

    async def _replace_on_request(self) -> None:
        while True:
            await self._roll.wait()
            self._roll.clear()
            self._retry.set()
            await self._replace_all()

    async def _replace_on_change(self) -> None:
        folder = self.plan.watch
        while folder is not None:
            try:
                await self._follow_changes(folder)
            except Exception as error:
                self._say("fleet.watch_failed", f"{type(error).__name__}: {error}; trying again")
                await asyncio.sleep(WATCH_AGAIN_S)

    async def _follow_changes(self, folder: Path) -> None:
        async for changed in changes(lambda: {*files_below(folder), *self._files}):
            names = ", ".join(Path(name).name for name in changed[:3])
            more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
            typer.echo(f"changed: {names}{more}; restarting")
            self._roll.set()

    async def _replace_all(self) -> None:
        """Replace each process by a new one that works before the old one is told to end.

        One that is just being started may have loaded what it was to be replaced for.
        """
        since = time.monotonic()
        for place, lock in self._locks.items():
            async with lock:
                old = self._places[place]
                if old is None or old.began >= since:
                    continue
                new = await self._bring_up(place)
                if not new.up.is_set():
                    text = "the new process did not come up; the old one and those after it stay"
                    self._say("fleet.not_replaced", f"place={place} pid={old.pid}: {text}")
                    return
                self._fill(place, new)
                old.stop()
        self._say("fleet.replaced", f"processes={len(self._places)}", level=logging.INFO)

    # What processes say, and how they die.

    def _heard(self, process: WorkerProcess, message: Said | WorkerEnded) -> None:
        match message:
            case WorkerEnded():
                self._bereaved(process)
            case Up():
                self._show(message.lines)
                self._spread()
            case Files():
                self._files.update(message.files)
            case Buried():
                for worker in message.workers:
                    self._words.pop(worker, None)
                self._tell_siblings()
            case Beat():
                pass

    def _show(self, told: Sequence[str]) -> None:
        """Print what is served, once for all processes, and again if it changes."""
        lines = [safe(line, LINE) for line in told]
        facts = [line for line in lines[1:] if not line.startswith("schedule:")]
        if facts == self._shown:
            return
        self._shown = facts
        count = self.plan.processes
        head = f"{lines[0].partition(' · ')[0]} · {count} process{'es' if count > 1 else ''}"
        typer.echo("\n".join((head, *lines[1:])))

    def _bereaved(self, process: WorkerProcess) -> None:
        """A process has ended: unless it did in good order, others take back what it held."""
        self._alive.discard(process)
        if self._asked.is_set() and process.code:
            self._in_time = False
        if process.code and process.worker is not None and len(self._words) < MOST_WORDS:
            how = (
                f"worker process {process.place} (pid {process.pid}) of {process.worker} "
                f"on {socket.gethostname()} {process.how()}"
            )
            self._words[process.worker] = ExitNotice(process.pid, how, process.queues)
        self._vacate(process)
        self._spread()

    def _spread(self) -> None:
        """Tell one process that works of those that died."""
        able = [each for each in self._alive if each.up.is_set()]
        for worker, word in self._words.items():
            if able and _untold(word):
                word.told = min(able, key=lambda each: each.leaving)
                dead = {worker: {"how": word.how, "queues": word.queues}}
                word.told.tell({"do": "bury", "dead": dead})

    def _pids(self) -> list[int]:
        return [each.pid for each in self._alive] + [word.pid for word in self._words.values()]

    def _tell_siblings(self) -> None:
        pids = self._pids()
        for process in self._alive:
            process.tell({"do": "siblings", "pids": pids})

    # Health.

    def verdict(self, path: str) -> ProbeAnswer:
        """Return whether all processes live, or are ready."""
        each = [_facts(process) for process in self._places.values() if process is not None]
        troubles = self._not_live() if path == "/live" else self._not_ready()
        reason = "; ".join(troubles) or None
        facts: dict[str, object] = {"ok": not troubles, "reason": reason, "processes": each}
        return ProbeAnswer(not troubles, facts)

    def _not_live(self) -> list[str]:
        found = [each for each in self._places.values() if each is not None]
        if self._places and not found:
            return ["no worker process is up"]
        return [f"process {each.place}: {trouble}" for each in found if (trouble := _stuck(each))]

    def _not_ready(self) -> list[str]:
        if self._asked.is_set():
            return ["it is stopping"]
        if not self._places:
            return ["no worker process is up yet"]
        return [
            f"process {place}: {trouble}"
            for place, each in self._places.items()
            if (trouble := _unready(each)) is not None
        ]

    # Ending.

    async def _end(self) -> None:
        """Let every process end; one that does not is killed."""
        for process in self._alive:
            process.stop() if self._signals < 2 else process.hurry()
        ends = [asyncio.create_task(each.ended.wait()) for each in self._alive]
        if ends:
            patience = self.plan.grace_s + LAST_RESORT_S + LATE_S
            _, late = await asyncio.wait(ends, timeout=patience)
            for process in tuple(self._alive) if late else ():
                process.kill()
            if late:
                # The system may keep one that waits for a disk; nobody has to wait for it here.
                await asyncio.wait(late, timeout=LATE_S)

    def _say(self, event: str, text: str, *, level: int = logging.ERROR) -> None:
        log.log(level, "%s %s", event, text, extra={"event": event})


def _untold(word: ExitNotice) -> bool:
    return word.told is None or word.told.ended.is_set()


def _pause_after(deaths: int) -> float:
    """Return how long to wait after this many deaths in a row: the first one is answered at once."""
    if deaths <= 1:
        return 0.0
    return float(min(FIRST_PAUSE_S * 2.0 ** min(deaths - 2, 10), LONGEST_PAUSE_S))


def _facts(process: WorkerProcess) -> dict[str, object]:
    said = process.said
    return {
        "place": process.place,
        "pid": process.pid,
        "worker": process.worker,
        "running": said.running,
        "live": _stuck(process) is None,
        "ready": _unready(process) is None,
    }


def _stuck(process: WorkerProcess) -> str | None:
    loop = asyncio.get_running_loop()
    silent = loop.time() - process.said_at
    if silent > SILENT_S:
        return f"its event loop stood still for {silent:.0f} s"
    if not process.said.live:
        return process.said.reason or "it is stuck"
    return None


def _unready(process: WorkerProcess | None) -> str | None:
    if process is None:
        return "it is being started"
    stuck = _stuck(process)
    if stuck is not None:
        return stuck
    return None if process.said.ready else process.said.reason or "it just started"
