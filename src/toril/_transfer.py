"""Moving queues from one store to another: nothing is lost, and nothing runs twice.

Each step is taken by the target with a receipt, and only then let go at the source. When it is cut
off anywhere, the receipts tell what the source still has to let go, and the next move goes on from
there. Never here: what a store does with a shipment.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from toril._model.bounds import JOBS_A_CALL
from toril._model.record import Record, Ref
from toril._model.report import Counts, Query, QueueSettings, Selection, SettingsPatch
from toril._model.states import State
from toril._model.transfer import Parcel, Receipt, Shipment
from toril._store.connect import connect, is_kept, is_there
from toril.errors import ConfigError, JobLocked, TorilError, WrongState

BATCH_CHARACTERS = 2 * 1024 * 1024
# Who still adds at the source and who adds at the target already do not give one id twice.
SPARE_IDS = 1_000
PATIENCE_S = 30.0
LOOK_S = 0.1
PASSES = 20

ORDER = (
    State.WAITING_CHILDREN,
    State.WAITING,
    State.PRIORITIZED,
    State.DELAYED,
    State.FAILED,
    State.COMPLETED,
)

# Called after each step: the queue, how many of its jobs have moved, how many it had.
Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MovePlan:
    """What a queue holds that is to be moved.

    Shape    begun: an earlier move of it was cut off.
    """

    queue: str
    counts: Counts
    schedules: int
    paused: bool
    begun: bool


@dataclass(slots=True, kw_only=True)
class Moved:
    """What became of a queue: what was moved, what stays behind and why."""

    queue: str
    jobs: int = 0
    schedules: int = 0
    left: int = 0
    problems: list[str]
    total: int = 0
    paused: bool = False


class Move:
    """A move from one store to another; both are open while it is used (`async with`).

    Shape    queues: those to be moved, all if empty. patience_s: how long running jobs may take
             to end. tell: hears how far it is.
    Raises   ConfigError: a URL names no store, or both name the same one.
    """

    def __init__(
        self,
        source: str,
        target: str,
        *,
        prefixes: tuple[str, str],
        patience_s: float = PATIENCE_S,
        tell: Tell | None = None,
    ) -> None:
        self.source = connect(source, prefixes[0])
        self.target = connect(target, prefixes[1])
        self._origin = f"{self.source.url} {prefixes[0]}"
        self._patience_s = patience_s
        self._tell = tell or _silent
        self._receipts: dict[str, Receipt] = {}
        self._moved: dict[str, Moved] = {}
        if (self.source.url, prefixes[0]) == (self.target.url, prefixes[1]):
            raise ConfigError(
                f"{self.source.url} cannot be moved to itself",
                field="target",
                value=self.target.url,
            )
        for name, store in (("source", self.source), ("target", self.target)):
            if not is_kept(store):
                raise ConfigError(
                    f"{name}: a store in memory is gone with its process",
                    field=name,
                    value=store.url,
                )

    async def __aenter__(self) -> "Move":
        if not is_there(self.source):
            raise ConfigError(f"there is nothing at {self.source.url}", field="source")
        await self.source.open()
        try:
            await self.target.open()
        except TorilError:
            await self.source.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.source.close()
        await self.target.close()

    # What is to be done.

    async def plan(self, queues: Sequence[str] = ()) -> list[MovePlan]:
        """Return what would be moved; nothing is changed.

        Raises   ConfigError: the source has no such queue, or none at all.
        """
        there = await self.source.queues()
        names = sorted(dict.fromkeys(queues)) or there
        unknown = [name for name in names if name not in there]
        if unknown or not names:
            what = f"no queue {unknown[0]!r}" if unknown else "no queue"
            known = f"it has: {', '.join(there)}" if there else None
            raise ConfigError(f"{self.source.url} has {what}", field="queues", hint=known)
        counts = await self.source.counts(names)
        settings = await self.source.settings(names)
        return [
            MovePlan(
                queue=name,
                counts=count,
                schedules=len(await self.source.schedules(name)),
                paused=setting.paused,
                begun=not (await self._ask(name)).last,
            )
            for name, count, setting in zip(names, counts, settings, strict=True)
        ]

    async def run(self, plans: Sequence[MovePlan]) -> list[Moved]:
        """Move what was planned; the source's queues stand still meanwhile.

        Raises   JobLocked: jobs still run, nothing was moved. JobExists: the target has another
                 job of the same id. ConfigError: a flow reaches into a queue that stays. What
                 has moved by then stays moved, and the next move goes on.
        """
        names = [plan.queue for plan in plans]
        self._moved = {
            plan.queue: Moved(queue=plan.queue, problems=[], total=plan.counts.total)
            for plan in plans
        }
        fresh = [name for name in names if await self._begin(name)]
        try:
            await self._stand_still(names)
            for name in names:
                await self._go_on(name)
            await self._carry_all(names)
        except TorilError:
            if fresh == names and not any(each.jobs for each in self._moved.values()):
                # Nothing has happened yet: leave the source as it was.
                await self._end_all(fresh)
            raise
        await self._end_all(names)
        return list(self._moved.values())

    # Beginning and ending.

    async def _begin(self, queue: str) -> bool:
        """Let the target know the queue, and pause it at the source; say whether that is new."""
        receipt = self._receipts[queue] = await self._ask(queue)
        fresh = receipt.last
        if fresh:
            [settings] = await self.source.settings([queue])
            patch = _carried(settings)
            if patch is not None:
                await self.target.configure(queue, patch)
            self._receipts[queue] = replace(receipt, was_paused=settings.paused)
            await self._ship(queue)
        await self.source.configure(queue, SettingsPatch(paused=True))
        return fresh

    async def _go_on(self, queue: str) -> None:
        """Let the source forget what came through before the last move was cut off."""
        receipt = self._receipts[queue]
        self._moved[queue].jobs += await self._let_go(receipt)
        for schedule in receipt.schedules:
            await self.source.drop_schedule(queue, schedule)

    async def _end_all(self, queues: Sequence[str]) -> None:
        for queue in queues:
            await self._end(queue)

    async def _end(self, queue: str) -> None:
        """Note that all has come through, and let the source be as it was."""
        moved = self._moved[queue]
        await self._ship(queue, last=True)
        if not self._receipts[queue].was_paused:
            await self.source.configure(queue, SettingsPatch(paused=False))
        [counts] = await self.source.counts([queue])
        [settings] = await self.target.settings([queue])
        moved.left, moved.paused = counts.total, settings.paused

    async def _stand_still(self, queues: Sequence[str]) -> None:
        """Wait until nothing runs at the source; jobs of workers that died are taken back."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._patience_s
        while True:
            await self.source.recover(queues)
            counts = await self.source.counts(queues)
            running = {
                queue: count.active
                for queue, count in zip(queues, counts, strict=True)
                if count.active
            }
            if not running:
                return
            if loop.time() >= until:
                what = ", ".join(f"{count} of {queue!r}" for queue, count in running.items())
                raise JobLocked(
                    f"jobs still run at {self.source.url} after {self._patience_s:g} s: {what}; "
                    "nothing was moved by this call: stop the workers, or wait longer",
                    queue=next(iter(running)),
                )
            await asyncio.sleep(LOOK_S)

    # Steps.

    async def _ask(self, queue: str) -> Receipt:
        return await self.target.restore(Shipment(queue=queue, origin=self._origin))

    async def _ship(self, queue: str, **what: Any) -> Receipt:
        """Send the next shipment; the target has it when this returns."""
        before = self._receipts[queue]
        [settings] = await self.source.settings([queue])
        shipment = Shipment(
            queue=queue,
            origin=self._origin,
            number=before.number + 1,
            last_id=settings.last_id + SPARE_IDS if settings.last_id else 0,
            was_paused=before.was_paused,
            **what,
        )
        receipt = self._receipts[queue] = await self.target.restore(shipment)
        return receipt

    async def _let_go(self, receipt: Receipt) -> int:
        """Let the source forget what the target has by a receipt; give how many jobs went."""
        by_queue: dict[str, list[str]] = {}
        for ref in receipt.jobs:
            by_queue.setdefault(ref.queue, []).append(ref.id)
        gone = 0
        for queue, ids in by_queue.items():
            selected = await self.source.remove(
                Selection(
                    queue=queue,
                    ids=tuple(ids),
                    limit=len(ids),
                    mode="move",
                    before_ms=receipt.until_ms,
                )
            )
            gone += len(selected.ids)
            for error in selected.refused.values():
                raise WrongState(
                    f"{error}: it began to run at {self.source.url} while its queue was being "
                    "moved, and is at the target as well; keep the queue paused until the move "
                    "has ended",
                    queue=queue,
                ) from error
        return gone

    async def _carry_all(self, queues: Sequence[str]) -> None:
        """Carry jobs, again while some are still being added, then schedules with their runs."""
        for _ in range(PASSES):
            if not sum([await self._carry_jobs(queue, queues) for queue in queues]):
                break
        for queue in queues:
            await self._carry_schedules(queue)

    async def _carry_jobs(self, queue: str, queues: Sequence[str]) -> int:
        carried = 0
        for state in ORDER:
            # The next runs of schedules stand among the others, and go with those.
            passed = 0
            while True:
                asked = Query(queue=queue, states=(state,), offset=passed, limit=JOBS_A_CALL)
                page = await self.source.find(asked)
                refs = dict.fromkeys(Ref(record.queue, record.id) for record in page.jobs)
                parcels = await self._gather(refs, queues)
                gone = sum([await self._carry(queue, batch) for batch in _batches(parcels)])
                carried += gone
                stayed = refs.keys() - {parcel.ref for parcel in parcels}
                passed += len(stayed) if gone else len(refs)
                if not page.more:
                    break
        return carried

    async def _carry(self, queue: str, batch: Sequence[Parcel]) -> int:
        receipt = await self._ship(queue, jobs=tuple(batch))
        gone = await self._let_go(receipt)
        for parcel in batch:
            self._moved[parcel.record.queue].jobs += 1
        moved = self._moved[queue]
        self._tell(queue, moved.jobs, max(moved.total, moved.jobs))
        return gone

    async def _gather(self, refs: Collection[Ref], queues: Sequence[str]) -> list[Parcel]:
        """Read jobs with those that must be there before them: parents and dead letters."""
        found: dict[Ref, Parcel] = {}
        wanted = list(refs)
        asked: set[Ref] = set()
        while wanted:
            asked.update(wanted)
            for parcel in await self.source.pack(wanted):
                if parcel is not None and not (parcel.armed and parcel.ref in refs):
                    _check_family(parcel, queues)
                    found[parcel.ref] = parcel
            before = (ref for parcel in found.values() for ref in _before(parcel.record))
            wanted = [ref for ref in dict.fromkeys(before) if ref not in asked]
        return _in_order(found)

    async def _carry_schedules(self, queue: str) -> None:
        moved = self._moved[queue]
        for info in await self.source.schedules(queue):
            if info.fault is not None:
                moved.problems.append(f"schedule {info.id!r} stays: {info.fault}")
                continue
            try:
                await self._ship(queue, schedules=(info,))
            except ConfigError as error:
                moved.problems.append(f"schedule {info.id!r} stays: {error}")
                continue
            await self.source.drop_schedule(queue, info.id)
            moved.schedules += 1


def _silent(queue: str, done: int, total: int) -> None:
    """Tell nobody."""


def _carried(settings: QueueSettings) -> SettingsPatch | None:
    """Return what of a queue's settings is to hold at the target; nothing is cleared there."""
    usual = QueueSettings(queue=settings.queue)
    names = ("paused", "pause", "concurrency", "keep_completed", "keep_failed", "dead_letter")
    given = {
        name: getattr(settings, name)
        for name in (*names, "events_limit", "max_waiting")
        if getattr(settings, name) != getattr(usual, name)
    }
    if settings.rate_max is not None and settings.rate_ms is not None:
        given["rate"] = (settings.rate_max, settings.rate_ms)
    return SettingsPatch(**given) if given else None


def _before(record: Record) -> Iterator[Ref]:
    if record.parent is not None:
        yield record.parent
    if record.letter is not None:
        queue, _, id = record.letter.rpartition(":")
        yield Ref(queue, id)


def _check_family(parcel: Parcel, queues: Sequence[str]) -> None:
    """See that no part of a flow, and no dead letter, stays behind."""
    pending = [child.queue for child in parcel.children if child.outcome == "pending"]
    for other in (parcel.record.queue, *pending):
        if other not in queues:
            raise ConfigError(
                f"job {parcel.record.id!r} of queue {parcel.record.queue!r} belongs together with "
                f"jobs of queue {other!r}",
                field="queues",
                value=other,
                hint=f"move them together: --queues {','.join(sorted({*queues, other}))}",
            )


def _in_order(found: dict[Ref, Parcel]) -> list[Parcel]:
    """Put jobs behind those that must be there first, and leave their order otherwise."""
    ordered: dict[Ref, Parcel] = {}
    stack = list(reversed(found))
    entered: set[Ref] = set()
    while stack:
        ref = stack[-1]
        first = [r for r in _before(found[ref].record) if r in found and r not in entered]
        entered.add(ref)
        if first:
            stack += first
        else:
            ordered.setdefault(stack.pop(), found[ref])
    return list(ordered.values())


def _batches(parcels: Sequence[Parcel]) -> Iterator[list[Parcel]]:
    """Cut jobs into steps that stay bounded; what must come first is in the same or an earlier."""
    batch: list[Parcel] = []
    size = 0
    for parcel in parcels:
        if batch and (len(batch) >= JOBS_A_CALL or size + parcel.weight > BATCH_CHARACTERS):
            yield batch
            batch, size = [], 0
        batch.append(parcel)
        size += parcel.weight
    if batch:
        yield batch
