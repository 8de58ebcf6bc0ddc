"""A loop in a background thread, for code that blocks: one a process, made when first needed.

Never here: what runs on it.
"""

import asyncio
import os
import threading
from collections.abc import Awaitable
from typing import TypeVar

from toril.errors import TorilError

T = TypeVar("T")

_lock = threading.Lock()
_portals: dict[int, asyncio.AbstractEventLoop] = {}


def run(what: Awaitable[T], timeout: float | None = None) -> T:
    """Run a coroutine on the background loop, and block until it is done.

    Units    timeout in seconds.
    Raises   TorilError: this thread runs a loop of its own, which would stand still: await
             instead. TimeoutError. Whatever the coroutine raises.
    """
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run_coroutine_threadsafe(_waited(what), _loop()).result(timeout)
    if asyncio.iscoroutine(what):
        what.close()
    raise TorilError(
        "this thread runs an event loop, which a blocking call would stop: "
        "await the async form (such as `await task.enqueue(...)`) instead"
    )


async def _waited(what: Awaitable[T]) -> T:
    return await what


def _loop() -> asyncio.AbstractEventLoop:
    # By process id: a thread does not survive a fork, and its loop is of no use in the child.
    with _lock:
        loop = _portals.get(os.getpid())
        if loop is None:
            _portals.clear()
            loop = _portals[os.getpid()] = asyncio.new_event_loop()
            threading.Thread(target=loop.run_forever, name="toril-sync", daemon=True).start()
        return loop
