"""When a schedule runs: the rule, its checks and its arithmetic.

Here lives the *when* of a schedule, not the job that it makes. `now` is always an argument; nothing
here may read a clock or keep state between two calls.

Cron text has five fields, or six with seconds first, and is read as Debian's cron reads it: when
the day of the month or the day of the week begins with `*`, both must match, otherwise either is
enough. Each moment at which a rule matches is one run, in the rule's own time zone.

When clocks change, the rule is that of Debian's cron, for five and six fields alike:

- *Fixed times* (neither the minute nor the hour field begins with `*`) run once per time on the
  clock. A time that is skipped runs right after the gap, one run for all that was skipped; a time
  that comes twice runs the first time only. So `30 2 * * *` runs on every day of the year. The gap
  may be a whole day (Pacific/Apia omitted 2011-12-30).
- *All others* (`*/15 * * * *`, `0 * * * *`, `0 */2 * * *`) follow real time: nothing runs for what
  is skipped, and what comes twice runs twice, so that "every 15 minutes" stays so.

An interval (`every_ms`) knows no clock changes. A new one runs at once, or at its start, or at its
next offset; later runs keep their slots, and slots that have passed are omitted, never made up.
"""

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from cronsim import CronSim, CronSimError

from toril.errors import ConfigError

from .checks import shown
from .suggest import nearest
from .times import MAX_MS, Millis
from .times import describe as describe_ms

_MACROS: Final[dict[str, str]] = {
    "@secondly": "* * * * * *",
    "@minutely": "* * * * *",
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekdays": "0 0 * * 1-5",
    "@weekends": "0 0 * * 0,6",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_NAMES: Final = ("second", "minute", "hour", "day of the month", "month", "day of the week")
_LOWEST: Final = (0, 0, 0, 1, 1, 0)
_HIGHEST: Final = (59, 59, 23, 31, 12, 7)
_DAY: Final = 3
_WEEKDAY: Final = 5
_WORDS: Final[dict[int, tuple[str, ...]]] = {
    4: ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"),
    5: ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"),
}
_VALUES: Final = {
    word: str(_LOWEST[at] + index).lstrip("0")
    for at, words in _WORDS.items()
    for index, word in enumerate(words)
}
_STEPPED: Final = re.compile(r"(?<![^,])([0-9A-Z]+)-([0-9A-Z]+)/0*[1-9][0-9]*(?![^,])")
MAX_TEXT: Final = 256
"""The longest cron text or name of a zone that is read at all."""

_EPOCH: Final = datetime(1970, 1, 1)
_DAY_SECONDS: Final = 86_400
_NEAR_SECONDS: Final = 2 * _DAY_SECONDS
# Cron looks up to 50 years ahead, and a datetime must be able to hold what it finds.
LAST_MS: Final[Millis] = int((datetime(9000, 1, 1) - _EPOCH).total_seconds()) * 1000
"""The latest time of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """Say when a schedule runs: by `cron` or `every_ms`, within start, end and limit.

    Units: `…_ms` are milliseconds, `start_ms` and `end_ms` since 1970-01-01 UTC; a run at either
    of the two is allowed. `limit` counts runs. `offset_ms` shifts the slots of an interval.
    `immediately` makes the first run of a cron rule at once.

    Raises: ConfigError for a rule that cannot be read, contradicts itself or would never run.
    """

    cron: str | None = None
    every_ms: Millis | None = None
    tz: str = "UTC"
    start_ms: Millis | None = None
    end_ms: Millis | None = None
    limit: int | None = None
    offset_ms: Millis | None = None
    immediately: bool = False

    def __post_init__(self) -> None:
        if (self.cron is None) == (self.every_ms is None):
            given = "both cron and every" if self.cron is not None else "neither cron nor every"
            message = f"a schedule needs exactly one of cron and every: {given} was given"
            raise ConfigError(message, field="cron", value=self.cron)
        _check_whole("every", self.every_ms, 1, MAX_MS)
        _check_whole("start", self.start_ms, 0, LAST_MS)
        _check_whole("end", self.end_ms, 0, LAST_MS)
        _check_whole("limit", self.limit, 1, MAX_MS)
        _check_combination(self)
        _zone(_check_text("tz", self.tz))
        if self.cron is not None:
            _check_cron(_check_text("cron", self.cron))

    def words(self) -> str:
        """Return the rule in plain English words."""
        return describe(self)

    def after(self, at: Millis, n: int, *, count: int = 0) -> list[Millis]:
        """Return the next `n` runs after the one at this time, of which there were `count`."""
        runs: list[Millis] = []
        while len(runs) < n:
            following = next_run(self, now=at, previous=at, count=count + len(runs))
            if following is None:
                break
            runs.append(following)
            at = following
        return runs


def next_run(
    rule: Rule, *, now: Millis, previous: Millis | None = None, count: int = 0
) -> Millis | None:
    """Return the moment of the next run, or None when there is none left.

    `previous` is the moment of the run before (its slot, not when it really ran), None for a new
    schedule; `count` is how many runs were made. A cron rule runs strictly after both `now` and
    `previous`; an interval may give `now` itself, and runs strictly after `previous`.
    """
    if rule.every_ms is not None:
        at: Millis | None = _next_slot(rule, rule.every_ms, now, previous)
    elif rule.immediately and previous is None:
        at = now
    else:
        at = _next_cron(rule, now if previous is None else max(now, previous))
    return within(rule, at, count)


def within(rule: Rule, at: Millis | None, count: int) -> Millis | None:
    """Return the moment of a run if the rule still allows one, after `count` that were made."""
    if rule.limit is not None and count >= rule.limit:
        return None
    last = LAST_MS if rule.end_ms is None else rule.end_ms
    return None if at is None or at > last else at


def keeps_step(one: Rule, other: Rule) -> bool:
    """Return whether two rules have the same runs, but for when they end."""
    return replace(one, limit=None, end_ms=other.end_ms) == replace(other, limit=None)


def preview(rule: Rule, *, now: Millis, n: int) -> list[Millis]:
    """List the first `n` runs of a new schedule, fewer when it ends before."""
    runs: list[Millis] = []
    at = next_run(rule, now=now) if n > 0 else None
    while at is not None:
        runs.append(at)
        if len(runs) >= n:
            break
        at = next_run(rule, now=at, previous=at, count=len(runs))
    return runs


def describe(rule: Rule) -> str:
    """Report a rule in plain words: "At 02:00 every day, Asia/Ho_Chi_Minh time"."""
    if rule.every_ms is not None:
        words = f"Every {describe_ms(rule.every_ms)}"
        if rule.offset_ms:
            words += f", {describe_ms(rule.offset_ms)} after the slot"
    else:
        words = f"{CronSim(plain(rule.cron or ''), _EPOCH).explain()}, {rule.tz} time"
    if rule.immediately:
        words += ", first at once"
    if rule.start_ms is not None:
        words += f", from {_stamp(rule.start_ms)}"
    if rule.end_ms is not None:
        words += f", until {_stamp(rule.end_ms)}"
    if rule.limit is not None:
        words += f", {rule.limit} {'run' if rule.limit == 1 else 'runs'} at most"
    return words


def _next_slot(rule: Rule, every: Millis, now: Millis, previous: Millis | None) -> Millis:
    if previous is None and rule.start_ms is not None:
        return max(rule.start_ms, now)
    if previous is None and not rule.offset_ms:
        return now
    if previous is not None and previous + every >= now:
        return max(previous + every, rule.start_ms or 0)
    # Without an offset of its own a schedule keeps that of its first run.
    offset = (previous or 0) % every if rule.offset_ms is None else rule.offset_ms
    slot = now // every * every + offset
    return max(slot if slot > now else slot + every, rule.start_ms or 0)


def _next_cron(rule: Rule, after: Millis) -> Millis | None:
    # One less, so that a run exactly at the start is kept.
    after = max(after, 0 if rule.start_ms is None else rule.start_ms - 1, -1)
    if after >= LAST_MS:
        return None
    text, zone = plain(rule.cron or ""), _zone(rule.tz)
    find = _next_fixed if _is_fixed(text) else _next_real
    # Whole seconds: what lies strictly after the second also lies strictly after the millisecond.
    seconds = find(text, zone, after // 1000)
    return None if seconds is None else seconds * 1000


def _is_fixed(text: str) -> bool:
    minute, hour = text.split()[-5:-3]
    return not minute.startswith("*") and not hour.startswith("*")


# cronsim is given naive datetimes only: it says which times on the clock match, and the two
# functions below say which moments these are. Its own handling of zones slips where a change is
# shorter than an hour or falls on midnight.


def _next_fixed(text: str, zone: tzinfo, after: int) -> int | None:
    """Find the first moment after `after` when a matching clock time comes, or was skipped."""
    start = _clock(after + _offset(zone, after))
    for wall in CronSim(text, start):
        at = _first_moment(wall, zone)
        if at > after:
            return at
    return None


def _next_real(text: str, zone: tzinfo, after: int) -> int | None:
    """Find the first moment after `after` at which the clock shows a matching time.

    Between two changes of the clock, clock and moments run in step.
    """
    since = after + 1
    while True:
        offset = _offset(zone, since)
        wall = next(CronSim(text, _clock(since + offset - 1)), None)
        if wall is None:
            return None
        at = _seconds(wall) - offset
        change = _first_change(zone, since, min(at, since + _NEAR_SECONDS))
        if change is None and at - since <= _NEAR_SECONDS:
            return at
        # No clock time between matches, and a change moves clocks by less than two days: what
        # lies further than that from both ends need not be looked at.
        since = at - _NEAR_SECONDS if change is None else change


def _first_moment(wall: datetime, zone: tzinfo) -> int:
    """Return the first moment that shows this clock time, or the end of the gap that skips it."""
    seconds = _seconds(wall)
    at = seconds - _offset_of(wall.replace(tzinfo=zone))
    if at + _offset(zone, at) == seconds:
        return at
    # In a gap the second reading lies as far before the change as the first lies after it.
    before = seconds - _offset_of(wall.replace(tzinfo=zone, fold=1))
    return _bisect(zone, before, at)


def _first_change(zone: tzinfo, since: int, until: int) -> int | None:
    """Return the first moment up to `until` whose offset is not that of `since`."""
    offset = _offset(zone, since)
    # No zone has changed twice in one day, so that daily looks miss nothing.
    low = since
    while low < until:
        high = min(low + _DAY_SECONDS, until)
        if _offset(zone, high) != offset:
            return _bisect(zone, low, high)
        low = high
    return None


def _bisect(zone: tzinfo, low: int, high: int) -> int:
    """Return the first moment in (low, high] that has another offset than `low`."""
    offset = _offset(zone, low)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if _offset(zone, middle) == offset else (low, middle)
    return high


def _offset(zone: tzinfo, at: int) -> int:
    return _offset_of(_clock(at).replace(tzinfo=UTC).astimezone(zone))


def _offset_of(moment: datetime) -> int:
    offset = moment.utcoffset()
    return 0 if offset is None else int(offset.total_seconds())


def _clock(seconds: int) -> datetime:
    return _EPOCH + timedelta(seconds=seconds)


def _seconds(wall: datetime) -> int:
    return (wall - _EPOCH) // timedelta(seconds=1)


def _stamp(ms: Millis) -> str:
    return f"{_clock(ms // 1000).isoformat(' ')} UTC"


def plain(text: str) -> str:
    """Write a cron text without macros, `?` and steps within ranges of one."""
    fields = _MACROS.get(text.strip().lower(), text).upper().split()
    return " ".join(
        "*" if field == "?" and len(fields) - at in (1, 3) else _STEPPED.sub(_one, field)
        for at, field in enumerate(fields)
    )


def _one(match: re.Match[str]) -> str:
    # cronsim takes "5-5/2" for "5/2", which goes on to the end of the field; cron stops at 5.
    first, last = (_VALUES.get(end, end.lstrip("0")) for end in match.groups())
    return match[1] if first == last else match[0]


def _check_whole(field: str, value: object, least: int, most: int) -> None:
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        message = f"{field}={value!r} is no whole number from {least} to {most}"
        raise ConfigError(message, field=field, value=value)


def _check_combination(rule: Rule) -> None:
    if rule.end_ms is not None and rule.start_ms is not None and rule.end_ms < rule.start_ms:
        message = f"end={_stamp(rule.end_ms)} lies before start={_stamp(rule.start_ms)}"
        raise ConfigError(message, field="end", value=rule.end_ms, hint="swap the two")
    if rule.offset_ms is not None:
        if rule.every_ms is None:
            message = f"offset={rule.offset_ms!r} has no meaning for cron"
            hint = "write the shift into the cron text, or use every"
            raise ConfigError(message, field="offset", value=rule.offset_ms, hint=hint)
        _check_whole("offset", rule.offset_ms, 0, rule.every_ms - 1)
    other = "start" if rule.start_ms is not None else "offset" if rule.offset_ms else None
    if rule.immediately and other:
        message = f"immediately and {other} contradict each other"
        raise ConfigError(message, field="immediately", value=True, hint="leave one of them out")


def _check_text(field: str, value: object) -> str:
    if isinstance(value, str) and len(value) <= MAX_TEXT:
        return value
    message = f"{field}={shown(value)} is no text of at most {MAX_TEXT} characters"
    raise ConfigError(message, field=field, value=value)


def _check_cron(cron: str) -> None:
    text = plain(cron)
    reason = _fault(text)
    if reason is None:
        return
    nearest = _nearest_cron(text)
    hint = f'nearest valid form: "{nearest}"' if nearest else None
    raise ConfigError(f"cron={cron!r}: {reason}", field="cron", value=cron, hint=hint)


def _fault(text: str) -> str | None:
    """Return why a cron text cannot be used, or give None."""
    fields = text.split()
    if text.startswith("@"):
        return f"unknown macro; known: {' '.join(_MACROS)}"
    if len(fields) not in (5, 6):
        return f"it has {len(fields)} fields, cron has 5, or 6 with seconds first"
    for at, field in enumerate(fields, 6 - len(fields)):
        if not _reads(field, at):
            return f"{field!r} is no {_NAMES[at]} ({_LOWEST[at]} to {_HIGHEST[at]})"
    return None if _runs(text) else "no day matches it, so it would never run"


def _reads(field: str, at: int) -> bool:
    """Return whether cronsim takes this text as field number `at`, all others being open."""
    parts = ["*"] * 6
    parts[at] = field
    return _is_cron(" ".join(parts))


def _is_cron(text: str) -> bool:
    try:
        CronSim(text, _EPOCH)
    except CronSimError:
        return False
    return True


def _runs(text: str) -> bool:
    # cronsim sees some of what can never match, such as 30 February, and looks for the rest.
    return _is_cron(text) and next(CronSim(text, _EPOCH), None) is not None


def _nearest_cron(text: str) -> str | None:
    """Guess the cron text that was meant, or give None."""
    fields = text.split()
    if not fields or text.startswith("@"):
        return nearest(text.lower(), _MACROS)
    # Some write a year at the end; what is missing at the end is open.
    fields = fields[:6] if len(fields) > 6 else fields + ["*"] * (5 - len(fields))
    fixed = [_nearest_field(field, at) for at, field in enumerate(fields, 6 - len(fields))]
    last_day = [*fixed[:-3], "L", *fixed[-2:]]
    return next((text for text in map(" ".join, (fixed, last_day)) if _runs(text)), None)


def _nearest_field(field: str, at: int) -> str:
    if _reads(field, at):
        return field
    near = ",".join(_nearest_term(term, at) for term in field.upper().split(","))
    if _reads(near, at):
        return near
    return "0" if at < _DAY else "*"


def _nearest_term(term: str, at: int) -> str:
    head, slash, step = term.partition("/")
    ends = [_nearest_end(end, at) for end in head.split("-")]
    near = "-".join(ends)
    if len(ends) == 2 and not _reads(near, at):
        # "FRI-MON" and "22-6" go round the end, which cron writes as two ranges.
        near = f"{ends[0]}-{_HIGHEST[at] - (at == _WEEKDAY)},{_LOWEST[at]}-{ends[1]}"
    return near if step in ("", "0") else f"{near}{slash}{step}"


def _nearest_end(end: str, at: int) -> str:
    if end[:3] in _WORDS.get(at, ()):
        return end[:3]
    if not (end.isascii() and end.isdigit()) or int(end) <= _HIGHEST[at]:
        return end
    # Hour 24 and minute 60 are the start of the next.
    return "0" if at < _DAY else str(_HIGHEST[at])


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        nearest = _nearest_zone(name)
        raise ConfigError(
            f"tz={name!r:.80} is no time zone",
            field="tz",
            value=name,
            hint=f'did you mean "{nearest}"?' if nearest else 'a name such as "Europe/Berlin"',
        ) from error


def _nearest_zone(name: str) -> str | None:
    known = {zone.lower(): zone for zone in sorted(available_timezones())}
    wanted = name.strip().lower().replace(" ", "_")
    # A city alone is how most people begin.
    cities = [zone for zone in known if wanted and zone.endswith(f"/{wanted}")]
    close = wanted if wanted in known else cities[0] if cities else nearest(wanted, known)
    return None if close is None else known[close]
