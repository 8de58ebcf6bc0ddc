"""The worker's traffic with its store: decisions out and jobs in, few trips at a time.

Natural batching: the decisions of one turn of the loop, or of the time that a trip takes, share
the next trip, and the same call claims for the places that they free. Never here: running jobs.
"""

import asyncio
import time
from collections.abc import Sequence
from functools import partial

from toril._model.bounds import CHARACTERS_A_CALL, JOBS_A_CALL
from toril._model.dead_letter import may_go
from toril._model.decide import Decision
from toril._store.protocol import Store
from toril._store.values import Claimed, ClaimRequest, Finished
from toril.errors import ConfigError, StoreError, is_final

from .bell import Bell
from .claims import ClaimSources
from .heartbeat import lease_clock
from .keeper import RESTART_S
from .reporting import Reporter
from .running import RunningJobs
from .running_job import RunningJob

# A wait that ends without a hint is followed by one look: a hint may have been lost.
WAIT_MS = 5_000
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 2.0
# Where several trips may be under way, each takes its share of what is in hand, so that handlers
# run while the store works. A share of less than this is not worth a trip.
LEAST_SHARE = 5
# After a rest longer than a trip, the store is not what holds work up: jobs that ended at the same
# moment then go in so many parts, and those of the first do not wait for the last.
PARTS = 4


class Exchange:
    """Carry decisions to the store, and bring jobs back while `claiming`.

    `bell` is rung when there may be something to carry. `fruitful` is when (by the loop's clock)
    a claim last brought a job. `answered` is when (by the monotonic clock) the store last answered
    a trip, and `fault` why it does not. Queues with large jobs have trips of their own beside those
    of the others, one at a time (`large_bell` is rung for it), so that nobody waits for them.
    """

    def __init__(
        self, store: Store, sources: ClaimSources, running_jobs: RunningJobs, reporter: Reporter
    ) -> None:
        self._store = store
        self._sources = sources
        self._running_jobs = running_jobs
        self._reporter = reporter
        self._loop = asyncio.get_running_loop()
        self._count = 0
        self._failures = 0
        self._watched: frozenset[str] = frozenset()
        self._watch: asyncio.Task[None] | None = None
        self._worked = False
        self._lasted = 0.0
        self.bell = Bell()
        self.large_bell = Bell()
        self.claiming = True
        self.fruitful = self._loop.time()
        self.answered: float | None = None
        self.fault: StoreError | ConfigError | None = None

    async def round(self) -> None:
        """Wait until there is something to carry, and carry it."""
        began = self._loop.time()
        await self.bell.wait()
        rested = self._loop.time() - began
        await self._trip(PARTS if rested > self._lasted else 1)

    async def large_round(self) -> None:
        """Wait until a queue with large jobs has something to carry beside others; carry that."""
        await self.large_bell.wait()
        if self._sources.mixed:
            await self._trip(1, large=True)
        else:
            self.bell.ring()

    async def _trip(self, parts: int, *, large: bool = False) -> None:
        only = large if self._sources.mixed else None
        batch = self._running_jobs.send(self._fitting(self._share(parts), only))
        requests = self._requests(only)
        began = lease_clock()
        if only is False:
            self.large_bell.ring()
        if batch or requests:
            if self._running_jobs.outbox:
                self.bell.ring()
            departed = self._loop.time()
            finished = await self._carry(batch, requests)
            if not large:
                self._lasted = self._loop.time() - departed
            if finished is None:
                return
            failed: list[RunningJob] = []
            for (running, decision), answer in zip(batch, finished.words, strict=True):
                self._running_jobs.settled(running, decision, answer)
                if answer == "failed":
                    failed.append(running)
            # There may be fewer answers: the decisions are safe, and the claims go again.
            for request, claimed in zip(requests, finished.claimed, strict=False):
                self._unpack(request, claimed, began)
            # Whatever a full answer left behind is fetched at once.
            if large or self._running_jobs.outbox or (requests and self._sources.asking):
                self.bell.ring()
            if failed:
                await self._tell_of_letters(failed)
        self._listen()
        self._tell_when_drained()

    def _share(self, parts: int) -> int:
        trips = self._store.trips
        share = -(-len(self._running_jobs.held) // (trips * parts))
        # Small ones are as quick in all, and let others between them.
        return JOBS_A_CALL if share < LEAST_SHARE else min(JOBS_A_CALL // trips, share)

    def _fitting(self, most: int, large: bool | None) -> int:
        """Count the decisions that go in one trip, so that large results do not hold others up.

        `large`: those of queues with large jobs, or of the others, come first, and only they go.
        """
        if large is not None:
            outbox = self._running_jobs.outbox
            outbox.sort(key=lambda entry: entry[0].source.is_large != large)
            most = min(most, sum(running.source.is_large == large for running, _ in outbox))
        size = 0
        for count, (_, decision) in enumerate(self._running_jobs.outbox[:most]):
            size += len(decision.result or "")
            if size > CHARACTERS_A_CALL and count:
                return count
        return most

    def _requests(self, large: bool | None) -> list[ClaimRequest]:
        if not self.claiming or self._running_jobs.solitary:
            return []
        # One token a call: a job that comes back to this worker comes under another one.
        return self._sources.deal(f"{self._sources.terms.worker}:{self._count + 1}", large=large)

    async def _carry(
        self, batch: Sequence[tuple[RunningJob, Decision]], requests: Sequence[ClaimRequest]
    ) -> Finished | None:
        """Make one call; what did not arrive goes again after a pause, while its lock holds."""
        self._count += 1
        self._sources.expect(requests)
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
            self._sources.answered(requests)
            if finished is None:
                self._running_jobs.unsend(batch)
                self.bell.ring()
        self._failures = 0
        self.answered = time.monotonic()
        return finished

    async def _alone(self, batch: Sequence[tuple[RunningJob, Decision]]) -> Finished | None:
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
            self._reporter.trouble("reaching the store", error)
        pause = min(FIRST_PAUSE_S * 2.0 ** min(self._failures, 10), LONGEST_PAUSE_S)
        self._failures += 1
        await asyncio.sleep(pause)

    async def _tell_of_letters(self, failed: Sequence[RunningJob]) -> None:
        """Report which of these jobs left a dead letter: those of queues that ask for them."""
        queues = list({running.job.queue for running in failed})
        try:
            found = await self._store.settings(queues)
        except StoreError as error:
            self._reporter.trouble("reading where dead letters go", error)
            return
        letters = {each.queue: each.dead_letter for each in found}
        for running in failed:
            target, job = letters[running.job.queue], running.job.record
            if target is not None and may_go(target, queue=job.queue, name=job.name, data=job.data):
                self._reporter.dead_lettered(running.job, target)

    def _unpack(self, request: ClaimRequest, claimed: Claimed, began: float) -> None:
        source = self._sources[request.queue]
        until = began + request.lock_ms / 1000
        if claimed.jobs and until < lease_clock():
            # Somebody else may have these jobs by now; who has not takes them back as a dead one's.
            self._reporter.claim_lapsed(request, claimed)
        elif claimed.jobs:
            for claim in claimed.jobs:
                self._running_jobs.take(claim, source, until, claimed.now_ms)
            self._worked = True
            self.fruitful = self._loop.time()
        rest = self._sources.note(request, claimed)
        if rest is not None:
            source.timer = self._loop.call_later(rest, self._rested, request.queue).cancel

    def _rested(self, queue: str) -> None:
        self._sources.listen_again(queue)
        self._listen()

    # Waiting for jobs.

    def _listen(self) -> None:
        """Let the store watch every queue that had nothing to give."""
        wanted = self._sources.listening() if self.claiming else frozenset[str]()
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
        self._sources.wake(self._sources.queues)
        self.bell.ring()

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
        self._sources.wake(hinted or queues, waited=self._loop.time() - began)
        self.bell.ring()

    def _unwatched(self, queues: frozenset[str], task: asyncio.Task[None]) -> None:
        """Claim again, and so wait again, where the wait itself was ended by mistake."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self._reporter.trouble("waiting for jobs", error)
        if self._watch is task:
            self._watch = None
            self._sources.wake(queues)
            self._loop.call_later(RESTART_S, self.bell.ring)

    def _tell_when_drained(self) -> None:
        if self._worked and not (
            self._running_jobs.held or self._sources.asking or self._sources.expecting
        ):
            self._worked = False
            self._reporter.drained()
