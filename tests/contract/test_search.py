"""Jobs are found by declared fields and by tags, as long as they are there."""

from collections.abc import Sequence

import pytest

from tests.support.kit import MINUTE, QUEUE, Kit, complete, ids, new
from tests.support.shipping import packed, parcel, ship
from toril._model.options import Keep
from toril._model.record import Ref
from toril._model.report import Page, Query
from toril._model.search import LOOKED_AT, MOST_FIELDS, fields_of, where_of
from toril._model.states import State
from toril.errors import ConfigError

ANN = ("user_id", "ann")
BOB = ("user_id", "bob")
BETA = ("tag", "beta")


async def page(
    kit: Kit, *where: tuple[str, str], states: Sequence[State] = (), **given: object
) -> Page:
    query = Query(queue=QUEUE, where=where, states=tuple(states), **given)  # type: ignore[arg-type]
    return await kit.store.find(query)


async def found(kit: Kit, *where: tuple[str, str], states: Sequence[State] = ()) -> list[str]:
    return ids((await page(kit, *where, states=states)).jobs)


async def add(kit: Kit, *fields: tuple[str, str], **given: object) -> Ref:
    kit.tick(1)
    return await kit.add(fields=fields, **given)


async def test_jobs_are_found_by_a_field_the_newest_first(kit: Kit) -> None:
    first = await add(kit, ANN)
    await add(kit, BOB)
    second = await add(kit, ANN, BETA, delay_ms=MINUTE)
    await kit.add()

    assert await found(kit, ANN) == [second.id, first.id]
    assert await found(kit, BETA) == [second.id]
    assert await found(kit, ("user_id", "an")) == []
    assert await found(kit, ("user", "ann")) == []
    [record] = (await page(kit, BETA)).jobs
    assert set(record.fields) == {ANN, BETA}


async def test_several_fields_and_states_narrow_a_search(kit: Kit) -> None:
    both = await add(kit, ANN, BETA)
    await add(kit, BETA)
    later = await add(kit, ANN, BETA, delay_ms=MINUTE)

    assert await found(kit, ANN, BETA) == [later.id, both.id]
    assert await found(kit, BETA, ANN, states=[State.DELAYED]) == [later.id]
    assert await found(kit, ANN, BOB) == []


async def test_a_search_goes_on_from_page_to_page(kit: Kit) -> None:
    refs = [await add(kit, ANN) for _ in range(5)]
    newest_first = [ref.id for ref in reversed(refs)]

    first = await page(kit, ANN, limit=2)
    assert (ids(first.jobs), first.more) == (newest_first[:2], True)
    second = await page(kit, ANN, limit=2, before=first.next)
    await add(kit, ANN)
    third = await page(kit, ANN, limit=2, before=second.next)
    assert ids(second.jobs) + ids(third.jobs) == newest_first[2:]
    assert (third.more, third.next) == (False, None)


async def test_a_search_that_finds_little_says_where_it_stopped(kit: Kit) -> None:
    wanted = await add(kit, ANN, delay_ms=MINUTE)
    kit.tick(1)
    for _ in range(LOOKED_AT // 250):
        await kit.add_group(*[new(fields=(ANN,)) for _ in range(250)])

    first = await page(kit, ANN, states=[State.DELAYED])
    assert (first.jobs, first.more) == ((), True)
    second = await page(kit, ANN, states=[State.DELAYED], before=first.next)
    assert ids(second.jobs) == [wanted.id]


async def test_jobs_that_are_gone_are_not_found(kit: Kit) -> None:
    removed, kept = await add(kit, ANN), await add(kit, ANN)
    await kit.remove(removed)
    assert await found(kit, ANN) == [kept.id]

    await kit.configure(keep_completed=Keep(count=1))
    for _ in range(2):
        await add(kit, BOB)
    for _ in range(3):
        await kit.settle(complete(await kit.claim()))
    assert await found(kit, ANN) == []
    assert len(await found(kit, BOB)) == 1


async def test_a_duplicate_is_not_found_by_its_own_fields(kit: Kit) -> None:
    await add(kit, ANN, id="one")
    await add(kit, BOB, id="one")

    assert await found(kit, ANN) == ["one"]
    assert await found(kit, BOB) == []


async def test_jobs_of_a_flow_are_found(kit: Kit) -> None:
    root, child = await kit.add_flow(new(fields=(ANN,)), new(fields=(ANN, BETA)))

    assert sorted(await found(kit, ANN)) == sorted([root.id, child.id])
    assert await found(kit, BETA) == [child.id]


async def test_a_job_that_moved_is_found(kit: Kit) -> None:
    await ship(kit, parcel(fields=(ANN, BETA)))

    assert await found(kit, ANN, BETA) == ["moved"]
    assert set((await packed(kit, Ref(QUEUE, "moved"))).record.fields) == {ANN, BETA}


async def test_the_names_of_fields_are_listed(kit: Kit) -> None:
    await add(kit, ANN, BETA, ("tag", "old"), ("a.b", "1"))

    listed = await kit.store.find(Query(queue=QUEUE, fields_only=True))
    assert listed.ids == ("a.b", "tag", "user_id")
    nowhere = await kit.store.find(Query(queue="nowhere", fields_only=True))
    assert nowhere.ids == ()


def test_values_are_taken_from_data_by_their_paths() -> None:
    data = {"user": {"id": 7}, "ok": True, "kinds": ["a", "b"], "none": None, "user.x": 1.5}

    assert fields_of(
        data, ["user.id", "ok", "kinds", "none", "user", "user.x", "no.where"], []
    ) == (
        ("user.id", "7"),
        ("ok", "true"),
        ("kinds", "a"),
        ("kinds", "b"),
        ("user.x", "1.5"),
    )
    assert fields_of([1], ["a"], ["x", "x"]) == (("tag", "x"),)
    assert len(fields_of({"a": list(range(99))}, ["a"], [])) == MOST_FIELDS


def test_a_search_names_single_values() -> None:
    assert where_of({"user_id": 481, "ok": True}) == (("user_id", "481"), ("ok", "true"))
    for wrong in ({}, {"a": [1]}, {"a": None}, "a"):
        with pytest.raises(ConfigError, match="where"):
            where_of(wrong)
