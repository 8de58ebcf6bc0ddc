"""Time limits of jobs: what is stored of them, and what they do to a job at a given time."""

from typing import Any

import msgspec
import pytest

from toril._model.backoff import Fixed
from toril._model.decide import Action, Decision, End, Outcome, decide, too_late
from toril._model.options import JobOptions, Options, merge
from toril._model.record import Claim, Record
from toril._model.states import State
from toril._model.stored_options import from_text, to_text
from toril.errors import ConfigError

T0 = 1_800_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


def record(*, id: str = "1", runs: int = 1, **given: Any) -> Record:
    """A job that was added at T0 and has just been claimed."""
    fields = {
        name: given.pop(name) for name in ("unknown", "schedule", "created_ms") & given.keys()
    }
    return Record(
        queue="q",
        id=id,
        name="x",
        data="{}",
        opts=to_text(JobOptions(**given)),
        state=State.ACTIVE,
        runs=runs,
        **({"created_ms": T0} | fields),
    )


def decided(job: Record, now: int, outcome: Outcome | None = None) -> Decision:
    outcome = outcome or Outcome(end=End.RAISED, reason="boom")
    return decide(Claim(job, "token", 0), outcome, random=lambda: 0.5, now=now)


# Stored.


def test_limits_are_stored_under_torils_own_key() -> None:
    options = merge(
        JobOptions(),
        Options(timeout="5s", soft_timeout="4s", deadline="1h", expires="10m"),
    )

    stored = to_text(options)

    assert msgspec.json.decode(stored)["toril"] == {
        "timeout": 5_000,
        "soft_timeout": 4_000,
        "deadline": HOUR,
        "expires": 10 * MINUTE,
    }
    assert from_text(stored) == options


def test_a_job_without_limits_stores_none() -> None:
    assert "toril" not in msgspec.json.decode(to_text(JobOptions()))


def test_whether_an_add_is_durable_is_not_stored() -> None:
    durable = merge(JobOptions(attempts=3), Options(durable="replica"))

    assert durable.durable == "replica"
    assert to_text(durable) == to_text(JobOptions(attempts=3))


def test_none_lifts_a_limit_that_was_set_before() -> None:
    base = JobOptions(deadline_ms=HOUR, expires_ms=HOUR, soft_timeout_ms=MINUTE)

    assert merge(base, Options(deadline=None, expires=None, soft_timeout=None)) == JobOptions()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (Options(soft_timeout="5s", timeout="5s"), "soft_timeout='5 s' is not below timeout='5 s'"),
        (Options(expires="1m", delay="1m"), "expires='1 min' is over before the delay of 1 min"),
        (Options(deadline="1m", delay="1h"), "deadline='1 min' is over before the delay of 1 h"),
        (Options(expires=-1), "expires=-1"),
    ],
)
def test_limits_that_leave_no_time_are_refused(given: Options, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        merge(JobOptions(), given)


# Before a job runs.


def test_a_job_that_does_not_start_in_time_expires() -> None:
    job = record(expires_ms=10 * MINUTE)

    assert too_late(job, T0 + 10 * MINUTE - 1) is None
    late = too_late(job, T0 + 10 * MINUTE)
    assert late == Outcome(end=End.EXPIRED, reason="expired: not started within 10 min")


def test_an_expired_job_fails_without_an_attempt() -> None:
    late = too_late(record(expires_ms=MINUTE, attempts=5), T0 + HOUR)

    decision = decided(record(expires_ms=MINUTE, attempts=5), T0 + HOUR, late)

    assert (decision.action, decision.end) == (Action.FAIL, End.EXPIRED)
    assert (decision.counted, decision.exhausted) == (False, False)


def test_a_job_that_started_in_time_does_not_expire_later() -> None:
    assert too_late(record(expires_ms=MINUTE, runs=2), T0 + HOUR) is None


def test_a_start_that_found_no_handler_was_none() -> None:
    late = too_late(record(expires_ms=MINUTE, runs=3, unknown=2), T0 + HOUR)

    assert late is not None
    assert late.end is End.EXPIRED


def test_no_try_begins_after_the_deadline() -> None:
    job = record(deadline_ms=HOUR, runs=3)

    assert too_late(job, T0 + HOUR - 1) is None
    late = too_late(job, T0 + HOUR)
    assert late == Outcome(end=End.DEADLINE, reason="deadline of 1 h passed")


def test_the_limits_of_a_schedules_run_count_from_when_it_was_due() -> None:
    due = T0 + 24 * HOUR
    job = record(id=f"repeat:nightly:{due}", schedule="nightly", expires_ms=HOUR)

    assert too_late(job, due + HOUR - 1) is None
    assert too_late(job, due + HOUR) is not None


# After a try.


def test_a_failed_try_is_repeated_before_the_deadline() -> None:
    job = record(deadline_ms=HOUR, attempts=5, backoff=Fixed("10m"))

    assert decided(job, T0 + 49 * MINUTE).action is Action.RETRY


def test_a_try_that_would_begin_after_the_deadline_is_not_waited_for() -> None:
    job = record(deadline_ms=HOUR, attempts=5, backoff=Fixed("10m"))

    decision = decided(job, T0 + 50 * MINUTE)

    assert (decision.action, decision.end) == (Action.FAIL, End.DEADLINE)
    assert decision.reason == "deadline of 1 h leaves no time for another try: boom"


def test_the_last_failure_is_told_as_it_is() -> None:
    decision = decided(record(deadline_ms=HOUR, attempts=1), T0 + 2 * HOUR)

    assert (decision.end, decision.reason, decision.exhausted) == (End.RAISED, "boom", True)


def test_what_completed_late_has_completed() -> None:
    outcome = Outcome(end=End.RETURNED, result="1")

    assert decided(record(deadline_ms=HOUR), T0 + 2 * HOUR, outcome).action is Action.COMPLETE


# How often a job may start.


def test_a_job_that_snoozes_too_often_fails_at_once() -> None:
    snoozed = Outcome(end=End.SNOOZED, reason="not yet", delay_ms=1_000)

    assert decided(record(max_runs=3, runs=2), T0, snoozed).action is Action.SNOOZE
    last = decided(record(max_runs=3, runs=3), T0, snoozed)
    assert (last.action, last.end, last.delay_ms) == (Action.FAIL, End.MAX_RUNS, 0)
    assert last.reason == "it started 3 times and has not ended (max_runs): not yet"


def test_starts_that_found_no_handler_do_not_count() -> None:
    snoozed = Outcome(end=End.SNOOZED, delay_ms=1_000)

    job = record(max_runs=3, runs=7, unknown=5)
    assert decided(job, T0, snoozed).action is Action.SNOOZE
    assert too_late(job, T0) is None


def test_a_retry_counts_as_well() -> None:
    last = decided(record(max_runs=3, runs=3, attempts=3), T0)

    assert (last.action, last.end) == (Action.FAIL, End.MAX_RUNS)


@pytest.mark.parametrize("end", [End.RELEASED, End.AWAITS])
def test_what_was_put_back_once_too_often_fails_at_its_next_claim(end: End) -> None:
    assert decided(record(max_runs=3, runs=3), T0, Outcome(end=end)).action is not Action.FAIL

    over = too_late(record(max_runs=3, runs=4), T0)
    assert over is not None
    failed = decided(record(max_runs=3, runs=4), T0, over)
    assert (failed.action, failed.end, failed.counted) == (Action.FAIL, End.MAX_RUNS, False)


def test_a_job_has_a_bound_unless_it_says_otherwise() -> None:
    assert JobOptions().most_runs == 100_000
    assert JobOptions(attempts=200_000).most_runs == 200_000
    assert JobOptions(max_runs=5).most_runs == 5
    assert from_text(to_text(JobOptions(max_runs=5))).max_runs == 5
    assert "max_runs" not in to_text(JobOptions())


@pytest.mark.parametrize("given", [0, -1, 1.5, True, "many"])
def test_max_runs_is_a_whole_number(given: Any) -> None:
    with pytest.raises(ConfigError, match="max_runs"):
        merge(JobOptions(), {"max_runs": given})


def test_max_runs_leaves_room_for_every_attempt() -> None:
    with pytest.raises(ConfigError, match="max_runs=3 is below attempts=5"):
        merge(JobOptions(attempts=5), {"max_runs": 3})


def test_no_time_left_is_a_limit() -> None:
    options = merge(JobOptions(), {"deadline": 0, "timeout": 0})

    assert (options.deadline_ms, options.timeout_ms) == (0, None)
    assert merge(JobOptions(), {"expires": 0}).expires_ms == 0
    assert too_late(record(expires_ms=0), T0) is not None
