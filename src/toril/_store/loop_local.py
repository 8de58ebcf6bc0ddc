"""What belongs to an event loop, and is dropped when that loop has ended.

Never here: what that is.
"""

import asyncio
import threading
from collections.abc import Callable
from typing import Generic, TypeVar
from weakref import WeakKeyDictionary

from .forks import Forkable, follow_forks, keep
from .threads import ForkSafeLock

T = TypeVar("T")
Loop = asyncio.AbstractEventLoop


def has_ended(loop: Loop, thread: threading.Thread) -> bool:
    """Return whether nothing runs on this loop any more; `thread` is where it ran."""
    return loop.is_closed() or not (loop.is_running() or thread.is_alive())


def _leave(loop: Loop, value: object) -> None:
    del loop, value


class PerLoop(Forkable, Generic[T]):
    """One value for each event loop, made when the loop first asks.

    Values refer to their loop, so they are not collected with it: whenever a new loop asks, the
    values of loops that have ended are dropped.

    Shape    drop: called with an ended loop and its value, from the thread of another loop.
    """

    __slots__ = ("_changing", "_drop", "_last", "_made", "_make")

    def __init__(self, make: Callable[[], T], drop: Callable[[Loop, T], None] = _leave) -> None:
        self._make = make
        self._drop = drop
        self._made: WeakKeyDictionary[Loop, tuple[T, threading.Thread]] = WeakKeyDictionary()
        # The loop that was made a value last; nearly always it is the one that asks.
        self._last: tuple[Loop, T] | None = None
        self._changing = ForkSafeLock()
        follow_forks(self)

    def here(self) -> T:
        """Return the running loop's value."""
        loop = asyncio.get_running_loop()
        last = self._last
        if last is not None and last[0] is loop:
            return last[1]
        found = self._made.get(loop)
        return self._add(loop) if found is None else found[0]

    def _add(self, loop: Loop) -> T:
        with self._changing:
            ended = [
                (other, value)
                for other, (value, thread) in self._made.items()
                if has_ended(other, thread)
            ]
            for other, _ in ended:
                del self._made[other]
            made = self._make()
            self._made[loop] = made, threading.current_thread()
            self._last = loop, made
        for other, value in ended:
            self._drop(other, value)
        return made

    def remove(self, loop: Loop) -> T | None:
        """Forget the value of a loop, and return it."""
        with self._changing:
            self._last = None
            found = self._made.pop(loop, None)
        return None if found is None else found[0]

    def remove_all(self) -> list[tuple[Loop, T]]:
        """Forget all values, and return them with their loops."""
        with self._changing:
            found = [(loop, value) for loop, (value, _) in self._made.items()]
            self._last = None
            self._made.clear()
        return found

    def after_fork_in_child(self) -> None:
        """Leave all values to the parent: their loops do not run here."""
        keep(self._made, self._last)
        self._last, self._made = None, WeakKeyDictionary()
