"""The judge is judged: each fault that it must find is found, and nothing else is."""

from tests.robustness.chaos.ledger import Fate, Key, Line, judge

JOB: Key = ("storm", "1")
DONE = {JOB: Fate("completed", 1)}


def line(at: int, pid: int, word: str, *facts: object) -> Line:
    return Line(at, pid, word, tuple(map(str, facts)))


def acked(kind: str = "plain") -> Line:
    return line(1, 100, "acked", *JOB, kind)


def start(at: int, pid: int, run: int) -> Line:
    return line(at, pid, "start", *JOB, run)


def settled(at: int, pid: int, run: int, word: str = "completed") -> Line:
    return line(at, pid, "settled", *JOB, run, word)


def killed(at: int, pid: int) -> Line:
    return line(at, 100, "killed", pid, at)


CRASHED = [acked(), start(2, 7, 1), killed(3, 7), start(4, 8, 2), settled(5, 8, 2)]


def test_a_job_that_ran_once_is_in_order() -> None:
    verdict = judge([acked(), start(2, 7, 1), settled(3, 7, 1)], DONE, {JOB: 1})

    assert (verdict.findings, verdict.executions, verdict.explained) == ({}, 1, 0)


def test_a_run_that_was_killed_explains_the_next() -> None:
    verdict = judge(CRASHED, DONE, {JOB: 1})

    assert (verdict.findings, verdict.explained, verdict.hits) == ({}, 1, 1)


def test_a_planned_failure_explains_the_next_run() -> None:
    lines = [
        acked("retry"), start(2, 7, 1), settled(3, 7, 1, "attempt_failed"),
        start(4, 7, 2), settled(5, 7, 2),
    ]  # fmt: skip

    assert judge(lines, {JOB: Fate("completed", 2)}, {JOB: 1}).findings == {}


def test_a_wait_for_children_explains_the_next_run() -> None:
    lines = [
        acked(), start(2, 7, 1), settled(3, 7, 1, "waits"), start(4, 8, 2), settled(5, 8, 2),
    ]  # fmt: skip

    assert judge(lines, DONE, {JOB: 1}).findings == {}


def test_a_kill_between_two_jobs_is_no_hit() -> None:
    lines = [acked(), start(2, 7, 1), line(3, 7, "end", *JOB, 1), killed(4, 7)]

    assert judge(lines, DONE, {}).hits == 0


def test_a_job_that_is_gone_is_lost() -> None:
    assert list(judge([acked()], {}, {}).findings) == ["lost"]


def test_a_job_that_crashed_too_often_is_lost() -> None:
    assert list(judge(CRASHED, {JOB: Fate("failed", 1, "stalled")}, {}).findings) == ["lost"]


def test_a_job_that_completed_without_running_is_lost() -> None:
    assert list(judge([acked()], DONE, {}).findings) == ["lost"]


def test_a_job_that_is_not_finished_is_stuck() -> None:
    assert list(judge(CRASHED, {JOB: Fate("active", 0)}, {}).findings) == ["stuck"]


def test_a_job_that_nobody_added_is_unexpected() -> None:
    assert list(judge([start(2, 7, 1)], DONE, {}).findings) == ["unexpected"]


def test_a_second_run_beside_a_living_one_is_unexplained() -> None:
    lines = [acked(), start(2, 7, 1), start(3, 8, 2), settled(4, 8, 2)]

    assert list(judge(lines, DONE, {JOB: 1}).findings) == ["unexplained"]


def test_a_second_run_before_the_first_died_is_unexplained() -> None:
    lines = [acked(), start(2, 7, 1), start(3, 8, 2), killed(4, 7), settled(5, 8, 2)]

    assert list(judge(lines, DONE, {JOB: 1}).findings) == ["unexplained"]


def test_a_run_that_starts_twice_is_unexplained() -> None:
    lines = [acked(), start(2, 7, 1), killed(3, 7), start(4, 8, 1), settled(5, 8, 1)]

    assert list(judge(lines, DONE, {JOB: 1}).findings) == ["unexplained"]


def test_a_run_after_the_job_was_settled_is_unexplained() -> None:
    lines = [acked(), start(2, 7, 1), settled(3, 7, 1), killed(4, 7), start(5, 8, 2)]

    assert list(judge(lines, DONE, {JOB: 1}).findings) == ["unexplained"]


def test_two_committed_finishes_are_one_too_many() -> None:
    assert list(judge(CRASHED, DONE, {JOB: 2}).findings) == ["finished_twice"]


def test_a_crash_that_counted_as_an_attempt_is_found() -> None:
    assert list(judge(CRASHED, {JOB: Fate("completed", 2)}, {JOB: 1}).findings) == ["miscounted"]
