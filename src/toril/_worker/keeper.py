"""Keeping the tasks of a worker alive: one that ends by mistake is reported and restarted.

Never here: what the tasks do.
"""

import asyncio
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from toril.errors import TorilError

# A task that ended by mistake is restarted, but not at once: it must not spin.
RESTART_S = 1.0

Work = Callable[[], Coroutine[Any, Any, None]]


class Keeper:
    """The tasks of one worker, from its start to `close`.

    `down` holds, for each kind of task that waits for its restart, the reason.
    """

    def __init__(self, trouble: Callable[[str, BaseException], None]) -> None:
        self._trouble = trouble
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False
        self.down: dict[str, str] = {}
        self._mistakes: dict[str, str] = {}

    def start(self, what: str, work: Work) -> asyncio.Task[None]:
        """Run a task until it returns; whatever else ends it, it is started again."""
        task = self._loop.create_task(work())
        self._tasks.add(task)
        task.add_done_callback(partial(self._ended, what, work))
        return task

    @property
    def mistake(self) -> str | None:
        """Why a task waits for its restart that was not ended by the store, if one does."""
        return next(iter(self._mistakes.values()), None)

    async def finish(self, within: float) -> None:
        """Wait for the tasks that return by themselves, then cancel what is left."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=within)
        self.close()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=RESTART_S)

    def close(self) -> None:
        """Cancel every task, and restart none."""
        self._closed = True
        for task in self._tasks:
            task.cancel()

    def _ended(self, what: str, work: Work, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        # This also marks the exception as seen, so that asyncio does not report it as well.
        error = asyncio.CancelledError() if task.cancelled() else task.exception()
        if error is None or self._closed:
            return
        if not task.cancelled():
            self._trouble(what, error)
        self.down[what] = f"{what} ended with {type(error).__name__}"
        if not isinstance(error, TorilError):
            self._mistakes[what] = self.down[what]
        self._loop.call_later(RESTART_S, self._again, what, work, task.cancelled())

    def _again(self, what: str, work: Work, cancelled: bool) -> None:
        if self._closed:
            return
        if cancelled:
            # Reported only now: at the end of a program, asyncio cancels every task.
            self._trouble(what, asyncio.CancelledError("somebody cancelled the worker's task"))
        self.down.pop(what, None)
        self._mistakes.pop(what, None)
        self.start(what, work)
