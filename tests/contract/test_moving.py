"""pack, restore and the removal of moved jobs: from one store to another, nothing lost or doubled.

The other store is an embedded one in memory; each test of a way goes it in both directions.
"""

import dataclasses
from collections.abc import AsyncIterator
from typing import Any

import pytest
from msgspec import structs

from tests.contract.family import kid, tally, values
from tests.support.kit import (
    KIDS,
    LOCK,
    MINUTE,
    QUEUE,
    SECOND,
    T0,
    Kit,
    again,
    complete,
    fail,
    ids,
    new,
)
from tests.support.shipping import ORIGIN, last, let_move, packed, parcel, pending, ship
from toril._model.notes import Pause
from toril._model.options import Dedup, JobOptions, Keep
from toril._model.record import Ref
from toril._model.report import Child, Counts, ScheduleInfo
from toril._model.schedule import Rule
from toril._model.states import EVERY, State
from toril._model.transfer import Hold, Parcel, Receipt, Shipment
from toril._store.sqlite.store import SQLiteStore
from toril._store.values import LogLine, ScheduleDraft
from toril.errors import JobExists, JobLocked, JobNotFound, WrongState

MOVED = Ref(QUEUE, "moved")


@pytest.fixture
async def other() -> AsyncIterator[Kit]:
    """The store at the other end."""
    store = SQLiteStore(":memory:")
    await store.open()
    yield Kit(store)
    await store.close()


@pytest.fixture(params=["there", "back"])
def way(request: pytest.FixtureRequest, kit: Kit, other: Kit) -> tuple[Kit, Kit]:
    return (kit, other) if request.param == "there" else (other, kit)


def bare(sent: Parcel) -> Parcel:
    """Leave out what a store notes of where a job comes from, and how it writes options down."""
    record = structs.replace(sent.record, origin=None, opts="", queue="")
    return structs.replace(sent, record=record)


async def carry(source: Kit, target: Kit, *refs: Ref) -> None:
    """Send jobs on their way, and let them go where they were."""
    parcels = [await packed(source, ref) for ref in refs]
    await ship(target, *parcels)
    for ref in refs:
        await let_move(source, ref)


# What travels.


@pytest.mark.parametrize("state", [state for state in EVERY if state is not State.ACTIVE])
async def test_a_job_arrives_as_it_left(way: tuple[Kit, Kit], state: State) -> None:
    source, target = way
    ref = await source.make(state, data='{"a":[1,"é"]}', attempts=3, keep_failed=Keep(count=7))
    await source.update(ref, progress="50")
    left = await packed(source, ref)

    await carry(source, target, ref)

    arrived = await packed(target, ref)
    assert bare(arrived) == bare(left)
    assert arrived.record.options == left.record.options
    assert await target.counts() == {str(state): 1}
    assert await source.find(ref) is None


async def test_tries_stacks_and_logs_travel(way: tuple[Kit, Kit]) -> None:
    source, target = way
    ref = await source.add(attempts=3)
    await source.settle(again(await source.claim(worker="ann"), stack="Traceback 1"))
    source.tick(SECOND)
    await source.settle(again(await source.claim(worker="bob"), stack="Traceback 2"))
    for text in ("one", "two"):
        await source.store.log([LogLine(queue=QUEUE, id=ref.id, text=text)])
    left = await packed(source, ref)

    await carry(source, target, ref)

    assert bare(await packed(target, ref)) == bare(left)
    record = await target.record(ref)
    assert [(each.run, each.worker, each.end) for each in record.tries] == [
        (1, "ann", "failed"),
        (2, "bob", "failed"),
    ]
    assert record.stack == ("Traceback 1", "Traceback 2")
    assert (await target.store.logs(ref)).lines == ("one", "two")


async def test_a_job_that_crashed_has_its_crashes_counted_on(way: tuple[Kit, Kit]) -> None:
    source, target = way
    ref = await source.add()
    await source.crash()

    await carry(source, target, ref)

    await target.crash()
    assert (await target.record(ref)).stalls == 2


async def test_a_job_that_is_to_fail_fails_there(way: tuple[Kit, Kit]) -> None:
    source, target = way
    root, _ = await source.add_flow(new(), kid(parent_on_fail="fail"))
    await source.run_to_failure(KIDS)

    await carry(source, target, root)

    assert (await target.claim()).record.deferred


async def test_what_is_not_there_is_not_packed(kit: Kit) -> None:
    ref = await kit.add()

    found = await kit.store.pack([Ref(QUEUE, "nowhere"), ref, Ref("nowhere", "1")])

    assert [each and each.record.id for each in found] == [None, ref.id, None]


# Order and place.


async def test_jobs_run_in_the_order_in_which_they_came(way: tuple[Kit, Kit]) -> None:
    source, target = way
    first = await source.add_many(3)
    first.insert(0, await source.add(lifo=True))
    later = [await source.add(priority=9), await source.add(priority=1)]
    order = [*first, later[1], later[0]]

    await carry(source, target, *order)

    assert await target.claim_order() == ids(order)


async def test_jobs_that_were_there_run_first(kit: Kit) -> None:
    there = await kit.add()

    await ship(kit, parcel())

    assert await kit.claim_order() == [there.id, "moved"]


async def test_a_delayed_job_becomes_due_when_it_would_have(kit: Kit) -> None:
    await ship(kit, parcel(State.DELAYED, due_ms=T0 + MINUTE))

    kit.tick(MINUTE - 1)
    assert (await kit.ask()).jobs == ()
    kit.tick(1)
    assert (await kit.claim()).record.id == "moved"


async def test_a_job_that_was_due_on_the_way_runs_at_once(kit: Kit) -> None:
    await ship(kit, parcel(State.DELAYED, due_ms=T0 - MINUTE))

    assert (await kit.claim()).record.id == "moved"


async def test_finished_jobs_are_counted_and_let_go_by_age(kit: Kit) -> None:
    options = JobOptions(keep_completed=Keep(age_ms=MINUTE))
    for number in range(2):
        sent = parcel(State.COMPLETED, id=f"c{number}", options=options, finished_ms=T0 + number)
        await ship(kit, sent)
    assert await kit.counts() == {"completed": 2}

    kit.tick(MINUTE)
    await kit.make(State.COMPLETED, keep_completed=Keep(age_ms=MINUTE))
    while await kit.store.trim([QUEUE], now=kit.now):
        pass

    counts = await kit.counts()
    assert counts["completed"] == 2


async def test_a_finished_job_can_be_retried(kit: Kit) -> None:
    await ship(kit, parcel(State.FAILED))

    await kit.retry(MOVED)

    assert await kit.state(MOVED) == State.WAITING
    assert await kit.counts() == {"waiting": 1}


async def test_new_jobs_get_ids_that_were_never_given(kit: Kit) -> None:
    await ship(kit, parcel(id="7"), last_id=40)

    assert (await kit.add()).id == "41"


async def test_ids_never_go_back(kit: Kit) -> None:
    await kit.add_many(3)

    await ship(kit, parcel(), last_id=1)

    assert (await kit.add()).id == "4"


async def test_the_settings_tell_the_highest_id(kit: Kit) -> None:
    await kit.remove(*await kit.add_many(3))

    [settings] = await kit.store.settings([QUEUE])

    assert settings.last_id == 3


# Flows.


async def test_a_flow_goes_on_where_it_arrived(way: tuple[Kit, Kit]) -> None:
    source, target = way
    root, done, open_one = await source.add_flow(new(), kid("a"), kid("b"))
    await source.run(KIDS, result='"done"')

    await carry(source, target, root, done, open_one)

    assert await tally(target, root) == {"completed": 1, "pending": 1}
    assert await target.state(root) == State.WAITING_CHILDREN
    await target.run(KIDS, result="2")
    assert await target.state(root) == State.WAITING
    assert await values(target, root) == [("a", "completed", '"done"'), ("b", "completed", "2")]


async def test_children_keep_their_order_and_their_ends(way: tuple[Kit, Kit]) -> None:
    source, target = way
    root, *kids = await source.add_flow(
        new(), kid("a"), kid("b", parent_on_fail="ignore"), kid("c"), kid("d")
    )
    await source.run(KIDS, result="1")
    await source.run_to_failure(KIDS, reason="bad")
    expected = await values(source, root)

    await carry(source, target, root, *kids)

    assert await values(target, root) == expected
    assert expected == [
        ("a", "completed", "1"),
        ("b", "ignored", "bad"),
        ("c", "pending", None),
        ("d", "pending", None),
    ]


@pytest.mark.parametrize("policy", ["fail", "continue", "ignore", "remove"])
async def test_a_childs_failure_means_there_what_it_meant_here(
    way: tuple[Kit, Kit], policy: str
) -> None:
    source, target = way
    root, child = await source.add_flow(new(), kid(parent_on_fail=policy))

    await carry(source, target, root, child)
    await target.run_to_failure(KIDS)

    assert await target.state(root) == State.WAITING
    assert bool((await target.record(root)).deferred) == (policy == "fail")


async def test_a_parent_that_left_does_not_let_its_children_go(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid())

    await let_move(kit, root)

    assert await kit.state(child) == State.WAITING
    assert (await kit.record(child)).parent == root


async def test_a_child_that_left_does_not_release_its_parent(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), kid())

    await let_move(kit, child)

    assert await kit.state(root) == State.WAITING_CHILDREN


async def test_a_letter_and_its_job_know_each_other(way: tuple[Kit, Kit]) -> None:
    source, target = way
    await source.configure(dead_letter="dead")
    failed = await source.make(State.FAILED)
    letter = Ref("dead", "1")
    assert (await source.record(failed)).letter == "dead:1"

    await carry(source, target, letter, failed)

    assert (await target.record(failed)).letter == "dead:1"
    await target.retry(failed, reset_attempts=True)
    await target.run()
    assert await target.find(letter) is None


# Dedup.


async def test_a_dedup_key_is_held_there(way: tuple[Kit, Kit]) -> None:
    source, target = way
    ref = await source.add(dedup=Dedup("key"))

    await carry(source, target, ref)

    assert await target.add(dedup=Dedup("key")) == ref
    assert await source.add(dedup=Dedup("key")) != ref


async def test_a_dedup_key_is_given_back_when_the_job_has_finished(kit: Kit) -> None:
    await ship(kit, parcel(dedup="key", hold=Hold()))
    await kit.run()

    assert (await kit.add(dedup=Dedup("key"))).id != "moved"


async def test_a_dedup_key_is_held_for_the_rest_of_its_time(kit: Kit) -> None:
    await ship(kit, parcel(dedup="key", hold=Hold(until_ms=T0 + 10 * SECOND)))
    kit.tick(9 * SECOND)
    assert (await kit.add(dedup=Dedup("key", ttl="10s"))).id == "moved"

    kit.tick(SECOND)

    assert (await kit.add(dedup=Dedup("key", ttl="10s"))).id != "moved"


async def test_a_duplicate_that_was_kept_is_added_in_the_end(way: tuple[Kit, Kit]) -> None:
    source, target = way
    ref = await source.add(dedup=Dedup("key", keep_last=True), attempts=2)
    claim = await source.claim()
    await source.add("next", dedup=Dedup("key", keep_last=True), data='{"n":2}')
    await source.settle(again(claim))

    await carry(source, target, ref)
    await target.run()

    following = (await target.claim()).record
    assert (following.name, following.data) == ("next", '{"n":2}')


async def test_a_dedup_key_that_another_job_holds_stays_with_it(kit: Kit) -> None:
    holder = await kit.add(dedup=Dedup("key"))

    await ship(kit, parcel(dedup="key", hold=Hold()))

    assert await kit.add(dedup=Dedup("key")) == holder


# Schedules.


def plan(**given: Any) -> ScheduleInfo:
    usual: dict[str, Any] = {"queue": QUEUE, "id": "nightly", "name": "report", "data": '{"n":1}'}
    rule = Rule(every_ms=10 * SECOND)
    return ScheduleInfo(**{**usual, "rule": rule, "count": 5, "next_ms": T0 + SECOND, **given})


async def test_a_schedule_arrives_with_its_run_and_its_count(kit: Kit) -> None:
    await ship(kit, schedules=(plan(),))

    [found] = await kit.store.schedules(QUEUE)
    assert (found.name, found.data, found.count, found.next_ms) == (
        "report",
        '{"n":1}',
        5,
        T0 + SECOND,
    )
    assert await kit.counts() == {"delayed": 1}
    kit.tick(SECOND)
    run = (await kit.claim()).record
    assert (run.id, run.name, run.schedule) == (found.job_id, "report", "nightly")


async def test_a_schedule_goes_on_where_it_arrived(way: tuple[Kit, Kit]) -> None:
    source, target = way
    rule = Rule(cron="0 2 * * *", tz="Asia/Ho_Chi_Minh", limit=9)
    draft = ScheduleDraft(queue=QUEUE, id="nightly", name="n", rule=rule, next_ms=T0 + SECOND)
    await source.store.put_schedule(draft, now=source.now)
    [left] = await source.store.schedules(QUEUE)

    await ship(target, schedules=(left,))
    await source.store.drop_schedule(QUEUE, "nightly", now=source.now)

    assert await target.store.schedules(QUEUE) == [left]
    target.tick(SECOND)
    run = await target.claim()
    advanced = await target.store.advance(
        Ref(QUEUE, run.record.id), "nightly", T0 + MINUTE, now=target.now
    )
    assert advanced is not None
    assert advanced.count == 2
    assert await source.counts() == {}


async def test_a_paused_schedule_arrives_paused(kit: Kit) -> None:
    note = Pause(by="ann", reason="provider down", since_ms=T0)
    await ship(kit, schedules=(dataclasses.replace(plan(next_ms=None), pause=note),))

    [found] = await kit.store.schedules(QUEUE)
    assert (found.pause, found.next_ms, found.job_id) == (note, None, None)


async def test_a_schedule_that_is_there_stays_as_it_is(kit: Kit) -> None:
    draft = ScheduleDraft(
        queue=QUEUE, id="nightly", name="own", rule=Rule(every_ms=SECOND), next_ms=T0 + 1
    )
    own = await kit.store.put_schedule(draft, now=kit.now)

    await ship(kit, schedules=(plan(),))

    assert await kit.store.schedules(QUEUE) == [own]
    assert await kit.counts() == {"delayed": 1}


async def test_a_schedule_that_is_over_arms_nothing(kit: Kit) -> None:
    await ship(kit, schedules=(plan(next_ms=None),))

    [found] = await kit.store.schedules(QUEUE)
    assert (found.count, found.next_ms) == (5, None)
    assert await kit.counts() == {}


async def test_the_next_run_of_a_schedule_is_known_as_such(kit: Kit) -> None:
    await ship(kit, schedules=(plan(),))
    [found] = await kit.store.schedules(QUEUE)
    assert found.job_id is not None

    assert (await packed(kit, Ref(QUEUE, found.job_id))).armed
    assert not (await packed(kit, await kit.add())).armed


# Once.


async def test_a_shipment_that_is_sent_again_changes_nothing(kit: Kit) -> None:
    sent = Shipment(queue=QUEUE, origin=ORIGIN, number=1, jobs=(parcel(),), schedules=(plan(),))
    receipt = await kit.store.restore(sent, now=kit.now)
    await kit.run()
    await kit.remove(MOVED)
    await kit.store.drop_schedule(QUEUE, "nightly", now=kit.now)

    assert await kit.store.restore(sent, now=kit.now) == receipt

    assert await kit.counts() == {}


async def test_a_job_that_came_before_stays_as_it_is_by_now(kit: Kit) -> None:
    await ship(kit, parcel())
    await kit.run()

    await ship(kit, parcel(), parcel(id="second"))

    assert await kit.state(MOVED) == State.COMPLETED
    assert await kit.counts() == {"completed": 1, "waiting": 1}


async def test_a_receipt_tells_what_came_last(kit: Kit) -> None:
    assert await last(kit) == Receipt()

    sent = (parcel(created_ms=T0 - 5), parcel(id="b", queue=KIDS, created_ms=T0 - 9))
    receipt = await ship(kit, *sent, schedules=(plan(),), was_paused=True)

    assert receipt == Receipt(
        number=1,
        jobs=(MOVED, Ref(KIDS, "b")),
        schedules=("nightly",),
        until_ms=T0 - 5,
        was_paused=True,
        last=False,
    )
    assert await last(kit) == receipt
    assert await last(kit, KIDS) == Receipt()


async def test_each_origin_has_receipts_of_its_own(kit: Kit) -> None:
    await ship(kit, parcel())

    other = Shipment(queue=QUEUE, origin="redis://elsewhere/0 bull")

    assert await kit.store.restore(other) == Receipt()


@pytest.mark.parametrize("number", [1, 2, 3, 5])
async def test_a_shipment_out_of_turn_is_refused(kit: Kit, number: int) -> None:
    for _ in range(3):
        await ship(kit)

    with pytest.raises(WrongState, match="another move"):
        await ship(kit, parcel(), number=number)

    assert await kit.find(MOVED) is None


async def test_a_job_of_the_same_id_is_in_the_way_and_nothing_is_stored(kit: Kit) -> None:
    await kit.add(id="moved")

    with pytest.raises(JobExists, match="already has another job 'moved'"):
        await ship(kit, parcel(id="first"), parcel(), schedules=(plan(),))

    assert await kit.counts() == {"waiting": 1}
    assert await kit.store.schedules(QUEUE) == []
    assert await last(kit) == Receipt()


async def test_a_later_job_of_the_same_id_and_origin_is_another_one(kit: Kit) -> None:
    await ship(kit, parcel(created_ms=T0 - MINUTE))

    with pytest.raises(JobExists):
        await ship(kit, parcel(created_ms=T0))


async def test_an_active_job_cannot_be_restored(kit: Kit) -> None:
    with pytest.raises(WrongState, match="active"):
        await ship(kit, parcel(State.ACTIVE))


# Letting go.


async def test_nobody_is_told_that_a_job_has_moved(kit: Kit) -> None:
    refs = [await kit.add(), await kit.make(State.DELAYED)]
    await kit.hush()

    assert (await let_move(kit, *refs)).ids == tuple(ids(refs))

    assert await kit.hear() == []
    assert await kit.store.counts([QUEUE]) == [Counts()]


async def test_a_job_that_was_added_after_the_move_is_another_one(kit: Kit) -> None:
    old = await kit.add(id="mine")
    await let_move(kit, old)
    kit.tick(1)
    young = await kit.add(id="mine")

    gone = await let_move(kit, young, before_ms=T0)

    assert gone.ids == ()
    assert await kit.state(young) == State.WAITING


async def test_a_job_that_runs_cannot_go(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)

    refused = (await let_move(kit, ref)).refused

    assert isinstance(refused[ref.id], JobLocked)
    assert await kit.settle(complete(kit.held[ref])) == "completed"


async def test_a_job_that_has_gone_already_is_passed_over(kit: Kit) -> None:
    assert (await let_move(kit, MOVED)).ids == ()


async def test_a_decision_on_a_job_that_moved_finds_none(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    claim = kit.held[ref]
    kit.tick(LOCK + 1)
    await kit.recover(QUEUE)
    await let_move(kit, ref)

    with pytest.raises(JobNotFound):
        await kit.settle(fail(claim))


# Events.


async def test_an_arrival_is_told_like_an_addition(kit: Kit) -> None:
    await ship(
        kit,
        parcel(id="a"),
        parcel(State.DELAYED, id="b"),
        parcel(State.WAITING_CHILDREN, id="c"),
        parcel(State.FAILED, id="d"),
    )

    assert await kit.kinds() == [
        "added",
        "waiting",
        "added",
        "delayed",
        "added",
        "waiting-children",
    ]


async def test_a_queue_that_jobs_arrive_in_exists(kit: Kit) -> None:
    await ship(kit, parcel(queue="far"))

    assert await kit.store.queues() == ["far", QUEUE]


async def test_a_child_of_a_parent_elsewhere_runs_all_the_same(kit: Kit) -> None:
    await ship(kit, parcel(parent_queue="gone", parent_id="p"))

    assert await kit.run() == MOVED


async def test_children_that_are_gone_keep_their_names(kit: Kit) -> None:
    done = Child(queue=KIDS, id="x", name="resize", outcome="completed", value="1")
    await ship(kit, parcel(State.WAITING_CHILDREN, children=(done, pending("y"))))

    assert await values(kit, MOVED) == [("resize", "completed", "1"), ("child", "pending", None)]
