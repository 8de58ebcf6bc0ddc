"""Wake whoever waits: for a job of some queues, or for an event of one.

A thread listens to the doorbell, looks four times a second whether another process changed the
file without ringing, and ten times a second whether a process that holds jobs has died.
Never here: what a waiter does when it wakes.
"""

import asyncio
import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Callable, Generator, Set

import apsw

from .presence import Presence
from .sql import Connection
from .unit import Unit

LOOK_S = 0.25
LIVENESS_S = 0.1


class Waiter:
    """One coroutine that waits; woken from any thread."""

    def __init__(self, queues: frozenset[str], *, events: bool) -> None:
        self.queues = queues
        self.events = events
        self.ready: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._fired = False

    def tell(self, unit: Unit) -> None:
        """Wake it if this transaction concerns it."""
        seen = unit.changed if self.events else unit.ready | unit.look
        if seen & self.queues:
            self.wake(unit.ready)

    def wake(self, ready: Set[str]) -> None:
        """Wake it; in these queues there is a job to claim, in the others it has to look."""
        self.ready |= ready & self.queues
        if not self._fired:
            self._fired = True
            with contextlib.suppress(RuntimeError):  # its loop was closed meanwhile
                self._loop.call_soon_threadsafe(self._event.set)

    async def wait(self, seconds: float) -> None:
        """Wait until it is told or the time is over."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._event.wait()
        self._event.clear()
        self._fired = False


class Bulletin:
    """Who waits at this store."""

    def __init__(self) -> None:
        self._waiters: dict[int, Waiter] = {}

    @contextlib.contextmanager
    def waiter(self, queues: frozenset[str], *, events: bool) -> Generator[Waiter]:
        """Let a waiter be told from here on."""
        waiter = Waiter(queues, events=events)
        self._waiters[id(waiter)] = waiter
        try:
            yield waiter
        finally:
            del self._waiters[id(waiter)]

    @property
    def queues(self) -> frozenset[str]:
        """Name the queues in which somebody waits for a job."""
        found = (waiter.queues for waiter in list(self._waiters.values()) if not waiter.events)
        return frozenset[str]().union(*found)

    def tell(self, unit: Unit) -> None:
        """Tell those who wait of a transaction of this process."""
        for waiter in list(self._waiters.values()):
            waiter.tell(unit)

    def expect(self, queues: Set[str]) -> None:
        """Tell those who wait for jobs that some are on their way to the writer.

        A claim that is handed over now comes behind them, often into the same transaction.
        """
        for waiter in list(self._waiters.values()):
            if not waiter.events and queues & waiter.queues:
                waiter.wake(queues)

    def hear(self, ready: Set[str]) -> None:
        """Tell all that another process changed something; these queues have jobs to claim."""
        for waiter in list(self._waiters.values()):
            waiter.wake(frozenset() if waiter.events else ready)


class Watch:
    """The thread that listens for other processes."""

    def __init__(
        self,
        db: Connection,
        presence: Presence,
        *,
        heard: Callable[[Connection], None],
        check: Callable[[Connection], bool],
    ) -> None:
        self._db = db
        self._presence = presence
        self._heard = heard
        self._check = check
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._main, name="toril-watch", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._closing.set()
        self._presence.ring([self._presence.bell])
        self._thread.join()
        self._db.close()

    def _main(self) -> None:
        bell = self._presence.bell_socket
        version, checked, pause = -1, 0.0, LOOK_S
        with selectors.DefaultSelector() as selector:
            selector.register(bell, selectors.EVENT_READ)
            while True:
                rung = bool(selector.select(pause))
                if self._closing.is_set():
                    return
                if rung:
                    self._empty(bell)
                # A file that cannot be read now is looked at again in a moment.
                with contextlib.suppress(apsw.Error):
                    newer = self._db.data_version()
                    if rung or newer != version:
                        version = newer
                        self._heard(self._db)
                    checked, pause = self._check_others(checked)

    def _check_others(self, checked: float) -> tuple[float, float]:
        """Look for dead processes when it is time; give when that was, and how long to pause."""
        now = time.monotonic()
        if now - checked < LIVENESS_S:
            # What was just heard may be that another process claimed a job.
            return checked, checked + LIVENESS_S - now
        # Look often only while another process has jobs that it could leave behind.
        return now, LIVENESS_S if self._check(self._db) else LOOK_S

    def _empty(self, bell: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while bell.recv(64):
                pass
