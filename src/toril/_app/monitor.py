"""`Monitor`: what the store records over time, for dashboards and alerts.

Never here: judging it (diagnostics), or what is stored now (queue, overview).
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import msgspec

from toril._jobs.chunks import States, read_states
from toril._jobs.clock import now_ms
from toril._jobs.job import Job
from toril._jobs.session import Session
from toril._model.checks import check_text, check_whole
from toril._model.faults import MOST_GROUPS, ErrorGroup
from toril._model.notes import AuditEntry, Mark, Note, NoteKind, Operation, check_note
from toril._model.options import unknown_option
from toril._model.record import Ref, check_queue_name, check_ref
from toril._model.report import Children, Query
from toril._model.series import STEPS, Series, SeriesQuery, StepName
from toril._model.stored import or_else, reader
from toril._model.times import Millis
from toril._store.protocol import Store

from .prometheus import metrics_text

N = TypeVar("N", Mark, AuditEntry, Operation)


class Monitor:
    """What was recorded of queues, jobs and workers over time; `app.monitor` is one.

    Everything is bounded, and recorded in the step that it is about.
    """

    def __init__(self, context: Session) -> None:
        self._context = context

    # Jobs.

    async def jobs(self, refs: Sequence[Ref]) -> list[Job[Any] | None]:
        """Return the jobs at these places, in one call; None where there is none."""
        places = [check_ref(ref.queue, ref.id) for ref in refs]
        store = await self._context.ready()
        found = await store.get(places) if places else []
        return [None if each is None else Job(self._context, each) for each in found]

    async def children(self, parent: Ref, *, offset: int = 0, limit: int = 100) -> Children:
        """Return one page of a job's children in the order they were added, with totals."""
        check_whole(offset, "offset", 0)
        check_whole(limit, "limit", 1)
        store = await self._context.ready()
        place = check_ref(parent.queue, parent.id)
        return await store.children(place, offset=offset, limit=limit)

    # Counters.

    async def series(
        self,
        *queues: str,
        task: str | None = None,
        since_ms: Millis,
        until_ms: Millis | None = None,
        step: StepName = "5min",
    ) -> list[Series]:
        """Return how many jobs were added, completed and failed, and how long they took, over time.

        Jobs are counted when they are added and when an attempt ends. What BullMQ's workers do is
        not counted here, but in `queue.metrics()`.

        Args:
            *queues: Names of queues. None: all that are stored.
            task: The name of the jobs to count. None: all jobs.
            since_ms: The start, in ms since 1970.
            until_ms: The end, in ms since 1970. None: now.
            step: "minute" and "5min" are kept for 48 hours, "hour" for 30 days, "day" for 400 days.

        Returns:
            A `Series` for each queue, in the order of the names. `Series.sum` adds them up.

        Raises:
            ConfigError: A name or the step is not valid.

        Example:
            ```python
            [mail] = await app.monitor.series("mail", since_ms=start)
            print(sum(point.failed for point in mail.points))
            ```
        """
        if step not in STEPS:
            raise unknown_option(step, tuple(STEPS), where="series", field="step")
        store = await self._context.ready()
        query = SeriesQuery(
            queues=await _names(store, queues),
            task=None if task is None else check_text(task, "task"),
            step=step,
            since_ms=check_whole(since_ms, "since_ms", 0),
            until_ms=now_ms() + 1 if until_ms is None else check_whole(until_ms, "until_ms", 0),
        )
        return await store.series(query) if query.queues else []

    async def prometheus(self, *, only: Callable[[str], bool] | None = None) -> str:
        """Return the state of queues, workers and schedules as Prometheus text.

        Counters and histograms count from the start of the day, in UTC: `rate()` and `increase()`
        read that as a restart. What BullMQ's workers do is not in them.

        Args:
            only: Which queues may be shown, by name. None: all.

        Example:
            ```python
            @web.get("/metrics")
            async def metrics() -> PlainTextResponse:
                return PlainTextResponse(await app.monitor.prometheus())
            ```
        """
        return await metrics_text(await self._context.ready(), only or _every)

    async def tasks(self, *queues: str) -> dict[str, tuple[str, ...]]:
        """Return the names of jobs that each of these queues, or of all, is counted by.

        A queue is counted by at most 50 names; jobs of further names are counted as "(other)".
        """
        now = now_ms()
        found = await self.series(*queues, since_ms=now, until_ms=now)
        return {each.queue: each.tasks for each in found}

    async def fields(self, *queues: str) -> dict[str, tuple[str, ...]]:
        """Return the names of the fields by which jobs of each of these queues, or of all, are found.

        See `index` and `tags` of a job's options, and `queue.find`.
        """
        store = await self._context.ready()
        names = await _names(store, queues)
        pages = [await store.find(Query(queue=name, fields_only=True)) for name in names]
        return {name: page.ids for name, page in zip(names, pages, strict=True)}

    # Errors.

    async def errors(
        self, *queues: str, since_ms: Millis = 0, limit: int = 500
    ) -> list[ErrorGroup]:
        """Return groups of failed attempts that have one cause, those seen last first.

        Attempts belong together if the type of the error, the innermost function of your own code
        and the message are the same; numbers, ids and quoted text in the message do not count.
        A queue keeps the 500 groups seen last.

        Args:
            *queues: Names of queues. None: all that are stored.
            since_ms: Only groups that were seen since then, in ms since 1970.
            limit: The largest number of groups.

        Raises:
            ConfigError: A name or number is not valid.

        Example:
            ```python
            for group in await app.monitor.errors():
                print(group.count, group.kind, group.place, group.message)
            ```
        """
        check_whole(since_ms, "since_ms", 0)
        check_whole(limit, "limit", 1, MOST_GROUPS)
        store = await self._context.ready()
        names = await _names(store, queues)
        found = await store.errors(names, since_ms=since_ms, limit=limit) if names else []
        return sorted(found, key=lambda group: group.last_ms, reverse=True)[:limit]

    async def error_jobs(
        self,
        queue: str,
        fingerprint: str,
        *,
        state: States = "failed",
        offset: int = 0,
        limit: int = 50,
    ) -> list[Job[Any]]:
        """Return jobs whose newest failed attempt has this cause, the last to fail first.

        Args:
            queue: The name of the queue.
            fingerprint: The fingerprint of the group.
            state: The states to look in. None: any state.
            offset: How many jobs to pass over.
            limit: The largest number of jobs.

        Raises:
            ConfigError: A name or number is not valid.
        """
        query = Query(
            queue=check_queue_name(queue),
            states=read_states(state),
            fingerprint=check_text(fingerprint, "fingerprint"),
            offset=check_whole(offset, "offset", 0),
            limit=check_whole(limit, "limit", 1, 1_000),
        )
        page = await (await self._context.ready()).find(query)
        return [Job(self._context, record) for record in page.jobs]

    # Notes.

    async def mark(self, label: str, *, by: str = "") -> Mark:
        """Mark this moment, such as a deployment, for charts; the newest 1,000 marks are kept.

        A worker with a `version` marks its start itself if that version is new.

        Raises:
            ConfigError: The label is empty or not text.

        Example:
            ```python
            await app.monitor.mark("v2.14")
            ```
        """
        mark = Mark(label=check_text(label, "label"), by=by, at_ms=now_ms())
        return replace(mark, id=await self._note("marks", mark))

    async def marks(self, *, since_ms: Millis = 0, limit: int = 200) -> list[Mark]:
        """Return the marks made since a time, in ms since 1970; the newest first."""
        notes = await self._notes("marks", None, limit)
        found = [_made(Mark, note) for note in notes]
        return [mark for mark in found if mark is not None and mark.at_ms >= since_ms]

    async def audit(self, entry: AuditEntry) -> str:
        """Add an entry to the audit log and return its id; the newest 10,000 entries are kept.

        Raises:
            ConfigError: The entry has more than 65,536 characters as JSON.
        """
        return await self._note("audit", replace(entry, at_ms=entry.at_ms or now_ms()))

    async def audit_log(self, before: str | None = None, limit: int = 100) -> list[AuditEntry]:
        """Return entries of the audit log, the newest first; `before`: older than this id."""
        notes = await self._notes("audit", before, limit)
        return [entry for note in notes if (entry := _made(AuditEntry, note)) is not None]

    async def save_operation(self, operation: Operation) -> None:
        """Store how far work on many jobs is; replace what was stored under its id.

        The newest 200 operations are kept.

        Raises:
            ConfigError: The operation has more than 65,536 characters as JSON.
        """
        await self._note("operations", operation, check_text(operation.id, "id"))

    async def operations(self, limit: int = 200) -> list[Operation]:
        """Return the operations that were stored, those that began last first."""
        notes = await self._notes("operations", None, limit)
        return [each for note in notes if (each := _made(Operation, note)) is not None]

    async def _note(self, kind: NoteKind, value: object, id: str | None = None) -> str:
        body = check_note(kind, msgspec.json.encode(value).decode())
        return await (await self._context.ready()).note(kind, body, id=id)

    async def _notes(self, kind: NoteKind, before: str | None, limit: int) -> list[Note]:
        check_whole(limit, "limit", 1, 1_000)
        store = await self._context.ready()
        return await store.notes(kind, before=before, limit=limit)


def _every(_: str) -> bool:
    return True


def _made(kind: type[N], note: Note) -> N | None:
    """Return a note as a value; None: it cannot be read."""
    made = or_else(reader(kind), note.body, None)
    return None if made is None else replace(made, id=note.id)


async def _names(store: Store, queues: Sequence[str]) -> tuple[str, ...]:
    """Return these names of queues, each once, or those of all queues that are stored."""
    for queue in queues:
        check_queue_name(queue)
    return tuple(dict.fromkeys(queues)) or tuple(await store.queues())
