"""How long each backoff waits, and the form in which it is stored."""

import contextlib
import dataclasses
import json
import math
import pickle
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toril._model.backoff import (
    Backoff,
    Custom,
    Exponential,
    Fixed,
    delay,
    from_wire,
    preview,
    to_wire,
)
from toril._model.times import MAX_MS, DurationWarning
from toril.errors import ConfigError


def no_chance() -> float:
    raise AssertionError("no randomness was asked for")


def ms(value: int) -> timedelta:
    return timedelta(milliseconds=value)


jitters = st.just(0.0) | st.floats(0, 1, exclude_min=True)
delays = st.integers(0, 10_000_000)
fixed = st.builds(Fixed, delays.map(ms), jitters)
exponential = st.builds(Exponential, delays.map(ms), jitters) | st.builds(
    lambda first, more, jitter: Exponential(ms(first), jitter, ms(first + more)),
    delays,
    delays,
    jitters,
)
customs = st.builds(Custom, st.text(min_size=1).filter(lambda t: t not in {"fixed", "exponential"}))
chances = st.floats(0, 1, exclude_max=True)


def test_the_constructors_take_durations_by_position_and_keep_milliseconds() -> None:
    assert Fixed("5s", jitter=0.5).delay_ms == 5_000
    assert Fixed("5s", 0.5).jitter == 0.5
    assert Exponential("2s").delay_ms == 2_000
    assert Exponential(timedelta(minutes=1), 0.2, "10m").maximum_ms == 600_000
    assert Exponential(1.5) == Exponential("1500ms")
    assert Custom() == Custom("custom")


@pytest.mark.parametrize(
    ("expected", "backoff", "attempt", "chance"),
    [
        (5_000, Fixed("5s"), 1, None),
        (5_000, Fixed("5s"), 9, None),
        (0, Fixed(0), 1, None),
        (2_500, Fixed("5s", 0.5), 1, 0.0),
        (3_750, Fixed("5s", 0.5), 3, 0.5),
        (0, Fixed("5s", 1), 1, 0.0),
        (4_999, Fixed("5s", 1), 1, 0.99999),
        (2_000, Exponential("2s"), 1, None),
        (4_000, Exponential("2s"), 2, None),
        (8_000, Exponential("2s"), 3, None),
        (16_000, Exponential("2s"), 4, None),
        (5_000, Exponential("2s", maximum="5s"), 3, None),
        (2_500, Exponential("2s", 1, maximum="5s"), 3, 0.5),
        (6_000, Exponential("2s", 0.5), 3, 0.5),
        (1_024_000, Exponential(1), 11, None),
        (MAX_MS, Exponential("1ms"), 10**6, None),
        (0, Exponential(0), 50, None),
        (600_000, Exponential("1s", maximum="10m"), 10**9, None),
    ],
)
def test_the_wait_before_an_attempt(
    expected: int, backoff: Backoff, attempt: int, chance: float | None
) -> None:
    random = no_chance if chance is None else lambda: chance
    assert expected == delay(backoff, attempt, random)


def test_a_preview_has_one_wait_fewer_than_attempts() -> None:
    assert preview(Exponential("2s", 0.5), 5) == [2_000, 4_000, 8_000, 16_000]
    assert preview(Fixed("1s"), 3) == [1_000, 1_000]
    assert preview(Fixed("1s"), 1) == []
    assert preview(Fixed("1s"), 0) == []


@pytest.mark.parametrize(
    ("wire", "backoff"),
    [
        ({"type": "fixed", "delay": 5_000}, Fixed("5s")),
        ({"type": "fixed", "delay": 5_000, "jitter": 0.5}, Fixed("5s", 0.5)),
        ({"type": "exponential", "delay": 2_000}, Exponential("2s")),
        ({"type": "exponential", "delay": 2_000, "max": 9_000}, Exponential("2s", maximum="9s")),
        ({"type": "custom"}, Custom()),
        ({"type": "mine"}, Custom("mine")),
    ],
)
def test_the_stored_form_is_bullmqs(wire: object, backoff: Backoff) -> None:
    assert wire == to_wire(backoff)
    assert backoff == from_wire(wire)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        (Fixed("3s"), 3_000),
        (Fixed(0), 0),
        (Fixed("3ms"), 2.5),
        (Fixed(0), {"type": "fixed"}),
        (Fixed(0), {"type": "fixed", "delay": None, "jitter": None}),
        (Exponential("1s", 1), {"type": "exponential", "delay": 1_000, "jitter": 1}),
        (Custom("jittery"), {"type": "jittery", "delay": 1_000}),
        (Fixed("60000000ms"), {"type": "fixed", "delay": 60_000_000}),
        (Fixed(f"{MAX_MS}ms"), MAX_MS),
    ],
)
def test_what_node_may_have_written_is_read(expected: Backoff, value: object) -> None:
    assert expected == from_wire(value)


@pytest.mark.parametrize(
    "value",
    [
        *(None, "fixed", [], {}, True, -1, math.nan, math.inf, 2**60),
        *({"type": ""}, {"type": 1}, {"type": []}),
        *({"type": "fixed", "delay": "5"}, {"type": "fixed", "delay": -1}),
        *({"type": "fixed", "jitter": 2}, {"type": "exponential", "delay": 2, "max": 1}),
    ],
)
def test_what_cannot_have_been_stored_is_refused(value: object) -> None:
    with pytest.raises(ConfigError):
        from_wire(value)


@pytest.mark.parametrize("jitter", [-0.1, 1.1, math.nan, math.inf, True, "half", None])
def test_a_jitter_that_is_no_share_is_refused(jitter: object) -> None:
    for kind in (Fixed, Exponential):
        with pytest.raises(ConfigError, match=r"jitter=.*0 to 1"):
            kind("1s", jitter)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [-1, "5sec", None, math.nan])
def test_a_wait_that_is_no_duration_is_refused(value: object) -> None:
    for kind in (Fixed, Exponential):
        with pytest.raises(ConfigError, match="delay="):
            kind(value)  # type: ignore[arg-type]


def test_a_maximum_below_the_first_wait_is_refused() -> None:
    with pytest.raises(ConfigError, match="maximum='1s' is shorter than delay='2s'"):
        Exponential("2s", maximum="1s")
    assert Exponential("2s", maximum="2s").maximum_ms == 2_000


@pytest.mark.parametrize("name", ["", "fixed", "exponential", None, 1])
def test_a_custom_backoff_needs_a_name_of_its_own(name: object) -> None:
    with pytest.raises(ConfigError, match="no name of a custom backoff"):
        Custom(name)  # type: ignore[arg-type]


def test_only_the_worker_knows_how_long_a_custom_backoff_waits() -> None:
    with pytest.raises(ConfigError, match="give the worker a backoff function named 'mine'"):
        delay(Custom("mine"), 1, no_chance)
    with pytest.raises(ConfigError):
        preview(Custom("mine"), 3)


@pytest.mark.parametrize("attempt", [0, -1])
def test_attempts_are_counted_from_one(attempt: int) -> None:
    with pytest.raises(ConfigError, match="attempt="):
        delay(Fixed("1s"), attempt, no_chance)


def test_a_number_that_looks_like_milliseconds_warns_where_it_was_written() -> None:
    for make in (lambda: Fixed(20_000), lambda: Exponential(1, maximum=20_000)):
        with pytest.warns(DurationWarning) as caught:
            make()
        assert caught[0].filename == __file__


def test_a_backoff_cannot_be_changed_and_can_be_copied() -> None:
    backoff = Exponential("2s", 0.5, "1m")
    with pytest.raises(dataclasses.FrozenInstanceError):
        backoff.jitter = 0.1  # type: ignore[misc]
    assert pickle.loads(pickle.dumps(backoff)) == backoff
    assert len({backoff, Exponential("2s", 0.5, "60s"), Fixed("2s", 0.5)}) == 2


@settings(deadline=None)
@given(fixed | exponential | customs)
def test_every_backoff_survives_being_stored(backoff: Backoff) -> None:
    assert backoff == from_wire(json.loads(json.dumps(to_wire(backoff))))


@settings(deadline=None)
@given(exponential)
def test_waits_never_shrink_and_keep_to_the_maximum(backoff: Exponential) -> None:
    waits = preview(backoff, 80)
    most = MAX_MS if backoff.maximum_ms is None else backoff.maximum_ms
    assert all(first <= second <= most for first, second in pairwise(waits))


@settings(deadline=None)
@given(fixed | exponential, st.integers(1, 200), chances)
def test_jitter_only_shortens_and_by_no_more_than_its_share(
    backoff: Fixed | Exponential, attempt: int, chance: float
) -> None:
    whole = preview(backoff, attempt + 1)[-1]
    wait = delay(backoff, attempt, lambda: chance)
    assert math.floor(whole * (1 - backoff.jitter)) <= wait <= whole


@settings(deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists))
def test_whatever_is_stored_only_a_config_error_comes_out(junk: object) -> None:
    forms = [junk, {"type": junk}, {"type": "fixed", "delay": junk, "jitter": junk}]
    for value in [*forms, {"type": "exponential", "delay": 1, "max": junk}]:
        with contextlib.suppress(ConfigError):
            from_wire(value)
