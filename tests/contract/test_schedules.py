"""put_schedule, schedules, advance, drop_schedule: rules that make jobs."""

import dataclasses

import pytest

from tests.support.kit import (
    HOUR,
    LOCK,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    complete,
    ids,
)
from toril._model.notes import Pause
from toril._model.record import Ref
from toril._model.report import ScheduleInfo
from toril._model.schedule import Rule
from toril._model.states import State
from toril._store.values import ScheduleDraft

HOURLY = Rule(cron="0 * * * *")
EVERY_MINUTE = Rule(every_ms=MINUTE)
FIRST = T0 + HOUR
SECOND_RUN = T0 + 2 * HOUR


def draft(
    next_ms: int | None = FIRST,
    *,
    rule: Rule = HOURLY,
    id: str = "nightly",
    queue: str = QUEUE,
    data: str = '{"a":1}',
    opts: str = "{}",
) -> ScheduleDraft:
    return ScheduleDraft(
        queue=queue, id=id, name="report", rule=rule, data=data, opts=opts, next_ms=next_ms
    )


async def put(kit: Kit, made: ScheduleDraft) -> ScheduleInfo:
    return await kit.store.put_schedule(made, now=kit.now)


async def advance(kit: Kit, job: str, next_ms: int | None) -> ScheduleInfo | None:
    return await kit.store.advance(Ref(QUEUE, job), "nightly", next_ms, now=kit.now)


def run_at(at: int, schedule: str = "nightly") -> Ref:
    return Ref(QUEUE, f"repeat:{schedule}:{at}")


# Arming.


async def test_a_schedule_arms_its_next_run(kit: Kit) -> None:
    info = await put(kit, draft())

    assert info == ScheduleInfo(
        queue=QUEUE,
        id="nightly",
        name="report",
        rule=HOURLY,
        data='{"a":1}',
        opts="{}",
        count=1,
        next_ms=FIRST,
        job_id=f"repeat:nightly:{FIRST}",
    )


async def test_the_armed_run_is_a_job(kit: Kit) -> None:
    await put(kit, draft(opts='{"attempts":4,"priority":2}'))

    record = await kit.record(run_at(FIRST))

    assert (record.name, record.data, record.schedule) == ("report", '{"a":1}', "nightly")
    assert (record.state, record.due_ms, record.delay_ms) == (State.DELAYED, FIRST, HOUR)
    assert (record.options.attempts, record.priority) == (4, 2)


async def test_arming_is_announced(kit: Kit) -> None:
    await put(kit, draft())

    assert await kit.kinds() == ["added", "delayed"]


async def test_a_run_that_is_due_waits_at_once(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))

    assert await kit.state(run_at(T0)) == State.WAITING
    assert await kit.kinds() == ["added", "waiting"]


async def test_a_schedule_that_never_fires_again_arms_nothing(kit: Kit) -> None:
    info = await put(kit, draft(None))

    assert (info.next_ms, info.job_id, info.count) == (None, None, 0)
    assert await kit.counts() == {}
    assert await kit.store.schedules(QUEUE) == [info]


# Putting it again.


async def test_an_unchanged_schedule_keeps_its_run(kit: Kit) -> None:
    first = await put(kit, draft())
    await kit.hush()
    kit.tick(MINUTE)

    assert await put(kit, draft()) == first

    assert await kit.counts() == {"delayed": 1}
    assert await kit.hear() == []


async def test_ten_deployments_make_one_run(kit: Kit) -> None:
    for _ in range(10):
        await put(kit, draft())

    assert await kit.counts() == {"delayed": 1}
    assert len(await kit.store.schedules()) == 1


async def test_a_new_rule_takes_the_armed_run_away(kit: Kit) -> None:
    await put(kit, draft())

    info = await put(kit, draft(T0 + MINUTE, rule=EVERY_MINUTE))

    assert info.rule == EVERY_MINUTE
    assert await kit.find(run_at(FIRST)) is None
    assert await kit.state(run_at(T0 + MINUTE)) == State.DELAYED
    assert await kit.counts() == {"delayed": 1}


async def test_new_data_reach_the_armed_run(kit: Kit) -> None:
    await put(kit, draft(data="1"))

    await put(kit, draft(data="2"))

    assert (await kit.record(run_at(FIRST))).data == "2"
    assert await kit.counts() == {"delayed": 1}


async def test_a_run_that_has_started_is_left_to_finish(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))
    claim = await kit.claim()

    await put(kit, draft(FIRST))

    assert await kit.state(run_at(T0)) == State.ACTIVE
    assert await kit.settle(complete(claim)) == "completed"
    assert await kit.state(run_at(FIRST)) == State.DELAYED


async def test_replacing_a_schedule_in_a_paused_queue_leaves_one_run(kit: Kit) -> None:
    """Where the waiting run is looked for must not depend on the pause."""
    await put(kit, draft(T0, rule=EVERY_MINUTE))
    await kit.pause()

    await put(kit, draft(FIRST))

    assert await kit.counts() == {"delayed": 1}


async def test_the_count_of_runs_outlives_a_replacement(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))
    job = await kit.run()
    await advance(kit, job.id, FIRST)

    info = await put(kit, draft(SECOND_RUN))

    assert info.count >= 2


# Putting it again while a run of it goes on, before the next one is armed.


async def move_to(kit: Kit, moment: str) -> Ref:
    """Bring the armed run of an interval to where it may be when its schedule is stored again."""
    info = await put(kit, draft(kit.now, rule=EVERY_MINUTE, opts='{"attempts":3}'))
    run = Ref(QUEUE, info.job_id or "")
    if moment != "waits":
        claim = await kit.claim()
    match moment:
        case "waits":
            pass
        case "is retried":
            await kit.settle(again(claim))
        case "is retried later":
            await kit.settle(again(claim, delay_ms=SECOND))
        case "is taken back":
            kit.tick(LOCK + 1)
            await kit.recover(QUEUE)
        case "has ended":
            await kit.settle(complete(claim))
        case "has ended, and the next is armed":
            await advance(kit, run.id, T0 + MINUTE)
            await kit.settle(complete(claim))
    await kit.hush()
    return run


MOMENTS = ["waits", "runs", "is retried", "is retried later", "is taken back", "has ended"]


@pytest.mark.parametrize("moment", [*MOMENTS, "has ended, and the next is armed"])
async def test_an_unchanged_schedule_changes_nothing_whatever_its_run_does(
    kit: Kit, moment: str
) -> None:
    await move_to(kit, moment)
    [before], counts = await kit.store.schedules(QUEUE), await kit.counts()
    kit.tick(7 * SECOND)

    told = await put(kit, draft(kit.now, rule=EVERY_MINUTE, opts='{"attempts":3}'))

    assert told == before
    assert await kit.store.schedules(QUEUE) == [before]
    assert await kit.counts() == counts
    assert await kit.hear() == []


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_schedule_goes_on_in_step_after_it_was_stored_again(kit: Kit, moment: str) -> None:
    run = await move_to(kit, moment)
    kit.tick(7 * SECOND)
    await put(kit, draft(kit.now, rule=EVERY_MINUTE, opts='{"attempts":3}'))

    info = await advance(kit, run.id, T0 + MINUTE)

    assert info is not None
    assert (info.count, info.job_id) == (2, run_at(T0 + MINUTE).id)


@pytest.mark.parametrize("moment", MOMENTS[1:])
async def test_new_data_reach_the_run_after_the_one_that_has_started(kit: Kit, moment: str) -> None:
    run = await move_to(kit, moment)
    before = await kit.counts()
    kit.tick(7 * SECOND)

    info = await put(kit, draft(kit.now, rule=EVERY_MINUTE, data="2"))

    assert (info.data, info.job_id, info.count) == ("2", run.id, 1)
    assert await kit.counts() == before
    await advance(kit, run.id, T0 + MINUTE)
    assert (await kit.record(run_at(T0 + MINUTE))).data == "2"
    assert (await kit.counts())["delayed"] == before.get("delayed", 0) + 1


async def test_new_data_keep_the_slot_of_an_interval(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE, data="1"))
    await kit.run()
    await advance(kit, run_at(T0).id, T0 + MINUTE)
    kit.tick(7 * SECOND)

    info = await put(kit, draft(kit.now, rule=EVERY_MINUTE, data="2"))

    assert (info.job_id, info.count) == (run_at(T0 + MINUTE).id, 2)
    assert (await kit.record(run_at(T0 + MINUTE))).data == "2"
    assert await kit.counts() == {"completed": 1, "delayed": 1}


async def test_a_new_interval_has_one_run_pending_though_one_goes_on(kit: Kit) -> None:
    run = await move_to(kit, "runs")
    kit.tick(7 * SECOND)

    info = await put(kit, draft(kit.now, rule=Rule(every_ms=2 * MINUTE)))

    assert (info.next_ms, info.count) == (kit.now, 2)
    assert await advance(kit, run.id, T0 + MINUTE) is None
    assert await kit.counts() == {"active": 1, "waiting": 1}


async def test_a_new_limit_keeps_the_slot(kit: Kit) -> None:
    await put(kit, draft(T0 + MINUTE, rule=EVERY_MINUTE))

    info = await put(kit, draft(kit.now, rule=Rule(every_ms=MINUTE, limit=1)))

    assert (info.job_id, info.count) == (run_at(T0 + MINUTE).id, 1)
    assert await kit.counts() == {"delayed": 1}


async def test_a_limit_that_is_reached_by_then_ends_the_schedule(kit: Kit) -> None:
    run = await move_to(kit, "runs")

    info = await put(kit, draft(kit.now, rule=Rule(every_ms=MINUTE, limit=1)))

    assert (info.next_ms, info.job_id, info.count) == (None, None, 1)
    assert await advance(kit, run.id, T0 + MINUTE) is None
    assert await kit.counts() == {"active": 1}


async def test_an_end_before_the_armed_run_takes_it_away(kit: Kit) -> None:
    await put(kit, draft(T0 + MINUTE, rule=EVERY_MINUTE))

    info = await put(kit, draft(kit.now, rule=Rule(every_ms=MINUTE, end_ms=T0 + SECOND)))

    assert (info.next_ms, info.job_id, info.count) == (None, None, 0)
    assert await kit.counts() == {}


@pytest.mark.parametrize("bound", [{"limit": 1}, {"end_ms": T0 + SECOND}])
async def test_no_run_is_armed_over_a_bound_that_was_set_meanwhile(
    kit: Kit, bound: dict[str, int]
) -> None:
    """Who advances a schedule may have read it before it was changed."""
    run = await move_to(kit, "runs")
    await put(kit, draft(kit.now, rule=Rule(every_ms=MINUTE, **bound)))

    await advance(kit, run.id, T0 + MINUTE)

    assert await kit.counts() == {"active": 1}


# Advancing.


async def test_the_run_after_is_armed_once_the_one_before_was_claimed(kit: Kit) -> None:
    await put(kit, draft())
    kit.tick(HOUR)
    claim = await kit.claim()

    info = await advance(kit, claim.record.id, SECOND_RUN)

    assert info is not None
    assert (info.next_ms, info.job_id, info.count) == (SECOND_RUN, run_at(SECOND_RUN).id, 2)
    assert await kit.state(run_at(SECOND_RUN)) == State.DELAYED
    assert await kit.counts() == {"active": 1, "delayed": 1}


async def test_the_run_after_is_made_from_the_schedule_not_from_the_job(kit: Kit) -> None:
    await put(kit, draft())
    await kit.update(run_at(FIRST), data='"changed"')
    kit.tick(HOUR)

    await advance(kit, (await kit.claim()).record.id, SECOND_RUN)

    assert (await kit.record(run_at(SECOND_RUN))).data == '{"a":1}'


async def test_advancing_twice_for_a_job_arms_one_run(kit: Kit) -> None:
    await put(kit, draft())
    kit.tick(HOUR)
    job = (await kit.claim()).record.id
    await advance(kit, job, SECOND_RUN)
    await kit.hush()

    again_ = await advance(kit, job, SECOND_RUN)

    assert again_ is None
    assert await kit.counts() == {"active": 1, "delayed": 1}
    assert "added" not in await kit.kinds()


async def test_a_second_try_of_a_run_arms_nothing(kit: Kit) -> None:
    await put(kit, draft(opts='{"attempts":2}'))
    kit.tick(HOUR)
    claim = await kit.claim()
    await advance(kit, claim.record.id, SECOND_RUN)
    await kit.settle(again(claim))

    assert await advance(kit, (await kit.claim()).record.id, SECOND_RUN + HOUR) is None

    assert await kit.counts() == {"active": 1, "delayed": 1}


async def test_at_its_limit_a_schedule_stays_without_a_run(kit: Kit) -> None:
    await put(kit, draft())
    kit.tick(HOUR)

    info = await advance(kit, (await kit.claim()).record.id, None)

    assert info is not None
    assert (info.next_ms, info.job_id, info.count) == (None, None, 1)
    assert await kit.counts() == {"active": 1}
    assert await kit.store.schedules(QUEUE) == [info]


async def test_a_schedule_that_was_dropped_does_not_go_on(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))
    claim = await kit.claim()
    await kit.store.drop_schedule(QUEUE, "nightly", now=kit.now)

    assert await advance(kit, claim.record.id, FIRST) is None

    assert await kit.counts() == {"active": 1}


# Dropping.


async def test_a_dropped_schedule_takes_its_run_with_it(kit: Kit) -> None:
    await put(kit, draft())
    await kit.hush()

    assert await kit.store.drop_schedule(QUEUE, "nightly", now=kit.now) is True

    assert await kit.store.schedules() == []
    assert await kit.counts() == {}
    assert await kit.kinds() == ["removed"]


async def test_a_run_that_waits_already_goes_too(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))

    await kit.store.drop_schedule(QUEUE, "nightly", now=kit.now)

    assert await kit.counts() == {}


async def test_a_run_that_has_started_stays(kit: Kit) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))
    claim = await kit.claim()

    await kit.store.drop_schedule(QUEUE, "nightly", now=kit.now)

    assert await kit.settle(complete(claim)) == "completed"


async def test_what_is_not_there_is_not_dropped(kit: Kit) -> None:
    assert await kit.store.drop_schedule(QUEUE, "nightly", now=kit.now) is False


# Listing.


async def test_schedules_are_listed_soonest_first(kit: Kit) -> None:
    late = await put(kit, draft(T0 + 3 * HOUR, id="late"))
    soon = await put(kit, draft(T0 + HOUR, id="soon"))
    other = await put(kit, draft(T0 + 2 * HOUR, id="other", queue="other"))

    assert await kit.store.schedules() == [soon, other, late]
    assert await kit.store.schedules(QUEUE) == [soon, late]


async def test_every_part_of_a_rule_is_kept(kit: Kit) -> None:
    rule = Rule(
        every_ms=MINUTE,
        start_ms=T0,
        end_ms=T0 + HOUR,
        limit=5,
        offset_ms=SECOND,
        tz="Asia/Ho_Chi_Minh",
    )
    await put(kit, draft(rule=rule))

    [info] = await kit.store.schedules(QUEUE)
    assert info.rule == rule


@pytest.mark.parametrize("state", [State.COMPLETED, State.FAILED])
async def test_runs_run_as_any_job(kit: Kit, state: State) -> None:
    await put(kit, draft(T0, rule=EVERY_MINUTE))
    plain = await kit.add()

    order = [
        (await (kit.run() if state is State.COMPLETED else kit.run_to_failure())).id
        for _ in range(2)
    ]

    assert order == [run_at(T0).id, *ids([plain])]
    assert await kit.state(run_at(T0)) == state


def owned(owner: str | None) -> ScheduleDraft:
    return dataclasses.replace(draft(), owner=owner)


async def test_the_owner_of_a_schedule_is_kept_and_changes_nothing_else(kit: Kit) -> None:
    first = await kit.store.put_schedule(owned("shop"), now=kit.now)
    runs = await kit.counts()
    for owner in (None, "", "billing"):
        info = await kit.store.put_schedule(owned(owner), now=kit.now)
        assert info == dataclasses.replace(first, owner=owner)
        assert await kit.store.schedules(QUEUE) == [info]
    assert await kit.counts() == runs


# Pausing.

BY_ANN = Pause(by="ann", reason="provider down")


async def test_a_paused_schedule_has_no_run_and_says_who_paused_it(kit: Kit) -> None:
    await put(kit, draft())

    info = await put(kit, dataclasses.replace(draft(), pause=BY_ANN))

    assert info.pause == dataclasses.replace(BY_ANN, since_ms=T0)
    assert (info.next_ms, info.job_id, info.count) == (None, None, 0)
    assert await kit.store.schedules(QUEUE) == [info]
    assert await kit.state(run_at(FIRST)) is None


async def test_a_schedule_that_code_declares_again_stays_paused(kit: Kit) -> None:
    paused = await put(kit, dataclasses.replace(draft(), pause=BY_ANN))

    again = await put(kit, draft())
    other = await put(kit, draft(rule=EVERY_MINUTE, next_ms=T0 + MINUTE))

    assert again == paused
    assert (other.pause, other.rule, other.next_ms) == (paused.pause, EVERY_MINUTE, None)


async def test_a_resumed_schedule_arms_its_next_run(kit: Kit) -> None:
    await put(kit, dataclasses.replace(draft(), pause=BY_ANN))

    info = await put(kit, dataclasses.replace(draft(SECOND_RUN), pause=None))

    assert (info.pause, info.next_ms, info.count) == (None, SECOND_RUN, 1)
    assert await kit.state(run_at(SECOND_RUN)) == State.DELAYED


async def test_a_run_that_had_started_does_not_arm_the_next_one(kit: Kit) -> None:
    await put(kit, draft())
    kit.tick(HOUR)
    claim = await kit.claim()
    await put(kit, dataclasses.replace(draft(SECOND_RUN), pause=BY_ANN))

    assert await advance(kit, claim.record.id, SECOND_RUN) is None
    assert await kit.settle(complete(claim)) == "completed"
    [info] = await kit.store.schedules(QUEUE)
    assert (info.next_ms, info.count) == (None, 1)
