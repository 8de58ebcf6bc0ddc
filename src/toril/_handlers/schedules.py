"""Schedules: stored rules that make jobs; declared in code, stored by id.

Never here: when a rule runs (`_model.schedule`), and advancing one that has run (the worker).
"""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypedDict, Unpack, cast

from toril._jobs.clock import now_ms
from toril._jobs.enqueue import Enqueuer
from toril._jobs.job import Job
from toril._jobs.node import NO_DATA, Node, write_data
from toril._model.checks import check_flag, check_kind, check_text, shown
from toril._model.notes import Pause
from toril._model.options import NAMES, Options, unknown_option
from toril._model.record import NewJob, check_queue_name
from toril._model.report import ScheduleInfo
from toril._model.schedule import Rule, next_run, preview
from toril._model.stored_options import from_text, to_text
from toril._model.times import Duration, at_ms, moment, to_ms
from toril._store.values import ScheduleDraft
from toril.errors import ConfigError, StoreCorrupt

from .definitions import Definition, calling, replaces
from .task import Task

log = logging.getLogger("toril.schedules")


class RuleOptions(TypedDict, total=False):
    """When a schedule runs: exactly one of `cron` and `every`."""

    cron: str
    """Minute, hour, day of the month, month, day of the week; with six fields the first is the
    second. Or "@hourly", "@daily", "@weekly" and so on."""
    every: Duration
    """An interval, such as "15m"."""
    tz: str
    """The time zone of `cron`, such as "Europe/Berlin". Default: "UTC"."""
    start: datetime
    """No run before this time; needs a time zone."""
    end: datetime
    """No run after this time; needs a time zone."""
    limit: int
    """End after this many runs."""
    offset: Duration
    """Shift the runs of `every` by this duration."""
    immediately: bool
    """The first run of a cron rule is now. Default: False."""


class ScheduleOptions(RuleOptions, Options, total=False):
    """When a schedule runs, and the job that it adds: of a task, or of a name in a queue."""

    task: Task[..., Any]
    """The task to run."""
    args: tuple[Any, ...] | Mapping[str, Any]
    """The arguments of the task: positional as a tuple, or named as a mapping."""
    queue: str
    """The queue of the job, if there is no task."""
    name: str
    """The name of the job, if there is no task."""
    data: object
    """The data of the job, if there is no task: any JSON value."""


_RULE = frozenset(RuleOptions.__annotations__)
_OWN_TO_RUNS: dict[str, Any] = {"delay_ms": 0, "at_ms": None, "created_ms": None}
_TASK_HINT = "pass a function decorated with @app.task, or queue=... and name=..."
_JOB = frozenset({"task", "args", "queue", "name", "data"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """A rule, and the job that it adds at each of its times."""

    id: str
    rule: Rule
    node: Node

    def preview(self, n: int = 5) -> list[datetime]:
        """Return the next `n` times of a new schedule with this rule, in UTC."""
        return [moment(at) for at in preview(self.rule, now=now_ms(), n=n)]


class Schedules:
    """The schedules of one app: those declared in code, and those that are stored."""

    def __init__(self, adder: Enqueuer) -> None:
        self._adder = adder
        self.declared: dict[tuple[str, str], Schedule] = {}
        self._stored: set[tuple[str, str]] = set()
        self._places: dict[tuple[str, str], Definition | None] = {}
        self._refused: set[tuple[str, str]] = set()

    def declare(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Declare a schedule; it is stored when a worker for its queue starts.

        Raises:
            ConfigError: The rule or an option cannot hold, or the id is declared twice.
        """
        return self._keep(self.make(schedule_id, **options), calling())

    def of_task(
        self, task: Task[..., Any], options: ScheduleOptions | None, place: Definition | None
    ) -> None:
        """Declare the schedule of a task; None: a task that is defined again has none any more.

        Raises the errors of `declare`.
        """
        key = (task.queue, task.name)
        if options is not None:
            self._keep(self.make(task.name, **options), place)
        elif key in self.declared and replaces(f"schedule {task.name!r}", place, self._places[key]):
            del self.declared[key]

    def _keep(self, schedule: Schedule, place: Definition | None) -> Schedule:
        key = (schedule.node.queue, schedule.id)
        earlier = self.declared.get(key)
        if earlier is not None and not replaces(
            f"schedule {schedule.id!r}", place, self._places[key]
        ):
            raise ConfigError(
                f"schedule {schedule.id!r} of queue {key[0]!r} is declared twice",
                field="id",
                value=schedule.id,
            )
        self._places[key] = place
        self._stored.discard(key)
        self.declared[key] = schedule
        return schedule

    def make(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> Schedule:
        """Build a schedule without declaring or storing it.

        Raises:
            ConfigError: The rule or an option cannot hold.
        """
        schedule_id = check_text(schedule_id, "id", hint="pass the schedule's id as text")
        if not schedule_id:
            raise ConfigError("the id of a schedule is empty", field="id", value=schedule_id)
        for name in options:
            if name not in _RULE | _JOB | NAMES:
                raise unknown_option(name, _RULE | _JOB | NAMES, where=f"schedule {schedule_id!r}")
        if options.get("durable") is not None:
            raise ConfigError(
                f"schedule {schedule_id!r}: durable={options.get('durable')!r} is about an add",
                field="durable",
                value=options.get("durable"),
                hint="the store makes the runs of a schedule itself: omit durable",
            )
        for name in ("on_full", "full_timeout"):
            if name in options:
                raise ConfigError(
                    f"schedule {schedule_id!r}: {name}={options.get(name)!r} is about an add",
                    field=name,
                    value=options.get(name),
                    hint=f"the runs of a schedule always find room: leave {name} out",
                )
        for name in ("at", "delay", "created_at"):
            if name in options:
                raise ConfigError(
                    f"schedule {schedule_id!r}: {name}={options.get(name)!r} has no effect: its rule "
                    "says when its runs start",
                    field=name,
                    value=options.get(name),
                    hint=f"leave {name} out; start=, end= and offset= move the runs",
                )
        schedule = Schedule(id=schedule_id, rule=_rule(options), node=_node(schedule_id, options))
        self._adder.checked(schedule.node)  # checked now, not when its first run is due
        return schedule

    async def put(self, schedule_id: str, **options: Unpack[ScheduleOptions]) -> ScheduleInfo:
        """Store a schedule, or change the one that has this id, and arm its next run.

        Raises:
            ConfigError: The rule or an option cannot hold.
        """
        return await self.store(self.make(schedule_id, **options))

    def start_over(self) -> None:
        """Forget what was stored: another store is used from now on."""
        self._stored.clear()

    async def put_declared(
        self, queues: Collection[str] | None = None, *, owner: str | None = "", new: bool = False
    ) -> list[ScheduleInfo]:
        """Store what was declared, for these queues or for all; with `new` what was not stored yet.

        Note:
            - Shape: owner: whose it is; None: it is not dropped when no code declares it any
              more.
        """
        found: list[ScheduleInfo] = []
        for key, schedule in list(self.declared.items()):
            if (queues is None or key[0] in queues) and not (new and key in self._stored):
                try:
                    found.append(await self.store(schedule, owner=owner))
                except StoreCorrupt as error:
                    # Keys of its queue are damaged: other queues go on.
                    self._tell_once(key, error)
                else:
                    self._stored.add(key)
        return found

    def _tell_once(self, key: tuple[str, str], error: StoreCorrupt) -> None:
        if key not in self._refused:
            self._refused.add(key)
            log.warning(
                "schedule.not_stored queue=%r schedule=%r: %s",
                *key,
                error,
                extra={"queue": key[0], "schedule": key[1]},
            )

    async def store(self, schedule: Schedule, *, owner: str | None = None) -> ScheduleInfo:
        """Store a schedule that was made before."""
        node = schedule.node
        await self._adder.ready({node.queue})
        draft = ScheduleDraft(
            queue=node.queue,
            id=schedule.id,
            name=node.name,
            rule=schedule.rule,
            data=node.data,
            # A task's own delay is about adding it by hand.
            opts=to_text(replace(self._adder.options(node), **_OWN_TO_RUNS)),
            next_ms=next_run(schedule.rule, now=self._adder.context.store.clock.now_ms()),
            owner=owner,
        )
        return await self._adder.context.store.put_schedule(draft)

    async def list(self, queue: str | None = None) -> Sequence[ScheduleInfo]:
        """List the stored schedules by their next run, soonest first."""
        store = await self._adder.context.ready()
        return await store.schedules(queue)

    async def get(self, queue: str, schedule_id: str) -> ScheduleInfo | None:
        """Find a stored schedule; None where there is none."""
        found = await self.list(queue)
        return next((each for each in found if each.id == schedule_id), None)

    async def _followed(self, queue: str, schedule_id: str) -> ScheduleInfo:
        check_queue_name(queue)
        found = await self.get(queue, check_text(schedule_id, "schedule_id"))
        if found is None or found.fault is not None:
            raise ConfigError(
                f"schedule_id={shown(schedule_id)}: queue {queue!r} has no such schedule that could run",
                field="schedule_id",
                value=schedule_id,
            )
        return found

    async def run_now(self, queue: str, schedule_id: str) -> Job[Any]:
        """Add the job of a stored schedule now, beside its own runs, and return it.

        Raises:
            ConfigError: There is no such schedule, or it cannot be followed.
        """
        found = await self._followed(queue, schedule_id)
        options = replace(from_text(found.opts), **_OWN_TO_RUNS)
        new = NewJob(queue=queue, name=found.name, data=found.data, options=options)
        (added,) = await self._adder.put((new,))
        node = Node(queue=queue, name=found.name, data=found.data)
        return self._adder.handle(node, new, added)

    async def pause(
        self, queue: str, schedule_id: str, *, reason: str = "", by: str = ""
    ) -> ScheduleInfo:
        """Pause a stored schedule: it makes no run until `resume`; one that runs goes on.

        It stays paused when code declares it again.

        Raises:
            ConfigError: There is no such schedule, or it cannot be followed.

        Example:
            ```python
            await app.schedules.pause("mail", "nightly", reason="provider down", by="ann")
            ```
        """
        return await self._pause(queue, schedule_id, Pause(by=by, reason=reason))

    async def resume(self, queue: str, schedule_id: str) -> ScheduleInfo:
        """Resume a paused schedule from now on; runs that it missed are not made.

        Raises:
            ConfigError: There is no such schedule, or it cannot be followed.
        """
        return await self._pause(queue, schedule_id, None)

    async def _pause(self, queue: str, schedule_id: str, pause: Pause | None) -> ScheduleInfo:
        found = await self._followed(queue, schedule_id)
        if pause is None and found.pause is None:
            return found
        store = self._adder.context.store
        at = next_run(found.rule, now=store.clock.now_ms(), count=found.count)
        draft = ScheduleDraft(
            queue=queue,
            id=found.id,
            name=found.name,
            rule=found.rule,
            data=found.data,
            opts=found.opts,
            next_ms=at,
            owner=found.owner,
            pause=pause,
        )
        return await store.put_schedule(draft)

    async def drop(self, queue: str, schedule_id: str) -> bool:
        """Forget a stored schedule and its next run, unless that has started; say if it existed."""
        store = await self._adder.context.ready()
        return await store.drop_schedule(queue, schedule_id)


def _rule(options: ScheduleOptions) -> Rule:
    every, offset = options.get("every"), options.get("offset")
    start, end = options.get("start"), options.get("end")
    return Rule(
        cron=options.get("cron"),
        every_ms=None if every is None else to_ms(every, field="every"),
        tz=options.get("tz", "UTC"),
        start_ms=None if start is None else at_ms(start, field="start"),
        end_ms=None if end is None else at_ms(end, field="end"),
        limit=options.get("limit"),
        offset_ms=None if offset is None else to_ms(offset, field="offset"),
        immediately=check_flag(options.get("immediately", False), "immediately"),
    )


def _node(schedule_id: str, options: ScheduleOptions) -> Node:
    job = cast("Options", {name: value for name, value in options.items() if name in NAMES})
    task = options.get("task")
    if task is not None:
        check_kind(task, Task, "task", hint=f"{_TASK_HINT} (schedule {schedule_id!r})")
        _exclude(
            schedule_id, "task", "queue, name and data", {"queue", "name", "data"} & {*options}
        )
        args = options.get("args", ())
        bound = task.using(**job)
        return bound.node(**args) if isinstance(args, Mapping) else bound.node(*args)
    _exclude(schedule_id, "args", "a queue and a name", {"args"} & {*options})
    if "queue" not in options or "name" not in options:
        raise ConfigError(
            f"schedule {schedule_id!r} says no job to make",
            field="task",
            hint="give task=..., or queue=... and name=...",
        )
    name = check_text(options["name"], "name")
    data = write_data(name, options.get("data", NO_DATA))
    return Node(queue=check_queue_name(options["queue"]), name=name, data=data, options=job)


def _exclude(schedule_id: str, field: str, other: str, both: set[str]) -> None:
    if both:
        raise ConfigError(
            f"schedule {schedule_id!r}: {field} and {other} exclude each other", field=field
        )
