"""A job whose id was taken out of its list is found and put back, and no other job is touched.

Never here: how a job could get there; no script leaves one behind (`test_wrong_types`).
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from tests.robustness.faults.rig import Runs, app_on, until
from tests.support.kit import HOUR, KIDS, QUEUE, Kit, complete
from tests.support.servers import fresh_prefix, shared_server
from tests.support.stores import kit_for, opened
from toril._model.record import Ref
from toril._model.states import State
from toril._store.protocol import Store

KIND = "redis-server"
LISTS = ("wait", "active", "paused")
SETS = ("prioritized", "delayed", "waiting-children", "completed", "failed")


@pytest.fixture
def client() -> Iterator["redis.Redis"]:
    with shared_server(KIND).client() as client:
        yield client


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    fresh = opened(KIND, tmp_path)
    await fresh.open()
    yield fresh
    await fresh.close()


@pytest.fixture
def kit(store: Store) -> Kit:
    return kit_for(store)


def take_out(client: "redis.Redis", prefix: str, ref: Ref) -> None:
    """Let a job stand nowhere, as nothing of toril does."""
    base, gone = f"{prefix}:{ref.queue}:", 0
    for word in LISTS:
        gone += client.lrem(f"{base}{word}", 0, ref.id)
    for word in SETS:
        gone += client.zrem(f"{base}{word}", ref.id)
    client.delete(f"{base}{ref.id}:lock")
    assert gone == 1


async def look_through(kit: Kit, client: "redis.Redis", *queues: str) -> None:
    """Recover as often as one pass over all keys of the server takes."""
    for _ in range(client.dbsize() // 500 + 2):
        assert await kit.recover(*queues) == []


@pytest.mark.parametrize("state", [state for state in State if state != State.ACTIVE])
async def test_a_stray_goes_back_to_where_its_record_says(
    kit: Kit, client: "redis.Redis", state: State
) -> None:
    given = {"delay_ms": HOUR} if state == State.DELAYED else {}
    ref = await kit.make(state, **given)
    take_out(client, kit.store.prefix, ref)
    assert await kit.state(ref) is None

    await look_through(kit, client, QUEUE, KIDS)

    assert await kit.state(ref) == state


async def test_a_stray_that_was_active_waits_again_once_its_lock_is_gone(
    kit: Kit, client: "redis.Redis"
) -> None:
    ref = await kit.make(State.ACTIVE)
    client.lrem(f"{kit.store.prefix}:{QUEUE}:active", 0, ref.id)
    await look_through(kit, client, QUEUE)
    assert await kit.state(ref) is None
    client.delete(f"{kit.store.prefix}:{QUEUE}:{ref.id}:lock")

    await look_through(kit, client, QUEUE)

    assert await kit.state(ref) == State.WAITING
    assert (await kit.claim()).record.id == ref.id


async def test_a_stray_of_a_full_set_is_found_by_its_end(kit: Kit, client: "redis.Redis") -> None:
    claims = []
    for _ in range(3):
        await kit.add()
        claims.append(await kit.claim())
    for claim in claims:
        await kit.settle(complete(claim, '"done"'))
    client.delete(f"{kit.store.prefix}:{QUEUE}:completed")

    await look_through(kit, client, QUEUE)

    assert await kit.counts() == {"completed": 3}


async def test_what_is_no_stray_is_left_as_it_is(kit: Kit, client: "redis.Redis") -> None:
    """Jobs in every state, what is kept beside them, and what only looks like a job."""
    for state in State:
        await kit.make(state, queue=f"q-{state.value}")
    base = f"{kit.store.prefix}:{QUEUE}:"
    await kit.add()
    await kit.claim()
    client.hset(f"{base}part", mapping={"name": "x", "timestamp": "1"})
    whole = {"name": "x", "data": "{}", "opts": "{}", "timestamp": "1"}
    client.hset(f"{base}dn:key", mapping=whole)
    client.hset(f"{base}grouped", mapping=whole | {"gid": "g"})
    client.hset(f"{base}repeat:daily", mapping=whole)
    client.hset(f"{base}other:5", mapping=whole)
    queues = await kit.store.queues()
    before = {queue: await kit.counts(queue) for queue in queues}

    await look_through(kit, client, *queues)

    assert {queue: await kit.counts(queue) for queue in queues} == before


async def test_a_queue_with_a_key_of_another_kind_or_long_lists_is_left_alone(
    kit: Kit, client: "redis.Redis"
) -> None:
    await kit.add()
    base = f"{kit.store.prefix}:{QUEUE}:"
    await kit.add(queue="long")
    client.rpush(f"{kit.store.prefix}:long:wait", *map(str, range(2, 10_003)))
    client.delete(f"{base}wait")
    client.set(f"{base}wait", "?")
    take_out(client, kit.store.prefix, Ref("long", "1"))

    await look_through(kit, client, QUEUE, "long")

    assert client.get(f"{base}wait") == "?"
    assert client.lpos(f"{kit.store.prefix}:long:wait", "1") is None


async def test_a_worker_runs_a_stray_and_doctor_tells_of_it(client: "redis.Redis") -> None:
    runs, prefix = Runs(), fresh_prefix()
    async with app_on(shared_server(KIND), prefix=prefix) as app:
        job = await app.queue("q").add("x")
        take_out(client, prefix, Ref("q", job.id))
        told = [each for each in await app.examine() if each.name == "job.stray"]
        assert [each.queue for each in told] == ["q"]
        assert repr(job.id) in told[0].message
        async with app.worker("q", runs, stalled_interval="50ms"):
            async with asyncio.timeout(10):
                await runs.until_started(job.id)

            async def is_over() -> bool:
                return not any(each.name == "job.stray" for each in await app.examine())

            await until(is_over, within=5)
