"""How many finished jobs stay, and how long: per job, per queue, by default; and trim."""

from typing import Any

from tests.support.kit import HOUR, MINUTE, QUEUE, SECOND, Kit, complete, fail, ids
from toril._model.options import Keep
from toril._model.record import Ref
from toril._model.report import Query
from toril._model.states import State
from toril._store.values import LogLine

DAY = 24 * HOUR
NONE = Keep(count=0)
ALL = Keep()


async def kept(kit: Kit, state: State = State.COMPLETED) -> list[str]:
    """The finished jobs that are left, oldest first."""
    page = await kit.store.find(Query(queue=QUEUE, states=(state,), limit=1000))
    return [job.id for job in page.jobs]


async def finish_some(kit: Kit, count: int, **given: Any) -> list[Ref]:
    """Complete so many jobs one after the other, a second apart."""
    refs: list[Ref] = []
    for _ in range(count):
        await kit.add(**given)
        refs.append(await kit.run())
        kit.tick(SECOND)
    return refs


async def trim_all(kit: Kit) -> int:
    total = 0
    while gone := await kit.store.trim([QUEUE], now=kit.now):
        total += gone
    return total


# A job's own options.


async def test_a_job_that_is_not_kept_is_gone_at_once(kit: Kit) -> None:
    await kit.add(keep_completed=NONE)
    ref = await kit.run()

    assert await kit.find(ref) is None
    assert await kit.counts() == {}


async def test_a_job_kept_only_when_it_failed(kit: Kit) -> None:
    await kit.add(keep_completed=NONE)
    ref = await kit.run_to_failure()

    assert await kit.state(ref) == State.FAILED


async def test_only_the_newest_are_kept(kit: Kit) -> None:
    refs = await finish_some(kit, 5, keep_completed=Keep(count=3))

    assert await kept(kit) == ids(refs[2:])


async def test_only_the_newest_failures_are_kept(kit: Kit) -> None:
    refs: list[Ref] = []
    for _ in range(4):
        await kit.add(keep_failed=Keep(count=2))
        refs.append(await kit.run_to_failure())
        kit.tick(SECOND)

    assert await kept(kit, State.FAILED) == ids(refs[2:])


async def test_only_the_young_are_kept(kit: Kit) -> None:
    keep = Keep(age_ms=MINUTE)
    await finish_some(kit, 2, keep_completed=keep)
    kit.tick(MINUTE)

    last = await finish_some(kit, 1, keep_completed=keep)
    await trim_all(kit)

    assert await kept(kit) == ids(last)


async def test_both_bounds_hold_together(kit: Kit) -> None:
    keep = Keep(count=2, age_ms=MINUTE)
    await finish_some(kit, 1, keep_completed=keep)
    kit.tick(MINUTE)

    refs = await finish_some(kit, 3, keep_completed=keep)
    await trim_all(kit)

    assert await kept(kit) == ids(refs[1:])


async def test_a_batch_of_completions_leaves_the_newest(kit: Kit) -> None:
    await kit.add_many(10, keep_completed=Keep(count=4))
    claims = (await kit.ask(10)).jobs

    await kit.finish(*[complete(claim) for claim in claims])

    assert len(await kept(kit)) == 4


# The queue's setting, and the default.


async def test_a_queue_says_how_many_are_kept(kit: Kit) -> None:
    await kit.configure(keep_completed=Keep(count=2))

    refs = await finish_some(kit, 4)

    assert await kept(kit) == ids(refs[2:])


async def test_a_jobs_own_option_wins_over_the_queues(kit: Kit) -> None:
    await kit.configure(keep_completed=NONE)

    refs = await finish_some(kit, 2, keep_completed=ALL)

    assert await kept(kit) == ids(refs)


async def test_a_queue_may_keep_all(kit: Kit) -> None:
    await kit.configure(keep_completed=ALL)
    refs = await finish_some(kit, 2)
    kit.tick(400 * DAY)

    assert await trim_all(kit) == 0
    assert await kept(kit) == ids(refs)


async def test_by_default_completed_jobs_stay_for_a_day(kit: Kit) -> None:
    refs = await finish_some(kit, 2)
    kit.tick(DAY - 3 * SECOND)
    assert await trim_all(kit) == 0

    kit.tick(4 * SECOND)

    assert await trim_all(kit) == 2
    assert await kept(kit) == []
    assert await kit.find(refs[0]) is None


async def test_by_default_failed_jobs_stay_for_thirty_days(kit: Kit) -> None:
    await kit.add()
    ref = await kit.run_to_failure()
    kit.tick(30 * DAY - SECOND)
    assert await trim_all(kit) == 0
    assert await kit.state(ref) == State.FAILED

    kit.tick(2 * SECOND)

    assert await trim_all(kit) == 1


# trim, for a queue in which nothing finishes any more.


async def test_trim_removes_what_is_too_old(kit: Kit) -> None:
    await kit.configure(keep_completed=Keep(age_ms=MINUTE))
    await finish_some(kit, 3)
    kit.tick(MINUTE)

    assert await trim_all(kit) == 3
    assert await kit.counts() == {}


async def test_trim_removes_what_is_too_many(kit: Kit) -> None:
    refs = await finish_some(kit, 5)
    await kit.configure(keep_completed=Keep(count=2))

    assert await trim_all(kit) == 3
    assert await kept(kit) == ids(refs[3:])


async def test_trim_leaves_what_has_not_finished(kit: Kit) -> None:
    await kit.configure(keep_completed=NONE, keep_failed=NONE)
    await kit.make(State.ACTIVE)
    await kit.make(State.WAITING)
    await kit.make(State.DELAYED)
    kit.tick(400 * DAY)

    assert await trim_all(kit) == 0
    assert await kit.counts() == {"active": 1, "waiting": 1, "delayed": 1}


async def test_trim_is_bounded(kit: Kit) -> None:
    await kit.add_many(1500)
    while claims := (await kit.ask(250)).jobs:
        await kit.finish(*[complete(claim) for claim in claims])
    await kit.configure(keep_completed=NONE)

    first = await kit.store.trim([QUEUE], now=kit.now)

    assert 0 < first < 1500
    assert first + await trim_all(kit) == 1500


async def test_trim_says_nothing(kit: Kit) -> None:
    await finish_some(kit, 2)
    await kit.configure(keep_completed=NONE)
    await kit.hush()

    await trim_all(kit)

    assert await kit.hear() == []


async def test_trim_without_names_looks_at_every_queue(kit: Kit) -> None:
    for queue in ("a", "b"):
        await kit.make(State.COMPLETED, queue=queue)
        await kit.configure(queue=queue, keep_completed=NONE)

    assert await kit.store.trim(now=kit.now) == 2


async def test_a_trimmed_job_takes_its_logs_with_it(kit: Kit) -> None:
    await kit.add(keep_completed=NONE)
    claim = await kit.claim()
    ref = Ref(QUEUE, claim.record.id)
    await kit.store.log([LogLine(queue=QUEUE, id=ref.id, text="hello")], now=kit.now)
    await kit.settle(complete(claim))

    assert (await kit.store.logs(ref)).total == 0


async def test_a_failed_jobs_own_retention_is_its_own(kit: Kit) -> None:
    await kit.add(keep_failed=NONE)
    claim = await kit.claim()

    await kit.settle(fail(claim))

    assert await kit.counts() == {}
