"""Options of a job as they are stored.

The form is BullMQ's (short keys where it has them), plus toril's own keys under `toril`, so that
both sides can read a job that the other one added. Never here: options as a caller gives them.
"""

from functools import lru_cache
from typing import Any, cast

import msgspec

from toril.errors import ConfigError

from . import dedup
from .backoff import from_wire, to_wire
from .checks import MAX_WHOLE, check_whole, shown
from .options import JobOptions, Keep, ParentPolicy
from .stored import reader, whole
from .times import Millis

_FLAGS = {"fail": "fpof", "continue": "cpof", "ignore": "idof", "remove": "rdof"}
_LIMITS = ("timeout", "soft_timeout", "deadline", "expires")
# Data is stored apart: options are short.
MAX_TEXT = 65_536
_object = reader(dict[str, Any])


def _keep_to_wire(keep: Keep) -> object:
    if keep.age_ms is not None:
        # BullMQ's age is in seconds; a fraction is read back by us and rounded down by nobody.
        age = keep.age_ms / 1000
        count = {} if keep.count is None else {"count": keep.count}
        return {"age": int(age) if age.is_integer() else age} | count
    return False if keep.count is None else (True if keep.count == 0 else keep.count)


def _age_ms(seconds: float) -> Millis:
    return round(seconds * 1000) if abs(seconds) < MAX_WHOLE / 1000 else MAX_WHOLE


def _keep_from_wire(value: object) -> Keep | None:
    match value:
        case None:
            return None
        case bool():
            return Keep(count=0) if value else Keep()
        case int():
            return Keep(count=whole(value)) if value >= 0 else Keep()
        case dict():
            stored = cast("dict[str, Any]", value)
            count, age = stored.get("count"), stored.get("age")
            return Keep(
                count=whole(count) if isinstance(count, int) and count >= 0 else None,
                age_ms=_age_ms(age) if isinstance(age, int | float) else None,
            )
        case _:
            return None


# Options by their identity, for as long as they are here: most jobs share those of their task, and
# finding them by their value would cost more than all else that is done for a job in a batch.
_texts: dict[int, tuple[JobOptions, str]] = {}
_MOST_TEXTS = 1024


def to_text(options: JobOptions) -> str:
    """Return options as the JSON object that is stored with the job."""
    found = _texts.get(id(options))
    if found is None:
        if len(_texts) >= _MOST_TEXTS:
            _texts.clear()
        found = _texts[id(options)] = (options, _to_text(options))
    return found[1]


@lru_cache(maxsize=1024)
def _to_text(options: JobOptions) -> str:
    made: dict[str, object] = {"attempts": options.attempts}
    switches = {
        "delay": options.delay_ms,
        "priority": options.priority,
        "lifo": options.lifo,
    }
    made |= {key: value for key, value in switches.items() if value}
    numbers = {
        "kl": options.keep_logs,
        "stackTraceLimit": options.keep_stack,
        "sizeLimit": options.max_size,
        "timestamp": options.created_ms,
    }
    made |= {key: number for key, number in numbers.items() if number is not None}
    if options.backoff is not None:
        made["backoff"] = to_wire(options.backoff)
    if options.keep_completed is not None:
        made["removeOnComplete"] = _keep_to_wire(options.keep_completed)
    if options.keep_failed is not None:
        made["removeOnFail"] = _keep_to_wire(options.keep_failed)
    if options.metadata is not None:
        made["tm"] = options.metadata
    if options.omit_context:
        made["omc"] = True
    if options.dedup is not None:
        made["de"] = dedup.to_wire(options.dedup)
    if options.parent_on_fail in _FLAGS:
        made[_FLAGS[options.parent_on_fail]] = True
    limits: dict[str, object] = {name: getattr(options, f"{name}_ms") for name in _LIMITS}
    limits["at"] = options.at_ms
    own = {name: limit for name, limit in limits.items() if limit is not None}
    if options.on_crash != "retry":
        own["on_crash"] = options.on_crash
    if options.max_runs is not None:
        own["max_runs"] = options.max_runs
    if own:
        made["toril"] = own
    return msgspec.json.encode(made).decode()


def _metadata(stored: object) -> str | None:
    return stored if isinstance(stored, str) and stored else None


def _policy(raw: dict[str, Any]) -> ParentPolicy | None:
    policies: tuple[ParentPolicy, ...] = ("fail", "continue", "ignore", "remove")
    return next((name for name in policies if raw.get(_FLAGS[name])), None)


def _number(stored: dict[str, Any], name: str, default: int) -> int:
    """Read a number that BullMQ stores, which may have a fraction."""
    value = stored.get(name) or default
    number = whole(value, None)
    if number is None:
        raise ConfigError(f"{name}={shown(value)} is not a number", field=name, value=value)
    return number


def _limit(stored: dict[str, Any], name: str, low: int = 0) -> int | None:
    """Read one of toril's own numbers, which may be missing."""
    value = stored.get(name)
    return None if value is None else check_whole(value, name, low)


@lru_cache(maxsize=1024)
def from_text(text: str) -> JobOptions:
    """Read stored options; unknown keys are passed over, missing ones have their defaults.

    Raises   ConfigError: the text is not a JSON object, or a value in it cannot hold.
    """
    try:
        return _from_object(_object(text or "{}"))
    except RecursionError as error:
        raise _unreadable("they are nested too deeply") from error
    # ConfigError and Unreadable are ValueErrors too.
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise _unreadable(str(error)) from error


def fault_of(text: str) -> str | None:
    """Return what is wrong with stored options, which anybody may have written; None: nothing."""
    if len(text) > MAX_TEXT:
        # Nothing reads, or keeps in a cache, what nobody writes.
        return str(_unreadable(f"they have {len(text):,} characters, more than {MAX_TEXT:,}"))
    return _fault(text)


@lru_cache(maxsize=1024)
def _fault(text: str) -> str | None:
    try:
        from_text(text)
    except ConfigError as error:
        return str(error)
    return None


def _unreadable(why: str) -> ConfigError:
    return ConfigError(f"its stored options cannot be read: {why}", field="opts")


def _from_object(raw: dict[str, Any]) -> JobOptions:
    own: dict[str, Any] = raw.get("toril") or {}
    backoff = raw.get("backoff")
    return JobOptions(
        attempts=max(_number(raw, "attempts", 1), 1),
        backoff=None if backoff is None else from_wire(backoff),
        delay_ms=0 if own.get("at") else _number(raw, "delay", 0),
        at_ms=_limit(own, "at"),
        priority=_number(raw, "priority", 0),
        lifo=bool(raw.get("lifo")),
        timeout_ms=_limit(own, "timeout"),
        soft_timeout_ms=_limit(own, "soft_timeout"),
        deadline_ms=_limit(own, "deadline"),
        expires_ms=_limit(own, "expires"),
        max_runs=_limit(own, "max_runs", 1),
        keep_completed=_keep_from_wire(raw.get("removeOnComplete")),
        keep_failed=_keep_from_wire(raw.get("removeOnFail")),
        dedup=dedup.from_wire(raw["de"]) if raw.get("de") else None,
        parent_on_fail=_policy(raw),
        on_crash="fail" if own.get("on_crash") == "fail" else "retry",
        keep_logs=raw.get("kl"),
        keep_stack=raw.get("stackTraceLimit"),
        metadata=_metadata(raw.get("tm")),
        omit_context=bool(raw.get("omc")),
        max_size=raw.get("sizeLimit"),
        created_ms=whole(raw.get("timestamp"), None),
    )
