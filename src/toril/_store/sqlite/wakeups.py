"""Wake whoever waits: for a job of some queues, or for an event of one.

A thread listens to the doorbell, looks four times a second whether another process changed the
file without ringing, and ten times a second whether a process that holds jobs has died.
Never here: what a waiter does when it wakes.
"""

import asyncio
import contextlib
import selectors
import socket
import time
from collections.abc import Generator, Set
from typing import Protocol

from toril._store.sqlite.connection.processes import Presence
from toril._store.sqlite.connection.shared_file import Handle, SharedFile
from toril._store.sqlite.connection.sql import SQLiteConnection
from toril._store.sqlite.connection.transaction import Unit
from toril._store.sqlite.verbs.read import Reading
from toril._store.threads import original, start_thread

LOOK_S = 0.25
LIVENESS_S = 0.1
# With more than this it is looked whether some wait on loops that were closed.
MOST_WAITERS = 32


class WakeupWaiter:
    """One coroutine that waits; woken from any thread."""

    def __init__(self, queues: frozenset[str], *, events: bool) -> None:
        self.queues = queues
        self.events = events
        self.ready: set[str] = set()
        self._loop = asyncio.get_running_loop()
        self._event = asyncio.Event()
        self._fired = False

    @property
    def has_ended(self) -> bool:
        """Whether its event loop was closed."""
        return self._loop.is_closed()

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
        self._waiters: dict[int, WakeupWaiter] = {}
        self._most = MOST_WAITERS

    @contextlib.contextmanager
    def waiter(self, queues: frozenset[str], *, events: bool) -> Generator[WakeupWaiter]:
        """Let a waiter be told from here on."""
        waiter = WakeupWaiter(queues, events=events)
        self._waiters[id(waiter)] = waiter
        if len(self._waiters) > self._most:
            self._forget_ended()
        try:
            yield waiter
        finally:
            self._waiters.pop(id(waiter), None)

    def _forget_ended(self) -> None:
        """Forget who waited on event loops that were closed meanwhile."""
        for key, waiter in list(self._waiters.items()):
            if waiter.has_ended:
                self._waiters.pop(key, None)
        # Twice as many may come before it is looked again: all are not looked at for each.
        self._most = max(2 * len(self._waiters), MOST_WAITERS)

    @property
    def queues(self) -> frozenset[str]:
        """The queues in which somebody waits for a job."""
        if not self._waiters:
            return frozenset()
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


class Listener(Protocol):
    """What the thread tells."""

    def hear(self, db: SQLiteConnection) -> None:
        """Pass on what another process changed."""
        ...

    def dead(self, reading: Reading) -> tuple[list[int], bool]:
        """Find the processes that died with jobs in hand; say whether living ones hold any."""
        ...

    def take_back(self, dead: list[int]) -> None:
        """Take the jobs of dead processes back."""
        ...

    def mend(self, error: Exception) -> bool:
        """Mend rows that may have failed a look."""
        ...


class Watch:
    """The thread that listens for other processes."""

    def __init__(
        self, file: SharedFile, handle: Handle, presence: Presence, listener: Listener
    ) -> None:
        self._file = file
        self._handle = handle
        self._presence = presence
        self._listener = listener
        self._closing = False
        self._version = (-1, -1)
        self._checked = 0.0
        self._thread = start_thread(self._main, "toril-watch")

    def close(self, timeout: float) -> bool:
        """End the thread; return False if that takes longer."""
        self._closing = True
        self._presence.ring_self()
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _main(self) -> None:
        bell = self._presence.bell_socket
        pause = LOOK_S
        with original("selectors", "DefaultSelector")() as selector:
            selector.register(bell, selectors.EVENT_READ)
            while True:
                rung = self._listen(selector, bell, pause)
                if self._closing:
                    return
                pause = LOOK_S
                # What cannot be read now, be it damaged, is looked at again in a moment: this
                # thread must not end, for it takes back the jobs of dead processes.
                try:
                    pause = self._look(rung=rung)
                except Exception as error:
                    self._listener.mend(error)

    def _listen(self, selector: selectors.BaseSelector, bell: socket.socket, pause: float) -> bool:
        """Wait for the doorbell; where somebody has closed it, it is only looked now and then."""
        try:
            rung = bool(selector.select(pause))
            if rung:
                self._empty(bell)
            return rung and bell.fileno() >= 0
        except (OSError, ValueError):
            original("time", "sleep")(pause)
            return False

    @property
    def ended(self) -> bool:
        """Whether the thread has ended."""
        return not self._thread.is_alive()

    def _look(self, *, rung: bool) -> float:
        """Look at what others did, and for dead ones; return how long to pause."""
        if not (self._file.is_intact() and self._file.is_untouched()):
            self._file.mend()
        now = time.monotonic()
        dead: list[int] = []
        alive = True
        with self._file.turn(self._handle) as db:
            newer = (self._handle.generation, db.data_version())
            if rung or newer != self._version:
                self._version = newer
                self._listener.hear(db)
            if now - self._checked < LIVENESS_S:
                # What was just heard may be that another process claimed a job.
                return self._checked + LIVENESS_S - now
            self._checked = now
            dead, alive = self._listener.dead(Reading(db))
        if dead:
            self._listener.take_back(dead)
        # Look often only while another process has jobs that it could leave behind.
        return LIVENESS_S if alive else LOOK_S

    def _empty(self, bell: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            while bell.recv(64):
                pass
