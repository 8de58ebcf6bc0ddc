"""What a process does with its connections, locks and threads when it forks.

A forked child shares the sockets and files of its parent and has none of its threads. It must
neither use what it inherited nor end it: that would write to the parent's connections. So the
child drops it, keeps it from being destroyed, and opens its own when it needs it.
Never here: what is dropped (each `Forkable` knows).
"""

import os
import threading
from collections.abc import Callable
from contextlib import ExitStack
from weakref import WeakSet

_followed: "WeakSet[Forkable]" = WeakSet()
_before: "list[Forkable]" = []
_kept: list[object] = []
# Held from just before a fork until just after it, by the thread that forks.
_turn = threading.RLock()


class Forkable:
    """Something that has to act when the process forks, from `follow_forks` on."""

    __slots__ = ("__weakref__",)

    def before_fork(self) -> None:
        """Prepare, in the thread that is about to fork. Must not take long."""

    def after_fork_in_parent(self) -> None:
        """Go on. Called for everything that `before_fork` was called for."""

    def after_fork_in_child(self) -> None:
        """Drop what belongs to the parent. No other thread runs at that time."""


def follow_forks(each: Forkable) -> None:
    """Call the methods of this object at every fork while it exists."""
    _followed.add(each)


def keep(*inherited: object) -> None:
    """Never destroy these objects: in a child their destructors would act on the parent's things."""
    _kept.extend(inherited)


def _call_all(methods: list[Callable[[], None]]) -> None:
    """Call all, whatever one of them raises; Python prints what is raised here, and goes on."""
    with ExitStack() as calls:
        for method in methods:
            calls.callback(method)


def _before_fork() -> None:
    _turn.acquire()
    _before.extend(_followed)
    _call_all([each.before_fork for each in _before])


def _after_fork_in_parent() -> None:
    methods = [each.after_fork_in_parent for each in _before]
    _before.clear()
    _turn.release()
    _call_all(methods)


def _after_fork_in_child() -> None:
    global _turn
    # Another thread of the parent may have been waiting for its turn.
    _turn = threading.RLock()
    _before.clear()
    _call_all([each.after_fork_in_child for each in _followed])


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
