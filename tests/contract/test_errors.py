"""Failed attempts by their cause: groups, their jobs, and what a job keeps of its attempts."""

from tests.support.kit import MINUTE, QUEUE, T0, Kit, again, complete, fail, ids, ref_of
from toril._model.faults import (
    MOST_GROUPS,
    MOST_POINTS,
    POINT_MS,
    SAMPLES,
    Cause,
    ErrorGroup,
    blank,
    cause,
)
from toril._model.record import Ref
from toril._model.report import Query
from toril._model.states import State

BOOM = Cause("ValueError", "shop:pay", "no card #", "v2")
OTHER = Cause("KeyError", "shop:tax", "#")


async def groups(kit: Kit, **given: int) -> list[ErrorGroup]:
    return await kit.store.errors([QUEUE], **given)


async def failed(kit: Kit, why: Cause = BOOM, name: str = "job") -> Ref:
    await kit.add(name)
    claim = await kit.claim()
    await kit.settle(fail(claim, fault=why, slot=3))
    return ref_of(claim)


async def of_group(kit: Kit, *states: State, **given: int) -> list[str]:
    query = Query(queue=QUEUE, fingerprint=BOOM.fingerprint, states=states, **given)  # type: ignore[arg-type]
    return ids((await kit.store.find(query)).jobs)


async def test_attempts_with_one_cause_are_a_group(kit: Kit) -> None:
    first = await failed(kit, name="a")
    kit.tick(MINUTE)
    second = await failed(kit, name="b")
    await failed(kit, OTHER)

    found = {group.fingerprint: group for group in await groups(kit)}

    assert found.keys() == {BOOM.fingerprint, OTHER.fingerprint}
    group = found[BOOM.fingerprint]
    assert (group.kind, group.place, group.message) == ("ValueError", "shop:pay", "no card #")
    assert (group.count, group.first_ms, group.last_ms) == (2, T0, T0 + MINUTE)
    assert group.tasks == ("a", "b")
    assert group.versions == ("v2",)
    assert group.sample_ids == (second.id, first.id)
    assert sum(count for _, count in group.points) == 2


async def test_attempts_that_run_again_are_counted_too(kit: Kit) -> None:
    ref = await kit.add()
    for _ in range(2):
        await kit.settle(again(await kit.claim(), fault=BOOM))

    [group] = await groups(kit)

    assert (group.count, group.sample_ids) == (2, (ref.id,))
    assert (await kit.record(ref)).fingerprint == BOOM.fingerprint


async def test_the_groups_seen_last_come_first(kit: Kit) -> None:
    await failed(kit)
    kit.tick(MINUTE)
    await failed(kit, OTHER)

    assert [group.kind for group in await groups(kit)] == ["KeyError", "ValueError"]
    assert [group.kind for group in await groups(kit, limit=1)] == ["KeyError"]
    assert [group.kind for group in await groups(kit, since_ms=T0 + 1)] == ["KeyError"]


async def test_the_jobs_of_a_group_are_found(kit: Kit) -> None:
    refs = []
    for _ in range(3):
        refs.append(await failed(kit))
        kit.tick(MINUTE)
    await failed(kit, OTHER)

    newest_first = [ref.id for ref in reversed(refs)]
    assert await of_group(kit, State.FAILED) == newest_first
    assert await of_group(kit, State.FAILED, offset=1, limit=1) == newest_first[1:2]
    await kit.retry(refs[0])
    await kit.remove(refs[1])
    assert await of_group(kit, State.FAILED) == [refs[2].id]
    assert sorted(await of_group(kit)) == sorted([refs[0].id, refs[2].id])


async def test_a_job_that_failed_for_another_reason_since_is_in_no_other_group(kit: Kit) -> None:
    ref = await failed(kit)
    await kit.retry(ref)
    await kit.settle(fail(await kit.claim(), fault=OTHER))

    assert await of_group(kit) == []


async def test_a_job_keeps_where_and_why_its_attempts_failed(kit: Kit) -> None:
    await kit.add()
    await kit.settle(again(await kit.claim(), fault=BOOM, slot=2))
    claim = await kit.claim()
    await kit.settle(complete(claim, slot=5))

    [record] = await kit.store.get([ref_of(claim)])

    assert record is not None
    assert [(each.slot, each.fingerprint) for each in record.tries] == [(2, BOOM.fingerprint)]
    assert (record.slot, record.fingerprint) == (5, BOOM.fingerprint)


async def test_what_is_kept_of_groups_is_bounded(kit: Kit) -> None:
    for _ in range(SAMPLES + 3):
        await failed(kit)
    for _ in range(MOST_POINTS + 3):
        # A tick of the kit looks at all keys of a server.
        kit.now += POINT_MS
        await failed(kit)

    [group] = await groups(kit)

    assert group.count == SAMPLES + MOST_POINTS + 6
    assert len(group.sample_ids) == SAMPLES
    assert len(group.points) == MOST_POINTS
    assert group.points[-1][0] == kit.now // POINT_MS * POINT_MS


async def test_the_oldest_groups_go(kit: Kit) -> None:
    await kit.add_many(MOST_GROUPS + 5)
    for count in (5, 250, 250):
        claims = (await kit.ask(count)).jobs
        decisions = [fail(each, fault=cause("E", f"m:f{each.record.id}", "")) for each in claims]
        await kit.finish(*decisions)
        kit.tick(1)

    found = {group.place for group in await groups(kit)}

    assert found == {f"m:f{number}" for number in range(6, MOST_GROUPS + 6)}


async def test_a_queue_without_failures_has_no_groups(kit: Kit) -> None:
    await kit.add()

    assert await kit.store.errors([QUEUE, "nowhere"]) == []


def test_what_differs_from_job_to_job_is_blanked() -> None:
    assert blank("user 481: no mailbox 'ada@x.org' at 0xDEADBEEF") == "user #: no mailbox # at #"
    assert blank("6fa459ea-ee8a-3ca4-894e-db77e160355e is gone\nline 2") == "# is gone"
    assert blank('can\'t read "a b" of deadbeef01') == "can't read # of #"
    assert blank("took 1.5 s, 10:20") == "took # s, #"


def test_a_cause_is_named_alike_whatever_the_version() -> None:
    one, two = Cause("E", "m:f", "x", "v1"), Cause("E", "m:f", "x", "v2")
    assert one.fingerprint == two.fingerprint
    assert len(one.fingerprint) == 12
    assert one.fingerprint != Cause("E", "m:g", "x").fingerprint
