"""`Queue`: BullMQ's model: a queue, a name, data; and everything that is asked of a whole queue.

Never here: options and chunks of what is added (`adding`), and running jobs.
"""

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar, Unpack, cast

from toril._model.checks import check_flag, check_list, check_text, check_whole, shown
from toril._model.options import Options, unknown_option
from toril._model.record import Ref, check_ref
from toril._model.report import (
    UNSET,
    Counts,
    Metrics,
    Query,
    QueueSettings,
    Selection,
    SettingsPatch,
    Unset,
    WorkerInfo,
)
from toril._model.states import State
from toril._model.times import Duration, parse_rate, to_ms
from toril.errors import ConfigError

from .adding import Adder, now_ms
from .bulk import StateName, States, read_states, repeat
from .cancelling import cancel
from .dependencies import remember
from .draft import NO_DATA, EnqueueOptions, Node, split_id, write_data
from .events import Events
from .handlers import HandlerOptions, Registry, make_handler
from .job import Job, find_job, listen, parent_of
from .listing import list_jobs
from .portal import run
from .replay import replay_all, replay_some
from .schedule import Schedule, ScheduleOptions, Schedules
from .sweep import DEFAULT_HOW, How, Steered, Wanted, steer, sweep
from .turns import in_turns

F = TypeVar("F", bound=Callable[..., Any])

Kind = Literal["completed", "failed"]

DEFAULT_NAME = "default"
_NAME_HINT = (
    'a job\'s name comes before its data: add("welcome", {...}); of an Enum pass its .value'
)


class AddOptions(EnqueueOptions, total=False):
    """The options of one `add`: those of a job, its id, and the job that waits for it."""

    parent: Job[Any] | Ref


NewJobs = Iterable[tuple[str, object] | tuple[str, object, AddOptions]]


class Queue:
    """A queue: jobs go in by name, handlers take them out; settings hold for all its workers."""

    def __init__(self, name: str, adder: Adder, registry: Registry, schedules: Schedules) -> None:
        self.name = name
        self._adder = adder
        self._context = adder.context
        self._registry = registry
        self._schedules = schedules

    def __repr__(self) -> str:
        return f"<Queue {self.name!r}>"

    # Adding.

    async def add(
        self,
        name: str | Mapping[str, object] = DEFAULT_NAME,
        data: object = NO_DATA,
        **options: Unpack[AddOptions],
    ) -> Job[Any]:
        """Add a job, and give its handle; `created` is False where a duplicate was in its way.

        Adds that run at the same time share one trip to the store. `add({...})` without a name
        adds a job named "default".

        Atomic   the job.
        Emits    added, then waiting | delayed; duplicated; deduplicated.
        Raises   ConfigError: a bad option or data that cannot be stored. ParentNotFound.
                 StoreFull. QueueFull: the queue has as many waiting jobs as its `max_waiting`,
                 and `on_full` is not "wait" or `full_timeout` is over. DurabilityNotConfirmed:
                 stored, and what `durable` asks for is not sure.
        """
        (job,) = await self._adder.add([self._node(name, data, options)])
        return job

    def add_sync(
        self,
        name: str | Mapping[str, object] = DEFAULT_NAME,
        data: object = NO_DATA,
        **options: Unpack[AddOptions],
    ) -> Job[Any]:
        """Do what `add` does, from code that blocks (see `toril.sync`)."""
        return run(self.add(name, data, **options))

    async def add_many(self, jobs: NewJobs) -> list[Job[Any]]:
        """Add many jobs in one trip: (name, data) or (name, data, options); order is kept.

        Atomic   chunks of 250 jobs or 1 MB of data; with `on_full="wait"` of what fits.
        Raises   as `add`, and then nothing was stored; PartlyAdded: an error came after some
                 chunks were stored.
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
        """Let a function of a job handle the jobs of one name, or of every name not taken.

        Raises   ConfigError: the name has a handler already.
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
        """Find a job by its id; None where there is none."""
        return await find_job(self._context, check_ref(self.name, job_id))

    async def jobs(
        self,
        state: States = None,
        *,
        name: str | None = None,
        limit: int | None = None,
        newest_first: bool = False,
    ) -> AsyncIterator[Job[Any]]:
        """Iterate over jobs in these states, or in any; ready jobs as they would run.

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

    async def counts(self) -> Counts:
        """Count the jobs in each state; `ready` is waiting and prioritized together."""
        store = await self._context.ready()
        (counts,) = await store.counts([self.name])
        return counts

    async def metrics(self, kind: Kind = "completed", *, since: Duration | None = None) -> Metrics:
        """Read how many jobs `completed` or `failed` in each minute, lately or `since` ago."""
        if kind not in ("completed", "failed"):
            raise unknown_option(kind, ("completed", "failed"), where="metrics", field="kind")
        since_ms = 0 if since is None else now_ms() - to_ms(since, field="since")
        store = await self._context.ready()
        return await store.metrics(self.name, kind, since_ms=since_ms)

    async def workers(self) -> list[WorkerInfo]:
        """List the workers of this queue, in every process."""
        store = await self._context.ready()
        return await store.workers(self.name)

    def events(self, after: str | None = None) -> Events:
        """Iterate over what happens in this queue, from now on or after an event's id."""
        return listen(self._context, [self.name], after)

    async def dedup_job(self, key: str) -> Job[Any] | None:
        """Find the job that holds a dedup key; None where the key is free."""
        check_text(key, "key")
        store = await self._context.ready()
        page = await store.find(Query(queue=self.name, dedup=key, limit=1))
        return Job(self._context, page.jobs[0]) if page.jobs else None

    async def release_dedup(self, key: str) -> bool:
        """Free a dedup key, and say whether a job held it."""
        job = await self.dedup_job(key)
        if job is None:
            return False
        await job.release_dedup()
        return True

    # Settings, which hold for every worker.

    async def settings(self) -> QueueSettings:
        """Read what holds for this queue."""
        await self._adder.ready([self.name])
        (settings,) = await self._context.store.settings([self.name])
        return settings

    async def pause(self) -> None:
        """Let no worker start a job of this queue; what runs runs on.

        Emits    paused.
        """
        await self._configure(SettingsPatch(paused=True))

    async def resume(self) -> None:
        """Let workers start jobs again.

        Emits    resumed.
        """
        await self._configure(SettingsPatch(paused=False))

    async def is_paused(self) -> bool:
        """Say whether the queue is paused, for every process."""
        return (await self.settings()).paused

    async def limit(
        self,
        *,
        concurrency: int | Unset | None = UNSET,
        rate: str | Unset | None = UNSET,
        max_waiting: int | Unset | None = UNSET,
    ) -> QueueSettings:
        """Limit how many jobs run at once, start in a window, and wait, all processes together.

        Shape    rate: such as "200/60s". max_waiting: see `QueueFull`. None lifts a limit; what is not given stays.
        """
        pair = rate if rate is None or isinstance(rate, Unset) else parse_rate(rate)
        patch = SettingsPatch(concurrency=concurrency, rate=pair, max_waiting=max_waiting)
        return await self._configure(patch)

    async def rate_limit(self, duration: Duration) -> None:
        """Let nobody start a job of this queue for so long; 0 lifts that."""
        limit_for_ms = to_ms(duration, field="duration")
        await self._configure(SettingsPatch(limit_for_ms=limit_for_ms))

    async def rate_limit_ttl(self) -> float:
        """Say for how many seconds nobody may start a job; 0 when somebody may."""
        until = (await self.settings()).limited_until
        return 0.0 if until is None else max(until - now_ms(), 0) / 1000

    async def _configure(self, patch: SettingsPatch) -> QueueSettings:
        await self._adder.ready([self.name])
        return await self._context.store.configure(self.name, patch)

    # Many jobs at once.

    async def remove(self, job_id: str, *, children: bool = True) -> None:
        """Take one job away; see `Job.remove`."""
        check_ref(self.name, job_id)
        check_flag(children, "children")
        store = await self._context.ready()
        selection = Selection(queue=self.name, ids=(job_id,), children=children, limit=1)
        selected = await store.remove(selection)
        if job_id in selected.refused:
            raise selected.refused[job_id]

    async def cancel(self, *ids: str, reason: str = "", children: bool = True) -> list[str]:
        """End jobs, and give the ids of those that fail because of this; see `Job.cancel`.

        Those that have finished, are gone, or are the next run of a schedule are left out.
        """
        refs = [check_ref(self.name, job_id) for job_id in ids]
        refused = await cancel(self._context, refs, reason, children=children)
        return [ref.id for ref in refs if ref not in refused]

    def cancel_sync(self, *ids: str, reason: str = "", children: bool = True) -> list[str]:
        """Do what `cancel` does, from code that blocks (see `toril.sync`)."""
        return run(self.cancel(*ids, reason=reason, children=children))

    async def steer(self, verb: str, *ids: str, how: How = DEFAULT_HOW) -> Steered:
        """Let a verb (retry, promote, remove, cancel) act on jobs; say why each other was refused.

        Atomic   each job.    Raises   ConfigError: there is no such verb.
        """
        for job_id in ids:
            check_ref(self.name, job_id)
        return await steer(self._context, self.name, verb, ids, how)

    async def sweep(self, verb: str, wanted: Wanted, how: How = DEFAULT_HOW) -> Steered:
        """Do what `steer` does with the jobs that are such now, each once, however many they are.

        Atomic   each job.    Raises   ConfigError: there is no such verb.
        """
        return await sweep(self._context, self.name, verb, wanted, how)

    async def drain(self, *, delayed: bool = False) -> int:
        """Take away every job that waits, delayed ones too if asked; return how many."""
        states: list[StateName] = (
            ["ready", "delayed"] if check_flag(delayed, "delayed") else ["ready"]
        )
        return len(await self._remove(states, mode="drain"))

    async def clean(
        self, state: States, *, older_than: Duration = 0, limit: int | None = None
    ) -> list[str]:
        """Take away jobs in a state that finished (else were added) so long ago; return their ids.

        Emits    cleaned, once a chunk.
        """
        before_ms = now_ms() - to_ms(older_than, field="older_than")
        if limit is not None:
            check_whole(limit, "limit", 0)
        return await self._remove(state, mode="clean", before_ms=before_ms, most=limit)

    async def obliterate(self, *, force: bool = False) -> None:
        """Pause the queue, then take away every job and the queue itself.

        Raises   JobLocked: jobs run, and `force` was not given.
        """
        check_flag(force, "force")
        await self.pause()
        await self._remove(None, mode="obliterate", force=force)

    async def retry_all(self, state: State | StateName = State.FAILED) -> int:
        """Run every job that failed, or completed, again; return how many."""
        selection = Selection(queue=self.name, states=read_states(state))
        store = await self._context.ready()
        return len(await repeat(store.retry, selection))

    async def replay(self, *ids: str, limit: int | None = None) -> list[Job[Any]]:
        """Run the jobs again that the dead letters in this queue tell of, and give those jobs.

        A job that is kept is retried with all its attempts; one that is gone is added anew, at
        once, from its letter, which is then removed. The letter of a job that is retried goes
        when the job has completed. Without ids: every letter that waits, oldest first, at most
        `limit`, those left out whose jobs run already. The limits of the jobs' queues hold.

        Raises   JobError: this is no dead letter. JobNotFound. JobLocked: somebody reads the
                 letter of a job that is gone. WrongState: the job has not failed any more, or
                 has a newer letter.
        """
        if limit is not None:
            check_whole(limit, "limit", 0)
        for letter_id in ids:
            check_ref(self.name, letter_id)
        if ids:
            return await replay_some(self._context, self.name, ids[:limit])
        return await replay_all(self._context, self.name, limit)

    async def promote_all(self) -> int:
        """Let every delayed job start now; return how many."""
        store = await self._context.ready()
        selection = Selection(queue=self.name, states=(State.DELAYED,))
        return len(await repeat(store.promote, selection))

    async def _remove(self, state: States, *, most: int | None = None, **how: Any) -> list[str]:
        selection = Selection(queue=self.name, states=read_states(state), **how)
        store = await self._context.ready()
        return await repeat(store.remove, selection, most=most)
