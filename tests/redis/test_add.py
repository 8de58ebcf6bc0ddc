"""add: what stands in Redis afterwards."""

import json

import pytest

from tests.redis.conftest import Wire
from tests.support.kit import KIDS, QUEUE, SECOND, T0, Kit, complete, new
from toril._model.options import Dedup
from toril._model.record import Ref
from toril._model.states import State
from toril.errors import StoreCorrupt

UUID = "9b2f3c4e-0000-4000-8000-000000000001"
KEEP_LAST = Dedup("key", keep_last=True)


async def test_a_plain_job_is_six_fields(kit: Kit, wire: Wire) -> None:
    await kit.add("welcome", data='{"to":"a@b.c"}')

    assert wire.hash("1") == {
        "name": "welcome",
        "data": '{"to":"a@b.c"}',
        "opts": '{"attempts":1}',
        "timestamp": str(T0),
        "delay": "0",
        "priority": "0",
    }


async def test_the_newest_job_stands_at_the_left(kit: Kit, wire: Wire) -> None:
    await kit.add_many(2)
    await kit.add(id="mine")
    await kit.add(id="first", lifo=True)

    assert wire.client.lrange(wire.key("wait"), 0, -1) == ["mine", "2", "1", "first"]


async def test_jobs_that_can_be_taken_set_the_marker(kit: Kit, wire: Wire) -> None:
    await kit.add()

    assert wire.client.zrange(wire.key("marker"), 0, -1, withscores=True) == [("0", 0.0)]


async def test_a_delayed_job_arms_the_marker(kit: Kit, wire: Wire) -> None:
    await kit.add(delay_ms=SECOND)

    due = T0 + SECOND
    assert wire.client.zrange(wire.key("marker"), 0, -1, withscores=True) == [("1", float(due))]
    assert wire.client.zscore(wire.key("delayed"), "1") == due * 4096


async def test_jobs_due_in_one_millisecond_keep_their_order(kit: Kit, wire: Wire) -> None:
    await kit.add_many(2, delay_ms=SECOND)

    assert wire.client.zscore(wire.key("delayed"), "2") == (T0 + SECOND) * 4096 + 1


async def test_a_priority_is_the_high_part_of_the_score(kit: Kit, wire: Wire) -> None:
    await kit.add(priority=5)

    assert wire.client.zscore(wire.key("prioritized"), "1") == 5 * 2**32 + 1


async def test_an_id_that_was_chosen_stands_in_the_options(kit: Kit, wire: Wire) -> None:
    await kit.add(id='my "id"')

    assert wire.opts('my "id"') == {"attempts": 1, "jobId": 'my "id"'}


async def test_an_id_that_was_made_up_does_not_stand_in_the_options(kit: Kit, wire: Wire) -> None:
    await kit.add(id=UUID)

    assert wire.opts(UUID) == {"attempts": 1}


async def test_every_try_to_add_is_counted(kit: Kit, wire: Wire) -> None:
    await kit.add(id="mine", dedup=Dedup("key"))
    await kit.add(id="mine")
    await kit.add(dedup=Dedup("key"))

    assert wire.client.get(wire.key("id")) == "3"


async def test_a_child_and_its_parent_know_each_other(kit: Kit, wire: Wire) -> None:
    await kit.add_flow(new(id="root"), new(id="kid", queue=KIDS, parent_on_fail="fail"))

    child = wire.hash("kid", KIDS)
    assert child["parentKey"] == wire.key("root")
    queue = f"{wire.prefix}:{QUEUE}"
    assert json.loads(child["parent"]) == {"id": "root", "queueKey": queue, "fpof": True}
    assert wire.opts("kid", KIDS)["parent"] == {"id": "root", "queue": queue}
    assert wire.opts("kid", KIDS)["fpof"] is True
    assert wire.client.smembers(wire.key("root:dependencies")) == {wire.key("kid", KIDS)}
    assert wire.client.zscore(wire.key("waiting-children"), "root") == T0


async def test_a_key_is_held_by_its_job(kit: Kit, wire: Wire) -> None:
    await kit.add(dedup=Dedup("key", ttl="10s"))

    assert wire.client.get(wire.key("de:key")) == "1"
    assert 9_000 < wire.client.pttl(wire.key("de:key")) <= 10_000
    assert wire.hash("1")["deid"] == "key"


async def test_a_key_whose_holder_is_gone_is_free(kit: Kit, wire: Wire) -> None:
    wire.client.set(wire.key("de:key"), "gone")

    (added,) = await kit.add_group(new(dedup=Dedup("key")))

    assert added.word == "added"
    assert wire.client.get(wire.key("de:key")) == "1"


async def test_a_duplicate_that_is_kept_is_told_as_bullmq_does(kit: Kit, wire: Wire) -> None:
    await kit.make(State.ACTIVE, dedup=KEEP_LAST)

    await kit.add("next", data="2", dedup=KEEP_LAST)

    kept = wire.client.hgetall(wire.key("dn:key"))
    assert (kept["name"], kept["data"], kept["jid"]) == ("next", "2", "2")
    assert json.loads(kept["opts"])["de"] == {"id": "key", "keepLastIfActive": True}


async def test_what_bullmq_kept_is_added_with_its_options(kit: Kit, wire: Wire) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    options = '{"de":{"keepLastIfActive":true,"id":"key"},"priority":7,"attempts":0}'
    fields = {"name": "theirs", "data": "{}", "opts": options, "jid": "9"}
    wire.client.hset(wire.key("dn:key"), mapping=fields)

    await kit.settle(complete(kit.held[ref]))

    job = wire.hash("9")
    assert (job["name"], job["priority"], job["opts"]) == ("theirs", "7", options)
    assert wire.client.zscore(wire.key("prioritized"), "9") == 7 * 2**32 + 1
    assert wire.client.get(wire.key("de:key")) == "9"
    assert not wire.client.exists(wire.key("dn:key"))


async def test_what_was_kept_with_options_that_nobody_can_read_waits(kit: Kit, wire: Wire) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    wire.client.hset(
        wire.key("dn:key"), mapping={"name": "n", "data": "1", "opts": "][", "jid": "9"}
    )

    await kit.settle(complete(kit.held[ref]))

    assert wire.client.lrange(wire.key("wait"), 0, -1) == ["9"]


async def test_what_was_kept_gives_way_to_a_job_with_its_id(kit: Kit, wire: Wire) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    await kit.add("kept", id="mine", dedup=KEEP_LAST)
    await kit.add("other", id="mine")

    await kit.settle(complete(kit.held[ref]))

    assert wire.hash("mine")["name"] == "other"
    assert wire.client.lrange(wire.key("wait"), 0, -1) == ["mine"]


async def test_a_key_that_is_given_up_lets_the_kept_job_in(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, dedup=KEEP_LAST)
    await kit.add("next", dedup=KEEP_LAST)

    await kit.update(ref, dedup=None)

    assert (await kit.claim()).record.name == "next"


async def test_a_replaced_child_is_not_waited_for(kit: Kit) -> None:
    last = Dedup("key", replace=True)
    root, _ = await kit.add_flow(new(), new(queue=KIDS, dedup=last, delay_ms=SECOND))

    await kit.add(queue=KIDS, dedup=last, delay_ms=SECOND)

    assert await kit.state(root) == State.WAITING


async def test_a_queue_that_toril_makes_says_so(kit: Kit, wire: Wire) -> None:
    await kit.add()

    assert wire.client.hgetall(wire.key("toril:settings")) == {"bounded": "1"}
    assert wire.client.hgetall(wire.key("meta")) == {"opts.maxLenEvents": "10000"}
    assert wire.client.smembers(f"{wire.prefix}::toril:queues") == {QUEUE}


async def test_a_queue_that_was_there_is_not_bounded(kit: Kit, wire: Wire) -> None:
    wire.client.hset(wire.key("meta"), "version", "bullmq:6.7.0")

    await kit.add()

    assert not wire.client.exists(wire.key("toril:settings"))
    assert wire.client.hget(wire.key("meta"), "opts.maxLenEvents") == "10000"


async def test_a_queue_that_was_taken_away_is_noted_again(kit: Kit, wire: Wire) -> None:
    await kit.add()
    wire.client.delete(*wire.client.keys(f"{wire.prefix}:*"))

    await kit.add()

    assert wire.client.smembers(f"{wire.prefix}::toril:queues") == {QUEUE}


async def test_a_name_that_leads_another_ones_refuses_only_its_own_group(kit: Kit) -> None:
    await kit.add(queue="image:optimize")

    refused, fine = await kit.store.add([[new(queue="image")], [new()]], now=kit.now)

    assert "image:optimize" in str(refused)
    assert isinstance(fine, tuple)


@pytest.mark.parametrize("suffix", ["wait", "delayed", "events", "id", "de:key", "mine"])
async def test_a_key_of_another_kind_refuses_the_group_and_nothing_else(
    kit: Kit, wire: Wire, suffix: str
) -> None:
    wire.client.delete(wire.key(suffix, "bad"))
    wire.client.sadd(wire.key(suffix, "bad"), "?")
    group = [new(), new(queue="bad", id="mine", dedup=Dedup("key"))]

    refused, fine = await kit.store.add([group, [new()]], now=kit.now)

    assert isinstance(refused, StoreCorrupt)
    assert wire.key(suffix, "bad") in str(refused)
    assert isinstance(fine, tuple)
    assert await kit.counts() == {"waiting": 1}
    assert wire.client.keys(wire.key("*", "bad")) == [wire.key(suffix, "bad")]


async def test_an_id_taken_by_a_dead_parents_child_may_be_shared(kit: Kit, wire: Wire) -> None:
    await kit.add_flow(new(id="one"), new(id="kid", queue=KIDS))
    wire.client.delete(wire.key("one"))

    await kit.add_flow(new(id="two"), new(id="kid", queue=KIDS))

    assert (await kit.record(Ref(KIDS, "kid"))).parent == Ref(QUEUE, "two")


async def test_children_are_numbered_across_calls(kit: Kit, wire: Wire) -> None:
    root, *_ = await kit.add_flow(new(), new(queue=KIDS), new(queue=KIDS))
    await kit.add(queue=KIDS, parent=root)

    assert [wire.hash(str(n), KIDS)["toril:nth"] for n in (1, 2, 3)] == ["1", "2", "3"]


async def test_a_delayed_job_is_announced_with_the_time_it_is_due(kit: Kit, wire: Wire) -> None:
    await kit.add(id="mine", delay_ms=SECOND)

    assert wire.events() == [
        {"event": "added", "jobId": "mine", "name": "job"},
        {"event": "delayed", "jobId": "mine", "delay": str(T0 + SECOND)},
    ]


async def test_a_flow_whose_call_was_cut_off_halfway_is_stored_as_a_whole_again(
    kit: Kit, wire: Wire
) -> None:
    """Its root is held by a mark that nobody would ever take away."""
    root = await kit.add_flow(new(id="root"), new(queue=KIDS))
    wire.client.sadd(wire.key("root:dependencies"), wire.key("toril:rest"))

    _, *children = await kit.add_flow(new(id="root"), *[new(queue=KIDS) for _ in range(1_100)])

    assert await kit.state(root[1]) is None
    assert await kit.counts(KIDS) == {"waiting": len(children)}
    assert (await kit.store.children(root[0], limit=1)).pending == len(children)
