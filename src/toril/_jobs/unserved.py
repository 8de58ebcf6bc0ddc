"""Whether anybody works on the queues that an app adds to; who adds is told when nobody does.

Looked at in the background, some time after an add and then seldom. Never here: adding.
"""

import asyncio
import logging
from collections.abc import Iterable, Set
from contextlib import suppress

from toril._store.forks import Forkable, follow_forks, keep
from toril.errors import TorilError

from .process_role import HERE
from .session import Session

# A worker that is started together with what adds has announced itself by then.
FIRST_S = 2.0
AGAIN_S = 30.0
# So long may a last look hold up who closes.
LAST_S = 1.0

log = logging.getLogger("toril.queue")


class Unserved(Forkable):
    """Warn once of each queue that is added to and that no live worker serves."""

    __slots__ = ("_asked", "_context", "_looks", "_quiet", "_settled", "_warn", "served")

    def __init__(self, context: Session, *, warn: bool) -> None:
        self._context = context
        self._warn = warn
        # Of these nothing is asked at the moment, and of the settled ones never.
        self._quiet: set[str] = set()
        self._settled: set[str] = set()
        self._asked: set[str] = set()
        self._looks: set[asyncio.Task[None]] = set()
        # What workers of this app serve that were started in this process.
        self.served: set[str] = set()
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Forget what the parent is going to look at."""
        keep(self._looks)
        self._asked, self._looks = set(), set()
        self._quiet = set(self._settled)
        self.served = set()

    def serves(self, queues: Iterable[str]) -> None:
        """Note that a worker of this very app serves these."""
        self.served.update(queues)
        self._settled.update(queues)
        self._quiet |= self._settled

    def added(self, queues: Set[str]) -> None:
        """Note that jobs were added to these; nearly always that is all that happens."""
        HERE.side_effect("adds jobs")
        if queues <= self._quiet or not self._warn:
            return
        if not self._asked:
            loop = asyncio.get_running_loop()
            loop.call_later(FIRST_S, self._start, loop)
        self._asked |= queues - self._quiet
        self._quiet |= queues

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        asked, self._asked = self._asked, set()
        if not asked:
            return
        look = loop.create_task(self._look(asked))
        # The loop keeps only weak references to its tasks.
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        loop.call_later(AGAIN_S, self._ask_again, asked)

    def _ask_again(self, asked: set[str]) -> None:
        self._quiet -= asked - self._settled

    async def settle(self) -> None:
        """Look at once where it was still to be looked: a script adds and ends."""
        asked, self._asked = self._asked, set()
        if asked:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._look(asked), LAST_S)

    async def _look(self, asked: set[str]) -> None:
        # A store that is closed or out of reach by now is others' trouble.
        with suppress(TorilError):
            workers = await self._context.store.workers()
            served = {queue for each in workers if each.alive for queue in each.queues}
            for queue in sorted(asked - served - self._settled):
                self._settled.add(queue)
                log.warning(
                    "queue.unserved queue=%r: no live worker serves it, so what was added waits "
                    "(start one with: toril worker app.py; or say Toril(..., warn_unserved=False))",
                    queue,
                    extra={"queue": queue},
                )
