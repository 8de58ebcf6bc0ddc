"""What a store tells of itself, and what it is asked for: pages, counts, settings, selections."""

from dataclasses import dataclass, field, fields

from toril.errors import ConfigError

from .bounds import JOBS_A_CALL
from .checks import check_flag, check_kind, check_whole, shown
from .notes import Pause
from .options import Keep
from .record import Record, check_queue_name
from .schedule import Rule
from .states import State
from .times import MAX_MS, Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """How many jobs of a queue are in each state.

    Shape    oldest_ms: since when the job that would run next could have run; None: nothing waits.
    """

    waiting: int = 0
    prioritized: int = 0
    delayed: int = 0
    active: int = 0
    waiting_children: int = 0
    completed: int = 0
    failed: int = 0
    oldest_ms: Millis | None = field(default=None, compare=False)

    @property
    def by_state(self) -> dict[str, int]:
        """The numbers alone, by the name of their state."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.compare}

    @property
    def ready(self) -> int:
        """The number of jobs that could be claimed: waiting and prioritized."""
        return self.waiting + self.prioritized

    @property
    def total(self) -> int:
        """Count all jobs."""
        finished = self.completed + self.failed
        return self.ready + self.delayed + self.active + self.waiting_children + finished


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueSettings:
    """What holds for a whole queue, whoever works on it.

    Shape    pause: what is known of its pause; None: it is not paused, or BullMQ paused it.
             max_waiting: how many jobs may wait to run before new ones are refused; None: any
             number. last_id: the highest number that a job of it was given as its id. declared: an app
             declared something for it, and the store has not lost that.
    Units    rate_ms and limited_until in ms; limited_until is a time, None when not limited.
    """

    queue: str
    paused: bool = False
    concurrency: int | None = None
    rate_max: int | None = None
    rate_ms: Millis | None = None
    limited_until: Millis | None = None
    keep_completed: Keep | None = None
    keep_failed: Keep | None = None
    dead_letter: str | None = None
    events_limit: int = 10_000
    max_waiting: int | None = None
    pause: Pause | None = field(default=None, compare=False)
    last_id: int = field(default=0, compare=False)
    declared: bool = field(default=False, compare=False)


class Unset:
    """The type of `UNSET`: a field of a patch that changes nothing."""

    def __repr__(self) -> str:
        return "UNSET"


UNSET = Unset()


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingsPatch:
    """What to change in a queue's settings; None clears, UNSET leaves alone.

    Shape    pause: what to note with `paused`; it replaces what was noted before.
             declared: note that this comes from the code of an app.
    Units    limit_for_ms: nobody starts a job of this queue for this long; 0 lifts the limit.
    Raises   ConfigError: a setting that cannot hold; it names it.
    """

    paused: bool | Unset = UNSET
    concurrency: int | Unset | None = UNSET
    rate: tuple[int, Millis] | Unset | None = UNSET
    limit_for_ms: Millis | Unset = UNSET
    keep_completed: Keep | Unset | None = UNSET
    keep_failed: Keep | Unset | None = UNSET
    dead_letter: str | Unset | None = UNSET
    events_limit: int | Unset = UNSET
    max_waiting: int | Unset | None = UNSET
    pause: Pause | None = None
    declared: bool = False

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_waiting"):
            limit: object = getattr(self, name)
            if not isinstance(limit, Unset | None):
                check_whole(limit, name, 1)
        if not isinstance(self.events_limit, Unset):
            check_whole(self.events_limit, "events_limit", 0)
        if not isinstance(self.paused, Unset):
            check_flag(self.paused, "paused")
        if self.pause is not None:
            check_kind(self.pause, Pause, "pause")
        for name in ("keep_completed", "keep_failed"):
            kept: object = getattr(self, name)
            if not isinstance(kept, Unset | Keep | None):
                raise ConfigError(f"{name}={shown(kept)} is not a Keep", field=name, value=kept)
        if not isinstance(self.dead_letter, Unset) and self.dead_letter is not None:
            check_queue_name(self.dead_letter, field="dead_letter")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobPatch:
    """What to change in one job; None clears, UNSET leaves alone.

    Shape    data and progress are JSON text. `parent` and `dedup` can only be cleared: the job
             is detached from its parent (which may then run), its dedup key becomes free.
             With a `token` the change is refused unless that token holds the job's lock.
             `alone` notes that the job runs alone in its worker from now on. `cancel` is why
             the job shall end, which may be empty: one that waits fails at once, of one that
             runs the wish is noted. `overdue` ends a job that waits although its deadline or its
             time to start has passed, and changes nothing else.
    Units    delay_ms counts from now.
    """

    queue: str
    id: str
    token: str | None = None
    data: str | Unset = UNSET
    progress: str | Unset = UNSET
    delay_ms: Millis | Unset = UNSET
    priority: int | Unset = UNSET
    lifo: bool = False
    parent: Unset | None = UNSET
    dedup: Unset | None = UNSET
    alone: bool | Unset = UNSET
    cancel: str | Unset = UNSET
    overdue: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which jobs a verb shall act on: these ids, or those in `states` that are old enough.

    Shape    `ids` and `states` exclude each other. Jobs that a selection by state finds in a
             state without a row in the table are passed over; by id they are refused.
             One call acts on at most `limit` jobs and says whether there is more.
    Units    before_ms: finished (else added) at or before this time, ms since the epoch.
    """

    queue: str
    ids: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    before_ms: Millis | None = None
    limit: int = JOBS_A_CALL
    children: bool = True
    reset_attempts: bool = False
    mode: str = "remove"
    force: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Selected:
    """What became of a selection: the ids acted on, why others were not, whether there is more."""

    ids: tuple[str, ...] = ()
    refused: dict[str, Exception] = field(default_factory=dict[str, Exception])
    more: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """Which jobs to list: in these states, oldest or newest first, one page.

    Shape    dedup: only the job that holds this dedup key. name: only jobs of this name.
             where: only jobs with these fields and values, the newest first; `before` is the `next`
             of the page before, and neither offset nor order count.
             fingerprint: only jobs whose newest failed attempt has this cause, the newest first.
             ids_only: the page has ids and no jobs, all as they are at one moment. fields_only: it has
             the names of the fields by which jobs are found, as ids.
    """

    queue: str
    states: tuple[State, ...] = ()
    name: str | None = None
    dedup: str | None = None
    fingerprint: str | None = None
    where: tuple[tuple[str, str], ...] = ()
    before: str | None = None
    offset: int = 0
    limit: int = 50
    newest_first: bool = False
    ids_only: bool = False
    fields_only: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One page of a listing; `more` says that another one follows.

    Shape    ids: where only ids were asked for. others: those whose jobs have another name than
             the one asked for; they are listed because the offset counts them. next: where a search
             by fields goes on, which may have looked at many jobs and found few.
    """

    jobs: tuple[Record, ...] = ()
    more: bool = False
    ids: tuple[str, ...] = ()
    others: frozenset[str] = frozenset()
    next: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A child as its parent sees it; outcome: pending, completed, failed, ignored.

    Shape    value is the result as JSON text (completed) or the reason (failed, ignored). name
             may be empty when the child itself is not kept.
    """

    queue: str
    id: str
    name: str
    outcome: str
    value: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Children:
    """A page of a job's children in the order they were added, and how many there are of each."""

    items: tuple[Child, ...] = ()
    pending: int = 0
    completed: int = 0
    failed: int = 0
    ignored: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Logs:
    """A page of a job's log lines, and how many lines there are."""

    lines: tuple[str, ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """How many jobs finished in each minute.

    Shape    points: (start of the minute in ms since the epoch, count), oldest first; minutes
             in which nothing finished are omitted. total counts since the queue was made.
    """

    kind: str
    points: tuple[tuple[Millis, int], ...] = ()
    total: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """A place of a worker, numbered from 1, and the job whose code runs there."""

    number: int
    queue: str
    id: str
    name: str
    started_ms: Millis


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerInfo:
    """A worker that announced itself, as of `seen_ms`.

    Shape    active: jobs in hand. alive: it renewed lately, or its process is known to live.
             rate: its own limit, as `rate_text` writes it; None when it has none.
             declares: the schedules that its code declares, as "queue:id"; None: not known.
             version: of its code. slots: what runs, at most 64 of them. rss: memory of its process.
             cpu: CPU of its process since it was seen before, as a share of one core.
    Units    rss in bytes.
    """

    id: str
    name: str
    host: str
    pid: int
    queues: tuple[str, ...]
    concurrency: int
    started_ms: Millis
    seen_ms: Millis
    active: int = 0
    alive: bool = True
    rate: str | None = None
    declares: tuple[str, ...] | None = None
    version: str | None = None
    slots: tuple[Slot, ...] = ()
    rss: int | None = None
    cpu: float | None = None


# Stands where a stored rule cannot be read.
_NEVER = Rule(every_ms=MAX_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleInfo:
    """A stored schedule: its rule, its template, and where it stands.

    Shape    data and opts are JSON text. job_id is the job of the run at `next_ms`.
             count is how many runs were made so far, the armed one included. owner: of the
             app whose code declares it; None: it was put at run time, or by another program.
             pause: who paused it; it has no run then.
             fault: why it cannot be followed; it has no run then, and its rule says nothing.
    """

    queue: str
    id: str
    name: str
    rule: Rule
    data: str = "{}"
    opts: str = "{}"
    count: int = 0
    next_ms: Millis | None = None
    job_id: str | None = None
    owner: str | None = None
    pause: Pause | None = None
    fault: str | None = None

    @classmethod
    def unreadable(
        cls, queue: str, id: str, fault: str, *, name: str = "", owner: str | None = None
    ) -> "ScheduleInfo":
        """Return a schedule that is stored and cannot be followed."""
        return cls(queue=queue, id=id, name=name, rule=_NEVER, owner=owner, fault=fault)
