"""The Store protocol: few verbs, wide values, batches everywhere.

One verb is one atomic step. A batch is a list of independent groups: each group is all or
nothing and gets its own answer, so one lost lock never refuses its neighbours. Methods raise
only `toril.errors`; in a batch the error is in the answer's place. `now` is None outside
tests: the store's own clock.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Protocol

from toril._model.decide import Decision
from toril._model.diagnosis import Finding
from toril._model.faults import ErrorGroup
from toril._model.notes import Note, NoteKind
from toril._model.record import NewJob, Record, Ref
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
from toril._model.series import Series, SeriesQuery
from toril._model.times import Millis
from toril._model.transfer import Parcel, Receipt, Shipment
from toril._store.clock import Clock
from toril.errors import TorilError
from toril.events import Event

from .values import AddAnswer, Claimed, ClaimRequest, Finished, LogLine, Recovered, ScheduleDraft

NOBODY: Mapping[str, str] = {}


class Renewer(Protocol):
    """Renews locks from a thread of its own, blocking; the event loop is not involved."""

    def renew(
        self, held: Sequence[tuple[Ref, str]], lock_ms: Millis, worker: WorkerInfo | None = None
    ) -> list[Ref]:
        """Extend these locks (job, token) and announce the worker; return the jobs that are lost.

        Atomic   each lock separately: one lost lock does not refuse the others.
        Raises   StoreUnavailable: nothing is known; try again.
        """
        ...

    def asked(self, held: Sequence[tuple[Ref, str]]) -> dict[Ref, str]:
        """Return which of these jobs (job, token) somebody wants to end, and why; it may be empty.

        Raises   StoreUnavailable: nothing is known; try again.
        """
        ...

    def close(self) -> None:
        """Release what renewing needs."""
        ...


class Store(Protocol):
    """Where jobs live.

    Shape    on_taken_back: called, from any thread, when the store took jobs of a dead process
             back on its own; `recover` tells which. on_notice: called, from any thread, with a
             constant name and a text for people when the store is lost or back, or is set up in
             a way that may lose jobs. trips: how many calls of `finish` a worker gains by having
             under way at once: one within one interpreter. clock: the time of this process.
    """

    trips: int
    clock: Clock
    on_taken_back: set[Callable[[], None]]
    on_notice: set[Callable[[str, str], None]]

    @property
    def url(self) -> str:
        """Where the jobs are, without secrets, for people to read."""
        ...

    @property
    def switch_interval(self) -> float | None:
        """Return how often Python must let other threads run, in seconds; None: as usual."""
        ...

    @property
    def broken(self) -> str | None:
        """Return why this store can do nothing any more in this process, or None when it can."""
        ...

    async def open(self, *, anew: bool = False) -> None:
        """Connect, check and prepare; calling it again does nothing.

        With `anew` this event loop's connections are dropped first: calls under way may fail.
        Raises   StoreUnavailable · StoreMismatch · StoreCorrupt · ConfigError: cannot be used.
        """
        ...

    async def close(self) -> None:
        """Let everything go; what was acknowledged stays."""
        ...

    # Produce.

    async def add(
        self, groups: Sequence[Sequence[NewJob]], *, now: Millis | None = None
    ) -> list[tuple[AddAnswer, ...] | TorilError]:
        """Store groups of jobs; a group is one job, one chunk of many, or a whole flow.

        A free job is placed in waiting (lifo: in front), prioritized, delayed, or, when it
        expects children, in waiting-children. A custom id that exists adds nothing (but attaches
        the existing job to a new parent). A dedup key that is held follows the job's Dedup.

        Atomic   each group: rows, places, events, wake-up; all of it or nothing.
        Emits    added, then waiting | delayed | waiting-children; duplicated; deduplicated;
                 removed (replaced).
        Raises   in the answer: ParentNotFound · JobExists · StoreFull · QueueFull; ConfigError:
                 `durable` cannot be had; DurabilityNotConfirmed: stored, and not confirmed.
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

        A hint, never a promise: claim decides. With a timeout of 0 it only looks, and names
        every queue that lets a job be claimed now.
        """
        ...

    def renewer(self) -> Renewer:
        """Return what renews locks from a thread."""
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
        applies retention, counts metrics, and writes the dead letter of a final failure. A decision
        carried out before is answered as before. A lapsed lock counts until somebody took the job.

        Atomic   each decision; the claims follow in the same call.
        Emits    completed | failed, retries-exhausted | delayed | waiting | waiting-children;
                 of a parent waiting; drained; of the claims active.
        Raises   in the answer: LockLost · JobNotFound · PendingChildren · FailedChildren.
        """
        ...

    def await_word(self, processes: Collection[int]) -> None:
        """Leave jobs of these processes alone when they die: the caller will `recover` them."""
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
        next claim, and so is one whose options say so. Empty queues: every queue. `dead`: workers
        known to have died, and how: their locks count no more, and that is the lost try's reason.
        Jobs whose deadline or time to start has passed fail, a bounded number a call.

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

    async def series(self, query: SeriesQuery) -> list[Series]:
        """Read what happened to the jobs of queues over time; an unknown queue has no points.

        Counted in the step that does it, by toril's calls alone: what BullMQ's workers do is in
        `metrics`.
        """
        ...

    async def errors(
        self, queues: Sequence[str], *, since_ms: Millis = 0, limit: int = 500
    ) -> list[ErrorGroup]:
        """List groups of failed attempts that have one cause, of each queue the last seen first.

        The jobs of a group are found with `Query.fingerprint`.
        """
        ...

    async def queues(self) -> list[str]:
        """Return the names of the queues that exist, sorted."""
        ...

    async def workers(self, queue: str | None = None) -> list[WorkerInfo]:
        """List the workers that announced themselves and are not known to be gone."""
        ...

    # Notes.

    async def note(
        self,
        kind: NoteKind,
        body: str,
        *,
        id: str | None = None,
        instead_of: str | None = None,
        now: Millis | None = None,
    ) -> str:
        """Note JSON text of the whole store, or replace what was noted under this id; return the id.

        With `instead_of`, only if what is noted under the id is that text ("": nothing is noted);
        else nothing changes, and "" is returned. The oldest notes of a kind go when it has more
        than `KEPT`.
        """
        ...

    async def notes(
        self, kind: NoteKind, *, before: str | None = None, limit: int = 100
    ) -> list[Note]:
        """List notes of a kind, the newest first; `before`: only those made before this one.

        Notes with an id of their own are listed from the newest on.
        """
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

        The run armed before is removed unless it has started; the count of runs stays. One
        that is stored again unchanged changes nothing, whatever its run does. Where the times
        are the same but for limit and end, the run keeps its time: one that waits is replaced,
        and after one that has started `advance` arms the next. A paused one has no run.

        Emits    added, then delayed or waiting; removed, of a run that is removed.
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

    async def examine(self) -> list[Finding]:
        """Look at what endangers the jobs of an open store: versions, settings, damage, room."""
        ...

    async def backup(self, path: Path, *, force: bool) -> int:
        """Copy the store to a file; return its bytes. ConfigError: not a file, or a bad path."""
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
        """Return the id of the newest event, to follow a queue from now on."""
        ...
