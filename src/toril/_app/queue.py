"""`Queue`: BullMQ's model: a queue, a name, data; and everything that is asked of a whole queue.

Never here: options and chunks of what is added (`adding`), and running jobs.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple, TypeVar, Unpack, cast

from toril._handlers.dependencies import remember
from toril._handlers.handlers import HandlerOptions, Registry, make_handler
from toril._handlers.schedules import Schedule, ScheduleOptions, Schedules
from toril._jobs.background_loop import run
from toril._jobs.bulk import DEFAULT_HOW, How, Steered, Wanted, steer, sweep
from toril._jobs.cancel import cancel
from toril._jobs.chunks import StateName, States, read_states, repeat
from toril._jobs.dead_letters import replay_all, replay_some
from toril._jobs.enqueue import Enqueuer
from toril._jobs.events import Events
from toril._jobs.job import Job, find_job, listen, parent_of
from toril._jobs.node import NO_DATA, EnqueueOptions, Node, split_id, write_data
from toril._jobs.paging import list_jobs
from toril._jobs.turns import in_turns
from toril._model.checks import check_flag, check_list, check_text, check_whole, shown
from toril._model.notes import make_pause
from toril._model.options import Options, unknown_option
from toril._model.record import Ref, check_ref
from toril._model.report import (
    UNSET,
    Counts,
    Metrics,
    Page,
    Query,
    QueueSettings,
    Selection,
    SettingsPatch,
    Unset,
    WorkerInfo,
)
from toril._model.search import where_of
from toril._model.states import State
from toril._model.times import Duration, Millis, parse_rate, to_ms
from toril.errors import ConfigError

F = TypeVar("F", bound=Callable[..., Any])

Kind = Literal["completed", "failed"]

DEFAULT_NAME = "default"
MOST_A_PAGE = 1_000
_NAME_HINT = (
    'a job\'s name comes before its data: add("welcome", {...}); of an Enum pass its .value'
)


class AddOptions(EnqueueOptions, total=False):
    """The options of one `add`: those of a job, its id, and the job that waits for it."""

    parent: Job[Any] | Ref
    """The job that waits for this one; in a handler usually its own job."""


NewJobs = Iterable[tuple[str, object] | tuple[str, object, AddOptions]]


class FoundJobs(NamedTuple):
    """Jobs that were found, and where to go on; None: there are no more."""

    jobs: tuple[Job[Any], ...]
    next: str | None


class Queue:
    """A queue: jobs go in by name, handlers take them out; settings hold for all its workers."""

    def __init__(
        self, name: str, adder: Enqueuer, registry: Registry, schedules: Schedules
    ) -> None:
        self.name = name
        self._adder = adder
        self._context = adder.context
        self._registry = registry
        self._schedules = schedules

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"

    async def add(
        self,
        name: str | Mapping[str, object] = DEFAULT_NAME,
        data: object = NO_DATA,
        **options: Unpack[AddOptions],
    ) -> Job[Any]:
        """Add a job and return it; `created` is False if its id or dedup key was in use.

        Adds that run at the same time share one trip to the store. `add({...})` without a name
        adds a job named "default".

        Note:
            - Atomic: the job.
            - Emits: added, then waiting | delayed; duplicated; deduplicated.

        Raises:
            ConfigError: A bad option or data that cannot be stored.
            ParentNotFound: The parent does not exist.
            StoreFull: The store has no room left.
            QueueFull: The queue has as many waiting jobs as its `max_waiting`, and `on_full` is
                not "wait" or `full_timeout` is over.
            DurabilityNotConfirmed: Stored, but `durable` was not confirmed in time.

        Example:
            ```python
            job = await queue.add("welcome", {"to": "ada@example.com"}, delay="10m")
            ```
        """
        (job,) = await self._adder.add([self._node(name, data, options)])
        return job

    def add_sync(
        self,
        name: str | Mapping[str, object] = DEFAULT_NAME,
        data: object = NO_DATA,
        **options: Unpack[AddOptions],
    ) -> Job[Any]:
        """Add a job from blocking code; see `add` and `toril.sync`."""
        return run(self.add(name, data, **options))

    async def add_many(self, jobs: NewJobs) -> list[Job[Any]]:
        """Add many jobs in one call: (name, data) or (name, data, options); return them in order.

        Note:
            - Atomic: chunks of 250 jobs or 1 MB of data; with `on_full="wait"` of what fits.

        Raises:
            PartlyAdded: An error came after some chunks were stored; others as `add`.

        Example:
            ```python
            jobs = await queue.add_many([("welcome", {"to": "ada@example.com"})])
            ```
        """
        check_list(jobs, "jobs", hint="pass a list of (name, data) or (name, data, options)")
        return await self._adder.add(await in_turns(self._node_of, jobs))

    def _node_of(self, job: tuple[Any, ...]) -> Node:
        match job:
            case (str() as name, data):
                return self._node(name, data, {})
            case (str() as name, data, {**options}):
                return self._node(name, data, cast("AddOptions", options))
            case _:
                message = f"jobs: {shown(job)} is neither (name, data) nor (name, data, options)"
                raise ConfigError(message, field="jobs", value=job)

    def _node(self, name: str | Mapping[str, object], data: object, given: AddOptions) -> Node:
        if isinstance(name, Mapping) and data is NO_DATA:
            name, data = DEFAULT_NAME, name
        name = check_text(name, "name", hint=_NAME_HINT)
        job_id, options = split_id(given) if given else (None, given)
        above = given.get("parent")
        if "parent" in given:
            own = {key: value for key, value in options.items() if key != "parent"}
            options = cast("Options", own)
        return Node(
            queue=self.name,
            name=name,
            data=write_data(name, data),
            options=options,
            id=job_id,
            parent=None if above is None else parent_of(above),
        )

    # Running.

    def handler(
        self, name: str | None = None, **options: Unpack[HandlerOptions]
    ) -> Callable[[F], F]:
        """Decorate the handler of the jobs with one name, or with every name without a handler.

        Raises:
            ConfigError: The name has a handler already.
        """

        def register(function: F) -> F:
            remember(function, self._registry.container)
            self._registry.add(make_handler(function, queue=self.name, name=name, options=options))
            return function

        return register

    def schedule(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Declare a schedule that adds jobs to this queue; see `app.schedule`."""
        options.setdefault("queue", self.name)
        return self._schedules.declare(schedule_id, **options)

    # Asking.

    async def job(self, job_id: str) -> Job[Any] | None:
        """Return the job with this id, or None."""
        return await find_job(self._context, check_ref(self.name, job_id))

    async def jobs(
        self,
        state: States = None,
        *,
        name: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[Job[Any]]:
        """Iterate over jobs in these states, or in any; ready jobs in the order in which they start.

        Each job is given once, as it is when its turn comes; one that was there at the start and
        still is, is never passed over, whatever you or workers do to the others meanwhile.
        """
        check_flag(newest_first, "newest_first")
        if name is not None:
            check_text(name, "name")
        if limit is not None:
            check_whole(limit, "limit", 0)
        store = await self._context.ready()
        query = Query(
            queue=self.name, states=read_states(state), name=name, newest_first=newest_first
        )
        async for record in list_jobs(store, query, limit):
            yield Job(self._context, record)

    async def find(
        self,
        where: Mapping[str, str | int | float | bool],
        *,
        state: States = None,
        before: str | None = None,
        limit: int = 50,
    ) -> FoundJobs:
        """Return jobs with these values in their `index` fields, or tags, the newest first.

        Args:
            where: Values by field, such as {"user_id": 481}; {"tag": "beta"} finds a tag.
            state: The states to look in. None: any state.
            before: The `next` of the page before, to go on from there.
            limit: The largest number of jobs.

        Returns:
            The jobs, and where to go on. A page may have fewer jobs than `limit` although more
            follow: one call looks at 2,000 jobs at most.

        Raises:
            ConfigError: `where` names no field, or a value is not a text, number or truth value.

        Example:
            ```python
            found = await queue.find({"user_id": 481})
            ```
        """
        query = Query(
            queue=self.name,
            where=where_of(where),
            states=read_states(state),
            before=before,
            limit=check_whole(limit, "limit", 1, 1_000),
        )
        page = await (await self._context.ready()).find(query)
        return FoundJobs(tuple(Job(self._context, record) for record in page.jobs), page.next)

    async def page(
        self, state: States = None, *, offset: int = 0, limit: int = 50, newest_first: bool = False
    ) -> Page:
        """Return one page of jobs without their attempts; jobs that come and go move the others."""
        query = Query(
            queue=self.name,
            states=read_states(state),
            offset=check_whole(offset, "offset", 0),
            limit=check_whole(limit, "limit", 1, MOST_A_PAGE),
            newest_first=check_flag(newest_first, "newest_first"),
        )
        store = await self._context.ready()
        return await store.find(query)

    async def counts(self) -> Counts:
        """Count the jobs in each state; `ready` is waiting and prioritized together."""
        store = await self._context.ready()
        (counts,) = await store.counts([self.name])
        return counts

    async def metrics(self, kind: Kind = "completed", *, since: Duration | None = None) -> Metrics:
        """Return how many jobs completed or failed in each minute."""
        if kind not in ("completed", "failed"):
            raise unknown_option(kind, ("completed", "failed"), where="metrics", field="kind")
        since_ms = 0 if since is None else self._now_ms() - to_ms(since, field="since")
        store = await self._context.ready()
        return await store.metrics(self.name, kind, since_ms=since_ms)

    async def workers(self) -> list[WorkerInfo]:
        """Return the workers of this queue, in every process."""
        store = await self._context.ready()
        return await store.workers(self.name)

    def events(self, after: str | None = None) -> Events:
        """Return an iterator over the events of this queue, from now on or after an event's id."""
        return listen(self._context, [self.name], after)

    async def dedup_job(self, key: str) -> Job[Any] | None:
        """Return the job that holds a dedup key, or None if the key is free."""
        check_text(key, "key")
        store = await self._context.ready()
        page = await store.find(Query(queue=self.name, dedup=key, limit=1))
        return Job(self._context, page.jobs[0]) if page.jobs else None

    async def release_dedup(self, key: str) -> bool:
        """Free a dedup key; return whether a job held it."""
        job = await self.dedup_job(key)
        if job is None:
            return False
        await job.release_dedup()
        return True

    def _now_ms(self) -> Millis:
        return self._context.store.clock.now_ms()

    async def settings(self) -> QueueSettings:
        """Return the stored settings of this queue."""
        await self._adder.ready([self.name])
        (settings,) = await self._context.store.settings([self.name])
        return settings

    async def pause(
        self, *, reason: str = "", until: datetime | Duration | None = None, by: str = ""
    ) -> None:
        """Pause the queue for every worker: nothing new starts, running jobs continue.

        Args:
            reason: Why; it is shown with the queue.
            until: When the queue resumes: a moment, or a duration from now. None: at `resume`.
            by: Who pauses it.

        Example:
            ```python
            await queue.pause(reason="provider down", until="30m", by="ann")
            ```
        """
        note = make_pause(by, reason, until, self._now_ms())
        await self._configure(SettingsPatch(paused=True, pause=note))

    async def resume(self) -> None:
        """Resume the queue."""
        await self._configure(SettingsPatch(paused=False))

    async def is_paused(self) -> bool:
        """Return whether the queue is paused, for every process."""
        return (await self.settings()).paused

    async def limit(
        self,
        *,
        concurrency: int | Unset | None = UNSET,
        rate: str | Unset | None = UNSET,
        max_waiting: int | Unset | None = UNSET,
    ) -> QueueSettings:
        """Change the limits of the queue, for all processes together.

        What is not given stays; None removes a limit.

        Example:
            ```python
            await queue.limit(rate="200/60s", concurrency=5)
            ```
        """
        pair = rate if rate is None or isinstance(rate, Unset) else parse_rate(rate)
        patch = SettingsPatch(concurrency=concurrency, rate=pair, max_waiting=max_waiting)
        return await self._configure(patch)

    async def rate_limit(self, duration: Duration) -> None:
        """Start no job of this queue for this duration; 0 lifts the limit."""
        await self._configure(SettingsPatch(limit_for_ms=to_ms(duration, field="duration")))

    async def rate_limit_ttl(self) -> float:
        """Return the seconds until the rate limit lifts; 0 if it is not active."""
        until = (await self.settings()).limited_until
        return 0.0 if until is None else max(until - self._now_ms(), 0) / 1000

    async def _configure(self, patch: SettingsPatch) -> QueueSettings:
        await self._adder.ready([self.name])
        return await self._context.store.configure(self.name, patch)

    async def remove(self, job_id: str, *, children: bool = True) -> None:
        """Remove one job; see `Job.remove`."""
        check_ref(self.name, job_id)
        check_flag(children, "children")
        store = await self._context.ready()
        selection = Selection(queue=self.name, ids=(job_id,), children=children, limit=1)
        selected = await store.remove(selection)
        if job_id in selected.refused:
            raise selected.refused[job_id]

    async def cancel(self, *ids: str, reason: str = "", children: bool = True) -> list[str]:
        """Cancel jobs; return the ids of those that fail because of it. See `Job.cancel`.

        Those that have finished, are gone, or are the next run of a schedule are omitted.
        """
        refs = [check_ref(self.name, job_id) for job_id in ids]
        refused = await cancel(self._context, refs, reason, children=children)
        return [ref.id for ref in refs if ref not in refused]

    def cancel_sync(self, *ids: str, reason: str = "", children: bool = True) -> list[str]:
        """Cancel from blocking code; see `cancel` and `toril.sync`."""
        return run(self.cancel(*ids, reason=reason, children=children))

    async def steer(self, verb: str, *ids: str, how: How = DEFAULT_HOW) -> Steered:
        """Retry, promote, remove or cancel jobs; report each one that was refused, with the reason.

        Note:
            - Atomic: each job.

        Raises:
            ConfigError: There is no such verb.
        """
        for job_id in ids:
            check_ref(self.name, job_id)
        return await steer(self._context, self.name, verb, ids, how)

    async def sweep(self, verb: str, wanted: Wanted, how: How = DEFAULT_HOW) -> Steered:
        """Apply `steer` to all jobs that match now, each once.

        Note:
            - Atomic: each job.

        Raises:
            ConfigError: There is no such verb.
        """
        return await sweep(self._context, self.name, verb, wanted, how)

    async def drain(self, *, delayed: bool = False) -> int:
        """Remove all waiting jobs, with `delayed` the delayed ones too; return how many."""
        states: list[StateName] = (
            ["ready", "delayed"] if check_flag(delayed, "delayed") else ["ready"]
        )
        return len(await self._remove(states, mode="drain"))

    async def clean(
        self, state: States, *, older_than: Duration = 0, limit: int | None = None
    ) -> list[str]:
        """Remove jobs of a state that finished, or were added, this long ago; return their ids.

        Note:
            - Emits: cleaned, once a chunk.
        """
        before_ms = self._now_ms() - to_ms(older_than, field="older_than")
        if limit is not None:
            check_whole(limit, "limit", 0)
        return await self._remove(state, mode="clean", before_ms=before_ms, most=limit)

    async def obliterate(self, *, force: bool = False) -> None:
        """Delete the queue and every job in it.

        Raises:
            JobLocked: Jobs run, and `force` was not given.
        """
        check_flag(force, "force")
        await self.pause()
        await self._remove(None, mode="obliterate", force=force)

    async def retry_all(self, state: State | StateName = State.FAILED) -> int:
        """Run all failed, or completed, jobs again; return how many."""
        selection = Selection(queue=self.name, states=read_states(state))
        store = await self._context.ready()
        return len(await repeat(store.retry, selection))

    async def replay(self, *ids: str, limit: int | None = None) -> list[Job[Any]]:
        """Run the jobs of the dead letters in this queue again; return them.

        A job that is kept is retried with all its attempts; one that is gone is added again, at
        once, from its letter, which is then removed. The letter of a job that is retried goes
        when the job has completed. Without ids: every letter that waits, oldest first, at most
        `limit`, those omitted whose jobs run already. The limits of the jobs' queues hold.

        Raises:
            JobError: This is no dead letter.
            JobNotFound: There is no such job.
            JobLocked: Somebody reads the letter of a job that is gone.
            WrongState: The job has not failed any more, or has a newer letter.
        """
        if limit is not None:
            check_whole(limit, "limit", 0)
        for letter_id in ids:
            check_ref(self.name, letter_id)
        if ids:
            return await replay_some(self._context, self.name, ids[:limit])
        return await replay_all(self._context, self.name, limit)

    async def promote_all(self) -> int:
        """Start all delayed jobs now; return how many."""
        store = await self._context.ready()
        selection = Selection(queue=self.name, states=(State.DELAYED,))
        return len(await repeat(store.promote, selection))

    async def _remove(self, state: States, *, most: int | None = None, **how: Any) -> list[str]:
        selection = Selection(queue=self.name, states=read_states(state), **how)
        store = await self._context.ready()
        return await repeat(store.remove, selection, most=most)
