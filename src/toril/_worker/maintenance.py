"""What a worker does besides running jobs: each function does one round of it.

Most rounds return the seconds until the next one, so that a test calls it once. Never here: loops.
"""

from collections.abc import Mapping, Sequence

import msgspec

from toril._model.bounds import JOBS_A_CALL
from toril._model.notes import Mark
from toril._model.record import Claim, Record, Ref
from toril._model.report import QueueSettings, ScheduleInfo, WorkerInfo
from toril._model.schedule import next_run
from toril._model.states import State
from toril._model.stored import or_else, reader
from toril._model.times import Millis, rate_text
from toril._store.protocol import Store
from toril.errors import StoreCorrupt, StoreUnavailable

from .hooks import RatesDiffer
from .reporting import Reporter

TRIM_S = 30.0
TRIM_AGAIN_S = 0.5
# How long whoever waits for a result has to read the event that tells it.
SPARE_MS = 10_000
REPAIR_S = 30.0
RATES_S = 10.0
UNANNOUNCED_S = 0.25
# A round that is done once has the next one so late that it never matters.
ONCE_S = 86_400.0
# While workers of two versions start in turns, each version is marked once.
SAME_START_MS = 600_000
NEAR_MARKS = 20
# Fewer jobs than this in an answer: there are no more. No worker holds as many as all rounds take.
A_ROUND = JOBS_A_CALL
MOST_ROUNDS = 100

_mark = reader(Mark)

# A run in one of these states has not started: it is armed.
_ARMED = (State.WAITING, State.PRIORITIZED, State.DELAYED, State.WAITING_CHILDREN)


async def recover(
    store: Store, queues: Sequence[str], reporter: Reporter, *, max_stalls: int
) -> set[str]:
    """Take back the jobs of workers that are gone, and name the queues that have some now."""
    found = await store.recover(queues, max_stalls=max_stalls)
    for recovered in found:
        reporter.stalled(recovered)
    return {recovered.queue for recovered in found}


async def bury(
    store: Store,
    queues: Sequence[str],
    reporter: Reporter,
    max_stalls: int,
    dead: Mapping[str, str],
) -> set[str]:
    """Take back every job of workers that are known to be dead, and name the queues.

    Shape    dead: ids of workers, and how they died.
    """
    again: set[str] = set()
    for _ in range(MOST_ROUNDS):
        found = await store.recover(queues, max_stalls=max_stalls, dead=dead)
        for recovered in found:
            reporter.stalled(recovered)
            again.add(recovered.queue)
        if len(found) < A_ROUND:
            break
    return again


async def trim(store: Store, queues: Sequence[str]) -> float:
    """Remove a batch of finished jobs that are over their bounds; soon again while there are."""
    return TRIM_AGAIN_S if await store.trim(queues, spare_ms=SPARE_MS) else TRIM_S


class Rearming:
    """Arm the next run of a schedule when one starts, and later where that was missed."""

    def __init__(self, store: Store, queues: Sequence[str], reporter: Reporter) -> None:
        self._store = store
        self._queues = queues
        self._reporter = reporter
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
            self._reporter.trouble(f"arming the next run of schedule {record.schedule!r}", error)

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
            self._reporter.trouble(f"looking after {what}", error)

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
        at = next_run(
            info.rule, now=self._store.clock.now_ms(), previous=info.next_ms, count=info.count
        )
        moved = await self._store.advance(run, info.id, at)
        key = (info.queue, info.id)
        if moved is None:
            self._known.pop(key, None)
        else:
            self._known[key] = moved


class Rates:
    """Hold a worker's own rate against those of others; each difference is reported once."""

    def __init__(
        self, store: Store, queues: Sequence[str], worker: str, reporter: Reporter
    ) -> None:
        self._store = store
        self._queues = queues
        self._worker = worker
        self._reporter = reporter
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
                    self._reporter.rates_differ(found)
        return RATES_S


class Versions:
    """Mark the moment at which a worker starts with a version that is new."""

    def __init__(self, store: Store, version: str | None, worker: str) -> None:
        self._store = store
        self._version = version
        self._worker = worker

    async def mark(self) -> float:
        """Make the mark, once; another worker of the version may have made it."""
        version, self._version = self._version, None
        if version is None:
            return ONCE_S
        newest = await self._store.notes("marks", limit=NEAR_MARKS)
        since = self._store.clock.now_ms() - SAME_START_MS
        marks = [or_else(_mark, note.body, None) for note in newest]
        known = [mark for mark in marks if mark is not None]
        same = [mark for mark in known if mark.label == version]
        if not (same and (same[0] is known[0] or same[0].at_ms > since)):
            mark = Mark(label=version, by=self._worker, at_ms=self._store.clock.now_ms())
            await self._store.note("marks", msgspec.json.encode(mark).decode())
        return ONCE_S


def _started(worker: WorkerInfo) -> tuple[Millis, str]:
    return worker.started_ms, worker.id


def _differences(
    mine: WorkerInfo, settings: QueueSettings, earlier: Sequence[WorkerInfo]
) -> list[RatesDiffer]:
    """Return what differs from a worker's own rate: the queue's limit, or else other workers'."""
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
