"""Options of a job: validated when made, and frozen.

Never here: how they are stored (`stored_options`), or defaults of a queue.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime
from typing import Any, Literal, TypedDict, cast, get_args

from toril.errors import ConfigError

from .backoff import Backoff, Custom, Exponential, Fixed, from_wire
from .checks import MAX_WHOLE, check_flag, check_text, check_whole, shown
from .dedup import Dedup as Dedup
from .elsewhere import nearest
from .elsewhere import unknown_option as unknown_option
from .on_full import OnFull, full_wait
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
    """How many finished jobs stay, and how long; None means no bound of that kind.

    Units    age_ms in ms; `Keep.of` reads what a user may write.
    """

    count: int | None = None
    age_ms: Millis | None = None

    @classmethod
    def of(cls, value: "KeepLike", *, field: str = "keep") -> "Keep":
        """Read `"all"`, True, False, a count, an age such as `"24h"`, a mapping, or a Keep."""
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
    """The keyword options of a job; tasks, queues and flows take the same ones as defaults."""

    attempts: int
    retries: int
    backoff: "Backoff | Duration | BackoffFunction | Mapping[str, object] | None"
    delay: Duration
    at: datetime
    priority: int
    lifo: bool
    timeout: Duration | None
    soft_timeout: Duration | None
    deadline: Duration | None
    expires: Duration | None
    max_runs: int | None
    keep: KeepLike
    keep_completed: KeepLike
    keep_failed: KeepLike
    dedup: Dedup | str | None
    parent_on_fail: ParentPolicy
    on_crash: CrashPolicy
    keep_logs: int
    keep_stack: int
    max_size: int
    created_at: datetime
    durable: Durability | None
    on_full: OnFull
    full_timeout: Duration


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOptions:
    """What holds for one job.

    Shape    timeout_ms and soft_timeout_ms bound each try: at the soft one the handler is told,
             at the other its time is over. deadline_ms bounds all tries together, expires_ms the
             time before the first one; both count from when the job was added. on_crash: what
             becomes of it when its worker dies: it runs again, or fails at once. durable: who
             must have the job before its add is acknowledged; a wish about the add, not stored.
             at_ms: when it may start, by the store's clock, instead of a delay. full_wait_ms: how
             long its add waits for room in a queue that has `max_waiting` jobs; None: it is
             refused at once; not stored.
    Units    *_ms in ms; created_ms and at_ms are times. attempts counts all tries, the first included.
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
    max_size: int | None = None
    created_ms: Millis | None = None
    durable: Durability | None = None
    full_wait_ms: Millis | None = None

    def __post_init__(self) -> None:
        check_whole(self.attempts, "attempts", 1)
        check_whole(self.priority, "priority", 0, MAX_PRIORITY)
        check_flag(self.lifo, "lifo")
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
        """How long after it was added the job may be over although nobody claims it."""
        limits = [ms for ms in (self.deadline_ms, self.expires_ms) if ms is not None]
        return min(limits, default=None)

    @property
    def most_runs(self) -> int:
        """How often the job may start: snoozes, releases and crashes count as well as attempts."""
        return self.max_runs or max(DEFAULT_MAX_RUNS, self.attempts)


def check_crash_policy(policy: str) -> None:
    """Refuse what is no policy for crashes.

    Raises   ConfigError.
    """
    _policy_of("on_crash", policy, CRASH_POLICIES)


def _policy_of(field: str, policy: object, known: tuple[str, ...]) -> None:
    if not isinstance(policy, str) or policy not in known:
        raise ConfigError(
            f"{field}={shown(policy)} is not a policy",
            field=field,
            value=policy,
            hint=f"use one of {', '.join(known)}{nearest(policy, known)}",
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
            hint='make one of it, such as Exponential("1s"), or give a duration or a function',
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
            hint="attempts counts all tries, retries those after the first: give one of them",
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
    "durable", "max_runs",
)  # fmt: skip
_LIMITS = ("timeout", "soft_timeout", "deadline", "expires")
NAMES = frozenset(Options.__annotations__)


def merge(base: JobOptions, given: Options, *, now: Millis | None = None) -> JobOptions:
    """Lay the options that a user gave over `base`; `now` serves to check `at` only.

    Raises   ConfigError: an unknown name, a bad value, or two that exclude each other.
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
    if "backoff" in given:
        made["backoff"] = _read_backoff(given["backoff"])
    if "dedup" in given:
        made["dedup"] = _read_dedup(given["dedup"])
    merged = replace(base, **made)
    check_limits(merged, now)
    return merged


def due(options: JobOptions, created: Millis, now: Millis) -> Millis | None:
    """Return when a job may start whose delay counts from `created`; None: at once."""
    if options.at_ms is not None:
        return options.at_ms if options.at_ms > now else None
    return created + options.delay_ms if options.delay_ms else None


def check_limits(options: JobOptions, now: Millis | None = None) -> None:
    """Check that the time limits leave room for one another.

    Raises   ConfigError: names the two that do not.
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
    """Check that a handler is told before its time is over.

    Raises   ConfigError: it would not be.
    """
    if soft_ms is not None and hard_ms is not None and soft_ms >= hard_ms:
        raise ConfigError(
            f"soft_timeout={describe(soft_ms)!r} is not below timeout={describe(hard_ms)!r}",
            field="soft_timeout",
            value=soft_ms,
            hint="the time between the two is what the handler has to clean up",
        )


FIELDS = frozenset(field.name for field in fields(JobOptions))
