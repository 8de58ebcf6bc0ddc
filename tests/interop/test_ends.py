"""How a try ends on one side, the others see and continue."""

import itertools
from typing import Any

import pytest

from tests.interop.conftest import Trio
from tests.interop.sides import Refused, does, until

LATE_MS = 250


async def test_nothing_returned_is_null(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(["undefined"]))
    await trio.worker.work("cards")

    assert await trio.reader.result("cards", job) is None
    assert (await trio.read("cards", job)).result is None


@pytest.mark.mixed
@pytest.mark.parametrize(
    ("backoff", "waits"),
    [
        (None, [(0, 0), (0, 0)]),
        (60, [(60, 60), (60, 60)]),
        ({"type": "fixed", "delay": 60}, [(60, 60), (60, 60)]),
        ({"type": "exponential", "delay": 40}, [(40, 40), (80, 80)]),
        ({"type": "fixed", "delay": 100, "jitter": 0.5}, [(50, 100), (50, 100)]),
        ({"type": "exponential", "delay": 40, "jitter": 1}, [(0, 40), (0, 80)]),
        ({"type": "mine"}, [(70, 70), (0, 0)]),
    ],
    ids=["none", "number", "fixed", "exponential", "fixed-jitter", "exponential-jitter", "custom"],
)
async def test_a_failed_try_is_repeated_after_its_backoff(
    trio: Trio, backoff: Any, waits: list[tuple[int, int]]
) -> None:
    opts = {} if backoff is None else {"backoff": backoff}
    job = await trio.producer.add(
        "cards", "n", does(["throw", "not yet", 2], ["seen"]), attempts=3, **opts
    )

    await trio.worker.work("cards", waits=[70, 0])
    inside = await trio.reader.result("cards", job)

    runs = await trio.worker.runs()
    assert (inside["attemptsMade"], inside["attemptsStarted"]) == (2, 3)
    gaps = [after.began - (one.ended or 0) for one, after in itertools.pairwise(runs)]
    for gap, (least, most) in zip(gaps, waits, strict=True):
        assert least - 3 <= gap <= most + LATE_MS, f"{gaps} against {waits}"
    seen = await trio.read("cards", job)
    assert (seen.state, seen.attempts_made, len(seen.stack)) == ("completed", 3, 2)


async def test_a_custom_backoff_may_give_up(trio: Trio) -> None:
    job = await trio.producer.add(
        "cards", "n", does(["throw", "never"]), attempts=9, backoff={"type": "mine"}
    )

    await trio.worker.work("cards", waits=[0, -1])
    seen = await trio.ends("cards", job, "failed")

    assert (seen.attempts_made, seen.reason) == (2, "never")


@pytest.mark.mixed
async def test_the_last_failure_is_final_and_tells_why(trio: Trio) -> None:
    await trio.reader.listen("cards")
    reason = 'boom é 漢 "quoted"\nsecond line'
    job = await trio.producer.add("cards", "n", does(["throw", reason]), attempts=2)

    await trio.worker.work("cards")
    with pytest.raises(Refused) as refused:
        await trio.reader.result("cards", job)

    assert str(refused.value) == reason
    seen = await trio.read("cards", job)
    assert (seen.state, seen.reason, seen.attempts_made, seen.result) == (
        "failed",
        reason,
        2,
        None,
    )
    assert len(seen.stack) == 2
    assert all("boom" in text and "\n" in text for text in seen.stack)
    failed = ("failed", {"jobId": job, "failedReason": reason, "prev": "active"})
    spent = ("retries-exhausted", {"jobId": job, "attemptsMade": "2"})
    await until(lambda: _heard(trio, "failed", "retries-exhausted"), [failed, spent])


async def test_an_error_that_is_final_leaves_attempts_unused(trio: Trio) -> None:
    await trio.reader.listen("cards")
    job = await trio.producer.add("cards", "n", does(["fatal", "no use"]), attempts=5)

    await trio.worker.work("cards")
    seen = await trio.ends("cards", job, "failed")

    assert (seen.reason, seen.attempts_made, len(seen.stack)) == ("no use", 1, 1)
    failed = ("failed", {"jobId": job, "failedReason": "no use", "prev": "active"})
    await until(lambda: _heard(trio, "failed", "retries-exhausted"), [failed])


async def test_only_so_many_stacks_are_kept(trio: Trio) -> None:
    job = await trio.producer.add(
        "cards", "n", does(["throw", "boom"]), attempts=4, stackTraceLimit=2
    )

    await trio.worker.work("cards")
    seen = await trio.ends("cards", job, "failed")

    assert (seen.attempts_made, len(seen.stack)) == (4, 2)


@pytest.mark.parametrize(
    "values", [[10, 62.5, 100], [{"page": 1, "of": [2, None]}], ["half"], [[1, 2]], [True]], ids=str
)
async def test_progress_is_heard_and_kept(trio: Trio, values: list[Any]) -> None:
    await trio.reader.listen("cards")
    steps = [["progress", value] for value in values]
    job = await trio.producer.add("cards", "n", does(*steps))

    await trio.worker.work("cards")
    seen = await trio.ends("cards", job, "completed")

    assert seen.progress == values[-1]
    expected = [("progress", {"jobId": job, "data": value}) for value in values]
    await until(lambda: _heard(trio, "progress"), expected)


async def test_log_rows_are_kept_in_order_up_to_their_limit(trio: Trio) -> None:
    rows = ["one", "zwei é", "", '{"three": 3}', "four\nfive"]
    steps = [["log", row] for row in rows]
    every = await trio.producer.add("cards", "n", does(*steps))
    some = await trio.producer.add("cards", "n", does(*steps), keepLogs=2)

    await trio.worker.work("cards")
    await trio.reader.result("cards", some)

    assert await trio.reader.logs("cards", every) == rows
    assert await trio.reader.logs("cards", some) == rows[-2:]


async def test_a_handler_may_replace_its_jobs_data(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(["data", {"new": [1, "é"]}]))

    await trio.worker.work("cards")
    await trio.reader.result("cards", job)

    assert (await trio.read("cards", job)).data == {"new": [1, "é"]}


async def test_a_job_put_off_by_its_handler_uses_no_attempt(trio: Trio) -> None:
    job = await trio.producer.add("cards", "n", does(["later", 80], ["seen"]))

    await trio.worker.work("cards")
    inside = await trio.reader.result("cards", job)

    first, second = await trio.worker.runs()
    assert (inside["attemptsMade"], inside["attemptsStarted"]) == (0, 2)
    # Node counts from the call inside the handler, which returns only when the server has answered.
    assert second.began - first.began >= 80 - 3
    assert second.began - (first.ended or 0) <= 80 + LATE_MS
    assert (await trio.read("cards", job)).attempts_made == 1


async def test_a_job_given_back_by_its_handler_is_the_next_to_run(trio: Trio) -> None:
    job = await trio.producer.add("cards", "first", does(["back"], ["seen"]))
    other = await trio.producer.add("cards", "second", does())

    await trio.worker.work("cards")
    await trio.reader.result("cards", other)

    assert [run.name for run in await trio.worker.runs()] == ["first", "first", "second"]
    assert (await trio.read("cards", job)).attempts_made == 1


RETENTION = [
    ({"removeOnComplete": True}, 0, 3),
    ({"removeOnComplete": 2}, 2, 3),
    ({"removeOnComplete": {"count": 1}}, 1, 3),
    ({"removeOnComplete": {"age": 3600, "count": 2}}, 2, 3),
    ({"removeOnFail": True}, 3, 0),
    ({"removeOnFail": 1, "removeOnComplete": False}, 3, 1),
]


@pytest.mark.parametrize(("opts", "completed", "failed"), RETENTION, ids=str)
async def test_only_so_many_finished_jobs_are_kept(
    trio: Trio, opts: dict[str, Any], completed: int, failed: int, keys: Any
) -> None:
    good = [("good", does(["log", "row"]), opts)] * 3
    bad = [("bad", does(["throw", "boom"]), opts)] * 3
    jobs = await trio.producer.add_bulk("cards", good + bad)

    await trio.worker.work("cards")
    expected = {"completed": completed, "failed": failed}
    await until(
        lambda: trio.reader.counts("cards"),
        {state: count for state, count in expected.items() if count},
    )

    kept = jobs[3 - completed : 3] + jobs[6 - failed : 6]
    prefix = trio.reader.prefix
    assert [job for job in jobs if keys.exists(f"{prefix}:cards:{job}")] == kept
    left = {job for job in jobs[:3] if keys.exists(f"{prefix}:cards:{job}:logs")}
    assert left == set(kept) & set(jobs[:3])


async def test_finished_jobs_over_their_age_go_when_another_finishes(trio: Trio) -> None:
    opts = {"removeOnComplete": {"age": 1}}
    old = await trio.producer.add("cards", "old", does(), **opts)
    await trio.worker.work("cards")
    await trio.reader.result("cards", old)

    new = await trio.producer.add("cards", "new", does(["sleep", 1100]), **opts)
    await trio.reader.result("cards", new)

    await until(lambda: trio.reader.ids("cards", "completed"), [new])


async def _heard(trio: Trio, *names: str) -> list[tuple[str, dict[str, Any]]]:
    return [(name, told) for name, told in await trio.reader.heard("cards") if name in names]
