"""Waiting until nothing is left to do, and noticing that nothing can be done about what is left.

Never here: starting or stopping a worker.
"""

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Protocol

from toril._handlers.handlers import Registry
from toril._jobs.guard import write_log
from toril._model.bounds import JOBS_A_CALL
from toril._model.report import Counts, Query, QueueSettings
from toril._model.states import State
from toril._store.protocol import Store
from toril.errors import TorilError

# How often the jobs are counted while others still work on them.
LOOK_S = 0.01
# When nothing has changed for this long, somebody looks why.
STILL_S = 0.5
# How often the log says what is waited for.
TELL_S = 10.0

log = logging.getLogger("toril.worker")


class IdleWait(Protocol):
    """What is asked of the worker that waits."""

    @property
    def paused(self) -> bool:
        """Whether it was paused."""
        ...

    @property
    def queues(self) -> tuple[str, ...]:
        """Its queues."""
        ...


class Idle:
    """One wait for the end of all jobs in a worker's queues.

    Shape    delayed: jobs that are to start later are waited for, too.
    """

    def __init__(
        self, store: Store, registry: Registry, worker: IdleWait, *, delayed: bool
    ) -> None:
        self._store = store
        self._registry = registry
        self._worker = worker
        self._delayed = delayed
        self._left: dict[str, Counts] = {}
        self._since = self._told = time.monotonic()

    async def reached(self) -> bool:
        """Look once; after a look without result, wait a little.

        Raises   TorilError: jobs are left that nothing will start; it says which, and why.
        """
        queues = self._worker.queues
        counted = zip(queues, await self._store.counts(queues), strict=True)
        left = {queue: each for queue, each in counted if self._counts(each)}
        if not left:
            return True
        now = time.monotonic()
        if left != self._left:
            self._left, self._since, self._told = left, now, now - TELL_S + STILL_S
        elif now - self._since >= STILL_S:
            await self._look_closer(left)
        await asyncio.sleep(LOOK_S)
        return False

    def _counts(self, counts: Counts) -> bool:
        return bool(counts.ready or counts.active or (self._delayed and counts.delayed))

    async def _look_closer(self, left: Mapping[str, Counts]) -> None:
        self._since = time.monotonic()
        found = await self._store.settings(tuple(left))
        stuck = [await self._stuck(settings, left[settings.queue]) for settings in found]
        if all(stuck):
            raise TorilError(
                f"not idle, and nothing will change that: {'; '.join(filter(None, stuck))}"
            )
        if time.monotonic() - self._told >= TELL_S:
            self._told = time.monotonic()
            waits = ", ".join(_shown(settings, left[settings.queue]) for settings in found)
            text = "worker.waits until_idle=True: %s"
            write_log(log, logging.INFO, text, waits, extra={"waits_for": waits})

    async def _stuck(self, settings: QueueSettings, counts: Counts) -> str | None:
        """Return why no job of a queue will start without help; None: they may."""
        queue = settings.queue
        jobs = counts.ready + (counts.delayed if self._delayed else 0)
        if counts.active:
            return None
        if settings.paused:
            return f"queue {queue!r} is paused with {jobs} jobs: call queue.resume()"
        if self._worker.paused:
            return (
                f"the worker is paused, and queue {queue!r} has {jobs} jobs: call worker.resume()"
            )
        if counts.ready:
            return None
        page = await self._store.find(
            Query(queue=queue, states=(State.DELAYED,), limit=JOBS_A_CALL)
        )
        names = sorted({record.name for record in page.jobs})
        known = any(self._registry.find(queue, name) for name in names)
        if known or not names or page.more:
            return None
        return f"no handler of queue {queue!r} has the names of its {jobs} jobs: {', '.join(names)}"


def _shown(settings: QueueSettings, counts: Counts) -> str:
    text = (
        f"{settings.queue}: {counts.ready} ready, {counts.active} active, {counts.delayed} delayed"
    )
    if settings.paused:
        return f"{text} (paused)"
    limit = settings.limited_until
    return text if limit is None else f"{text} (rate limited)"
