"""The Store protocol: few verbs, wide values, batches everywhere.

One verb is one atomic step. A batch is a list of independent groups: each group is all or
nothing and gets its own answer, so one lost lock never refuses its neighbours. Methods raise
only `toril.errors`; in a batch the error stands in the answer's place. `now` is None outside
tests: the store's own clock. Never here: how a store does it.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from toril._model.decide import Decision
from toril._model.options import RateLimit
from toril._model.parcel import Parcel, Receipt, Shipment
from toril._model.record import Claim, NewJob, Record, Ref
from toril._model.report import (
    Children,
    Counts,
    JobPatch,
    Logs,
    Metrics,
    Page,
    Query,
    QueueSettings,
    ScheduleInfo,
    Selected,
    Selection,
    SettingsPatch,
    WorkerInfo,
)
from toril._model.schedule import Rule
from toril._model.times import Millis
from toril.errors import TorilError
from toril.events import Event

NOBODY: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True)
class Added:
    """What became of a job handed in.

    Shape    word: added · duplicate (a job with this id exists; id is its) · deduplicated (the
             key is held by the job with this id) · stored-next (kept until that job has finished).
    """

    id: str
    word: str = "added"

    @property
    def created(self) -> bool:
        """Say whether a job was stored."""
        return self.word == "added"


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimRequest:
    """Ask for up to `limit` jobs of one queue under one lock token.

    Shape    skip: names not wanted now (their cap is reached); at most 64 jobs are looked at.
             rate: the worker's own limit, used where the queue has none.
    """

    queue: str
    limit: int
    token: str
    lock_ms: Millis = 30_000
    worker: str | None = None
    skip: frozenset[str] = frozenset()
    rate: RateLimit | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """The jobs claimed from one queue, and when to ask again.

    Shape    next_ms: when the next delayed job is due or the rate limit ends, None if unknown.
             blocked: paused · concurrency · rate · damaged (a key or row of the
             queue cannot be used), or empty. now_ms: the store's clock.
    """

    queue: str
    jobs: tuple[Claim, ...] = ()
    next_ms: Millis | None = None
    blocked: str = ""
    now_ms: Millis = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """One answer a decision (its word, or why it was refused), and what was claimed besides.

    Shape    words: completed · failed · delayed · waiting · prioritized · waiting-children ·
             active (no child is pending: it goes on).
    """

    words: tuple[str | TorilError, ...]
    claimed: tuple[Claimed, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovered:
    """A job taken back from a worker that is gone; `fatal`: its next claim fails it."""

    queue: str
    id: str
    stalls: int
    fatal: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LogLine:
    """A line for a job's log; `keep` bounds the log to its newest lines."""

    queue: str
    id: str
    text: str
    keep: int | None = None
    token: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleDraft:
    """A schedule to be stored, and its first run.

    Shape    data and opts are JSON text. next_ms is the first run of a new schedule of this rule;
             None: nothing is armed (it never fires). owner: see `ScheduleInfo`.
    """

    queue: str
    id: str
    name: str
    rule: Rule
    data: str = "{}"
    opts: str = "{}"
    next_ms: Millis | None = None
    owner: str | None = None


class Renewer(Protocol):
    """Renews locks from a thread of its own, blocking; the event loop is not involved."""

    def renew(
        self, held: Sequence[tuple[Ref, str]], lock_ms: Millis, worker: WorkerInfo | None = None
    ) -> list[Ref]:
        """Extend these locks (job, token) and announce the worker; return the jobs that are lost.

        Atomic   each lock by itself: one lost lock does not refuse the others.
        Raises   StoreUnavailable: nothing is known; try again.
        """
        ...

    def asked(self, held: Sequence[tuple[Ref, str]]) -> dict[Ref, str]:
        """Say which of these jobs (job, token) somebody wants to end, and why; it may be empty.

        Raises   StoreUnavailable: nothing is known; try again.
        """
        ...

    def close(self) -> None:
        """Give back what renewing needs."""
        ...


class Store(Protocol):
    """Where jobs live.

    Shape    on_taken_back: called, from any thread, when the store took jobs of a dead process
             back by itself; `recover` tells which. on_notice: called, from any thread, with a
             constant name and a text for people when the store is lost or back, or is set up in
             a way that may lose jobs. trips: how many calls of `finish` a worker gains by having
             under way at once: one where the store works in the same interpreter.
    """

    trips: int

    on_taken_back: set[Callable[[], None]]
    on_notice: set[Callable[[str, str], None]]

    @property
    def url(self) -> str:
        """Say where the jobs are, without secrets, for people to read."""
        ...

    async def open(self, *, anew: bool = False) -> None:
        """Connect, check and prepare; calling it again does nothing.

        With `anew` this event loop's connections are dropped first, whatever state they are in:
        calls under way may fail as if the store were out of reach.

        Raises   StoreUnavailable · StoreMismatch · StoreCorrupt · ConfigError: cannot be used.
        """
        ...

    async def close(self) -> None:
        """Let everything go; what was acknowledged stays."""
        ...

    # Produce.

    async def add(
        self, groups: Sequence[Sequence[NewJob]], *, now: Millis | None = None
    ) -> list[tuple[Added, ...] | TorilError]:
        """Store groups of jobs; a group is one job, one chunk of many, or a whole flow.

        A free job is placed in waiting (lifo: in front), prioritized, delayed, or, when it
        expects children, in waiting-children. A custom id that exists adds nothing (but attaches
        the existing job to a new parent). A dedup key that is held follows the job's Dedup.

        Atomic   each group: rows, places, events, wake-up; all of it or nothing.
        Emits    added, then waiting | delayed | waiting-children; duplicated; deduplicated;
                 removed (replaced).
        Raises   in the answer: ParentNotFound · JobExists · StoreFull · QueueFull; ConfigError: what `durable`
                 asks for cannot be had here; DurabilityNotConfirmed: stored, and not confirmed.
        """
        ...

    # Consume.

    async def claim(
        self, requests: Sequence[ClaimRequest], *, now: Millis | None = None
    ) -> list[Claimed]:
        """Take jobs under a lock, one answer a request; delayed jobs that are due come first.

        Order: waiting from the front, then prioritized by priority; first in, first out.
        Nothing is taken from a paused queue, above its concurrency, or within a rate limit.

        Atomic   each request: promote what is due, take, lock, count, events.
        Emits    waiting (due), active.
        """
        ...

    async def wait(self, queues: Sequence[str], *, timeout_ms: Millis) -> frozenset[str]:
        """Block until one of these queues may have a job to claim; empty after the timeout.

        A job that becomes due ends the wait in time. A hint, never a promise: claim decides.
        With a timeout of 0 it only looks, and names every queue that lets a job be claimed now.
        """
        ...

    def renewer(self) -> Renewer:
        """Give what renews locks from a thread."""
        ...

    async def finish(
        self,
        decisions: Sequence[Decision],
        requests: Sequence[ClaimRequest] = (),
        *,
        now: Millis | None = None,
    ) -> Finished:
        """Carry out decisions on claimed jobs, then claim as asked, in the same step.

        Completing or failing a job settles it with its parent (which may become ready, or fail
        with it, by the child's policy), releases its dedup key, stores a kept-back duplicate,
        applies retention, counts metrics, and writes the dead letter of a final failure.
        A decision that was carried out already under the same token is answered as before, as
        long as its job is kept. A lock whose time is over counts until somebody took the job.

        Atomic   each decision; the claims follow in the same call.
        Emits    completed | failed, retries-exhausted | delayed | waiting | waiting-children;
                 of a parent waiting; drained; of the claims active.
        Raises   in the answer: LockLost · JobNotFound · PendingChildren · FailedChildren.
        """
        ...

    async def recover(
        self,
        queues: Sequence[str],
        *,
        max_stalls: int = 3,
        dead: Mapping[str, str] = NOBODY,
        now: Millis | None = None,
    ) -> list[Recovered]:
        """Take active jobs back whose lock is gone or whose owner is known to be dead.

        They go to the front of waiting and count a stall. A job over `max_stalls` whose last
        crash was alone (or that was never tried alone when max_stalls is 0) is to fail at its
        next claim, and so is one whose options say so of its first crash. Empty queues: every
        queue. `dead`: workers known to have died, and how: their locks count no more, they are
        forgotten, and how they died is the reason of the try that was lost.

        Jobs of these queues that wait although their deadline, or their time to start, has
        passed fail, a bounded number a call, as `finish` fails one.

        Atomic   each job.    Emits    waiting, stalled; failed.
        """
        ...

    async def trim(
        self, queues: Sequence[str] = (), *, spare_ms: Millis = 0, now: Millis | None = None
    ) -> int:
        """Remove finished jobs over their age or count, and old events; bounded; return how many.

        A queue that emitted an event within the last `spare_ms` keeps its newest 1,000 events,
        whatever its limit: they tell those who wait how jobs ended that are not kept.

        Atomic   the batch. Emits nothing. Call again while it returns more than 0.
        """
        ...

    # Edit.

    async def update(
        self, patches: Sequence[JobPatch], *, now: Millis | None = None
    ) -> list[TorilError | None]:
        """Change data, progress, delay, priority, detach from the parent, or cancel.

        A cancelled job that waits, whatever for, fails at once, as `finish` fails one. Of one
        that is active the wish is noted: `Renewer.asked` tells its worker. However its try then
        ends, unless it completes, the job fails for good; so does it when it is taken back.

        Atomic   each patch.    Emits    progress; delayed; failed; of a released parent waiting.
        Raises   in the answer: JobNotFound · LockLost · WrongState (delay of a job not delayed,
                 cancelling a finished one) · ScheduleOwned (cancelling the next run of one).
        """
        ...

    async def log(
        self, lines: Sequence[LogLine], *, now: Millis | None = None
    ) -> list[int | TorilError]:
        """Append lines to the logs of jobs; answer how many lines each log has now.

        Raises   in the answer: JobNotFound · LockLost (a token was given).
        """
        ...

    async def retry(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Put finished jobs back to waiting or prioritized, at the end; keep or reset attempts.

        A child is linked to its parent again.    Emits    waiting.
        Raises   in the answer: WrongState · JobNotFound.
        """
        ...

    async def promote(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Make delayed jobs ready now.    Emits    waiting.

        Raises   in the answer: WrongState · JobNotFound.
        """
        ...

    async def remove(self, selection: Selection, *, now: Millis | None = None) -> Selected:
        """Take jobs away, with their logs, tries and (mode remove) their children.

        mode remove: also detaches softly and emits removed. drain, clean: pass over locked jobs
        and the next runs of schedules; clean emits one cleaned with the count. obliterate: all,
        and the queue itself when nothing is left; the queue must be paused, and `force` is
        needed while jobs are active. move: jobs that live in another store by now go silently,
        and no parent is told; what was added after `before_ms` is another job of the same id.

        Raises   in the answer: JobNotFound · JobLocked (names the locked job; nothing of that
                 tree was removed) · ScheduleOwned. WrongState: obliterate of a queue not paused.
        """
        ...

    # Read.

    async def get(self, refs: Sequence[Ref]) -> list[Record | None]:
        """Read jobs with their tries; None where there is none."""
        ...

    async def find(self, query: Query) -> Page:
        """List jobs, one page; ready jobs in the order in which they would run."""
        ...

    async def counts(self, queues: Sequence[str]) -> list[Counts]:
        """Count the jobs in each state; an unknown queue has none."""
        ...

    async def children(
        self, parent: Ref, *, outcome: str | None = None, offset: int = 0, limit: int = 1000
    ) -> Children:
        """List a job's children in the order they were added, with totals by outcome."""
        ...

    async def logs(
        self, job: Ref, *, offset: int = 0, limit: int = 1000, newest_first: bool = False
    ) -> Logs:
        """Read a page of a job's log."""
        ...

    async def metrics(self, queue: str, kind: str, *, since_ms: Millis = 0) -> Metrics:
        """Read how many jobs of a queue completed or failed in each minute."""
        ...

    async def queues(self) -> list[str]:
        """Name the queues that exist, sorted."""
        ...

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """List the workers that announced themselves and are not known to be gone."""
        ...

    # Queue.

    async def settings(self, queues: Sequence[str]) -> list[QueueSettings]:
        """Read what holds for these queues; an unknown queue has the defaults."""
        ...

    async def configure(
        self, queue: str, patch: SettingsPatch, *, now: Millis | None = None
    ) -> QueueSettings:
        """Change a queue's settings, creating the queue; return what holds now.

        Emits    paused, resumed (only when that changed).
        """
        ...

    # Schedule.

    async def put_schedule(
        self, draft: ScheduleDraft, *, now: Millis | None = None
    ) -> ScheduleInfo:
        """Create or replace a schedule and arm its next run: one job, `repeat:<id>:<next_ms>`.

        The run armed before is taken away unless it has started; the count of runs stays. One
        that is stored again unchanged changes nothing, whatever its run does. Where the times
        are the same but for limit and end, the run keeps its time: one that waits is replaced,
        and after one that has started `advance` arms the next.

        Emits    added, then delayed or waiting; removed, of a run that is taken away.
        """
        ...

    async def schedules(self, queue: str | None = None) -> list[ScheduleInfo]:
        """List schedules by their next run, soonest first."""
        ...

    async def advance(
        self, job: Ref, schedule_id: str, next_ms: Millis | None, *, now: Millis | None = None
    ) -> ScheduleInfo | None:
        """Arm the run after the one that `job` is; None when the schedule has moved on or is gone.

        Emits    added, then delayed or waiting. Calling it twice for a job arms one run.
        """
        ...

    async def drop_schedule(
        self, queue: str, schedule_id: str, *, now: Millis | None = None
    ) -> bool:
        """Forget a schedule and its armed run, unless that has started; say if it existed.

        Emits    removed.
        """
        ...

    # Move.

    async def pack(self, refs: Sequence[Ref]) -> list[Parcel | None]:
        """Read jobs with all that is kept of them; None where there is none."""
        ...

    async def restore(self, shipment: Shipment, *, now: Millis | None = None) -> Receipt:
        """Take jobs and schedules from another store as they stood there; give what came last.

        A job that came from there before stays as it is by now, and so does a schedule whose id
        is there. The shipment that came last changes nothing, and one of number 0 asks for it.

        Atomic   the shipment, with its receipt.
        Emits    added, then waiting | delayed | waiting-children; of finished jobs nothing.
        Raises   JobExists: another job has the id of one that is sent. WrongState: one is active,
                 or its number is not the next: somebody else moves this queue.
        """
        ...

    # Events.

    async def events(
        self, queue: str, after: str | None, *, limit: int = 500, timeout_ms: Millis = 0
    ) -> list[Event]:
        """Read events after this id, oldest first, blocking up to the timeout for the first one.

        Shape    after None: from the oldest that is kept.
        """
        ...

    async def last_event(self, queue: str) -> str:
        """Give the id of the newest event, to follow a queue from now on."""
        ...
