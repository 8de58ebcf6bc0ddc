"""remove, drain, clean, obliterate: nothing is left behind, and nothing wrong is taken."""

from tests.redis.conftest import Wire
from tests.support.kit import KIDS, MINUTE, QUEUE, SECOND, T0, Kit, await_children, fail, new
from toril._model.options import Dedup
from toril._model.record import Ref
from toril._model.schedule import Rule
from toril._model.states import EVERY, READY, State
from toril._store.values import LogLine, ScheduleDraft


async def arm(kit: Kit, next_ms: int) -> str:
    draft = ScheduleDraft(
        queue=QUEUE, id="s", name="tick", rule=Rule(every_ms=MINUTE), next_ms=next_ms
    )
    return (await kit.store.put_schedule(draft, now=kit.now)).job_id or ""


async def test_the_place_is_told_as_bullmq_calls_it(kit: Kit, wire: Wire) -> None:
    await kit.remove(await kit.add())

    assert wire.events()[-1] == {"event": "removed", "jobId": "1", "prev": "wait"}


async def test_a_removed_tree_leaves_no_key_of_a_job(kit: Kit, wire: Wire) -> None:
    root, done, open_ = await kit.add_flow(new(), new(queue=KIDS), new(queue=KIDS))
    await kit.run(KIDS)
    await kit.store.log([LogLine(queue=KIDS, id=done.id, text="hello")], now=kit.now)

    assert (await kit.remove(root)).ids == (root.id,)

    kept = {"events", "id", "meta", "toril:settings", "toril:samples"}
    assert wire.names() == kept
    assert wire.names(KIDS) <= kept | {"marker"} | {
        key for key in wire.names(KIDS) if key.startswith("metrics:")
    }
    assert [e["jobId"] for e in wire.events(KIDS) if e["event"] == "removed"] in (
        [done.id, open_.id],
        [open_.id, done.id],
    )


async def test_a_parent_goes_on_to_tell_of_a_child_that_ended_and_was_removed(kit: Kit) -> None:
    root, child = await kit.add_flow(new(), new("resize", queue=KIDS))
    await kit.run(KIDS, result="7")

    await kit.remove(child)

    [told] = (await kit.store.children(root)).items
    assert (told.name, told.outcome, told.value) == ("resize", "completed", "7")


async def test_an_id_without_a_job_is_cleared_away(kit: Kit, wire: Wire) -> None:
    wire.client.lpush(wire.key("wait"), "ghost")
    real = await kit.add()

    assert "ghost" in (await kit.remove(Ref(QUEUE, "ghost"))).refused

    assert wire.items("wait") == [real.id]


async def test_drain_takes_only_its_jobs_out_of_a_list_with_a_run_of_a_schedule(
    kit: Kit, wire: Wire
) -> None:
    await kit.add_many(2)
    run = await arm(kit, T0)
    await kit.add_many(2)

    drained = await kit.sweep("drain", *READY)

    assert len(drained.ids) == 4
    assert wire.items("wait") == [run]
    assert await kit.state(Ref(QUEUE, run)) == State.WAITING


async def test_a_run_that_a_schedule_left_behind_is_drained(kit: Kit, wire: Wire) -> None:
    await arm(kit, T0)
    claim = await kit.claim()
    await kit.store.advance(Ref(QUEUE, claim.record.id), "s", T0 + MINUTE, now=kit.now)
    await kit.settle(fail(claim))
    await kit.retry(Ref(QUEUE, claim.record.id))

    assert (await kit.sweep("drain", *EVERY)).ids == (claim.record.id,)

    assert set(wire.scores("delayed")) == {f"repeat:s:{T0 + MINUTE}"}


async def test_ages_are_compared_as_numbers(kit: Kit, wire: Wire) -> None:
    """As a text 9 is more than 10."""
    old = await kit.add()
    wire.client.hset(wire.key(old.id), "timestamp", 999_999_999_999)

    assert (await kit.sweep("clean", State.WAITING, before_ms=T0 - 1)).ids == (old.id,)


async def test_a_selection_looks_past_more_jobs_than_one_call_may(kit: Kit, wire: Wire) -> None:
    await kit.add_many(600)
    old = await kit.add()
    wire.client.hset(wire.key(old.id), "timestamp", T0 - MINUTE)

    assert (await kit.sweep("clean", State.WAITING, before_ms=T0 - 1)).ids == (old.id,)


async def test_more_than_one_call_of_jobs_goes_in_one_verb(kit: Kit) -> None:
    await kit.add_many(700)

    selected = await kit.sweep("drain", *READY, limit=600)

    assert (len(selected.ids), selected.more) == (600, True)
    assert len(set(selected.ids)) == 600
    assert await kit.counts() == {"waiting": 100}


async def test_many_ids_may_be_named_at_once_and_twice(kit: Kit) -> None:
    refs = await kit.add_many(600)

    selected = await kit.remove(*refs, *refs, limit=5_000)

    assert selected.ids == tuple(ref.id for ref in refs)
    assert selected.refused == {}


async def test_large_trees_are_worked_off_one_by_one(kit: Kit) -> None:
    for name in "abc":
        children = [new(queue=KIDS) for _ in range(200)]
        await kit.add_flow(new(id=name), *children)

    selected = await kit.remove(*(Ref(QUEUE, name) for name in "abc"))

    assert selected.ids == ("a", "b", "c")
    assert await kit.counts(KIDS) == {}


async def test_the_jobs_that_version_5_put_aside_are_drained_too(kit: Kit, wire: Wire) -> None:
    ref = await kit.add()
    wire.client.rename(wire.key("wait"), wire.key("paused"))

    assert (await kit.sweep("drain", *READY)).ids == (ref.id,)

    assert not {"wait", "paused", ref.id} & wire.names()


async def test_an_obliterated_queue_leaves_no_key(kit: Kit, wire: Wire) -> None:
    for state in (State.COMPLETED, State.FAILED, State.WAITING_CHILDREN, State.ACTIVE):
        await kit.make(state)
    await kit.make(State.PRIORITIZED, dedup=Dedup("key", ttl="1h"))
    await kit.add(delay_ms=SECOND)
    await kit.add_flow(new(), new(queue=KIDS))
    await arm(kit, T0 + MINUTE)
    await kit.configure(limit_for_ms=MINUTE)
    await kit.recover()
    await kit.pause()

    await kit.sweep("obliterate", force=True)

    assert wire.names() == set()


async def test_a_queue_that_is_not_there_is_obliterated_already(kit: Kit) -> None:
    assert not (await kit.sweep("obliterate", queue="nowhere")).more


async def test_a_parent_of_the_same_queue_that_waited_is_cleaned_with_the_rest(
    kit: Kit, wire: Wire
) -> None:
    parent = await kit.make(State.WAITING_CHILDREN)

    await kit.sweep("clean", *EVERY, before_ms=kit.now)
    await kit.sweep("clean", *EVERY, queue=KIDS, before_ms=kit.now)

    assert parent.id not in wire.names()
    assert await kit.counts() == {}
    assert await kit.counts(KIDS) == {}


async def test_a_child_that_awaits_is_parted_from_a_parent_that_goes(kit: Kit) -> None:
    parent = await kit.make(State.ACTIVE)
    child = await kit.add(queue=KIDS, parent=parent)
    await kit.settle(await_children(kit.held[parent]))
    await kit.sweep("clean", State.WAITING_CHILDREN, before_ms=kit.now)

    assert await kit.run(KIDS) == child
    assert await kit.counts() == {}
