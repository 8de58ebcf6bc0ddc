"""The real SQLite store on `:memory:` without its threads, and the way there with its faults.

Never here: what a verb does. The store's writer is a lane whose transactions run on the virtual
loop; each simulated process reaches it through a `Line` of its own.
"""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any

import msgspec

from tests.robustness.simulator.loop import VirtualLoop
from toril._model.record import Ref
from toril._store.sqlite.connection.runner import Call, CallRunner, Work
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import Claimed, Finished
from toril.errors import StoreUnavailable


class VirtualLane(CallRunner):
    """Runs calls in transactions as the writer's thread does, a moment after they came."""

    def __init__(self, name: str, work: Work, where: str) -> None:
        self._work = work
        self._where = where
        self._closed = False
        self._waiting: list[Call] = []
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        self._loop = loop

    def submit(self, *calls: Call) -> None:
        if self._closed:
            raise StoreUnavailable(f"{self._where} was closed")
        if not self._waiting:
            soon = self._loop.random.uniform(0.0, 0.004)
            self._loop.call_later(soon, self._work_off, context=self._loop.world.context)
        self._waiting += calls
        if any(call.loop is None for call in calls):
            self._work_off()

    def close(self) -> None:
        self._work_off()
        self._closed = True

    def _work_off(self) -> None:
        batch, self._waiting = self._waiting, []
        if batch:
            # Whoever asked: what comes of it is no part of a process that may stop meanwhile.
            self._loop.world.context.copy().run(self._carry_out, batch)


@dataclass(frozen=True, slots=True)
class Weather:
    """What befalls the calls of one process, by chance until a time.

    Shape    how: slow · refused · unheard (done, but no answer) · late (given up, and done after
             that) · picky (single decisions are refused, the call as a whole goes well) · twice
             (done, and done again) · deaf (whoever waits for work is told of none).
    """

    how: str
    chance: float
    until: float
    seconds: float


# Calls that may come again; what else they ask for (claims) is asked once.
_REPEATED = ("finish", "recover", "advance", "update")


class Line:
    """The store as one process sees it."""

    switch_interval: float | None = None

    def __init__(self, store: SQLiteStore, loop: VirtualLoop, trips: int, watch: "Watcher") -> None:
        self.trips = trips
        self.url = "simulated"
        self.clock = store.clock
        self.on_taken_back: set[Callable[[], None]] = set()
        self.on_notice: set[Callable[[str, str], None]] = set()
        self.weather: list[Weather] = []
        self.over = False
        self.broken: str | None = None
        self.clock = store.clock
        self._store = store
        self._loop = loop
        self._watch = watch

    async def open(self, *, anew: bool = False) -> None:
        await self._call("get", ())

    async def close(self) -> None:
        """Leave it open for the others."""

    def __getattr__(self, verb: str) -> Callable[..., Coroutine[Any, Any, Any]]:
        async def call(*args: Any, **options: Any) -> Any:
            return await self._call(verb, *args, **options)

        return call

    async def claim(self, requests: Sequence[Any]) -> list[Claimed]:
        began = self._loop.time()
        answers: list[Claimed] = await self._call("claim", requests)
        self._watch.claimed(answers, began, requests)
        return answers

    async def finish(self, decisions: Sequence[Any], requests: Sequence[Any] = ()) -> Finished:
        began = self._loop.time()
        self._watch.finishing(decisions)
        picked = {n for n, _ in enumerate(decisions) if self._is_picked()}
        sound = [each for n, each in enumerate(decisions) if n not in picked]
        finished: Finished = await self._call("finish", sound, requests)
        self._watch.claimed(finished.claimed, began, requests)
        words = iter(finished.words)
        odd = StoreUnavailable("simulated: not this one")
        answers = [odd if n in picked else next(words) for n, _ in enumerate(decisions)]
        return msgspec.structs.replace(finished, words=tuple(answers))

    async def _call(self, verb: str, *args: Any, **options: Any) -> Any:
        how, seconds = self._luck()
        if how == "refused":
            raise StoreUnavailable("simulated: refused")
        if how == "slow":
            await asyncio.sleep(self._loop.random.uniform(0, seconds))
        if how == "deaf" and verb == "wait":
            await asyncio.sleep(options["timeout_ms"] / 1000)
            return frozenset()
        # Carried out whatever becomes of the process that asked, as what was sent is.
        if how == "twice" and verb in _REPEATED:
            once = args[:1] if verb == "finish" else args
            again = self._loop.create_task(
                getattr(self._store, verb)(*once, **options), context=Context()
            )
            again.add_done_callback(_unheard)
        call = getattr(self._store, verb)
        wait = seconds if how == "late" else 0.0
        doing = self._loop.create_task(_after(wait, call, args, options), context=Context())
        if how == "late":
            await asyncio.sleep(seconds / 4)
            doing.add_done_callback(_unheard)
            raise StoreUnavailable("simulated: given up")
        try:
            answer = await asyncio.shield(doing)
        except asyncio.CancelledError:
            doing.add_done_callback(_unheard)
            if verb == "wait":
                doing.cancel()
            raise
        if how == "unheard":
            raise StoreUnavailable("simulated: no answer")
        if how == "slow":
            await asyncio.sleep(self._loop.random.uniform(0, seconds))
        return answer

    def _is_picked(self) -> bool:
        now = self._loop.time()
        chances = [each.chance for each in self.weather if each.how == "picky" and each.until > now]
        return any(self._loop.random.random() < chance for chance in chances)

    def _luck(self) -> tuple[str, float]:
        if self.over:
            return "refused", 0.0
        now = self._loop.time()
        self.weather = [each for each in self.weather if each.until > now]
        for each in self.weather:
            if each.how != "picky" and self._loop.random.random() < each.chance:
                return each.how, each.seconds
        return "", 0.0

    def renewer(self) -> "LineRenewer":
        return LineRenewer(self, self._store, self._watch, self._loop)


class LineRenewer:
    """The store's renewer, called from the strand that stands for the heartbeat's thread."""

    def __init__(self, line: Line, store: SQLiteStore, watch: "Watcher", loop: VirtualLoop) -> None:
        self._line = line
        self._real = store.renewer()
        self._watch = watch
        self._loop = loop

    def renew(self, held: Any, lock_ms: int, worker: Any = None) -> list[Ref]:
        with self._way():
            lost = self._real.renew(held, lock_ms, worker)
        self._watch.renewed([each for each in held if each[0] not in lost], lock_ms)
        return lost

    def asked(self, held: Any) -> dict[Ref, str]:
        with self._way():
            return self._real.asked(held)

    def close(self) -> None:
        self._real.close()

    @contextlib.contextmanager
    def _way(self) -> Any:
        how, _ = self._line._luck()
        if how in ("refused", "late"):
            raise StoreUnavailable("simulated: refused")
        yield
        if how == "unheard":
            raise StoreUnavailable("simulated: no answer")


class Watcher:
    """Follows from outside how long each lock surely holds, as a worker has to know it."""

    def __init__(self, loop: VirtualLoop, complain: Callable[[str], None]) -> None:
        self._loop = loop
        self._complain = complain
        self._leases: dict[tuple[str, str, str], float] = {}

    def claimed(self, answers: Sequence[Claimed], began: float, requests: Sequence[Any]) -> None:
        for request, answer in zip(requests, answers, strict=False):
            for claim in answer.jobs:
                key = (answer.queue, claim.record.id, claim.token)
                self._leases[key] = began + request.lock_ms / 1000

    def renewed(self, held: Sequence[tuple[Ref, str]], lock_ms: int) -> None:
        for ref, token in held:
            self._leases[ref.queue, ref.id, token] = self._loop.time() + lock_ms / 1000

    def beginning(self, job: Any) -> None:
        """See that a handler begins under a lock that holds."""
        key = (job.queue, job.id, job._claim.token)
        if self._leases.get(key, 0.0) < self._loop.time():
            self._complain(f"run {job.run} of {job.id} begins under a lock that is over")

    def finishing(self, decisions: Sequence[Any]) -> None:
        for each in decisions:
            until = self._leases.get((each.queue, each.id, each.token))
            if until is None or until < self._loop.time():
                self._complain(f"{each.action} of {each.id} goes out under a lock that is over")


async def _after(seconds: float, call: Callable[..., Any], args: Any, options: Any) -> Any:
    if seconds:
        await asyncio.sleep(seconds)
    return await call(*args, **options)


def _unheard(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
