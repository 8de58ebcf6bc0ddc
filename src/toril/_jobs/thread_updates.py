"""What a thread sent to its loop: waited for on the loop, known to the thread.

Never here: what is sent.
"""

import asyncio
import concurrent.futures
from collections.abc import Generator
from typing import Any, Generic, TypeVar

U = TypeVar("U")


class ThreadUpdates(Generic[U]):
    """Hold in a thread what will be known on the loop; whoever has a loop may await it."""

    __slots__ = ("_future",)

    def __init__(self) -> None:
        self._future: concurrent.futures.Future[U] = concurrent.futures.Future()

    def follow(self, future: "asyncio.Future[U]") -> None:
        """Take over what becomes of a future of the loop."""
        future.add_done_callback(self._copy)

    def _copy(self, done: "asyncio.Future[U]") -> None:
        if done.cancelled():
            self._future.cancel()
        elif (error := done.exception()) is not None:
            self._future.set_exception(error)
        else:
            self._future.set_result(done.result())

    def __await__(self) -> Generator[Any, None, U]:
        return asyncio.wrap_future(self._future).__await__()
