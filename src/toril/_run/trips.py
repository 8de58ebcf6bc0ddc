"""The worker's traffic with its store: decisions out and jobs in, few trips at a time.

Natural batching: the decisions of one turn of the loop, or of the time that a trip takes, share
the next trip, and the same call claims for the places that they free. Never here: running jobs.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from toril._model.decide import Decision
from toril._model.letter import may_go
from toril._store.protocol import Claimed, ClaimRequest, Finished, Store
from toril.errors import ConfigError, StoreError, is_final

from .heartbeat import lease_clock
from .keeping import RESTART_S
from .lanes import MOST, MOST_CHARACTERS, Lanes
from .slots import Slot, Slots
from .telling import Telling

# A wait that ends without a hint is followed by one look: a hint may have been lost.
WAIT_MS = 5_000
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
# Where several trips may be under way, each takes its share of what is in hand, so that handlers
# run while the store works. A share of less than this is not worth a trip.
LEAST_SHARE = 8
# After a rest longer than a trip, the store is not what holds work up: jobs that ended at the same
# moment then go in so many parts, and those of the first do not wait for the last.
PARTS = 4


class Trips:
    """Carry decisions to the store, and bring jobs back while `claiming`.

    `bell` is rung when there may be something to carry. `fruitful` is when (by the loop's clock)
    a claim last brought a job. `answered` is when (by the monotonic clock) the store last answered
    a trip, and `fault` why it does not.
    """

    def __init__(self, store: Store, lanes: Lanes, slots: Slots, telling: Telling) -> None:
        self._store = store
        self._lanes = lanes
        self._slots = slots
        self._telling = telling
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._failures = 0
        self._watched: frozenset[str] = frozenset()
        self._watch: asyncio.Task[None] | None = None
        self._worked = False
        self._lasted = 0.0
        self.bell = asyncio.Event()
        self.claiming = True
        self.fruitful = self._loop.time()
        self.answered: float | None = None
        self.fault: StoreError | ConfigError | None = None

    async def round(self) -> None:
        """Wait until there is something to carry, and carry it."""
        began = self._loop.time()
        await self.bell.wait()
        self.bell.clear()
        rested = self._loop.time() - began
        await self._trip(PARTS if rested > self._lasted else 1)

    async def _trip(self, parts: int) -> None:
        batch = self._slots.send(self._fitting(self._share(parts)))
        requests = self._requests()
        began = lease_clock()
        if batch or requests:
            if self._slots.outbox:
                self.bell.set()
            departed = self._loop.time()
            finished = await self._carry(batch, requests)
            self._lasted = self._loop.time() - departed
            if finished is None:
                return
            for (slot, decision), answer in zip(batch, finished.words, strict=True):
                self._slots.settled(slot, decision, answer)
            # There may be fewer answers: the decisions are safe, and the claims go again.
            for request, claimed in zip(requests, finished.claimed, strict=False):
                self._unpack(request, claimed, began)
            # Whatever a full answer left behind is fetched at once.
            if self._slots.outbox or (requests and self._lanes.asking):
                self.bell.set()
            answered = zip(batch, finished.words, strict=True)
            await self._tell_of_letters([slot for (slot, _), word in answered if word == "failed"])
        self._listen()
        self._tell_when_drained()

    def _share(self, parts: int) -> int:
        trips = self._store.trips
        share = -(-len(self._slots.held) // (trips * parts))
        # Small ones are as quick in all, and let others between them.
        return MOST if share < LEAST_SHARE else min(MOST // trips, share)

    def _fitting(self, most: int) -> int:
        """Count the decisions that go in one trip, so that large results do not hold others up."""
        size = 0
        for count, (_, decision) in enumerate(self._slots.outbox[:most]):
            size += len(decision.result or "")
            if size > MOST_CHARACTERS and count:
                return count
        return most

    def _requests(self) -> list[ClaimRequest]:
        if not self.claiming or self._slots.solitary:
            return []
        # One token a call: a job that comes back to this worker comes under another one.
        return self._lanes.deal(f"{self._lanes.terms.worker}:{self._count + 1}")

    async def _carry(
        self, batch: Sequence[tuple[Slot, Decision]], requests: Sequence[ClaimRequest]
    ) -> Finished | None:
        """Make one call; what did not arrive goes again after a pause, while its lock holds."""
        self._count += 1
        self._lanes.expect(requests)
        finished: Finished | None = None
        self.fault, before = None, self.fault
        try:
            finished = await self._call([decision for _, decision in batch], requests)
        except (StoreError, ConfigError) as error:
            self.fault = before
            finished = await self._alone(batch) if is_final(error) and batch else None
            if finished is None:
                await self._suffer(error)
                return None
            self.fault = error
        finally:
            self._lanes.answered(requests)
            if finished is None:
                self._slots.unsend(batch)
                self.bell.set()
        self._failures = 0
        self.answered = time.monotonic()
        return finished

    async def _alone(self, batch: Sequence[tuple[Slot, Decision]]) -> Finished | None:
        """Make a call again that can never succeed, without its claims; None: try it later.

        An error that comes again is the answer to each of its decisions.
        """
        try:
            return await self._call([decision for _, decision in batch], ())
        except (StoreError, ConfigError) as error:
            return Finished(words=tuple([error] * len(batch))) if is_final(error) else None

    async def _call(
        self, decisions: Sequence[Decision], requests: Sequence[ClaimRequest]
    ) -> Finished:
        if decisions:
            return await self._store.finish(decisions, requests)
        return Finished(words=(), claimed=tuple(await self._store.claim(requests)))

    async def _suffer(self, error: StoreError | ConfigError) -> None:
        self.fault = error
        if not self._failures:
            self._telling.trouble("reaching the store", error)
        pause = min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_S)
        self._failures += 1
        await asyncio.sleep(pause)

    async def _tell_of_letters(self, failed: Sequence[Slot]) -> None:
        """Say which of these jobs left a dead letter: those of queues that ask for them."""
        if not failed:
            return
        queues = list({slot.job.queue for slot in failed})
        try:
            found = await self._store.settings(queues)
        except StoreError as error:
            self._telling.trouble("reading where dead letters go", error)
            return
        letters = {each.queue: each.dead_letter for each in found}
        for slot in failed:
            target, job = letters[slot.job.queue], slot.job.record
            if target is not None and may_go(target, queue=job.queue, name=job.name, data=job.data):
                self._telling.dead_lettered(slot.job, target)

    def _unpack(self, request: ClaimRequest, claimed: Claimed, began: float) -> None:
        lane = self._lanes[request.queue]
        until = began + request.lock_ms / 1000
        if claimed.jobs and until < lease_clock():
            # Somebody else may have these jobs by now; who has not takes them back as a dead one's.
            self._telling.claim_lapsed(request, claimed)
        elif claimed.jobs:
            for claim in claimed.jobs:
                self._slots.take(claim, lane, until, claimed.now_ms)
            self._worked = True
            self.fruitful = self._loop.time()
        rest = self._lanes.note(request, claimed)
        if rest is not None:
            lane.timer = self._loop.call_later(rest, self._rested, request.queue).cancel

    def _rested(self, queue: str) -> None:
        self._lanes.listen_again(queue)
        self._listen()

    # Waiting for jobs.

    def _listen(self) -> None:
        """Let the store watch every queue that had nothing to give."""
        wanted = self._lanes.listening() if self.claiming else frozenset[str]()
        if self._watch is not None:
            # A queue too many does no harm: its hint is kept until there is room.
            if wanted and wanted <= self._watched:
                return
            self.deafen()
        if wanted:
            self._watched = wanted
            self._watch = self._loop.create_task(self._wait(wanted))
            self._watch.add_done_callback(partial(self._unwatched, wanted))

    def start_over(self) -> None:
        """Forget what is waited for, and claim from every queue at once."""
        self.deafen()
        self._lanes.wake(self._lanes.queues)
        self.bell.set()

    def deafen(self) -> None:
        """Stop waiting for jobs."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None

    async def _wait(self, queues: frozenset[str]) -> None:
        began = self._loop.time()
        try:
            hinted = await self._store.wait(tuple(queues), timeout_ms=WAIT_MS)
        except StoreError as error:
            await self._suffer(error)
            hinted = queues
        self._watch = None
        self._lanes.wake(hinted or queues, waited=self._loop.time() - began)
        self.bell.set()

    def _unwatched(self, queues: frozenset[str], task: asyncio.Task[None]) -> None:
        """Claim again, and so wait again, where the wait itself was ended by mistake."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._telling.trouble("waiting for jobs", error)
        if self._watch is task:
            self._watch = None
            self._lanes.wake(queues)
            self._loop.call_later(RESTART_S, self.bell.set)

    def _tell_when_drained(self) -> None:
        if self._worked and not (self._slots.held or self._lanes.asking or self._lanes.expecting):
            self._worked = False
            self._telling.drained()
