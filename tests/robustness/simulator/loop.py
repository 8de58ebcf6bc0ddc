"""An asyncio event loop on a virtual clock, whose strands of code take turns by a seed.

A strand is what one thread of one simulated process would run: within it callbacks run in the
order asyncio promises, between strands a seeded choice decides. Time jumps to the next timer.
"""

import asyncio
import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar
from typing import Any

STRAND: ContextVar["Strand"] = ContextVar("strand")
# A world that does this much within one run goes round in circles.
MOST_STEPS = 400_000


class Stuck(AssertionError):
    """Nothing is left that could happen, or it never ends."""


class Strand:
    """The callbacks of one thread; frozen until a time, or for ever, it runs none of them."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.until = 0.0
        self.queue: deque[asyncio.Handle] = deque()
        self.context = Context()
        self.context.run(STRAND.set, self)
        # Where code goes that this thread hands over to an event loop.
        self.home = self
        # The process whose thread it is; the world's own strand has none.
        self.owner: Any = None

    def freeze(self, until: float = math.inf) -> None:
        self.until = max(self.until, until)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs simulated processes; what belongs to none of them is the world's own strand."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self.random = random.Random(seed)
        self.steps = 0
        self.faults: list[dict[str, Any]] = []
        self.world = Strand("world")
        self.strands = [self.world]
        self._now = 1_000.0
        self._ready: deque[asyncio.Handle]
        self._scheduled: list[asyncio.TimerHandle]

    def time(self) -> float:
        return self._now

    def strand(self, name: str) -> Strand:
        made = Strand(name)
        self.strands.append(made)
        return made

    def spawn(self, strand: Strand, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        return self.create_task(work, context=strand.context.copy())

    def call_soon_threadsafe(  # type: ignore[override]
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.Handle:
        here = STRAND.get(self.world).home
        return self.call_soon(callback, *args, context=context or here.context)

    def run_in_executor(  # type: ignore[override]
        self, executor: object, func: Callable[..., Any], *args: Any
    ) -> asyncio.Future[Any]:
        """There are no threads: it is done by the time anybody looks."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.faults.append(context)

    def _write_to_self(self) -> None:
        pass

    def _run_once(self) -> None:
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Stuck(f"{MOST_STEPS} steps, and no end at {self._now:.3f}")
        strand = self._next_strand()
        while strand is None:
            self._advance()
            strand = self._next_strand()
        handle = strand.queue.popleft()
        if not handle.cancelled():
            handle._run()

    def _next_strand(self) -> Strand | None:
        while self._ready:
            handle = self._ready.popleft()
            handle._context.get(STRAND, self.world).queue.append(handle)  # type: ignore[attr-defined]
        able = [each for each in self.strands if each.queue and each.until <= self._now]
        if len(able) > 1:
            return self.random.choice(able)
        return able[0] if able else None

    def _advance(self) -> None:
        timers = self._scheduled
        while timers and timers[0].cancelled():
            heapq.heappop(timers)._scheduled = False  # type: ignore[attr-defined]
        nexts = [each.until for each in self.strands if each.queue]
        if timers:
            nexts.append(timers[0].when())
        when = min(nexts, default=math.inf)
        if when == math.inf:
            raise Stuck(f"nothing is left to happen at {self._now:.3f}")
        self._now = max(self._now, when)
        while timers and timers[0].when() <= self._now:
            timer = heapq.heappop(timers)
            timer._scheduled = False  # type: ignore[attr-defined]
            self._ready.append(timer)

    def clear_away(self) -> None:
        """Let every task end, those of stopped processes too, so that none is left behind."""
        for strand in self.strands:
            strand.until = 0.0
        for _ in range(20):
            tasks = asyncio.all_tasks(self)
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            for _ in range(len(tasks) * 20):
                strand = self._next_strand()
                if strand is None:
                    break
                self._run_here(strand.queue.popleft())
        self.close()

    def _run_here(self, handle: asyncio.Handle) -> None:
        asyncio._set_running_loop(self)
        try:
            if not handle.cancelled():
                handle._run()
        finally:
            asyncio._set_running_loop(None)
