"""Counters over time: what is counted, in the step that does it, and how long it is kept."""

import pytest

from tests.support.kit import (
    HOUR,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    complete,
    crash,
    fail,
    new,
    snooze,
)
from toril._model.report import JobPatch
from toril._model.series import (
    MOST_TASKS,
    OTHERS,
    SAMPLES_A_FOLD,
    Point,
    Series,
    SeriesQuery,
    StepName,
    add_points,
    cell,
    cell_bounds,
    quantile,
)

DAY = 24 * HOUR


async def read(kit: Kit, step: StepName = "5min", **given: object) -> Series:
    usual = {"queues": (QUEUE,), "since_ms": T0 - DAY, "until_ms": kit.now + 1}
    [found] = await kit.store.series(SeriesQuery(step=step, **usual | given))  # type: ignore[arg-type]
    return found


async def total(kit: Kit, step: StepName = "5min", **given: object) -> Point:
    found = await read(kit, step, **given)
    return add_points(found.points) if found.points else Point(at_ms=0)


async def run(kit: Kit, ran_ms: int = 0, waited_ms: int = 0) -> None:
    """Let the next job wait and run for this long, and complete it."""
    kit.tick(waited_ms)
    [claim] = (await kit.ask()).jobs
    kit.tick(ran_ms)
    await kit.store.finish([complete(claim)], now=kit.now)


async def test_a_job_is_counted_when_it_is_added_and_when_it_completes(kit: Kit) -> None:
    await kit.add()
    await run(kit, ran_ms=300, waited_ms=4_000)

    found = await total(kit)

    assert (found.enqueued, found.completed, found.failed) == (1, 1, 0)
    assert (found.run_ms, found.wait_ms) == (300, 4_000)
    assert found.run == {cell(300): 1}
    assert found.wait == {cell(4_000): 1}


async def test_jobs_of_one_call_are_counted_by_name(kit: Kit) -> None:
    await kit.store.add([[new("a"), new("b"), new("b", delay_ms=HOUR)], [new("a")]], now=kit.now)
    claimed = (await kit.ask(3)).jobs
    await kit.store.finish([complete(claim) for claim in claimed], now=kit.now)

    assert (await read(kit)).tasks == ("a", "b")
    assert (await total(kit)).enqueued == 4
    of_a, of_b = [await total(kit, task=name) for name in "ab"]
    assert (of_a.enqueued, of_a.completed) == (2, 2)
    assert (of_b.enqueued, of_b.completed) == (2, 1)
    assert (await total(kit, task="c")).enqueued == 0


async def test_ends_of_attempts_are_told_apart(kit: Kit) -> None:
    await kit.add_many(5)
    first, second, third, fourth, fifth = (await kit.ask(5)).jobs
    decisions = [again(first), fail(second), snooze(third), crash(fourth), complete(fifth)]
    await kit.store.finish(decisions, now=kit.now)

    found = await total(kit)

    assert (found.retried, found.failed, found.stalled, found.completed) == (1, 1, 1, 1)
    assert sum(found.run.values()) == 4


async def test_only_the_first_start_of_a_job_counts_as_a_wait(kit: Kit) -> None:
    await kit.add()
    [claim] = (await kit.ask()).jobs
    await kit.store.finish([again(claim)], now=kit.now)
    await run(kit, waited_ms=MINUTE)

    found = await total(kit)

    assert sum(found.wait.values()) == 1
    assert found.wait_ms == 0


async def test_the_delay_of_a_job_is_no_wait(kit: Kit) -> None:
    await kit.add(delay_ms=HOUR)
    await run(kit, waited_ms=HOUR + 7 * SECOND)

    assert (await total(kit)).wait_ms == 7 * SECOND


async def test_jobs_that_are_cancelled_or_taken_back_are_counted(kit: Kit) -> None:
    waits = await kit.add()
    await kit.add()
    await kit.store.update([JobPatch(queue=QUEUE, id=waits.id, cancel="")], now=kit.now)
    await kit.ask()
    kit.tick(HOUR)
    await kit.store.recover([QUEUE], now=kit.now)

    found = await total(kit)

    assert (found.failed, found.stalled) == (1, 1)
    assert not found.run


async def test_a_decision_that_is_refused_counts_nothing(kit: Kit) -> None:
    await kit.add_many(2)
    first, second = (await kit.ask(2)).jobs
    await kit.store.finish([complete(first)], now=kit.now)
    await kit.store.finish([complete(first), complete(second)], now=kit.now)

    assert (await total(kit)).completed == 2


async def test_minutes_hours_and_days_hold_the_same_jobs(kit: Kit) -> None:
    for _ in range(4):
        await kit.add()
        await run(kit, waited_ms=MINUTE)

    minutes = await read(kit, "minute")
    assert [point.completed for point in minutes.points if point.completed] == [1] * 4
    assert minutes.step_ms == MINUTE
    assert all(point.at_ms % MINUTE == 0 and not point.run for point in minutes.points)
    for step in ("5min", "hour", "day"):
        found = await total(kit, step)  # type: ignore[arg-type]
        assert (found.enqueued, found.completed, found.wait_ms) == (4, 4, 4 * MINUTE)
        assert sum(found.run.values()) == 4


async def test_a_range_leaves_out_what_is_outside(kit: Kit) -> None:
    await kit.add()
    later = kit.now + HOUR
    kit.tick(HOUR)
    await kit.add()
    await kit.add()

    assert (await total(kit, "minute", until_ms=later)).enqueued == 1
    assert (await total(kit, "minute", since_ms=later)).enqueued == 2


async def test_many_samples_are_added_up(kit: Kit) -> None:
    for _ in range(SAMPLES_A_FOLD + 5):
        await kit.add()

    assert (await total(kit)).enqueued == SAMPLES_A_FOLD + 5
    assert (await total(kit, "day", task="job")).enqueued == SAMPLES_A_FOLD + 5


async def test_further_names_are_counted_together(kit: Kit) -> None:
    names = [f"n{number}" for number in range(MOST_TASKS + 9)]
    await kit.store.add([[new(name) for name in names]], now=kit.now)
    for _ in range(SAMPLES_A_FOLD):
        await kit.add(names[0])
    await kit.add("x" * 500)

    found = await read(kit)

    assert len(found.tasks) == MOST_TASKS
    assert (await total(kit)).enqueued == len(names) + SAMPLES_A_FOLD + 1
    assert (await total(kit, task=OTHERS)).enqueued == 10


async def test_old_buckets_go(kit: Kit) -> None:
    await kit.add()
    kit.tick(49 * HOUR)
    for _ in range(2 * SAMPLES_A_FOLD):
        await kit.add()

    assert (await total(kit, "hour", since_ms=T0)).enqueued == 2 * SAMPLES_A_FOLD + 1
    assert (await total(kit, since_ms=T0, until_ms=T0 + 1)).enqueued == 0


async def test_a_queue_that_nobody_used_has_no_points(kit: Kit) -> None:
    await kit.add()

    found = await kit.store.series(
        SeriesQuery(queues=("other", QUEUE), since_ms=T0, until_ms=T0 + 1)
    )

    assert [each.queue for each in found] == ["other", QUEUE]
    assert found[0].points == ()
    both = Series.sum([*found, found[1]])
    assert [point.enqueued for point in both.points] == [2]


def test_a_cell_holds_the_durations_between_its_bounds() -> None:
    for ms in (0, 1, 2, 3, 8, 100, 1_000, 65_536, DAY):
        low, high = cell_bounds(cell(ms))
        assert low <= ms < high


@pytest.mark.parametrize(("q", "low", "high"), [(0.5, 80, 120), (0.99, 900, 1_200)])
def test_a_quantile_is_near_the_true_one(q: float, low: float, high: float) -> None:
    cells: dict[int, int] = {}
    for ms in [100] * 90 + [1_000] * 10:
        cells[cell(ms)] = cells.get(cell(ms), 0) + 1

    found = quantile(cells, q)

    assert found is not None
    assert low <= found <= high
    assert quantile({}, q) is None
