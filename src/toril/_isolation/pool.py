"""Child processes for handlers that are isolated: started when needed, reused, replaced.

Each runs one job at a time. A child that dies takes that try with it and nothing else. Never here:
what a child does.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any

import msgspec

from toril._handlers.handlers import Handler
from toril._handlers.isolation_options import Isolation
from toril._jobs.job import Job
from toril._model.crashes import CHILD_DIED
from toril._model.decide import End
from toril._model.times import Millis
from toril.errors import TaskError

from .child_handle import ChildHandle, ChildHost, crashed, failed
from .outcome import NOT_RUN, Ended

# How often the memory of children at work is looked at.
WATCH_S = 0.5
# After a child that could not start, the next is tried so much later; doubled each time.
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
# An idle child that died is noticed when it gets a job: so often another one is tried.
TRIES = 3
# How long children have to end when the worker does.
END_S = 2.0

Begun = Callable[[], bool]


class _Pool:
    """The children of one handler, or of those that share them."""

    __slots__ = ("failures", "gate", "idle", "open_at")

    def __init__(self) -> None:
        self.idle: list[ChildHandle] = []
        self.failures = 0
        self.open_at = 0.0
        self.gate = asyncio.Lock()


class Processes:
    """Run jobs in child processes.

    Shape    most: this many children at once, whatever they run; None: as many as jobs run.
    """

    def __init__(self, host: ChildHost, most: int | None = None) -> None:
        self._host = host
        self._most = most
        self._loop = asyncio.get_running_loop()
        self._pools: defaultdict[Isolation, _Pool] = defaultdict(_Pool)
        self._children: set[ChildHandle] = set()
        self._places: AbstractAsyncContextManager[object] = (
            nullcontext() if most is None else asyncio.Semaphore(most)
        )
        self._watching: asyncio.TimerHandle | None = None

    async def run(self, handler: Handler, job: Job[Any], begun: Begun) -> Ended:
        """Run one try of a job in a child, and give how it ended; `begun` as in `perform`.

        Cancelled, the child is asked to let the job end; cancelled once more, it is killed.
        """
        isolation = handler.isolation
        if isolation is None:
            raise TypeError(f"{handler.title} is not isolated")
        async with self._places:
            for _ in range(TRIES):
                child = await self._child(isolation, job)
                if isinstance(child, Ended):
                    return child
                if not begun():
                    self._pools[isolation].idle.append(child)
                    return NOT_RUN
                ended = await self._run_in(child, job, handler.soft_timeout_ms)
                if ended is not None:
                    return _read(handler, ended)
        return crashed(job, f"{CHILD_DIED}: {TRIES} for {handler.title} died before it began")

    async def close(self) -> None:
        """End every child; what runs in them by now nobody waits for."""
        if self._watching is not None:
            self._watching.cancel()
        children = tuple(self._children)
        for child in children:
            child.retire(END_S)
        if children:
            await asyncio.wait([child.gone for child in children], timeout=2 * END_S)

    # A child for a job.

    async def _child(self, isolation: Isolation, job: Job[Any]) -> ChildHandle | Ended:
        pool = self._pools[isolation]
        if not pool.idle and pool.failures:
            # One at a time: what fails to start must not be tried in a hot loop.
            async with pool.gate:
                await asyncio.sleep(max(0.0, pool.open_at - self._loop.time()))
                return await self._taken(pool, isolation, job)
        return await self._taken(pool, isolation, job)

    async def _taken(self, pool: _Pool, isolation: Isolation, job: Job[Any]) -> ChildHandle | Ended:
        while pool.idle:
            child = pool.idle.pop()
            if child.usable:
                return child
        self._make_room()
        child = ChildHandle(isolation, self._host)
        self._children.add(child)
        child.gone.add_done_callback(lambda _: self._buried(child))
        try:
            broken = await asyncio.shield(child.ready)
        except asyncio.CancelledError:
            child.kill("it was not needed any more")
            raise
        if broken is None:
            pool.failures = 0
            return child
        pool.failures += 1
        pause = min(FIRST_PAUSE_S * 2 ** (pool.failures - 1), LONGEST_PAUSE_S)
        pool.open_at = self._loop.time() + pause
        text = f"the process for {isolation.target} could not start: {broken.reason}"
        return (
            crashed(job, f"{CHILD_DIED}: {text}")
            if broken.died
            else failed(job, text, broken.stack)
        )

    def _make_room(self) -> None:
        """Let an idle child of another handler go where only this many may be."""
        alive = sum(child.usable for child in self._children)
        if self._most is None or alive < self._most:
            return
        for pool in self._pools.values():
            if pool.idle:
                pool.idle.pop(0).retire(END_S)
                return

    def _buried(self, child: ChildHandle) -> None:
        self._children.discard(child)
        idle = self._pools[child.isolation].idle
        if child in idle:
            idle.remove(child)

    # A job in a child.

    async def _run_in(
        self, child: ChildHandle, job: Job[Any], soft_ms: Millis | None
    ) -> Ended | None:
        """Run a job; None: the child had died before it began."""
        end = child.start(job, soft_ms)
        self._watch()
        try:
            return await asyncio.shield(end)
        except asyncio.CancelledError as error:
            if error.args:
                child.interrupt(str(error))
            else:
                # Its slot says why: this was the loop's end, and nobody will insist.
                child.kill("its worker was taken down")
            return await _at_last(end, child) or NOT_RUN
        finally:
            if child.usable and not child.spent:
                self._pools[child.isolation].idle.append(child)
            else:
                child.retire(END_S)

    def _watch(self) -> None:
        if self._watching is None:
            self._watching = self._loop.call_later(WATCH_S, self._look)

    def _look(self) -> None:
        busy = [child for child in self._children if child.busy]
        self._watching = self._loop.call_later(WATCH_S, self._look) if busy else None
        for child in busy:
            child.look()


async def _at_last(end: "asyncio.Future[Ended | None]", child: ChildHandle) -> Ended | None:
    """Wait for the end of a job that was told to end; being cancelled again makes it certain."""
    while not end.done():
        try:
            await asyncio.wait([end])
        except asyncio.CancelledError:
            child.kill("the job did not end when it was told to")
    return end.result()


def _read(handler: Handler, ended: Ended) -> Ended:
    """Return the end of an attempt with its result as listeners get it: as the task returned it."""
    if ended.outcome.end is not End.RETURNED:
        return ended
    text = ended.outcome.result or "null"
    try:
        return ended._replace(value=handler.decode(text))
    except TaskError:
        # It is not of the type that the task is annotated with.
        return ended._replace(value=msgspec.json.decode(text))
