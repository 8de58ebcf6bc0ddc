"""What the code of an app declares for queues, kept in the store while a worker runs.

Never here: how settings or schedules are written down.
"""

import logging
from collections.abc import Collection
from contextlib import suppress

from toril._jobs.enqueue import Enqueuer
from toril._model.report import QueueSettings, ScheduleInfo, WorkerInfo
from toril._store.protocol import Store
from toril.errors import StoreCorrupt, StoreUnavailable

from .schedules import Schedules

# How often a worker looks whether the store still has what its code declares.
LOOK_S = 2.0
# Of how many looks each must find that no worker declares a schedule, before it is dropped.
LOOKS = 30

log = logging.getLogger("toril.declared")


class Declared:
    """The settings and schedules that one app declares."""

    def __init__(self, adder: Enqueuer, schedules: Schedules, owner: str | None) -> None:
        self._adder = adder
        self._schedules = schedules
        self._owner = owner
        # Schedules that other workers still declare, and since how many looks none does.
        self._doomed: dict[tuple[str, str], int] = {}
        # Queues whose settings cannot be stored, of which it was told.
        self._damaged: set[str] = set()

    def names(self, queues: Collection[str]) -> tuple[str, ...]:
        """Return the names of the schedules that are declared for these queues, as "queue:id"."""
        return tuple(f"{queue}:{id}" for queue, id in self._schedules.declared if queue in queues)

    def start_over(self) -> None:
        """Forget what was stored: the app uses another store from now on."""
        self._adder.start_over()
        self._schedules.start_over()

    async def store(self, queues: Collection[str]) -> None:
        """Store what is declared for these queues, and drop schedules that nobody declares."""
        queues = await self._store_settings(queues)
        await self._schedules.put_declared(queues, owner=self._owner)
        for queue in {queue for queue, _ in self._schedules.declared if queue in queues}:
            await self._adder.mark(queue)
        if self._owner is not None:
            store = self._adder.context.store
            gone = [info for queue in queues for info in await store.schedules(queue)]
            gone = [info for info in gone if self._is_gone(info)]
            workers = await store.workers() if gone else []
            for info in gone:
                if any(_may_declare(worker, info) for worker in workers):
                    self._doomed[info.queue, info.id] = 0
                else:
                    await self._drop(store, info.queue, info.id)

    async def look(self, queues: Collection[str], worker: str) -> float:
        """Store what was declared meanwhile, or lost; return the seconds until the next look.

        Shape    worker: the id of the one that looks.
        """
        # While the store is out of reach there is nothing to tell that the others do not.
        with suppress(StoreUnavailable):
            await self._keep(queues)
            await self._look_at_doomed(self._adder.context.store, worker)
        return LOOK_S

    async def _keep(self, queues: Collection[str]) -> None:
        queues = await self._store_settings(queues)
        for info in await self._schedules.put_declared(queues, owner=self._owner, new=True):
            await self._adder.mark(info.queue)
        for settings in await self._read_settings(list(self._adder.marked(queues))):
            if not settings.declared:
                log.warning(
                    "declared.lost queue=%r: the store does not have what the code declares any "
                    "more; it is stored again",
                    settings.queue,
                    extra={"queue": settings.queue},
                )
                await self._adder.store_again(settings.queue)
                await self._schedules.put_declared({settings.queue}, owner=self._owner)

    async def _store_settings(self, queues: Collection[str]) -> list[str]:
        """Store the settings of these queues; return those that can be stored."""
        await self._adder.context.ready()
        sound: list[str] = []
        for queue in queues:
            try:
                await self._adder.ready([queue])
            except StoreCorrupt as error:
                # Keys of this queue are damaged: other queues go on.
                self._tell_once(queue, error)
            else:
                self._damaged.discard(queue)
                sound.append(queue)
        return sound

    async def _read_settings(self, queues: list[str]) -> list[QueueSettings]:
        store = self._adder.context.store
        try:
            return await store.settings(queues) if queues else []
        except StoreCorrupt:
            return [each for queue in queues for each in await self._read_one(store, queue)]

    async def _read_one(self, store: Store, queue: str) -> list[QueueSettings]:
        try:
            return await store.settings([queue])
        except StoreCorrupt as error:
            self._tell_once(queue, error)
            return []

    def _tell_once(self, queue: str, error: StoreCorrupt) -> None:
        if queue not in self._damaged:
            self._damaged.add(queue)
            log.warning("declared.not_stored queue=%r: %s", queue, error, extra={"queue": queue})

    async def _look_at_doomed(self, store: Store, worker: str) -> None:
        if not self._doomed:
            return
        others = [each for each in await store.workers() if each.id != worker]
        for queue, id in list(self._doomed):
            info = await self._schedules.get(queue, id)
            if info is None or not self._is_gone(info):
                del self._doomed[queue, id]
            elif any(_may_declare(each, info) for each in others):
                self._doomed[queue, id] = 0
            elif self._doomed[queue, id] < LOOKS:
                self._doomed[queue, id] += 1
            else:
                del self._doomed[queue, id]
                await self._drop(store, queue, id)

    def _is_gone(self, info: ScheduleInfo) -> bool:
        declared = self._schedules.declared
        return info.owner == self._owner and (info.queue, info.id) not in declared

    async def _drop(self, store: Store, queue: str, id: str) -> None:
        if await store.drop_schedule(queue, id):
            log.warning(
                "schedule.dropped queue=%r schedule=%r: no code declares it any more",
                queue,
                id,
                extra={"queue": queue, "schedule": id},
            )


def _may_declare(worker: WorkerInfo, info: ScheduleInfo) -> bool:
    """Return whether a worker lives whose code declares a schedule, as far as is known."""
    if not worker.alive or info.queue not in worker.queues:
        return False
    # A worker without a process is one of BullMQ's, which declares nothing.
    return (
        worker.pid > 0 if worker.declares is None else f"{info.queue}:{info.id}" in worker.declares
    )
