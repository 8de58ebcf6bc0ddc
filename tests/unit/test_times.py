"""What durations, moments and rates people write, and what becomes of each."""

import contextlib
import math
import warnings
from datetime import UTC, date, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toril._model.times import (
    MAX_MS,
    DurationWarning,
    at_ms,
    delay_ms,
    describe,
    moment,
    parse_rate,
    rate_text,
    to_ms,
)
from toril.errors import ConfigError


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (0, 0),
        (5_000, 5),
        (1_500, 1.5),
        (1, 0.0005),
        (0, 0.0004),
        (86_400_000, 86_400),
        (250, timedelta(milliseconds=250)),
        (1, timedelta(microseconds=500)),
        (90_061_001, timedelta(days=1, hours=1, minutes=1, seconds=1, milliseconds=1)),
        (500, "500ms"),
        (5_000, "5s"),
        (120_000, "2m"),
        (129_600_000, "36h"),
        (86_400_000, "1d"),
        (604_800_000, "1w"),
        (5_400_000, "1h30m"),
        (5_400_000, " 1h 30m "),
        (1_500, "1.5s"),
        (1_250, "1s250ms"),
        (1, "0.5ms"),
        (0, "0s"),
        (694_861_001, "1w1d1h1m1s1ms"),
        (MAX_MS, f"{MAX_MS}ms"),
    ],
)
def test_a_duration_becomes_milliseconds(expected: int, value: object) -> None:
    assert expected == to_ms(value, field="delay")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "value",
    [
        *(-1, -0.001, -1e-9, timedelta(microseconds=-1), "-5s", "\N{MINUS SIGN}5s"),
        *(math.nan, math.inf, -math.inf, 1e300, 10**400, 2**53, f"{2**53}ms", "9" * 63 + "d"),
        *(True, False, None, [], {}, b"5s", object(), date(2024, 1, 1)),
        *("", " ", "s", "5", "5.s", ".5s", "5 s", "5S", "1M", "30m1h", "5s5s", "1e3s", "PT5S"),
        *(
            "\N{ARABIC-INDIC DIGIT FIVE}s",
            "5s\x00",
            "1h,30m",
            "5sec",
            "1_000s",
            "s5",
            "9" * 100 + "s",
        ),
        *(timedelta.max, timedelta.min),
    ],
)
def test_what_is_no_duration_is_refused_with_its_field_and_the_forms(value: object) -> None:
    with pytest.raises(ConfigError) as caught:
        to_ms(value, field="timeout")  # type: ignore[arg-type]
    assert caught.value.field == "timeout"
    assert "timeout=" in str(caught.value)
    assert '"500ms"' in str(caught.value)


@pytest.mark.parametrize(
    ("nearest", "text"),
    [
        ("5s", "5sec"),
        ("5s", "5 seconds"),
        ("5s", "5"),
        ("5s", "5S"),
        ("5s", "5secnds"),
        ("1m", "1M"),
        ("10m", "10min"),
        ("10m", "10 minutes"),
        ("1h30m", "1 hr 30 min"),
        ("1h30m", "30m1h"),
        ("1h30m", "1 hour, 30 minutes"),
        ("250ms", "250 millis"),
        ("250ms", "250msec"),
        ("2d", "2days"),
        ("1.5h", "1.5hrs"),
    ],
)
def test_a_misspelt_unit_gets_the_nearest_valid_text(nearest: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f'did you mean "{nearest}"'):
        to_ms(text, field="delay")
    assert to_ms(nearest, field="delay") > 0


@pytest.mark.parametrize("text", ["soon", "5x", "5s5s", "PT5S", "", "tomorrow at 5"])
def test_what_resembles_nothing_gets_no_guess(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        to_ms(text, field="delay")
    assert "did you mean" not in str(caught.value)


@pytest.mark.parametrize("value", [10_001, 60_000, 10_000.5])
def test_a_large_bare_number_warns_and_blames_the_caller(value: float) -> None:
    with pytest.warns(DurationWarning, match=r"delay=.*means seconds.*ms") as caught:
        assert delay_ms(value) == value * 1000
    assert caught[0].filename == __file__


@pytest.mark.parametrize("value", [10_000, 0, 1.5, "60000s", "60000ms", timedelta(hours=10)])
def test_a_small_number_or_an_explicit_unit_does_not_warn(value: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        delay_ms(value)  # type: ignore[arg-type]


def test_a_refused_delay_does_not_warn() -> None:
    with pytest.raises(ConfigError, match="delay=True"):
        delay_ms(True)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
        (1_709_208_000_123, datetime(2024, 2, 29, 12, 0, 0, 123_999, tzinfo=UTC)),
        (1_709_208_000_000, datetime(2024, 2, 29, 13, tzinfo=ZoneInfo("Europe/Berlin"))),
        (1_709_208_000_000, datetime(2024, 2, 29, 7, tzinfo=timezone(timedelta(hours=-5)))),
    ],
)
def test_an_aware_datetime_becomes_a_moment(expected: int, value: datetime) -> None:
    assert expected == at_ms(value, field="run_at")


@pytest.mark.parametrize(
    ("message", "value"),
    [
        (r"no time zone.*replace\(tzinfo=UTC\)", datetime(2024, 1, 1)),
        ("before 1970", datetime(1969, 12, 31, tzinfo=UTC)),
        ("no datetime", date(2024, 1, 1)),
        ("no datetime", 1_700_000_000),
    ],
)
def test_what_names_no_moment_is_refused(message: str, value: object) -> None:
    with pytest.raises(ConfigError, match=f"run_at=.*{message}"):
        at_ms(value, field="run_at")  # type: ignore[arg-type]


@pytest.mark.parametrize("ms", [10**18, -(10**18), 2**80])
def test_a_moment_that_no_datetime_holds_is_refused(ms: int) -> None:
    with pytest.raises(ConfigError, match="ms="):
        moment(ms)


@pytest.mark.parametrize(
    ("expected", "ms"),
    [
        ("0 ms", 0),
        ("250 ms", 250),
        ("5 s", 5_000),
        ("1 h 30 min", 5_400_000),
        ("1 d 1 ms", 86_400_001),
        ("14 d", 1_209_600_000),
        ("-1 s 500 ms", -1_500),
    ],
)
def test_a_duration_reads_well(expected: str, ms: int) -> None:
    assert expected == describe(ms)


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        ((200, 60_000), "200/60s"),
        ((10, 1_000), "10/s"),
        ((5, 60_000), "5/m"),
        ((100, 3_600_000), "100/1h"),
        ((1, 500), " 1 / 500ms "),
        ((3, 5_400_000), "3/1h30m"),
        ((7, 86_400_000), "7/d"),
    ],
)
def test_a_rate_becomes_a_number_and_a_window(expected: tuple[int, int], text: str) -> None:
    assert expected == parse_rate(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "10", "10/", "/s", "0/s", "10/0s", "10/0.1ms", "-1/s", "1.5/s", "10/-1s", "a/b"),
        *("10/s/s", "1" * 50 + "/s", "10/fortnight", None, 5),
    ],
)
def test_what_is_no_rate_is_refused_with_the_forms(text: object) -> None:
    with pytest.raises(ConfigError, match=r'rate=.*"200/60s"') as caught:
        parse_rate(text)  # type: ignore[arg-type]
    assert caught.value.field == "rate"


@pytest.mark.parametrize(
    ("nearest", "text"), [("10/1s", "10/second"), ("5/60s", "5/60"), ("5/1m", "5/min")]
)
def test_a_misspelt_window_gets_the_nearest_rate(nearest: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f'did you mean "{nearest}"'):
        parse_rate(text)


@settings(deadline=None)
@given(st.integers(0, MAX_MS))
def test_milliseconds_survive_every_exact_form(ms: int) -> None:
    assert ms == to_ms(f"{ms}ms", field="delay")
    assert ms == to_ms(timedelta(milliseconds=ms), field="delay")
    assert ms == to_ms(describe(ms).replace(" ", "").replace("min", "m"), field="delay")


@settings(deadline=None)
@given(st.integers(1, 10_000), st.integers(1, MAX_MS))
def test_a_rate_survives_being_written(most: int, window_ms: int) -> None:
    assert (most, window_ms) == parse_rate(rate_text(most, window_ms))


def test_the_same_rate_is_always_written_the_same() -> None:
    assert rate_text(*parse_rate("200/60s")) == "200/1m"


@settings(deadline=None)
@given(st.datetimes(datetime(1970, 1, 2), datetime(9999, 12, 30), timezones=st.timezones()))
def test_a_moment_survives_the_round_trip_to_the_millisecond(value: datetime) -> None:
    back = moment(at_ms(value, field="run_at"))
    assert timedelta(0) <= value.astimezone(UTC) - back < timedelta(milliseconds=1)


@settings(deadline=None)
@given(st.text() | st.from_regex(r"[0-9.]{1,5} ?[a-zA-Z]{0,7}") | st.floats() | st.timedeltas())
def test_whatever_is_given_only_a_config_error_comes_out(value: object) -> None:
    with contextlib.suppress(ConfigError):
        to_ms(value, field="delay")  # type: ignore[arg-type]
    with contextlib.suppress(ConfigError):
        parse_rate(value)  # type: ignore[arg-type]
