"""Keeping locks from a thread of its own, so that code that blocks the event loop loses none.

The thread renews every third of the lock's time, announces the worker, and watches the loop.
It only reads what the loop owns, and hands everything else over. Never here: what is done about
a lock that was lost.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

from toril._jobs.clock import now_ms
from toril._model.record import Claim, Ref
from toril._model.report import WorkerInfo
from toril._model.times import Millis
from toril._store.protocol import Renewer
from toril._store.threads import in_thread
from toril.errors import TorilError

from .loop_lag import LoopWatch
from .vitals import Vitals

PRESENCE_S = 10.0
# So old may the number of jobs in hand be that others read of a worker.
FRESH_S = 2.0
LONGEST_TICK_S = 0.25
# How long stopping waits for a renewal that is under way.
LONGEST_JOIN_S = 5.0
# How often it is asked whether somebody wants a job to end that is in hand.
ASK_S = 0.5

log = logging.getLogger("toril.worker")


def lease_clock() -> float:
    """Return seconds on a clock that also runs while the machine is suspended, where there is one.

    A lock lapses while a laptop sleeps; a clock that sleeps too would not notice.
    """
    return _read_clock()


def _boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


_read_clock = _boottime if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic


class Held(Protocol):
    """A job in hand: its claim, and until when its lock surely holds (on the lease clock)."""

    claim: Claim
    lease_until: float

    @property
    def busy_slot(self) -> int | None:
        """The slot of its worker in which its code runs; None: it does not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reports:
    """What the thread calls, always on the event loop, except `hung`."""

    held: Callable[[], Sequence[Held]]
    lost: Callable[[Sequence[Held]], None]
    asked: Callable[[Sequence[tuple[Held, str]]], None]
    trouble: Callable[[TorilError], None]
    hung: Callable[[], None]
    # Whether a listener runs on the loop, which is watched then as it is for a job.
    calling: Callable[[], bool] = lambda: False


class Heartbeat:
    """Renew the locks of one worker until stopped; it reports to the loop it is made on."""

    def __init__(
        self,
        connect: Callable[[], Renewer],
        info: WorkerInfo,
        lock_ms: Millis,
        reports: Reports,
        watch: LoopWatch,
    ) -> None:
        self._connect = connect
        self._renewer: Renewer | None = None
        self._info = info
        self._vitals = Vitals()
        self._lock_s = lock_ms / 1000
        self._reports = reports
        self._watch = watch
        self._stopped = threading.Event()
        self._loop = asyncio.get_running_loop()
        self._thread: threading.Thread | None = None
        self._last = float("-inf")
        self._told = 0
        self._fault: TorilError | None = None
        self._asked = float("-inf")
        self._complained = False

    @property
    def last(self) -> float:
        """When (by the monotonic clock) the store last took what it was told."""
        return self._last

    @property
    def fault(self) -> TorilError | None:
        """Why the store did not take what it was told last; None: it did."""
        return self._fault

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread is not None and self._thread.is_alive()

    def start(self) -> None:
        """Start the thread."""
        name = f"toril-heartbeat-{self._info.name}"
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """End the thread, and wait for a renewal that is under way."""
        self._stopped.set()
        thread = self._thread
        if thread is not None and thread.is_alive():
            await in_thread(partial(thread.join, min(self._lock_s, LONGEST_JOIN_S)))
            if thread.is_alive():
                log.warning("heartbeat.stop_timeout worker=%s", self._info.name)

    def _live(self) -> None:
        tick = min(LONGEST_TICK_S, self._lock_s / 6, self._watch.limit / 4)
        try:
            while not self._stopped.wait(tick):
                held = self._reports.held()
                if not self._watch.tick(bool(held) or self._reports.calling()):
                    self._reports.hung()
                    return
                pause = self._lock_s / 3 if held else PRESENCE_S
                if len(held) != self._told:
                    pause = min(pause, FRESH_S)
                if time.monotonic() - self._last >= pause:
                    self.beat(held)
                if held and time.monotonic() - self._asked >= ASK_S:
                    self.ask(held)
        finally:
            self._disconnect()

    def beat(self, held: Sequence[Held]) -> None:
        """Renew once: extend every lock, announce the worker, report what is lost."""
        began = lease_clock()
        locks = _locks(held)
        info = self._vitals.told(replace(self._info, seen_ms=now_ms(), active=len(held)), held)
        try:
            self._renewer = self._renewer or self._connect()
            lost = set(self._renewer.renew(list(locks), round(self._lock_s * 1000), info))
        except Exception as error:
            self._failed(held, _as_told(error))
            return
        self._complained, self._fault, self._told = False, None, len(held)
        for (ref, _), each in locks.items():
            if ref not in lost:
                each.lease_until = began + self._lock_s
        if lost:
            self._post(
                self._reports.lost, [each for (ref, _), each in locks.items() if ref in lost]
            )
        self._last = time.monotonic()

    def ask(self, held: Sequence[Held]) -> None:
        """Ask which of these jobs somebody wants to end, and report them."""
        if self._renewer is None:
            return
        locks = _locks(held)
        try:
            wishes = self._renewer.asked(list(locks))
        except Exception as error:
            self._failed(held, _as_told(error))
            return
        if wishes:
            told = [(each, wishes[ref]) for (ref, _), each in locks.items() if ref in wishes]
            self._post(self._reports.asked, told)
        self._asked = time.monotonic()

    def _failed(self, held: Sequence[Held], error: TorilError) -> None:
        """Try again at the next tick, again; what has lapsed by now is lost."""
        self._fault = error
        self._disconnect()
        # With nothing in hand nothing is in danger, and whoever claims tells of the same fault.
        if held and not self._complained:
            self._complained = True
            self._post(self._reports.trouble, error)
        now = lease_clock()
        expired = [each for each in held if each.lease_until < now]
        if expired:
            self._post(self._reports.lost, expired)

    def _disconnect(self) -> None:
        renewer, self._renewer = self._renewer, None
        # The store may be gone, and what close would tell it shows all the same.
        with suppress(Exception):
            if renewer is not None:
                renewer.close()

    def _post(self, call: Callable[[Any], None], value: object) -> None:
        # A closed loop has nobody left to tell.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(call, value)


def _as_told(error: Exception) -> TorilError:
    """Return an error as it is reported: a store may answer what nobody can read."""
    if isinstance(error, TorilError):
        return error
    told = TorilError(f"renewing locks failed: {type(error).__name__}: {error}")
    told.__cause__ = error
    return told


def _locks(held: Sequence[Held]) -> dict[tuple[Ref, str], Held]:
    return {
        (Ref(each.claim.record.queue, each.claim.record.id), each.claim.token): each
        for each in held
    }
