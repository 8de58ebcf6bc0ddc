"""Natural batching: what arrives while one trip is in flight shares the next one.

No timer and no size to tune: an idle system sends batches of one at once, a busy one sends large
ones. Never here: what a trip does.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from toril.errors import TorilError, is_final

T = TypeVar("T")
U = TypeVar("U")

Trip = Callable[[list[T]], Coroutine[Any, Any, Sequence[U | BaseException]]]


class Coalescer(Generic[T, U]):
    """Carry items in shared trips, and hand everyone the answer to their own item.

    The first trip starts when the current turn of the loop is over, so that everything of one
    turn shares it. Serves one event loop; `PerLoop` gives each loop its own.

    Shape    `weigh` says which part of a trip an item takes, so that trips are bounded by bytes
             as well. `trip` takes up to `limit` items and gives one answer each, in their order. An
             exception in an answer's place is raised for that item only; one that the trip
             itself raises is raised for everybody in it, unless it is final: then nothing was
             stored, and each item makes a trip of its own.
    """

    __slots__ = ("_closed", "_flying", "_idle", "_limit", "_trip", "_waiting", "_weigh")

    def __init__(
        self, trip: Trip[T, U], *, limit: int = 250, weigh: Callable[[T], float] | None = None
    ) -> None:
        self._trip = trip
        self._weigh = weigh
        self._limit = limit
        self._waiting: list[tuple[T, asyncio.Future[U]]] = []
        self._flying = False
        self._closed = False
        self._idle: asyncio.Future[None] | None = None

    def send(self, item: T) -> asyncio.Future[U]:
        """Take an item along, and give what will hold its answer."""
        if self._closed:
            raise TorilError("this is closed and takes nothing more")
        loop = asyncio.get_running_loop()
        future: asyncio.Future[U] = loop.create_future()
        self._waiting.append((item, future))
        if not self._flying:
            self._flying = True
            loop.call_soon(self._start, loop)
        return future

    async def put(self, item: T) -> U:
        """Take an item along, and wait for its answer."""
        return await self.send(item)

    async def flush(self) -> None:
        """Wait until nothing waits and nothing is under way."""
        while self._flying:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def close(self) -> None:
        """Carry what still waits, and take nothing more."""
        self._closed = True
        await self.flush()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        count = self._limit if self._weigh is None else self._count(self._weigh)
        batch = self._waiting[:count]
        self._waiting = self._waiting[count:]
        # Whoever gave up before the trip began need not be carried.
        batch = [entry for entry in batch if not entry[1].done()]
        if not batch:
            self._next(loop)
            return
        task = loop.create_task(self._carry([item for item, _ in batch]))
        # A done callback sees every way a trip can end, cancellation included.
        task.add_done_callback(lambda done: self._land(loop, batch, done))

    def _count(self, weigh: Callable[[T], float]) -> int:
        """Count the items that make one trip by their weight; one that is heavier goes alone."""
        weight = 0.0
        for count, (item, _) in enumerate(self._waiting[: self._limit]):
            weight += weigh(item)
            if weight > 1 and count:
                return count
        return self._limit

    async def _carry(self, items: list[T]) -> Sequence[U | BaseException]:
        """Carry items together, or one by one where one of them refuses the trip for all."""
        try:
            return await self._together(items)
        except TorilError as error:
            if len(items) == 1 or not is_final(error):
                raise
        return [await self._alone(item) for item in items]

    async def _alone(self, item: T) -> U | BaseException:
        try:
            (answer,) = await self._together([item])
        except TorilError as error:
            return error
        return answer

    async def _together(self, items: list[T]) -> Sequence[U | BaseException]:
        answers = await self._trip(items)
        if len(answers) != len(items):
            raise TorilError(f"a trip with {len(items)} items gave {len(answers)} answers")
        return answers

    def _land(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[T, asyncio.Future[U]]],
        done: asyncio.Task[Sequence[U | BaseException]],
    ) -> None:
        if done.cancelled():
            for _, future in batch:
                future.cancel()
        elif (error := done.exception()) is not None:
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
        else:
            for (_, future), answer in zip(batch, done.result(), strict=True):
                _settle(future, answer)
        self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            self._start(loop)
            return
        self._flying = False
        if self._idle is not None:
            self._idle.set_result(None)
            self._idle = None


def _settle(future: asyncio.Future[U], answer: U | BaseException) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
