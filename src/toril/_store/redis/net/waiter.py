"""Waiting for work: any number of waiters, one call that blocks on all that they want.

A marker that is popped is one process's to use: it wakes a waiter, or is put back. Due times are
kept here and met by timers. Never here: claiming, or deciding whether there is work.
"""

import asyncio
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress

from toril._model.stored import whole
from toril.errors import StoreError, TorilError

from .blocker import Blocker
from .client import RedisClient
from .cluster import hash_tag

NOW = "0"
DUE = "1"
# A waiter that returned for a moment, to look, is back by then.
_GRACE_S = 0.1
# Timers may be early by as much as a loop's clock is coarse.
_MARGIN_S = 0.0003
# How long a due time that is over, and whose job nobody could take, is left alone; ever longer.
_FIRST_REST_S = 0.002
_LONGEST_REST_S = 5.0
_LEFTOVER_MS = 60_000


class _Listener:
    """Somebody who waits: for which queues, and which of them may have work."""

    __slots__ = ("queues", "ready", "woken")

    def __init__(self, queues: frozenset[str], woken: asyncio.Future[None]) -> None:
        self.queues = queues
        self.woken = woken
        self.ready: set[str] = set()

    def wake(self) -> None:
        if not self.woken.done():
            self.woken.set_result(None)


class _Due:
    """When a queue's next job is due.

    Shape    marker: its score in the marker that was popped for it; over: the time has come, and
             nobody was there.
    """

    __slots__ = ("at_ms", "marker", "over", "timer")

    def __init__(self, at_ms: int) -> None:
        self.at_ms = at_ms
        self.marker: str | None = None
        self.over = False
        self.timer: asyncio.TimerHandle | None = None


class Waiter:
    """Lets many wait for queues, over one blocking connection (in a cluster one a slot)."""

    def __init__(self, link: RedisClient, prefix: str, *, server_now: Callable[[], int]) -> None:
        self._link = link
        self._now = server_now
        self._loop = asyncio.get_running_loop()
        self._control = f"{prefix}::toril:control:"
        self._id = secrets.token_hex(8)
        self._listeners: dict[str, set[_Listener]] = {}
        self._markers: dict[str, str] = {}
        self._queues: dict[str, str] = {}
        self._dues: dict[str, _Due] = {}
        self._told: dict[str, tuple[int, int]] = {}
        self._blockers: dict[str, Blocker] = {}
        self._sending: set[asyncio.Task[None]] = set()

    async def wait(self, queues: Mapping[str, str], timeout_ms: int) -> frozenset[str]:
        """Wait until one of these queues may have work; empty after the timeout.

        Shape    queues: each queue's name and the key of its marker.
        Raises   ConfigError · StoreCorrupt: waiting for them cannot work.
        """
        for queue, marker in queues.items():
            self._markers[queue] = marker
            self._queues[marker] = queue
        listener = _Listener(frozenset(queues), self._loop.create_future())
        self._join(listener)
        timer = self._loop.call_later(timeout_ms / 1000, listener.wake)
        try:
            await listener.woken
        except asyncio.CancelledError:
            # It was told, and will not look: somebody else must.
            for queue in listener.ready:
                self._mark(queue, NOW, "0")
            raise
        finally:
            timer.cancel()
            self._leave(listener)
        return frozenset(listener.ready)

    def note_due(self, queue: str, due_ms: int) -> None:
        """Note what a claim said: when the queue's next job is due.

        A time that is over already wakes once; said again and again, ever later.
        """
        told, times = self._told.get(queue, (0, 0))
        rest = 0.0
        if due_ms <= self._now():
            times = times + 1 if told == due_ms else 0
            self._told[queue] = (due_ms, times)
            if times:
                rest = min(_FIRST_REST_S * 4.0 ** min(times, 8), _LONGEST_REST_S)
        self._remember(queue, due_ms, None, rest)

    async def close(self) -> None:
        """Wake everybody, put back what was popped and not used, and disconnect."""
        for listener in {each for some in self._listeners.values() for each in some}:
            self._leave(listener)
            listener.wake()
        await asyncio.gather(*(blocker.close() for blocker in self._blockers.values()))
        for queue, due in list(self._dues.items()):
            self._forget(queue, due)
        while self._sending:
            await asyncio.wait(self._sending)

    # Who waits.

    def _join(self, listener: _Listener) -> None:
        for queue in listener.queues:
            due = self._dues.get(queue)
            if due is not None and due.over:
                del self._dues[queue]
                listener.ready.add(queue)
        if listener.ready:
            listener.wake()
            return
        for queue in listener.queues:
            self._listeners.setdefault(queue, set()).add(listener)
        for group in {self._link.group(self._markers[queue]) for queue in listener.queues}:
            self._blocker(group).poke()

    def _leave(self, listener: _Listener) -> None:
        for queue in listener.queues:
            listeners = self._listeners.get(queue)
            if listeners is None:
                continue
            listeners.discard(listener)
            if not listeners:
                del self._listeners[queue]
                if queue in self._dues:
                    self._loop.call_later(_GRACE_S, self._give_back, queue)

    def _wake(self, queue: str) -> None:
        """Send everybody who waits for a queue to look, and let them wait for nothing more."""
        for listener in tuple(self._listeners.get(queue, ())):
            listener.ready.add(queue)
            listener.wake()
            self._leave(listener)

    # What the blocking calls bring.

    def _blocker(self, group: str) -> Blocker:
        found = self._blockers.get(group)
        if found is None:
            found = self._blockers[group] = Blocker(self, self._link, group)
        return found

    def control(self, marker: str) -> str:
        """Return the key that ends a blocking call on this marker, in the marker's slot."""
        if not self._link.address.cluster:
            return self._control + self._id
        return f"{self._control}{{{hash_tag(marker)}}}:{self._id}"

    def wanted(self, group: str) -> list[str]:
        """Return the markers that somebody waits for now."""
        markers = (self._markers[queue] for queue in self._listeners)
        return [marker for marker in markers if self._link.group(marker) == group]

    def popped(self, marker: str, member: str, score: str) -> None:
        """Use a marker that was popped, or put it back."""
        queue = self._queues[marker]
        # A score that is no time, such as "inf", is no reason to wait.
        at_ms = whole(score)
        if member == DUE and at_ms > self._now():
            self._remember(queue, at_ms, score, 0.0)
            if queue not in self._listeners:
                self._loop.call_later(_GRACE_S, self._give_back, queue)
        elif queue in self._listeners:
            self._wake(queue)
        else:
            self._mark(queue, member, score)

    def look(self, markers: list[str]) -> None:
        """Send everybody who waits for these to look: a marker may have been lost."""
        queues = frozenset(self._queues[marker] for marker in markers)
        for listener in {each for queue in queues for each in self._listeners.get(queue, ())}:
            listener.ready |= listener.queues & queues
            listener.wake()
            self._leave(listener)

    def refuse(self, markers: list[str], error: TorilError) -> None:
        """Tell everybody who waits for these that it cannot work."""
        for marker in markers:
            for listener in tuple(self._listeners.get(self._queues[marker], ())):
                if not listener.woken.done():
                    listener.woken.set_exception(error)
                self._leave(listener)

    def end_call(self, marker: str) -> None:
        """End the blocking call that is under way where this marker is."""
        control = self.control(marker)
        self._send(("ZADD", control, 0, NOW), ("PEXPIRE", control, _LEFTOVER_MS))

    # Due times.

    def _remember(self, queue: str, at_ms: int, marker: str | None, rest: float) -> None:
        due = self._dues.get(queue)
        if due is None or at_ms < due.at_ms or due.over:
            if due is not None and due.timer is not None:
                due.timer.cancel()
            known = None if due is None else due.marker
            due = self._dues[queue] = _Due(at_ms)
            due.marker = known
            left = max((at_ms - self._now()) / 1000 + _MARGIN_S, rest)
            due.timer = self._loop.call_later(left, self._come, queue, due)
        if marker is not None:
            due.marker = marker

    def _come(self, queue: str, due: _Due) -> None:
        """The time has come."""
        due.timer = None
        if queue in self._listeners:
            del self._dues[queue]
            self._wake(queue)
        else:
            due.over = True
            self._loop.call_later(_GRACE_S, self._give_back, queue)

    def _give_back(self, queue: str) -> None:
        """Let somebody else meet a due time, if nobody came back for it."""
        due = self._dues.get(queue)
        if due is not None and queue not in self._listeners and (due.marker or due.over):
            self._forget(queue, due)

    def _forget(self, queue: str, due: _Due) -> None:
        del self._dues[queue]
        if due.timer is not None:
            due.timer.cancel()
        if due.marker is not None:
            self._mark(queue, DUE, due.marker)

    # What is sent.

    def _mark(self, queue: str, member: str, score: str) -> None:
        # LT: an earlier time that somebody wrote meanwhile stays.
        self._send(("ZADD", self._markers[queue], "LT", score, member))

    def _send(self, *commands: tuple[str | int, ...]) -> None:
        async def send() -> None:
            # A marker that is not put back is found at the next look, at most 5 s later.
            with suppress(StoreError):
                await self._link.many(commands)

        task = self._loop.create_task(send())
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
