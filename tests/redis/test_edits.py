"""update, log, retry, promote: fields, scores and places as BullMQ has them."""

from collections.abc import Awaitable, Callable

import pytest

from tests.redis.conftest import Wire
from tests.support.kit import HOUR, KIDS, QUEUE, SECOND, T0, Kit, fail, new
from toril._model.notes import Pause
from toril._model.options import Dedup
from toril._model.record import Ref
from toril._model.report import JobPatch, SettingsPatch
from toril._model.schedule import Rule
from toril._model.states import State
from toril._store.values import LogLine, ScheduleDraft
from toril.errors import StoreCorrupt

CLASS = 2**32


async def test_lifo_is_the_first_score_of_its_class(kit: Kit, wire: Wire) -> None:
    await kit.add(priority=7)
    moved = await kit.add()

    await kit.update(moved, priority=7, lifo=True)

    assert wire.scores("prioritized")[moved.id] == 7 * CLASS
    assert wire.hash(moved.id)["priority"] == "7"


async def test_a_new_delay_moves_the_score_and_the_marker(kit: Kit, wire: Wire) -> None:
    moved = await kit.add(delay_ms=SECOND)
    await kit.add(delay_ms=3 * SECOND)

    await kit.update(moved, delay_ms=HOUR)

    assert wire.scores("delayed")[moved.id] == (T0 + HOUR) * 4096
    assert wire.hash(moved.id)["delay"] == str(HOUR)
    assert wire.scores("marker") == {"1": T0 + 3 * SECOND}
    assert wire.events()[-1] == {"event": "delayed", "jobId": moved.id, "delay": str(T0 + HOUR)}


async def test_a_job_that_lets_go_of_its_parent_has_none(kit: Kit, wire: Wire) -> None:
    root, child = await kit.add_flow(new(), new(queue=KIDS))

    await kit.update(child, parent=None)

    assert not {"parent", "parentKey"} & wire.hash(child.id, KIDS).keys()
    assert await kit.state(root) == State.WAITING


async def test_a_job_that_lets_go_of_its_dedup_key_frees_it(kit: Kit, wire: Wire) -> None:
    held = await kit.add(dedup=Dedup("key"))

    await kit.update(held, dedup=None)

    assert "deid" not in wire.hash(held.id)
    assert await kit.add(dedup=Dedup("key")) != held


async def test_that_a_job_runs_alone_is_a_field_that_says_in_which_run(
    kit: Kit, wire: Wire
) -> None:
    ref = await kit.add()
    await kit.crash()
    await kit.claim()

    await kit.update(ref, alone=True)
    assert wire.hash(ref.id)["toril:alone"] == "2"

    await kit.update(ref, alone=False)
    assert "toril:alone" not in wire.hash(ref.id)


async def test_data_and_logs_are_kept_to_the_byte(kit: Kit, wire: Wire) -> None:
    ref = await kit.add()
    text = '{"n":12345678901234567890,"x":1.0,"t":"ünï\\u0000","e":[],"u":"a/b"}'

    await kit.update(ref, data=text, progress=text)
    await kit.store.log([LogLine(queue=QUEUE, id=ref.id, text="")], now=kit.now)

    assert (wire.hash(ref.id)["data"], wire.hash(ref.id)["progress"]) == (text, text)
    assert wire.events()[-1]["data"] == text
    assert wire.items(f"{ref.id}:logs") == [""]


async def test_many_changes_of_many_queues_are_one_batch(kit: Kit) -> None:
    one, other = await kit.add(), await kit.add(queue="other")
    patches = [
        JobPatch(queue=ref.queue, id=ref.id, progress=str(n))
        for n in range(300)
        for ref in (one, other)
    ]

    assert await kit.store.update(patches, now=kit.now) == [None] * 600

    assert (await kit.record(one)).progress == "299"
    assert (await kit.record(other)).progress == "299"


async def test_a_retried_job_has_none_of_the_fields_of_its_end(kit: Kit, wire: Wire) -> None:
    ref = await kit.make(State.FAILED)

    await kit.retry(ref, reset_attempts=True)

    gone = {"finishedOn", "processedOn", "failedReason", "returnvalue", "atm", "stc", "defa"}
    assert not gone & wire.hash(ref.id).keys()
    assert wire.scores("failed") == {}


async def test_a_retried_lifo_job_is_the_next_one(kit: Kit, wire: Wire) -> None:
    ref = await kit.make(State.FAILED, lifo=True)
    await kit.add_many(2)

    await kit.retry(ref)

    assert wire.items("wait")[-1] == ref.id


async def test_a_retried_child_is_waited_for_again(kit: Kit, wire: Wire) -> None:
    root, child, _ = await kit.add_flow(
        new(), new(queue=KIDS, parent_on_fail="ignore"), new(queue=KIDS)
    )
    await kit.settle(fail(await kit.claim(KIDS)))
    assert set(wire.hash(f"{root.id}:failed")) == {wire.key(child.id, KIDS)}

    await kit.retry(child)

    assert wire.hash(f"{root.id}:failed") == {}
    pending = wire.client.smembers(wire.key(f"{root.id}:dependencies"))
    assert wire.key(child.id, KIDS) in pending


async def test_the_letter_of_a_retried_job_stays_until_it_has_run(kit: Kit, wire: Wire) -> None:
    await kit.configure(dead_letter="letters")
    ref = await kit.make(State.FAILED)
    letter = wire.hash(ref.id)["toril:letter"]

    await kit.retry(ref)
    assert wire.hash(ref.id)["toril:letter"] == letter
    assert await kit.counts("letters") == {"waiting": 1}

    await kit.run()
    assert await kit.counts("letters") == {}


async def test_ids_without_a_job_are_not_run(kit: Kit, wire: Wire) -> None:
    ref = await kit.make(State.FAILED)
    wire.client.zadd(wire.key("failed"), {"ghost": T0})
    wire.client.zadd(wire.key("delayed"), {"ghost": T0})

    assert (await kit.retry(queue=QUEUE, states=(State.FAILED,))).ids == (ref.id,)
    assert (await kit.promote(queue=QUEUE, states=(State.DELAYED,))).ids == ()

    assert wire.items("wait") == [ref.id]
    assert wire.scores("delayed") == wire.scores("failed") == {}


async def test_a_promoted_job_goes_to_its_class_and_has_no_delay(kit: Kit, wire: Wire) -> None:
    ref = await kit.add(delay_ms=HOUR, priority=3)

    await kit.promote(ref)

    assert wire.scores("prioritized") == {ref.id: 3 * CLASS + 1}
    assert wire.hash(ref.id)["delay"] == "0"
    assert wire.scores("marker")["0"] == 0


Act = Callable[[Kit, Ref], Awaitable[object]]
WRITES: dict[str, Act] = {
    "retry": lambda kit, ref: kit.retry(ref),
    "promote": lambda kit, _: kit.promote(queue=QUEUE, states=(State.DELAYED,)),
    "remove": lambda kit, ref: kit.remove(ref),
    "clean": lambda kit, _: kit.sweep("clean", State.FAILED, before_ms=kit.now),
    "update": lambda kit, ref: kit.update(ref, data="2", progress="1"),
    "put_schedule": lambda kit, _: kit.store.put_schedule(
        ScheduleDraft(queue=QUEUE, id="s", name="x", rule=Rule(every_ms=1), next_ms=T0), now=kit.now
    ),
}


@pytest.mark.parametrize("verb", WRITES)
@pytest.mark.parametrize("key", ["wait", "delayed", "events", "marker"])
async def test_a_key_of_another_kind_is_found_before_anything_is_written(
    kit: Kit, wire: Wire, key: str, verb: str
) -> None:
    ref = await kit.make(State.FAILED)
    await kit.make(State.DELAYED)
    wire.client.delete(wire.key(key))
    wire.client.set(wire.key(key), "?")
    before = {name: wire.client.dump(wire.key(name)) for name in wire.names()}

    with pytest.raises(StoreCorrupt, match=wire.key("")):
        await WRITES[verb](kit, ref)

    assert {name: wire.client.dump(wire.key(name)) for name in wire.names()} == before


async def test_a_note_of_a_pause_that_bullmq_ended_does_not_end_the_next_pause(
    kit: Kit, wire: Wire
) -> None:
    pause = SettingsPatch(paused=True, pause=Pause(by="ann", until_ms=T0 + 1_000))
    await kit.store.configure(QUEUE, pause, now=kit.now)
    wire.client.hdel(wire.key("meta"), "paused")
    await kit.recover(QUEUE)
    wire.client.hset(wire.key("meta"), "paused", "1")
    kit.tick(60_000)

    assert (await kit.ask()).blocked == "paused"
