"""recover and trim: a queue with a key of another kind is told of, and the others are served."""

import pytest

from tests.redis.conftest import Wire
from tests.support.keyspace import keyspace
from tests.support.kit import LOCK, SECOND, Kit, complete
from toril._model.options import Keep
from toril._model.record import Ref

ORDERS = [["broken", "sound"], ["sound", "broken"]]


@pytest.fixture
def told(kit: Kit) -> list[tuple[str, str]]:
    heard: list[tuple[str, str]] = []
    kit.store.on_notice.add(lambda name, text: heard.append((name, text)))
    return heard


def spoil(kit: Kit, wire: Wire, key: str) -> None:
    """Let a key of the queue `broken` hold what it never should."""
    name = wire.key(key, queue="broken")
    wire.client.delete(name)
    wire.client.set(name, "?")


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("key", ["active", "wait", "stalled", "marker", "events", "meta", "1"])
async def test_jobs_are_taken_back_beside_a_queue_with_a_key_of_the_wrong_kind(
    kit: Kit, wire: Wire, told: list[tuple[str, str]], key: str, order: list[str]
) -> None:
    for queue in order:
        await kit.add(queue=queue)
        await kit.claim(queue)
    spoil(kit, wire, key)
    kit.tick(LOCK + 1)
    before = keyspace(wire.client, f"{wire.prefix}:broken")

    taken = await kit.store.recover(order, now=kit.now)
    await kit.store.recover(order, now=kit.now)

    assert [(one.queue, one.id) for one in taken] == [("sound", "1")]
    if key == "1":
        # An id that is no job's leaves the list, or many of them would hold up recovery.
        del before["P:active"]
    assert keyspace(wire.client, f"{wire.prefix}:broken") == before
    [(name, text)] = told
    assert (name, "queue 'broken' is taken back" in text) == ("store.damaged", True)


async def test_a_job_that_is_no_hash_does_not_keep_the_others_of_its_queue(
    kit: Kit, wire: Wire, told: list[tuple[str, str]]
) -> None:
    await kit.add_many(3, queue="broken")
    await kit.ask(3, queue="broken")
    spoil(kit, wire, "2")
    kit.tick(LOCK + 1)

    assert sorted(await kit.recover("broken")) == ["1", "3"]
    assert [name for name, _ in told] == ["store.damaged"]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("key", ["completed", "failed", "events", "meta", "toril:settings"])
async def test_old_jobs_go_beside_a_queue_with_a_key_of_the_wrong_kind(
    kit: Kit, wire: Wire, told: list[tuple[str, str]], key: str, order: list[str]
) -> None:
    for queue in order:
        await kit.configure(queue=queue, keep_completed=Keep(age_ms=SECOND))
        await kit.add(queue=queue)
        await kit.settle(complete(await kit.claim(queue)))
    spoil(kit, wire, key)
    kit.tick(2 * SECOND)

    gone = await kit.store.trim(order, now=kit.now)

    assert gone == 1
    assert await kit.find(Ref("sound", "1")) is None
    assert wire.client.exists(wire.key("1", queue="broken"))
    [(name, text)] = told
    assert (name, "queue 'broken' is removed" in text) == ("store.damaged", True)
