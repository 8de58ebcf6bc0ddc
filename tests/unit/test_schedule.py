"""When schedules run, proved against a scan of every minute that knows nothing of the code."""

import contextlib
import dataclasses
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toril._model.schedule import Rule, describe, next_run, preview
from toril.errors import ConfigError

HOUR = 3_600_000
DAY = 24 * HOUR


def at(text: str, tz: str = "UTC", fold: int = 0) -> int:
    """Give the moment of a clock time in milliseconds."""
    wall = datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(tz), fold=fold)
    return round(wall.timestamp() * 1000)


def clock(ms: int, tz: str = "UTC") -> str:
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)
    return moment.astimezone(ZoneInfo(tz)).isoformat(" ", "minutes")


def walk(rule: Rule, start: int, until: int) -> list[int]:
    """List every run after `start` and up to `until`, each asked for from the one before."""
    runs: list[int] = []
    run = next_run(rule, now=start)
    while run is not None and run <= until:
        runs.append(run)
        run = next_run(rule, now=run, previous=run, count=len(runs))
    return runs


# The oracle: it steps through real time, looks at the clock on the wall, and compares. Its grammar
# is small (numbers, *, ranges, lists, steps), and it shares nothing with the code under test.

LIMITS = ((0, 59), (0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def numbers(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, dash, last = span.partition("-")
        begin = low if first == "*" else int(first)
        end = int(last) if dash else high if first == "*" or step else begin
        found.update(range(begin, end + 1, int(step or 1)))
    return found


class Oracle:
    def __init__(self, cron: str) -> None:
        fields = cron.split()
        fields = fields if len(fields) == 6 else ["0", *fields]
        pairs = zip(fields, LIMITS, strict=True)
        self.sets = [numbers(field, *limits) for field, limits in pairs]
        self.sets[5] = {day % 7 for day in self.sets[5]}
        self.both = fields[3].startswith("*") or fields[5].startswith("*")
        self.fixed = not fields[1].startswith("*") and not fields[2].startswith("*")

    def matches(self, wall: datetime) -> bool:
        second, minute, hour, day, month, weekday = self.sets
        if wall.minute not in minute or wall.hour not in hour or wall.second not in second:
            return False
        by_date, by_weekday = wall.day in day, wall.isoweekday() % 7 in weekday
        right_day = (by_date and by_weekday) if self.both else (by_date or by_weekday)
        return right_day and wall.month in month

    def runs(self, walls: list[tuple[int, datetime]], step: int) -> list[int]:
        if not self.fixed:
            return [ms for ms, wall in walls if self.matches(wall)]
        found: list[int] = []
        tick = timedelta(seconds=step)
        shown = walls[0][1] - tick  # the latest time that the clock has shown
        for ms, wall in walls:
            due = False
            while shown < wall:
                shown += tick
                due = due or self.matches(shown)
            if due:
                found.append(ms)
        return found


@lru_cache(maxsize=64)
def scan(tz: str, first: str, days: int, step: int = 60) -> list[tuple[int, datetime]]:
    zone, begin = ZoneInfo(tz), at(first) // 1000
    return [
        (s * 1000, datetime.fromtimestamp(s, zone).replace(tzinfo=None, fold=0))
        for s in range(begin, begin + days * 86_400, step)
    ]


# Five days around a change of the clock (one window has none, two hold a leap day).
WINDOWS = [
    ("Europe/Berlin", "2024-03-29"),
    ("Europe/Berlin", "2024-10-25"),
    ("America/New_York", "2024-03-08"),
    ("America/New_York", "2024-11-01"),
    ("Australia/Lord_Howe", "2024-04-05"),
    ("Australia/Lord_Howe", "2024-10-04"),
    ("America/Santiago", "2024-04-05"),
    ("America/Santiago", "2024-09-06"),
    ("Pacific/Apia", "2011-12-28"),
    ("Asia/Ho_Chi_Minh", "2024-02-27"),
    ("UTC", "2024-02-27"),
    ("America/Caracas", "2007-12-07"),
    ("Asia/Pyongyang", "2018-05-03"),
]
CRONS = [
    *("* * * * *", "*/5 * * * *", "*/15 2 * * *", "7-59/13 * * * *", "0 * * * *", "30 * * * *"),
    *("0 */2 * * *", "*/20 0,1,2,23 * * *", "30 2 * * *", "15,45 1-2 * * *", "0 0 * * *"),
    *("30 0 * * *", "59 23 * * *", "0 3 * * *", "0-59 2 * * *", "5 1-3 * * *", "0,30 0-23 * * *"),
    *("45 1 * * 0", "0 2 * * 6,7", "30 2 31 3 *", "30 2 29 2 *", "0 0 1 */2 1", "0 12 */2 * 1"),
    *("10 2 1-15 * 0-3", "*/10 * 29 2 *", "* 2 * * *", "*/7 1-3/2 * * 5-7", "0 0 30 12 *"),
    *("30 12 * * 5", "0 1-23/3 28-31 * *"),
]


@pytest.mark.parametrize(("tz", "first"), WINDOWS)
def test_every_run_is_one_that_a_scan_of_all_minutes_finds(tz: str, first: str) -> None:
    walls = scan(tz, first, 5)
    for cron in CRONS:
        expected = Oracle(cron).runs(walls, 60)
        runs = walk(Rule(cron=cron, tz=tz), walls[0][0] - 1, walls[-1][0])
        assert [clock(ms, tz) for ms in expected] == [clock(ms, tz) for ms in runs], cron


@pytest.mark.parametrize(
    ("tz", "first"),
    [("Europe/Berlin", "2024-03-31"), ("Europe/Berlin", "2024-10-27"), ("UTC", "2024-02-29")],
)
def test_seconds_follow_the_same_rules(tz: str, first: str) -> None:
    walls = scan(tz, first, 1, 5)
    for cron in ("*/5 30 * * * *", "0,30 59 1-2 * * *", "55 */10 * * * *", "10-20/5 30 2 * * *"):
        expected = Oracle(cron).runs(walls, 5)
        assert expected == walk(Rule(cron=cron, tz=tz), walls[0][0] - 1, walls[-1][0]), cron


def field(low: int, high: int, steps: bool = True) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    span = st.tuples(one, one).map(lambda ends: f"{min(ends)}-{max(ends)}")
    star = st.just("*")
    if steps:
        star |= st.builds("*/{}".format, st.integers(1, high))
        span |= st.builds("{}/{}".format, span, st.integers(1, high))
    single = one.map(str)
    return star | single | span | st.lists(single | span, min_size=2, max_size=3).map(",".join)


crons = st.tuples(
    field(0, 59), field(0, 23), field(1, 28), field(1, 12, steps=False) | st.just("*"), field(0, 7)
).map(" ".join)


@settings(deadline=None, max_examples=150)
@given(crons, st.sampled_from(WINDOWS), st.integers(0, 5 * DAY))
def test_any_rule_asked_at_any_moment_gives_the_next_run_of_the_scan(
    cron: str, window: tuple[str, str], offset: int
) -> None:
    tz, first = window
    walls = scan(tz, first, 5)
    now = walls[0][0] + offset
    expected = next((ms for ms in Oracle(cron).runs(walls, 60) if ms > now), None)
    with contextlib.suppress(ConfigError):  # "1 * 31/2 …" and its like may never run
        run = next_run(Rule(cron=cron, tz=tz), now=now)
        assert expected == (run if run is not None and run <= walls[-1][0] else None)


@settings(deadline=None, max_examples=150)
@given(
    crons,
    st.sampled_from([tz for tz, _ in WINDOWS]),
    st.integers(0, at("2100-01-01")),
    st.integers(-10 * DAY, 10 * DAY),
)
def test_runs_strictly_increase_and_are_never_in_the_past(
    cron: str, tz: str, now: int, shift: int
) -> None:
    with contextlib.suppress(ConfigError):
        rule = Rule(cron=cron, tz=tz)
        runs = preview(rule, now=now, n=5)
        assert all(a < b for a, b in pairwise([now, *runs]))
        run = next_run(rule, now=now, previous=now + shift)
        assert run is None or run > max(now, now + shift)


@pytest.mark.parametrize(
    ("expected", "cron", "tz", "now"),
    [
        # The gap: fixed times run right after it, others not at all.
        ("2024-03-31 03:00", "30 2 * * *", "Europe/Berlin", "2024-03-31 01:59"),
        ("2024-04-01 02:30", "30 2 * * *", "Europe/Berlin", "2024-03-31 03:00"),
        ("2024-04-01 02:00", "*/30 2 * * *", "Europe/Berlin", "2024-03-31 01:59"),
        ("2024-03-31 03:00", "*/15 * * * *", "Europe/Berlin", "2024-03-31 01:45"),
        ("2024-09-08 01:00", "0 0 * * *", "America/Santiago", "2024-09-07 23:00"),
        ("2024-10-06 02:30", "15 2 * * *", "Australia/Lord_Howe", "2024-10-06 01:00"),
        # The day that Samoa left out.
        ("2011-12-31 00:00", "30 12 * * *", "Pacific/Apia", "2011-12-29 12:30"),
        ("2011-12-31 12:30", "30 12 * * *", "Pacific/Apia", "2011-12-31 00:00"),
        ("2024-03-10 03:00", "0 30 2 * * *", "America/New_York", "2024-03-10 01:00"),
        ("2028-02-29 02:00", "0 2 29 2 *", "Asia/Ho_Chi_Minh", "2024-02-29 02:00"),
        ("2104-02-29 00:00", "* * 29 2 *", "Europe/Berlin", "2096-02-29 23:59"),
        ("2024-06-28 00:00", "0 0 LW * *", "UTC", "2024-06-01 00:00"),
        ("2024-06-30 00:00", "0 0 L * *", "UTC", "2024-06-01 00:00"),
        ("2024-06-10 09:00", "0 9 * * MON#2", "UTC", "2024-06-04 00:00"),
        ("2024-06-28 09:00", "0 9 * * 5L", "UTC", "2024-06-04 00:00"),
        ("2024-06-09 00:00", "0 0 * * 7", "UTC", "2024-06-04 00:00"),
        ("2025-06-05 05:00", "5-5/2,0 5 05-5/1 JUN-6/2 *", "UTC", "2024-06-05 05:05"),
        ("2024-06-10 00:00", "0 0 * * mon-1/2", "UTC", "2024-06-04 00:00"),
        ("2024-06-10 00:00", "0 0 ? * MON", "UTC", "2024-06-04 00:00"),
        ("2024-07-04 00:00", "0 0 4 * ?", "UTC", "2024-06-04 00:00"),
    ],
)
def test_known_runs(expected: str, cron: str, tz: str, now: str) -> None:
    run = next_run(Rule(cron=cron, tz=tz), now=at(now, tz))
    assert run is not None
    assert expected == clock(run, tz)[:16]


def test_an_hour_that_comes_twice_runs_fixed_times_once_and_others_twice() -> None:
    zone = "Europe/Berlin"
    begin, end = at("2024-10-27 01:59", zone), at("2024-10-27 03:00", zone)
    first, second = at("2024-10-27 02:30", zone), at("2024-10-27 02:30", zone, fold=1)
    assert walk(Rule(cron="30 2 * * *", tz=zone), begin, end) == [first]
    assert walk(Rule(cron="30 * * * *", tz=zone), begin, end) == [first, second]
    assert second - first == HOUR


@pytest.mark.parametrize(
    ("plain", "macro"),
    [
        *(("* * * * * *", "@secondly"), ("* * * * *", "@minutely"), ("0 * * * *", "@hourly")),
        *(("0 0 * * *", "@daily"), ("0 0 * * *", "@midnight"), ("0 0 * * 0", " @Weekly ")),
        *(("0 0 1 * *", "@monthly"), ("0 0 1 1 *", "@yearly"), ("0 0 1 1 *", "@annually")),
        *(("0 0 * * 1-5", "@weekdays"), ("0 0 * * 6,0", "@weekends")),
    ],
)
def test_macros_stand_for_their_fields(plain: str, macro: str) -> None:
    now = at("2024-02-28 23:59")
    assert preview(Rule(cron=plain), now=now, n=4) == preview(Rule(cron=macro), now=now, n=4)


@pytest.mark.parametrize(
    ("message", "cron"),
    [
        (r"'60' is no minute \(0 to 59\).*\"0 \* \* \* \*\"", "60 * * * *"),
        (r"no hour \(0 to 23\).*\"0 0 \* \* \*\"", "0 24 * * *"),
        (r"no day of the month.*\"0 0 31 \* \*\"", "0 0 32 * *"),
        (r"no month.*\"0 0 1 JAN \*\"", "0 0 1 January *"),
        (r"no day of the week.*\"0 9 \* \* MON\"", "0 9 * * monday"),
        (r"no day of the week.*\"0 9 \* \* FRI-6,0-MON\"", "0 9 * * FRI-MON"),
        (r"no hour.*\"0 22-23,0-6 \* \* \*\"", "0 22-6 * * *"),
        (r"no minute.*\"\* \* \* \* \*\"", "*/0 * * * *"),
        (r"'H' is no minute.*\"0 \* \* \* \*\"", "H * * * *"),
        (r"'\?' is no minute", "? * * * *"),
        (r"it has 4 fields.*\"0 2 \* \* \*\"", "0 2 * *"),
        (r"it has 7 fields.*\"0 0 12 \* \* \*\"", "0 0 12 * * ? 2024"),
        (r"it has 0 fields", ""),
        (r"unknown macro.*\"@daily\"", "@dayly"),
        (r"unknown macro", "@reboot"),
        (r"never run.*\"0 0 L 2 \*\"", "0 0 30 2 *"),
        (r"never run.*\"0 0 L 4,6 \*\"", "0 0 31 4,6 *"),
        (r"never run", "0 0 30-31 2 */9"),
        (r"at most 256 characters", "1," * 200 + "1 * * * *"),
    ],
)
def test_a_bad_cron_text_is_refused_with_the_reason_and_the_nearest_form(
    message: str, cron: str
) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Rule(cron=cron)
    assert caught.value.field == "cron"


@pytest.mark.parametrize(
    ("nearest", "tz"),
    [
        ("Europe/Berlin", "europe/berlin"),
        ("Europe/Berlin", "Berlin"),
        ("Europe/Berlin", "Europe/Berlim"),
        ("America/New_York", "America/New York"),
        ("Asia/Ho_Chi_Minh", "Ho Chi Minh"),
        ("UTC", "utc"),
    ],
)
def test_an_unknown_zone_is_refused_with_the_nearest_name(nearest: str, tz: str) -> None:
    with pytest.raises(ConfigError, match=f'did you mean "{nearest}"') as caught:
        Rule(cron="@daily", tz=tz)
    assert caught.value.field == "tz"


@pytest.mark.parametrize("tz", ["", "Europe", "../etc/passwd", "/etc/passwd", "\0", "Mars/Base", 5])
def test_what_names_no_zone_is_refused(tz: object) -> None:
    with pytest.raises(ConfigError, match="tz="):
        Rule(cron="@daily", tz=tz)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("message", "options"),
    [
        ("exactly one.*neither", {}),
        ("exactly one.*both", {"cron": "@daily", "every_ms": 1}),
        ("every=0", {"every_ms": 0}),
        ("every=True", {"every_ms": True}),
        ("every=1.5", {"every_ms": 1.5}),
        ("limit=0", {"every_ms": 1, "limit": 0}),
        ("start=-1", {"every_ms": 1, "start_ms": -1}),
        ("end=.* lies before start=1970", {"every_ms": 1, "start_ms": 2000, "end_ms": 1000}),
        ("offset=1000 is no whole number from 0 to 999", {"every_ms": 1000, "offset_ms": 1000}),
        ("no meaning for cron", {"cron": "@daily", "offset_ms": 1}),
        ("immediately and start", {"cron": "@daily", "start_ms": 1, "immediately": True}),
        ("immediately and offset", {"every_ms": 9, "offset_ms": 1, "immediately": True}),
    ],
)
def test_a_rule_that_contradicts_itself_is_refused(message: str, options: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=message):
        Rule(**options)  # type: ignore[arg-type]


def test_a_rule_is_a_value() -> None:
    rule = Rule(cron="@daily")
    assert rule == Rule(cron="@daily")
    assert hash(rule) == hash(Rule(cron="@daily"))
    with pytest.raises(dataclasses.FrozenInstanceError):
        rule.tz = "UTC"  # type: ignore[misc]


def test_immediately_runs_now_the_first_time_only() -> None:
    rule = Rule(cron="0 0 * * *", immediately=True)
    assert next_run(rule, now=12_345) == 12_345
    assert next_run(rule, now=12_345, previous=12_345) == DAY


def test_a_cron_rule_keeps_to_start_end_and_limit() -> None:
    rule = Rule(cron="0 0 * * *", start_ms=2 * DAY, end_ms=4 * DAY)
    assert preview(rule, now=0, n=9) == [2 * DAY, 3 * DAY, 4 * DAY]
    late = Rule(cron="0 0 * * *", start_ms=2 * DAY + 1, limit=2)
    assert preview(late, now=0, n=9) == [3 * DAY, 4 * DAY]
    assert next_run(late, now=0, count=2) is None


@pytest.mark.parametrize("now", [at("9000-01-01"), 10**18, 2**80])
def test_beyond_the_calendar_there_is_no_run(now: int) -> None:
    assert next_run(Rule(cron="@daily"), now=now) is None
    assert next_run(Rule(cron="@daily", immediately=True), now=now + 1) is None
    assert next_run(Rule(every_ms=1000), now=now + 1) is None


@pytest.mark.parametrize(
    ("expected", "options", "now", "previous"),
    [
        (12_345, {}, 12_345, None),
        (20_000, {"start_ms": 20_000}, 12_345, None),
        (12_345, {"start_ms": 5_000}, 12_345, None),
        (13_000, {"offset_ms": 3_000}, 12_345, None),
        (22_000, {"offset_ms": 2_000}, 12_345, None),
        (22_000, {"offset_ms": 2_000}, 12_000, None),
        (12_345, {"offset_ms": 0}, 12_345, None),
        (22_345, {}, 12_400, 12_345),
        (22_345, {}, 22_345, 12_345),
        (32_345, {}, 22_346, 12_345),
        (1_002_345, {}, 999_999, 12_345),
        (1_003_000, {"offset_ms": 3_000}, 999_999, 12_345),
        (22_345, {"offset_ms": 3_000}, 12_400, 12_345),
        (1_000_000, {"offset_ms": 0}, 999_999, 12_345),
        (62_345, {}, 12_345, 52_345),
        (None, {"end_ms": 22_344}, 12_400, 12_345),
        (22_345, {"end_ms": 22_345}, 12_400, 12_345),
    ],
)
def test_an_interval_keeps_its_slots_and_never_makes_up_for_missed_ones(
    expected: int | None, options: dict[str, int], now: int, previous: int | None
) -> None:
    rule = Rule(every_ms=10_000, **options)  # type: ignore[arg-type]
    assert expected == next_run(rule, now=now, previous=previous)


@settings(deadline=None)
@given(
    st.integers(1, 10 * DAY),
    st.integers(0, 10 * DAY),
    st.integers(0, at("2100-01-01")),
    st.none() | st.integers(0, at("2100-01-01")),
)
def test_the_next_slot_is_near_ahead_and_on_the_grid(
    every: int, offset: int, now: int, previous: int | None
) -> None:
    for rule in (Rule(every_ms=every), Rule(every_ms=every, offset_ms=offset % every)):
        run = next_run(rule, now=now, previous=previous)
        assert run is not None
        assert now <= run <= max(now, previous or 0) + every
        assert previous is None or run > previous
        if rule.offset_ms is None and previous is not None:
            assert (run - previous) % every == 0


def test_a_preview_shows_what_will_run() -> None:
    assert preview(Rule(every_ms=HOUR), now=5, n=3) == [5, 5 + HOUR, 5 + 2 * HOUR]
    assert preview(Rule(every_ms=HOUR, limit=2), now=5, n=3) == [5, 5 + HOUR]
    assert preview(Rule(cron="@hourly"), now=5, n=0) == []
    assert preview(Rule(cron="@hourly", end_ms=6), now=5, n=3) == []


@pytest.mark.parametrize(
    ("expected", "rule"),
    [
        ("At 02:00 every day, UTC time", Rule(cron="0 2 * * *")),
        ("Every second, UTC time", Rule(cron="@secondly")),
        (
            "At 09:00 on Monday through Friday, Europe/Berlin time, first at once, 1 run at most",
            Rule(cron="0 9 ? * 1-5", tz="Europe/Berlin", immediately=True, limit=1),
        ),
        ("Every 1 h 30 min", Rule(every_ms=5_400_000)),
        (
            "Every 1 h, 5 min after the slot, from 1970-01-02 00:00:00 UTC, "
            "until 1970-01-03 00:00:00 UTC, 3 runs at most",
            Rule(every_ms=HOUR, offset_ms=300_000, start_ms=DAY, end_ms=2 * DAY, limit=3),
        ),
    ],
)
def test_a_rule_reads_as_plain_words(expected: str, rule: Rule) -> None:
    assert expected == describe(rule)


cron_like = st.lists(
    st.text("0123456789*/,-LWH#?@MONFRISU ", min_size=1, max_size=8), min_size=4, max_size=7
).map(" ".join)


@pytest.mark.timeout(60)  # long where something else keeps the machine busy
@settings(deadline=None, max_examples=300)
@given(st.text(max_size=30) | cron_like | crons)
def test_whatever_text_is_given_only_a_config_error_comes_out(text: str) -> None:
    with contextlib.suppress(ConfigError):
        rule = Rule(cron=text)
        assert describe(rule)
        assert preview(rule, now=at("2024-01-01"), n=2)


@settings(deadline=None, max_examples=25)
@given(st.text(max_size=20))
def test_whatever_zone_is_given_only_a_config_error_comes_out(text: str) -> None:
    with contextlib.suppress(ConfigError):
        Rule(cron="@daily", tz=text)
