"""A process that moves queues and kills itself with SIGKILL before its n-th call of a store.

python -m tests.robustness.moves.deadly SOURCE PREFIX TARGET PREFIX N
"""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from toril import _transfer as moving
from toril._transfer import Move

# Small steps, so that there are many moments to die in.
moving.JOBS_A_CALL = 4
_CHANGES = frozenset(("restore", "remove", "configure", "drop_schedule", "recover"))


class Mortal:
    """A store that counts the changes asked of it, and dies at one of them."""

    def __init__(self, store: Any, due: Callable[[], None]) -> None:
        self._store = store
        self._due = due

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        if name not in _CHANGES:
            return real

        async def verb(*args: Any, **more: Any) -> Any:
            self._due()
            return await real(*args, **more)

        return verb


class Death:
    """Kills the process when it is called for the n-th time."""

    def __init__(self, calls: int) -> None:
        self._left = calls

    def __call__(self) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


async def main(source: str, prefix: str, target: str, to_prefix: str, calls: str) -> None:
    move = Move(source, target, prefixes=(prefix, to_prefix), patience_s=5)
    due = Death(int(calls))
    async with move:
        move.source = Mortal(move.source, due)
        move.target = Mortal(move.target, due)
        await move.run(await move.plan())


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
