"""`Job`, the handle that a user holds: to ask, to wait, to steer, and inside a handler to report.

It knows the Store protocol and a record, never `Queue`. One is made for every claimed job, so
making one must cost next to nothing: everything else is worked out when it is asked for.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Sequence
from contextvars import ContextVar
from datetime import datetime
from typing import Any, Generic, TypeVar

import msgspec
from typing_extensions import TypeVar as JobTypeVar

from toril._model.checks import check_flag, check_kind, check_whole
from toril._model.headers import read_headers
from toril._model.options import MAX_PRIORITY
from toril._model.record import Claim, Record, Ref, Try, check_ref
from toril._model.report import JobPatch, Logs, Selected, Selection
from toril._model.states import State
from toril._model.times import Duration, delay_ms, moment, to_ms
from toril._store.threads import ForkSafeLock
from toril.errors import JobFailed, JobNotFound, ResultTimeout, TaskError, TorilError

from .background_loop import run
from .cancel import cancel
from .children import ChildrenView, Dependencies, read_children
from .events import After, Events, JobEvents
from .expire import end_if_overdue
from .limits import log_line
from .payload import decode, encode
from .session import Session
from .thread_updates import ThreadUpdates

# A bare `Job` is a Job[object]: as Job[Any] it would make type checkers see Any in whole tasks.
R = JobTypeVar("R", covariant=True, default=object)
U = TypeVar("U")

CURRENT: ContextVar["Job[Any] | None"] = ContextVar("toril_job", default=None)
_CREATING = ForkSafeLock()


def current_job() -> "Job[Any]":
    """Return the job that the calling code runs for.

    Raises:
        TaskError: No handler is running here.
    """
    job = CURRENT.get()
    if job is None:
        raise TaskError(
            "no job runs here: current_job() works inside a handler and in what it awaits"
        )
    return job


class Job(Generic[R]):
    """A job in a store.

    Its attributes are as of when it was read; `refresh()` reads it again. A handler also has the
    attempt, `progress` and `log`, which are refused once another worker has the job. Methods raise
    `JobNotFound` if the job is gone, and `WrongState` if they do not apply in its state.
    """

    __slots__ = (
        "_busy", "_cancelled", "_claim", "_context", "_data", "_decode", "_quiet", "created",
        "record",
    )  # fmt: skip

    def __init__(
        self,
        context: Session,
        record: Record,
        claim: Claim | None = None,
        *,
        decode: Callable[[str], R] | None = None,
        created: bool = True,
    ) -> None:
        self._context = context
        self.record = record
        self._claim = claim
        self._decode = decode
        self.created = created
        self._busy = 0
        self._cancelled: threading.Event | None = None
        self._quiet: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        record = self.record
        return f"<Job {record.queue}:{record.id} {record.name!r} {record.state}>"

    # What is known.

    @property
    def id(self) -> str:
        """The id, unique within its queue."""
        return self.record.id

    @property
    def name(self) -> str:
        """The job's name."""
        return self.record.name

    @property
    def queue(self) -> str:
        """The name of the job's queue."""
        return self.record.queue

    @property
    def ref(self) -> Ref:
        """Queue and id together, for arguments such as `parent`."""
        return Ref(self.record.queue, self.record.id)

    @property
    def data(self) -> Any:
        """The data, decoded from JSON once."""
        try:
            return self._data
        except AttributeError:
            self._data: Any = decode(self.record.data, "data", self.ref)
            return self._data

    @property
    def headers(self) -> dict[str, str]:
        """The headers: text by name, as `headers=` or BullMQ's telemetry stored it."""
        return read_headers(self.record.options.metadata)

    @property
    def error(self) -> str | None:
        """The reason of the last failure."""
        return self.record.reason

    @property
    def end(self) -> str | None:
        """How the job failed, as `JobFailed.end` does; None: it has not, as of the last
        `refresh()`.
        """
        return self.record.end

    @property
    def stack(self) -> tuple[str, ...]:
        """The stack of each failed attempt, newest last."""
        return self.record.stack

    @property
    def cancelled_reason(self) -> str | None:
        """Why somebody wanted the job to end, which may be empty; None: nobody did."""
        return self.record.cancelled

    @property
    def attempts(self) -> tuple[Try, ...]:
        """The attempts that did not complete the job, as of the last `refresh()`."""
        return self.record.tries

    @property
    def last_progress(self) -> Any:
        """The progress last reported, None when there was none."""
        text = self.record.progress
        return None if text is None else decode(text, "progress", self.ref)

    @property
    def created_at(self) -> datetime:
        """When the job was added, in UTC."""
        return moment(self.record.created_ms)

    @property
    def started_at(self) -> datetime | None:
        """When the latest attempt began, in UTC."""
        return None if self.record.started_ms is None else moment(self.record.started_ms)

    @property
    def finished_at(self) -> datetime | None:
        """When the job completed or failed for good, in UTC."""
        return None if self.record.finished_ms is None else moment(self.record.finished_ms)

    # What can be asked.

    async def refresh(self) -> "Job[R]":
        """Read the job from the store again, and return it."""
        (record,) = await self._context.store.get([self.ref])
        if record is None:
            raise self._not_found()
        self.take(record)
        return self

    async def state(self) -> State:
        """Return the current state; a waiting job whose deadline has passed fails first.

        Raises:
            JobNotFound: It is not kept any more, or never was.
        """
        await self.refresh()
        if await end_if_overdue(self._context.store, self.record):
            await self.refresh()
        return self.record.state

    async def result(self, timeout: Duration | None = None) -> R:
        """Wait until the job has ended, and return its result.

        Raises:
            JobFailed: The job failed permanently.
            ResultTimeout: The job did not end in time; it continues.
            JobNotFound: It is gone, and no event that is still kept tells how it ended.
        """
        limit = None if timeout is None else to_ms(timeout, field="timeout") / 1000
        waiting = asyncio.timeout(limit)
        try:
            async with waiting:
                settled = await self._context.results.settled(self.ref)
        except TimeoutError:
            if not waiting.expired():
                raise
            raise ResultTimeout(
                f"job {self.id!r} of queue {self.queue!r} did not finish within {timeout!r}; "
                "it goes on",
                queue=self.queue,
                job_id=self.id,
            ) from None
        if settled.reason is not None:
            raise JobFailed(
                settled.reason,
                stack=settled.stack,
                end=settled.end,
                queue=self.queue,
                job_id=self.id,
            )
        if settled.value is None:
            raise self._not_found()
        if self._decode is not None:
            return self._decode(settled.value)
        result: R = decode(settled.value, "result", self.ref)
        return result

    async def logs(self, *, offset: int = 0, limit: int = 1000, newest_first: bool = False) -> Logs:
        """Return a page of the job's log."""
        check_whole(offset, "offset", 0)
        check_whole(limit, "limit", 0)
        check_flag(newest_first, "newest_first")
        return await self._context.store.logs(
            self.ref, offset=offset, limit=limit, newest_first=newest_first
        )

    def events(self, after: str | None = None) -> JobEvents:
        """Iterate over the job's events, from now on or after an event's id, until it is removed."""
        return JobEvents(listen(self._context, [self.queue], after, job_id=self.id))

    async def children(self) -> ChildrenView:
        """Return the job's children: results by name, by queue or by id, failures and counts."""
        return await read_children(self._context.store, self.ref)

    async def children_values(self) -> dict[str, Any]:
        """Return the results of the children that completed, by "queue:id"."""
        return (await self.children()).values

    async def dependencies(self) -> Dependencies:
        """Return how many of the job's children are pending, completed, failed and ignored."""
        page = await self._context.store.children(self.ref, limit=1)
        return Dependencies(
            pending=page.pending,
            completed=page.completed,
            failed=page.failed,
            ignored=page.ignored,
        )

    # What can be changed.

    async def update(self, data: object) -> None:
        """Replace the data.

        Raises:
            LockLost: This is a handler, and another worker holds the job.
        """
        where = f"data of job {self.id!r}"
        text = self._context.limits.check(encode(data, where=where), self.queue, where)
        await self._patch(data=text)
        self.take(msgspec.structs.replace(self.record, data=text))

    async def set_priority(self, priority: int, *, lifo: bool = False) -> None:
        """Change the priority; with `lifo` a waiting job moves to the front of its priority."""
        check_whole(priority, "priority", 0, MAX_PRIORITY)
        await self._patch(priority=priority, lifo=check_flag(lifo, "lifo"))

    async def reschedule(self, delay: Duration) -> None:
        """Start a delayed job `delay` from now instead."""
        await self._patch(delay_ms=delay_ms(delay, stacklevel=3))

    async def detach(self) -> None:
        """Detach the job from its parent, which no longer waits for it."""
        await self._patch(parent=None)

    async def release_dedup(self) -> None:
        """Free the dedup key that this job holds."""
        await self._patch(dedup=None)

    async def retry(self, *, reset_attempts: bool = False) -> None:
        """Run a finished job again, with the attempts that it has left or with all of them."""
        selection = self._selection(reset_attempts=check_flag(reset_attempts, "reset_attempts"))
        await self._steer(self._context.store.retry(selection))

    async def promote(self) -> None:
        """Start a delayed job now."""
        await self._steer(self._context.store.promote(self._selection()))

    async def remove(self, *, children: bool = True) -> None:
        """Remove the job, and its children unless `children=False`.

        Raises:
            JobLocked: It or a child is running; nothing was removed.
            ScheduleOwned: It is the next run of a schedule.
        """
        selection = self._selection(children=check_flag(children, "children"))
        await self._steer(self._context.store.remove(selection))

    async def cancel(self, reason: object = "", *, children: bool = True) -> None:
        """Cancel the job: a waiting one fails at once, a running one is told to stop.

        So do its children, unless they are to stay. A handler that completes before it hears of
        this completes the job. Cancelling again is no error.

        Note:
            - Emits: failed.    Raises   WrongState: it has finished. ScheduleOwned.
              JobNotFound.
        """
        refused = await cancel(self._context, [self.ref], reason, children=children)
        if self.ref in refused:
            raise refused[self.ref]

    def cancel_sync(self, reason: object = "", *, children: bool = True) -> None:
        """Cancel from blocking code; see `cancel` and `toril.sync`."""
        run(self.cancel(reason, children=children))

    # Inside a handler.

    @property
    def attempt(self) -> int:
        """The number of the current or next attempt, from 1; attempts that do not count are omitted."""
        return self.record.attempts_made + 1

    @property
    def attempts_made(self) -> int:
        """The number of attempts that were used."""
        return self.record.attempts_made

    @property
    def attempts_left(self) -> int:
        """The number of attempts that remain after the current one."""
        return max(self.record.options.attempts - self.record.attempts_made - 1, 0)

    @property
    def run(self) -> int:
        """The number of this start of the job, from 1; every start counts."""
        return self.record.runs

    @property
    def worker(self) -> str | None:
        """The name of the worker that runs the job."""
        return self.record.worker

    @property
    def token(self) -> str | None:
        """The token of the lock on the job; None outside of handlers."""
        return None if self._claim is None else self._claim.token

    @property
    def cancelled(self) -> threading.Event:
        """An event that is set when the handler should stop, for whatever reason."""
        if self._cancelled is None:
            with _CREATING:
                if self._cancelled is None:
                    self._cancelled = threading.Event()
        return self._cancelled

    def progress(self, value: object) -> Awaitable[None]:
        """Report progress: any JSON value.

        It is on its way when this returns; await it to know that it is stored. In a `def`
        handler there is nothing to await.

        Note:
            - Emits: progress.    Raises   (awaited) LockLost · JobNotFound.
        """
        record = self.record
        where = f"progress of job {record.id!r}"
        text = self._context.limits.check(encode(value, where=where), record.queue, where)
        patch = JobPatch(queue=record.queue, id=record.id, token=self.token, progress=text)
        return self._send(lambda: self._context.patches.send(patch))

    def log(self, text: str) -> Awaitable[int]:
        """Append a line to the log; awaited, it returns how many lines there are.

        A log keeps its newest `keep_logs` lines (1,000), a line its first 10,000 characters.
        """
        line = log_line(self.record, text, self.token)
        return self._send(lambda: self._context.lines.send(line))

    def told_to_end(self, why: str) -> None:
        """Note that somebody wants the job to end; for the worker."""
        self.record = msgspec.structs.replace(self.record, cancelled=why)

    async def written(self) -> None:
        """Wait until every progress and log line is stored or refused; for the worker."""
        while self._busy:
            if self._quiet is None:
                self._quiet = asyncio.get_running_loop().create_future()
            await asyncio.shield(self._quiet)

    # How.

    def _send(self, send: Callable[[], "asyncio.Future[U]"]) -> Awaitable[U]:
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._send_over(send)
        return self._track(send())

    def _send_over(self, send: Callable[[], "asyncio.Future[U]"]) -> Awaitable[U]:
        loop = self._context.loop
        if loop is None:
            raise TaskError(
                f"nothing can be reported for job {self.id!r} from a thread without an event "
                "loop, unless it is the job's own handler: use toril.sync.run(...)"
            )
        sent = ThreadUpdates[U]()
        loop.call_soon_threadsafe(lambda: sent.follow(self._track(send())))
        return sent

    def _track(self, future: "asyncio.Future[U]") -> "asyncio.Future[U]":
        self._busy += 1
        future.add_done_callback(self._landed)
        return future

    def _landed(self, future: "asyncio.Future[Any]") -> None:
        self._busy -= 1
        # Nobody may await this write: asking for its error says that this is no oversight.
        if not future.cancelled():
            future.exception()
        if not self._busy and self._quiet is not None:
            self._quiet.set_result(None)
            self._quiet = None

    async def _patch(self, **changes: Any) -> None:
        patch = JobPatch(queue=self.queue, id=self.id, token=self.token, **changes)
        await self._context.patches.put(patch)

    def _selection(self, **how: Any) -> Selection:
        return Selection(queue=self.queue, ids=(self.id,), limit=1, **how)

    async def _steer(self, asked: Awaitable[Selected]) -> None:
        refused = (await asked).refused
        if self.id in refused:
            raise refused[self.id]

    def take(self, record: Record) -> None:
        """Tell from now on what this record says; for the worker."""
        self.record = record
        if hasattr(self, "_data"):
            del self._data

    def _not_found(self) -> TorilError:
        return JobNotFound(
            f"there is no job {self.id!r} in queue {self.queue!r}: it was removed, or it "
            "finished and is not kept (see keep=)",
            queue=self.queue,
            job_id=self.id,
        )


def parent_of(parent: "Job[Any] | Ref") -> Ref:
    """Return where a job's parent is, of what was given as parent."""
    given = parent.ref if isinstance(parent, Job) else parent
    ref = check_kind(given, Ref, "parent", hint="pass the Job that add() or queue.job(id) returned")
    return check_ref(ref.queue, ref.id)


async def find_job(context: Session, ref: Ref) -> Job[Any] | None:
    """Read a job; None where there is none."""
    store = await context.ready()
    (record,) = await store.get([ref])
    return None if record is None else Job(context, record)


def listen(
    context: Session, queues: Sequence[str], after: After, *, job_id: str | None = None
) -> Events:
    """Make what reads the events of these queues, or of one job, each able to find its job."""
    return Events(
        context,
        queues,
        after,
        find=lambda event: find_job(context, Ref(event.queue, event.job_id)),
        job_id=job_id,
    )
