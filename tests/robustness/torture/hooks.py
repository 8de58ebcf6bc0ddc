"""The program of workers that kill themselves at one point of their jobs' lives:

`python -m tests.robustness.torture.hooks URL PREFIX LEDGER POINT QUEUE[,QUEUE…]`

It dies when a job of each kind has come to the point: one process tests a row of cells. Without a
point ("-") it lives, says "up" on its standard output when it claims, and ends by SIGTERM. The
points are wrapped around what toril is made of when this program runs: nothing of it is in toril.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from tests.robustness.chaos.app import PlannedError
from tests.robustness.chaos.ledger import Ledger
from tests.robustness.chaos.program import run
from toril import Job, Toril
from toril._worker import running
from toril._worker.running import RunningJobs
from toril.errors import AwaitChildren

KINDS = ("plain", "retry", "child", "scheduled", "dedup")
# In the order of a job's life.
CLAIMED, TAKEN = "claim answered", "claim used"
ADVANCING, ADVANCED = "before the schedule is advanced", "after the schedule was advanced"
BEFORE, INSIDE, AFTER = "before the handler", "in the handler", "after the handler"
ADDING, ADDED = "before a child is added", "after a child was added"
RENEWING, RENEWED = "before the lock is renewed", "after the lock was renewed"
FINISHING, UNDER_WAY = "before finish is sent", "finish under way"
FINISHED, SETTLED = "finish answered", "finish used"
POINTS = (
    CLAIMED, TAKEN, ADVANCING, ADVANCED, BEFORE, INSIDE, ADDING, ADDED, RENEWING, RENEWED,
    AFTER, FINISHING, UNDER_WAY, FINISHED, SETTLED,
)  # fmt: skip
# What is decided by then is in the store: such a job does not run again.
DONE = (FINISHED, SETTLED)
# Here handlers wait for the end of their process.
_STAND_STILL = (ADVANCING, ADVANCED, INSIDE, RENEWING, RENEWED)


def kept(app: Toril, queues: Iterable[str]) -> Toril:
    """Let queues keep all that happens, so that it can be audited."""
    for queue in queues:
        app.queue(queue, keep="all", events_limit=1_000_000)
    return app


class Hook:
    """Where this process dies, and which kinds of jobs have come there."""

    def __init__(self, point: str, ledger: Ledger) -> None:
        self.point = point
        self._ledger = ledger
        self._kinds: dict[str, str] = {}
        self._here: set[str] = set()
        self._inside: set[str] = set()
        self._all_inside = asyncio.Event()
        self._never = asyncio.Event()

    def know(self, job_id: str, kind: str) -> None:
        """Remember of which kind a job is: a decision does not say."""
        self._kinds.setdefault(job_id, kind)

    def at(self, point: str, job_ids: Iterable[str]) -> None:
        """Note which kinds have come to a point; die there when all have."""
        if point != self.point:
            return
        for job_id in job_ids:
            kind = self._kinds.get(job_id)
            if kind in KINDS and kind not in self._here:
                self._here.add(kind)
                self._ledger.note("at", point, kind)
        if len(self._here) == len(KINDS):
            self.die()

    def die(self) -> NoReturn:
        """Be killed as by `kill -9`, threads and all."""
        self._ledger.note("killed", os.getpid(), time.monotonic_ns())
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("nobody outlives SIGKILL")

    async def in_handler(self, job: Job[Any]) -> None:
        """Wait until a handler of each kind runs, so that all go on in one turn of the loop."""
        self.at(INSIDE, [job.id])
        if self.point == "-" or job.name not in KINDS:
            return
        self._inside.add(job.name)
        wanted = len(KINDS) - (self.point in (ADVANCING, ADVANCED))
        if len(self._inside) == wanted:
            self._all_inside.set()
        await self._all_inside.wait()
        if self.point in _STAND_STILL:
            await self._never.wait()

    async def wrap_advance(self, call: Any, job: Any, *args: Any) -> Any:
        if self.point == ADVANCED:
            answer = await call(job, *args)
            await self._all_inside.wait()
            self.at(ADVANCED, list(self._kinds))
            return answer
        if self.point == ADVANCING:
            await self._all_inside.wait()
            self.at(ADVANCING, list(self._kinds))
        return await call(job, *args)

    async def wrap_claim(self, call: Any, requests: Any) -> Any:
        answer = await call(requests)
        self._claimed(answer)
        return answer

    def _claimed(self, answer: Iterable[Any]) -> None:
        records = [claim.record for claimed in answer for claim in claimed.jobs]
        for record in records:
            self.know(record.id, record.name)
        self.at(CLAIMED, [record.id for record in records])

    async def wrap_finish(self, call: Any, decisions: Any, *requests: Any) -> Any:
        ids = [decision.id for decision in decisions]
        self.at(FINISHING, ids)
        going = asyncio.ensure_future(call(decisions, *requests))
        if self.point == UNDER_WAY:
            await asyncio.sleep(random.uniform(0, 0.004))
            self.at(UNDER_WAY, ids)
        answer = await going
        self.at(FINISHED, ids)
        self._claimed(answer.claimed)
        return answer

    async def wrap_add(self, call: Any, groups: Any) -> Any:
        parents = [new.parent.id for group in groups for new in group if new.parent is not None]
        self.at(ADDING, parents)
        answer = await call(groups)
        self.at(ADDED, parents)
        return answer

    def wrap_renew(self, call: Any, held: Any, *args: Any) -> Any:
        ids = [ref.id for ref, _ in held]
        self.at(RENEWING, ids)
        answer = call(held, *args)
        self.at(RENEWED, ids)
        return answer

    async def wrap_perform(self, call: Any, handler: Any, job: Any, *args: Any) -> Any:
        self.at(BEFORE, [job.id])
        if self.point == BEFORE:
            await self._never.wait()
        ended = await call(handler, job, *args)
        self.at(AFTER, [job.id])
        if self.point == AFTER and job.name in KINDS:
            await self._never.wait()
        return ended

    def wrap_take(self, call: Any, of: Any, claim: Any, *args: Any) -> None:
        call(of, claim, *args)
        self.at(TAKEN, [claim.record.id])

    def wrap_settled(self, call: Any, of: Any, slot: Any, *args: Any) -> None:
        call(of, slot, *args)
        self.at(SETTLED, [slot.claim.record.id])

    def put_into(self, store: Any) -> None:
        """Wrap every point."""
        for verb in ("advance", "claim", "finish", "add"):
            _wrap(store, verb, getattr(self, f"wrap_{verb}"))
        _wrap(running, "perform", self.wrap_perform)
        _wrap(RunningJobs, "take", self.wrap_take)
        _wrap(RunningJobs, "settled", self.wrap_settled)
        connect = store.renewer

        def renewer() -> Any:
            made = connect()
            _wrap(made, "renew", self.wrap_renew)
            return made

        store.renewer = renewer


def _wrap(owner: Any, name: str, around: Any) -> None:
    call = getattr(owner, name)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        assert not kwargs, f"{name} is called with {kwargs}: let its hook take that"
        return around(call, *args)

    setattr(owner, name, wrapped)


async def main(url: str, prefix: str, ledger: Ledger, point: str, queues: list[str]) -> None:
    app = kept(Toril(url, prefix=prefix), queues)
    hook = Hook(point, ledger)
    if point != "-":
        hook.put_into(app.context.store)

    begun: set[tuple[str, str, int]] = set()

    async def work(job: Job[Any]) -> str:
        run = (job.queue, job.id, job.run)
        # A run that need not wait for its children goes on as itself.
        if run not in begun:
            begun.add(run)
            ledger.note("start", *run)
        await hook.in_handler(job)
        if job.name == "gather":
            assert len(await job.children_values()) == 1
        if job.data.get("adopts") and not await job.children_values():
            kid = f"kid-of-{job.id.replace(':', '-')}"
            await app.queue(job.queue).add("kid", {}, id=kid, parent=job)
            ledger.note("settled", *run, "waits")
            raise AwaitChildren
        ledger.note("end", *run)
        if job.name == "retry" and job.attempt == 1:
            raise PlannedError
        return job.id

    for queue in queues:
        app.queue(queue).handler()(work)
    # As many as there are kinds: a job that comes later finds no place until one has ended.
    worker = app.worker(
        dict.fromkeys(queues, len(KINDS)), lock="2s", stalled_interval="300ms", backoff=None
    )

    async with app:
        await run(worker, ledger)


if __name__ == "__main__":
    url, prefix, path, point, names = sys.argv[1:]
    asyncio.run(main(url, prefix, Ledger(Path(path)), point, names.split(",")))
