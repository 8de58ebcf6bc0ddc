"""Options of a job: validated when made, and frozen.

How they are stored is in `stored_options`; defaults of a queue are in `QueueOptions`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, TypedDict, cast, get_args

from toril.errors import ConfigError

from .backoff import Backoff, Custom, Exponential, Fixed, from_wire
from .checks import MAX_WHOLE, check_flag, check_text, check_whole, shown
from .dedup import Dedup as Dedup
from .headers import write_headers
from .on_full import OnFull, full_wait
from .other_systems import unknown_option as unknown_option
from .search import check_names
from .suggest import did_you_mean
from .times import Duration, Millis, at_ms, delay_ms, describe, to_ms

MAX_PRIORITY = 2_097_151
ParentPolicy = Literal["fail", "continue", "ignore", "remove", "wait"]
POLICIES: tuple[str, ...] = get_args(ParentPolicy)
CrashPolicy = Literal["retry", "fail"]
CRASH_POLICIES: tuple[str, ...] = get_args(CrashPolicy)
Durability = Literal["replica", "aof"]
DURABILITIES: tuple[str, ...] = get_args(Durability)
DEFAULT_MAX_RUNS = 100_000


@dataclass(frozen=True, slots=True)
class Keep:
    """How many finished jobs are kept, and for how long.

    Options take the short forms that `Keep.of` reads, such as `"24h"` or `{"count": 100}`.

    Attributes:
        count: Keep at most this many; None: no limit.
        age_ms: Keep them this long, in milliseconds; None: no limit.
    """

    count: int | None = None
    age_ms: Millis | None = None

    @classmethod
    def of(cls, value: "KeepLike", *, field: str = "keep") -> "Keep":
        """Return a `Keep` for `"all"`, True, False, a count, an age, a mapping, or a `Keep`.

        Raises:
            ConfigError: The value is none of these.

        Example:
            ```python
            Keep.of({"count": 100, "age": "24h"})
            ```
        """
        match value:
            case Keep():
                return value
            case bool():
                return cls() if value else cls(count=0)
            case "all":
                return cls()
            case int():
                return cls(count=check_whole(value, field, 0))
            case str():
                return cls(age_ms=to_ms(value, field=field))
            case _:
                return cls._of_mapping(value, field)

    @classmethod
    def _of_mapping(cls, value: object, field: str) -> "Keep":
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"{field}={shown(value)} is not a retention",
                field=field,
                value=value,
                hint='use "all", False, a count, an age like "24h", or {"count": 9, "age": "24h"}',
            )
        given = cast("Mapping[str, Any]", value)
        for key in given:
            if key not in {"count", "age"}:
                raise unknown_option(str(key), {"count", "age"}, where=field)
        count, age = given.get("count"), given.get("age")
        return cls(
            count=None if count is None else check_whole(count, f"{field}.count", 0),
            age_ms=None if age is None else to_ms(age, field=f"{field}.age"),
        )


KeepLike = Keep | Literal["all"] | bool | int | str | Mapping[str, object]

DEFAULT_KEEP_COMPLETED = Keep(count=10_000, age_ms=24 * 3_600_000)
DEFAULT_KEEP_FAILED = Keep(count=10_000, age_ms=30 * 24 * 3_600_000)


@dataclass(frozen=True, slots=True)
class RateLimit:
    """At most `max` jobs start within `window_ms` of the first of them."""

    max: int
    window_ms: Millis


BackoffFunction = Callable[[int, BaseException, Any], "Duration | None"]


class Options(TypedDict, total=False):
    """The options of a job. Apps, queues, tasks and schedules take the same ones as defaults.

    A duration is a number of seconds, a `timedelta`, or text such as "500ms", "1h30m" or "2d".
    """

    attempts: int
    """How often the job may be tried, the first attempt included. Default: 1."""
    retries: int
    """The same, counted without the first attempt: `retries=2` is `attempts=3`."""
    backoff: "Backoff | Duration | BackoffFunction | Mapping[str, object] | None"
    """The wait before another attempt: a duration, `Fixed`, `Exponential`, or a function
    `(attempt, error, job)` that returns a duration, or None to give up."""
    delay: Duration
    """Start this long after the job was added."""
    at: datetime
    """Start at this time, by the clock of the store; needs a time zone."""
    priority: int
    """0 (the default) to 2,097,151. Lower numbers start first, 0 before all others."""
    lifo: bool
    """Start before the jobs that wait already. Default: False."""
    timeout: Duration | None
    """Limit of one attempt."""
    soft_timeout: Duration | None
    """Warn the handler this long after an attempt began, by `SoftTimeout` or `job.cancelled`."""
    deadline: Duration | None
    """Limit of all attempts together, from when the job was added."""
    expires: Duration | None
    """Fail if the job has not started this long after it was added."""
    max_runs: int | None
    """Limit of all starts: attempts, snoozes, rate limits and crashes. Default: 100,000."""
    keep: KeepLike
    """`keep_completed` and `keep_failed` in one."""
    keep_completed: KeepLike
    """How long completed jobs are kept: "all", True, False, a count, an age such as "24h", or
    {"count": 100, "age": "24h"}. Default: 10,000 jobs and 24 hours."""
    keep_failed: KeepLike
    """How long failed jobs are kept, as `keep_completed`. Default: 10,000 jobs and 30 days."""
    dedup: Dedup | str | None
    """A key that only one unfinished job of the queue may have, or a `Dedup` with more rules."""
    parent_on_fail: ParentPolicy
    """What the failure of this child does to its parent: "fail" (the default in flows),
    "continue", "ignore", "remove" or "wait"."""
    on_crash: CrashPolicy
    """What happens when the process that runs the job dies: "retry" (the default) or "fail"."""
    keep_logs: int
    """How many lines of the job's log are kept. Default: 1,000."""
    keep_stack: int
    """How many stacks of failed attempts are kept. Default: 100."""
    headers: Mapping[str, str]
    """Text by name that goes with the job, such as a trace or a tenant. Default: none."""
    omit_context: bool
    """Do not add the current trace to the headers, even if the app is instrumented. Default: False."""
    max_size: int
    """Refuse data larger than this many bytes, as JSON."""
    created_at: datetime
    """When the job counts as added; needs a time zone. Default: now."""
    durable: Durability | None
    """Return from the add only when a replica ("replica") or the disk ("aof") has the job."""
    on_full: OnFull
    """What an add does when the queue has `max_waiting` jobs: "raise" (the default) or "wait"."""
    index: Sequence[str]
    """Fields of the data by which the job is found, such as ["user_id", "order.id"]; of a task its
    parameters. Default: none."""
    tags: Sequence[str]
    """Texts by which the job is found, besides its fields."""
    full_timeout: Duration
    """How long `on_full="wait"` waits for room. Default: 60 seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """The options of one job, checked and in milliseconds.

    Note:
        - The meaning of each option is in `Options`; *_ms are milliseconds, created_ms and at_ms
          are times since 1970.
        - durable, full_wait_ms, index and tags are about the add and are not stored: by index and
          tags the job gets its `fields`. full_wait_ms None: the add is refused at once. metadata
          holds the headers, as they are stored.
    """

    attempts: int = 1
    backoff: Backoff | None = None
    delay_ms: Millis = 0
    at_ms: Millis | None = None
    priority: int = 0
    lifo: bool = False
    timeout_ms: Millis | None = None
    soft_timeout_ms: Millis | None = None
    deadline_ms: Millis | None = None
    expires_ms: Millis | None = None
    max_runs: int | None = None
    keep_completed: Keep | None = None
    keep_failed: Keep | None = None
    dedup: Dedup | None = None
    parent_on_fail: ParentPolicy | None = None
    on_crash: CrashPolicy = "retry"
    keep_logs: int | None = None
    keep_stack: int | None = None
    metadata: str | None = None
    omit_context: bool = False
    max_size: int | None = None
    created_ms: Millis | None = None
    durable: Durability | None = None
    full_wait_ms: Millis | None = None
    index: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_whole(self.attempts, "attempts", 1)
        check_whole(self.priority, "priority", 0, MAX_PRIORITY)
        check_flag(self.lifo, "lifo")
        check_flag(self.omit_context, "omit_context")
        for name in ("keep_logs", "keep_stack", "max_size"):
            value = getattr(self, name)
            if value is not None:
                check_whole(value, name, 0)
        if self.max_runs is not None:
            check_whole(self.max_runs, "max_runs", 1)
        if self.parent_on_fail is not None:
            _policy_of("parent_on_fail", self.parent_on_fail, POLICIES)
        check_crash_policy(self.on_crash)
        if self.durable is not None:
            _policy_of("durable", self.durable, DURABILITIES)

    @property
    def first_limit_ms(self) -> Millis | None:
        """The first of deadline and expires, in ms after the add; None if there is neither."""
        limits = [ms for ms in (self.deadline_ms, self.expires_ms) if ms is not None]
        return min(limits, default=None)

    @property
    def most_runs(self) -> int:
        """How often the job may start; snoozes, releases and crashes count too."""
        return self.max_runs or max(DEFAULT_MAX_RUNS, self.attempts)


def check_crash_policy(policy: str) -> None:
    """Check a value of `on_crash`.

    Raises:
        ConfigError: The value is not one of the policies.
    """
    _policy_of("on_crash", policy, CRASH_POLICIES)


def _policy_of(field: str, policy: object, known: tuple[str, ...]) -> None:
    if not isinstance(policy, str) or policy not in known:
        raise ConfigError(
            f"{field}={shown(policy)} is not a policy",
            field=field,
            value=policy,
            hint=f"use one of {', '.join(known)}{did_you_mean(policy, known, before='; ')}",
        )


def _read_backoff(value: object) -> Backoff | None:
    if isinstance(value, Custom):
        check_text(value.name, "backoff")
    if value is None or isinstance(value, Fixed | Exponential | Custom):
        return value
    if isinstance(value, type):
        raise ConfigError(
            f"backoff={shown(value)} is a class",
            field="backoff",
            value=value,
            hint='pass an instance, such as Exponential("1s"), a duration, or a function',
        )
    if callable(value):
        return Custom()
    if isinstance(value, Mapping):
        return from_wire(cast("Mapping[str, Any]", value))
    to_ms(value, field="backoff")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]  # it checks
    return Fixed(value)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]


def _read_dedup(value: object) -> Dedup | None:
    if isinstance(value, str):
        value = Dedup(value)
    if value is None:
        return None
    if isinstance(value, Dedup):
        check_text(value.key, "dedup.key")  # its length too: what others stored may be longer
        return value
    raise ConfigError(
        f"dedup={shown(value)} must be a key, as text, or a Dedup",
        field="dedup",
        value=value,
        hint='use dedup="key" or dedup=Dedup("key", ttl="5s")',
    )


def _attempts(given: Options) -> dict[str, Any]:
    if "retries" not in given:
        return {"attempts": given["attempts"]} if "attempts" in given else {}
    if "attempts" in given:
        raise ConfigError(
            "attempts and retries were both given",
            field="retries",
            value=given["retries"],
            hint="attempts counts all attempts, retries those after the first: give one of them",
        )
    return {"attempts": check_whole(given["retries"], "retries", 0, MAX_WHOLE - 1) + 1}


def _times(given: Options) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "delay" in given:
        made |= {"delay_ms": delay_ms(given["delay"]), "at_ms": None}
    if "at" in given:
        if "delay" in given:
            raise ConfigError("delay and at were both given", field="at", hint="give one of them")
        made |= {"delay_ms": 0, "at_ms": at_ms(given["at"], field="at")}
    limits = {name: given[name] for name in _LIMITS if name in given}  # type: ignore[literal-required]
    for name, limit in limits.items():
        made[f"{name}_ms"] = None if limit is None else to_ms(limit, field=name)
        # No time for one attempt means no limit. No time for all of them is what is left: none.
        if name in ("timeout", "soft_timeout"):
            made[f"{name}_ms"] = made[f"{name}_ms"] or None
    if "created_at" in given:
        made["created_ms"] = at_ms(given["created_at"], field="created_at")
    return made


def _keeps(given: Options) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if "keep" in given:
        both = Keep.of(given["keep"])
        made = {"keep_completed": both, "keep_failed": both}
    if "keep_completed" in given:
        made["keep_completed"] = Keep.of(given["keep_completed"], field="keep_completed")
    if "keep_failed" in given:
        made["keep_failed"] = Keep.of(given["keep_failed"], field="keep_failed")
    return made


_PLAIN = (
    "priority", "lifo", "parent_on_fail", "on_crash", "keep_logs", "keep_stack", "max_size",
    "durable", "max_runs", "omit_context",
)  # fmt: skip
_LIMITS = ("timeout", "soft_timeout", "deadline", "expires")
NAMES = frozenset(Options.__annotations__)


def merge(base: JobOptions, given: Options, *, now: Millis | None = None) -> JobOptions:
    """Return `base` with the options that a user gave; `now` is only used to check `at`.

    Raises:
        ConfigError: An unknown name, a bad value, or two that exclude each other.
    """
    if not given:
        return base
    for name in given:
        if name not in NAMES:
            raise unknown_option(name, NAMES)
    made: dict[str, Any] = {name: given[name] for name in _PLAIN if name in given}  # type: ignore[literal-required]
    made |= _attempts(given) | _times(given) | _keeps(given)
    if "on_full" in given or "full_timeout" in given:
        made["full_wait_ms"] = full_wait(base.full_wait_ms, given)
    if "index" in given:
        made["index"] = check_names(given["index"], "index")
    if "tags" in given:
        made["tags"] = check_names(given["tags"], "tags")
    if "backoff" in given:
        made["backoff"] = _read_backoff(given["backoff"])
    if "dedup" in given:
        made["dedup"] = _read_dedup(given["dedup"])
    if "headers" in given:
        made["metadata"] = write_headers(given["headers"])
    merged = replace(base, **made)
    check_limits(merged, now)
    return merged


def due(options: JobOptions, created: Millis, now: Millis) -> Millis | None:
    """Return when a job may start, if its delay counts from `created`; None: at once."""
    if options.at_ms is not None:
        return options.at_ms if options.at_ms > now else None
    return created + options.delay_ms if options.delay_ms else None


def check_limits(options: JobOptions, now: Millis | None = None) -> None:
    """Check that the time limits do not contradict each other.

    Raises:
        ConfigError: Names the two that do.
    """
    check_soft(options.soft_timeout_ms, options.timeout_ms)
    if options.max_runs is not None and options.max_runs < options.attempts:
        raise ConfigError(
            f"max_runs={options.max_runs} is below attempts={options.attempts}",
            field="max_runs",
            value=options.max_runs,
            hint="each attempt is a run, and so is each start after a snooze or a crash: raise it",
        )
    created = options.created_ms if options.created_ms is not None else now
    wait = options.delay_ms
    if options.at_ms is not None and created is not None:
        wait = options.at_ms - created
    for name in ("expires", "deadline"):
        limit: Millis | None = getattr(options, f"{name}_ms")
        if limit is not None and wait > 0 and wait >= limit:
            raise ConfigError(
                f"{name}={describe(limit)!r} is over before the delay of "
                f"{describe(wait)}: the job would never run",
                field=name,
                value=limit,
                hint=f"both count from when the job is added; make {name} the longer one",
            )


def check_soft(soft_ms: Millis | None, hard_ms: Millis | None) -> None:
    """Check that the soft limit is below the hard one.

    Raises:
        ConfigError: It is not.
    """
    if soft_ms is not None and hard_ms is not None and soft_ms >= hard_ms:
        raise ConfigError(
            f"soft_timeout={describe(soft_ms)!r} is not below timeout={describe(hard_ms)!r}",
            field="soft_timeout",
            value=soft_ms,
            hint="the time between the two is what the handler has to clean up",
        )


FIELDS = frozenset(field.name for field in fields(JobOptions))
