"""What a worker does besides running jobs: each function does one round of it.

Most rounds return the seconds until the next one, so that a test calls it once. Never here: loops.
"""

import time
from collections.abc import Mapping, Sequence

from toril._model.record import Claim, Record, Ref
from toril._model.report import QueueSettings, ScheduleInfo, WorkerInfo
from toril._model.schedule import next_run
from toril._model.states import State
from toril._model.times import Millis, rate_text
from toril._store.protocol import Store
from toril.errors import StoreCorrupt, StoreUnavailable

from .hooks import RatesDiffer
from .telling import Telling

TRIM_S = 30.0
TRIM_AGAIN_S = 0.5
# How long whoever waits for a result has to read the event that tells it.
SPARE_MS = 10_000
REPAIR_S = 30.0
RATES_S = 10.0
UNANNOUNCED_S = 0.25
# Fewer jobs than this in an answer: there are no more. No worker holds as many as all rounds take.
A_ROUND = 250
MOST_ROUNDS = 100

# A run in one of these states has not started: it is armed.
_ARMED = (State.WAITING, State.PRIORITIZED, State.DELAYED, State.WAITING_CHILDREN)


def now_ms() -> Millis:
    """Give the time of day in ms since the epoch."""
    return time.time_ns() // 1_000_000


async def recover(
    store: Store, queues: Sequence[str], telling: Telling, *, max_stalls: int
) -> set[str]:
    """Take back the jobs of workers that are gone, and name the queues that have some now."""
    found = await store.recover(queues, max_stalls=max_stalls)
    for recovered in found:
        telling.stalled(recovered)
    return {recovered.queue for recovered in found}


async def bury(
    store: Store, queues: Sequence[str], telling: Telling, max_stalls: int, dead: Mapping[str, str]
) -> set[str]:
    """Take back every job of workers that are known to be dead, and name the queues.

    Shape    dead: ids of workers, and how they died.
    """
    again: set[str] = set()
    for _ in range(MOST_ROUNDS):
        found = await store.recover(queues, max_stalls=max_stalls, dead=dead)
        for recovered in found:
            telling.stalled(recovered)
            again.add(recovered.queue)
        if len(found) < A_ROUND:
            break
    return again


async def trim(store: Store, queues: Sequence[str]) -> float:
    """Remove a batch of finished jobs that are over their bounds; soon again while there are."""
    return TRIM_AGAIN_S if await store.trim(queues, spare_ms=SPARE_MS) else TRIM_S


class Rearming:
    """Arm the next run of a schedule when one starts, and later where that was missed."""

    def __init__(self, store: Store, queues: Sequence[str], telling: Telling) -> None:
        self._store = store
        self._queues = queues
        self._telling = telling
        self._known: dict[tuple[str, str], ScheduleInfo] = {}
        self._told: set[tuple[str, str]] = set()

    async def advance(self, claim: Claim) -> None:
        """Arm the run after this one; a fault is reported, and `repair` makes up for it."""
        record = claim.record
        try:
            info = await self._of(record)
            if info is not None:
                await self._arm_after(Ref(record.queue, record.id), info)
        except Exception as error:
            self._telling.trouble(f"arming the next run of schedule {record.schedule!r}", error)

    async def repair(self) -> float:
        """Arm every schedule of these queues whose armed run has gone without the next one.

        One that cannot be armed is reported, and the others go on.
        """
        for queue in self._queues:
            for info in await self._store.schedules(queue):
                await self._repair_or_tell(info)
        return REPAIR_S

    async def _repair_or_tell(self, info: ScheduleInfo) -> None:
        what = f"schedule {info.id!r} of queue {info.queue!r}"
        if info.fault is not None:
            self._tell_once(what, StoreCorrupt(f"{what} cannot be followed: {info.fault}"))
            return
        try:
            await self._repair(info)
        except StoreUnavailable:
            raise
        except Exception as error:
            self._tell_once(what, error)

    def _tell_once(self, what: str, error: Exception) -> None:
        if (what, str(error)) not in self._told:
            self._told.add((what, str(error)))
            self._telling.trouble(f"looking after {what}", error)

    async def _repair(self, info: ScheduleInfo) -> None:
        # Nothing armed and nothing to arm: the schedule is over.
        if info.job_id is None:
            return
        run = Ref(info.queue, info.job_id)
        (record,) = await self._store.get([run])
        if record is None or record.state not in _ARMED:
            await self._arm_after(run, info)

    async def _of(self, record: Record) -> ScheduleInfo | None:
        """Find the schedule whose armed run this job is; None when it has moved on."""
        key = (record.queue, record.schedule or "")
        info = self._known.get(key)
        if info is None or info.job_id != record.id:
            found = await self._store.schedules(record.queue)
            self._known.update({(each.queue, each.id): each for each in found})
            info = next((each for each in found if each.id == record.schedule), None)
        return info if info is not None and info.job_id == record.id else None

    async def _arm_after(self, run: Ref, info: ScheduleInfo) -> None:
        at = next_run(info.rule, now=now_ms(), previous=info.next_ms, count=info.count)
        moved = await self._store.advance(run, info.id, at)
        key = (info.queue, info.id)
        if moved is None:
            self._known.pop(key, None)
        else:
            self._known[key] = moved


class Rates:
    """Hold a worker's own rate against those of others; each difference is told of once."""

    def __init__(self, store: Store, queues: Sequence[str], worker: str, telling: Telling) -> None:
        self._store = store
        self._queues = queues
        self._worker = worker
        self._telling = telling
        self._told: set[RatesDiffer] = set()

    async def compare(self) -> float:
        """Look at the limits of the queues, and of the workers that started before this one.

        Of two workers the later one tells, so that one line says it and not two.
        """
        workers = await self._store.workers()
        mine = next((each for each in workers if each.id == self._worker), None)
        if mine is None:
            return UNANNOUNCED_S
        earlier = [each for each in workers if each.alive and _started(each) < _started(mine)]
        for settings in await self._store.settings(self._queues):
            for found in _differences(mine, settings, earlier):
                if found not in self._told:
                    self._told.add(found)
                    self._telling.rates_differ(found)
        return RATES_S


def _started(worker: WorkerInfo) -> tuple[Millis, str]:
    return worker.started_ms, worker.id


def _differences(
    mine: WorkerInfo, settings: QueueSettings, earlier: Sequence[WorkerInfo]
) -> list[RatesDiffer]:
    """Say what differs from a worker's own rate: the queue's limit, or else other workers'."""
    queue, own = settings.queue, mine.rate
    if own is None:
        return []
    if settings.rate_max is not None and settings.rate_ms is not None:
        limit = rate_text(settings.rate_max, settings.rate_ms)
        hint = "the queue's limit holds for every worker: leave out rate= of this one"
        others = [(limit, "the queue")]
    else:
        hint = f"give the limit to the queue, for every worker: queue({queue!r}, rate={own!r})"
        others = [(each.rate, each.id) for each in earlier if each.rate and queue in each.queues]
    return [
        RatesDiffer(queue=queue, rate=own, other=other, of=of, hint=hint)
        for other, of in others
        if other != own
    ]
