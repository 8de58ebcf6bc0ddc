"""A job that names the moment of its start: it is due then, whenever it was added or released."""

import pytest

from tests.contract.family import kid
from tests.support.kit import KIDS, MINUTE, SECOND, T0, Kit, complete, fail, new
from toril._model.options import Dedup
from toril._model.record import Ref
from toril._model.states import State
from toril.events import Delayed

AT = T0 + MINUTE


async def due(kit: Kit, ref: Ref) -> int | None:
    record = await kit.record(ref)
    assert record.state == State.DELAYED
    return record.due_ms


@pytest.mark.parametrize("late", [0, 7, 59_999], ids=str)
@pytest.mark.parametrize("created", [None, T0 - 60 * MINUTE, T0 + 2 * MINUTE], ids=str)
async def test_a_job_is_due_at_its_moment_however_late_it_is_stored(
    kit: Kit, late: int, created: int | None
) -> None:
    kit.tick(late)
    ref = await kit.add(at_ms=AT, created_ms=created)

    assert await due(kit, ref) == AT
    record = await kit.record(ref)
    assert record.options.at_ms == AT
    assert record.created_ms == (T0 + late if created is None else created)
    assert record.delay_ms == max(AT - record.created_ms, 0)
    assert [event.due_ms for event in await kit.hear() if isinstance(event, Delayed)] == [AT]
    kit.now = AT - 1
    assert not (await kit.ask()).jobs
    kit.tick(1)
    assert len((await kit.ask()).jobs) == 1


@pytest.mark.parametrize("created", [None, T0 - 60 * MINUTE], ids=str)
async def test_a_moment_that_is_past_is_no_delay(kit: Kit, created: int | None) -> None:
    ref = await kit.add(at_ms=T0, created_ms=created)

    assert await kit.state(ref) == State.WAITING
    assert (await kit.record(ref)).delay_ms == 0


async def test_jobs_of_one_moment_start_in_the_order_in_which_they_were_added(kit: Kit) -> None:
    refs: list[Ref] = []
    for n in range(20):
        kit.tick(n % 3)
        refs.append(await kit.add(at_ms=AT, created_ms=T0 - 1 if n % 2 else None))
    kit.now = AT

    claimed = (await kit.ask(limit=20)).jobs

    assert [claim.record.id for claim in claimed] == [ref.id for ref in refs]


@pytest.mark.parametrize("wait", [10 * SECOND, 59 * SECOND], ids=str)
async def test_a_parent_starts_at_its_moment_not_so_long_after_its_children(
    kit: Kit, wait: int
) -> None:
    parent, _ = await kit.add_flow(new(at_ms=AT), kid())
    kit.tick(wait)
    await kit.settle(complete(await kit.claim(KIDS)))

    assert await due(kit, parent) == AT


async def test_a_parent_whose_moment_passed_while_it_waited_starts_at_once(kit: Kit) -> None:
    parent, _ = await kit.add_flow(new(at_ms=AT), kid())
    kit.tick(2 * MINUTE)
    await kit.settle(complete(await kit.claim(KIDS)))

    assert await kit.state(parent) == State.WAITING


@pytest.mark.parametrize("policy", ["continue", "ignore", "remove"])
async def test_a_parent_that_outlives_a_failed_child_keeps_its_moment(
    kit: Kit, policy: str
) -> None:
    parent, _ = await kit.add_flow(new(at_ms=AT), kid(parent_on_fail=policy))
    kit.tick(SECOND)
    await kit.settle(fail(await kit.claim(KIDS)))

    assert await due(kit, parent) == AT


async def test_a_parent_that_fails_with_its_child_does_not_wait_for_its_moment(kit: Kit) -> None:
    parent, _ = await kit.add_flow(new(at_ms=AT), kid(parent_on_fail="fail"))
    kit.tick(SECOND)
    await kit.settle(fail(await kit.claim(KIDS)))

    assert await kit.state(parent) == State.WAITING


async def test_a_parent_keeps_its_moment_when_its_child_is_retried(kit: Kit) -> None:
    parent, child = await kit.add_flow(new(at_ms=AT), kid())
    kit.tick(SECOND)
    await kit.settle(fail(await kit.claim(KIDS)))
    await kit.retry(child)
    kit.tick(SECOND)
    await kit.settle(complete(await kit.claim(KIDS)))

    assert await due(kit, parent) == AT


async def test_a_child_may_name_a_moment_too(kit: Kit) -> None:
    _, child = await kit.add_flow(new(), kid(at_ms=AT))

    assert await due(kit, child) == AT


async def test_a_duplicate_moves_the_job_to_its_own_moment(kit: Kit) -> None:
    held = await kit.add(at_ms=AT, dedup=Dedup("k", ttl="1h", reschedule=True))
    kit.tick(SECOND)
    await kit.add(at_ms=AT + SECOND, dedup=Dedup("k", ttl="1h", reschedule=True))

    assert await due(kit, held) == AT + SECOND


async def test_a_duplicate_that_was_kept_back_keeps_its_moment(kit: Kit) -> None:
    await kit.add(dedup=Dedup("k", keep_last=True))
    claim = await kit.claim()
    await kit.add(at_ms=AT, dedup=Dedup("k", keep_last=True))
    kit.tick(SECOND)
    await kit.settle(complete(claim))

    assert await kit.counts() == {"delayed": 1, "completed": 1}
    kit.now = AT - 1
    assert not (await kit.ask()).jobs
    kit.tick(1)
    assert len((await kit.ask()).jobs) == 1
