"""Natural batching: what arrives while one trip is in flight shares the next one.

No timer and no size to tune: an idle system sends batches of one at once, a busy one sends large
ones. Never here: what a trip does.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Generic, TypeVar

from toril._model.bounds import JOBS_A_CALL
from toril.errors import TorilError, is_final

T = TypeVar("T")
U = TypeVar("U")

# How many items go beside a trip.
BESIDE = 10

Trip = Callable[[list[T]], Coroutine[Any, Any, Sequence[U | BaseException]]]


class Batcher(Generic[T, U]):
    """Carry items in shared trips, and hand everyone the answer to their own item.

    The first trip leaves when the current turn of the loop is over, so that everything of one
    turn shares it. Serves one event loop; `PerLoop` gives each loop its own.

    Shape    `weigh` says which part of a trip an item takes, so that trips are bounded by bytes
             as well. `trip` takes up to `limit` items and gives one answer each, in their order. An
             exception in an answer's place is raised for that item only; one that the trip
             itself raises is raised for everybody in it, unless it is final: then nothing was
             stored, and each item makes a trip of its own. `kind`: while a trip is under way, a few
             items of other kinds than those in it make a trip beside it.
    """

    __slots__ = (
        "_beside", "_carried", "_closed", "_flying", "_idle", "_kind", "_limit", "_trip",
        "_waiting", "_weigh",
    )  # fmt: skip

    def __init__(
        self,
        trip: Trip[T, U],
        *,
        limit: int = JOBS_A_CALL,
        weigh: Callable[[T], float] | None = None,
        kind: Callable[[T], str] | None = None,
    ) -> None:
        self._trip = trip
        self._weigh = weigh
        self._limit = limit
        self._kind = kind
        self._waiting: list[tuple[T, asyncio.Future[U]]] = []
        self._flying = False
        self._beside = False
        # The kinds under way; None: the trip has not left yet.
        self._carried: frozenset[str] | None = None
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
            self._start(loop)
        elif self._kind is not None and not self._is_carried(self._kind(item)):
            self._go_beside(loop)
        return future

    async def put(self, item: T) -> U:
        """Take an item along, and wait for its answer."""
        return await self.send(item)

    async def flush(self) -> None:
        """Wait until nothing waits and nothing is under way."""
        while self._flying or self._beside:
            if self._idle is None:
                self._idle = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._idle)

    async def close(self) -> None:
        """Carry what still waits, and take nothing more."""
        self._closed = True
        await self.flush()

    def _start(self, loop: asyncio.AbstractEventLoop) -> None:
        """Make a trip; it takes what waits when it begins, in the next turn of the loop."""
        self._carried = None
        self._depart(loop, [], self._next)

    def _take(self) -> list[tuple[T, asyncio.Future[U]]]:
        """Return what goes in the next trip; whoever gave up before need not be carried."""
        count = self._limit if self._weigh is None else self._count(self._weigh)
        batch = [entry for entry in self._waiting[:count] if not entry[1].done()]
        self._waiting = self._waiting[count:]
        if batch and self._kind is not None:
            self._carried = frozenset([self._kind(item) for item, _ in batch])
        return batch

    def _depart(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: list[tuple[T, asyncio.Future[U]]],
        then: Callable[[asyncio.AbstractEventLoop], None],
    ) -> None:
        task = loop.create_task(self._fly(batch))

        def land(done: asyncio.Task[None]) -> None:
            if done.cancelled() and not batch:
                batch.extend(self._take())  # it had not begun
            _tell_of_failure(batch, done)
            then(loop)

        # A done callback sees every way a trip can end, cancellation included.
        task.add_done_callback(land)

    async def _fly(self, batch: list[tuple[T, asyncio.Future[U]]]) -> None:
        """Carry items and hand over the answers.

        Whoever awaits one of them runs before the next trip leaves, and may share it.
        """
        if not batch:
            batch += self._take()
        if not batch:
            return
        answers = await self._carry([item for item, _ in batch])
        for (_, future), answer in zip(batch, answers, strict=True):
            _settle(future, answer)

    def _is_carried(self, kind: str) -> bool:
        return self._carried is None or kind in self._carried

    def _go_beside(self, loop: asyncio.AbstractEventLoop) -> None:
        if not self._beside:
            self._beside = True
            loop.call_soon(self._start_beside, loop)

    def _start_beside(self, loop: asyncio.AbstractEventLoop) -> None:
        """Carry a few items that wait and are of other kinds than those under way."""
        batch: list[tuple[T, asyncio.Future[U]]] = []
        kind, weight = self._kind, 0.0
        if kind is not None:
            for entry in self._waiting:
                if not self._is_carried(kind(entry[0])) and not entry[1].done():
                    weight += 1 / BESIDE if self._weigh is None else self._weigh(entry[0])
                    batch.append(entry)
                if len(batch) == BESIDE or weight > 1 / BESIDE:
                    break
        if not batch:
            self._beside = False
            self._tell_if_idle()
            return
        taken = {id(future) for _, future in batch}
        self._waiting = [entry for entry in self._waiting if id(entry[1]) not in taken]
        self._depart(loop, batch, self._start_beside)

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

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._waiting:
            self._start(loop)
            return
        self._flying = False
        self._carried = None
        self._tell_if_idle()

    def _tell_if_idle(self) -> None:
        if self._idle is not None and not (self._flying or self._beside):
            self._idle.set_result(None)
            self._idle = None


def _tell_of_failure(batch: list[tuple[T, asyncio.Future[U]]], done: asyncio.Task[None]) -> None:
    if done.cancelled():
        for _, future in batch:
            future.cancel()
    elif (error := done.exception()) is not None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)


def _settle(future: asyncio.Future[U], answer: U | BaseException) -> None:
    if future.done():
        return
    if isinstance(answer, BaseException):
        future.set_exception(answer)
    else:
        future.set_result(answer)
