"""workers: toril's by their notes, BullMQ's by their connections, and none of them twice."""

import base64
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.support.kit import QUEUE
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril._model.report import WorkerInfo
from toril._store.connect import connect
from toril._store.protocol import Store
from toril._store.redis.core.presence import connection_name, index_key, note_key

Connect = Callable[..., None]


@pytest.fixture
def connected() -> Iterator[Connect]:
    """Keep connections that bear a name, as BullMQ's workers do."""
    with ExitStack() as open_ones:

        def connect(name: str, library: str = "") -> None:
            client = open_ones.enter_context(shared_server().client(single_connection_client=True))
            client.client_setname(name)

        yield connect


def worker(id: str = "w-1", name: str = "ann") -> WorkerInfo:
    return WorkerInfo(
        id=id,
        name=name,
        host="box",
        pid=1,
        queues=(QUEUE,),
        concurrency=3,
        started_ms=1,
        seen_ms=now(),
    )


def now() -> int:
    return int(shared_server().call("TIME")[0]) * 1000


def announce(store: Store, info: WorkerInfo) -> None:
    renewer = store.renewer()
    renewer.renew([], 1000, info)


def coded(queue: str) -> str:
    return base64.b64encode(queue.encode()).decode()


async def test_a_worker_of_bullmq_is_found_by_its_connection(
    store: Store, connected: Connect, prefix: str
) -> None:
    connected(f"{prefix}:{coded(QUEUE)}:w:ann")
    connected(f"{prefix}:{coded(QUEUE)}")

    found = await store.workers(QUEUE)

    assert sorted((each.name, each.queues, each.alive) for each in found) == [
        ("", (QUEUE,), True),
        ("ann", (QUEUE,), True),
    ]


async def test_a_queue_with_a_colon_is_bullmqs_under_a_longer_prefix(
    store: Store, connected: Connect, prefix: str
) -> None:
    connected(f"{prefix}:image:{coded('optimize')}:w:ann")

    assert [each.queues for each in await store.workers()] == [("image:optimize",)]
    assert await store.workers("optimize") == []


async def test_other_connections_are_no_workers(
    store: Store, connected: Connect, prefix: str
) -> None:
    connected(f"{prefix}:{coded(QUEUE)}:qe")
    connected(f"{prefix}x:{coded(QUEUE)}")
    connected(f"{prefix}:not-base64!")
    connected("somebody")

    assert await store.workers() == []


async def test_a_worker_of_toril_is_listed_once(
    store: Store, connected: Connect, prefix: str
) -> None:
    announce(store, worker())
    connected(connection_name(prefix, QUEUE, "ann"))

    assert [each.id for each in await store.workers()] == ["w-1"]


async def test_a_worker_that_was_not_heard_of_for_a_while_is_not_alive(
    store: Store, keys: Any, prefix: str
) -> None:
    announce(store, worker())
    keys.zadd(index_key(prefix), {"w-1": now() - 61_000})

    assert [each.alive for each in await store.workers()] == [False]


async def test_a_worker_whose_note_is_over_is_gone(store: Store, keys: Any, prefix: str) -> None:
    announce(store, worker())
    keys.delete(note_key(prefix, "w-1"))

    assert await store.workers() == []


async def test_a_note_that_nobody_can_read_is_none(store: Store, keys: Any, prefix: str) -> None:
    announce(store, worker("w-1"))
    announce(store, worker("w-2"))
    keys.set(note_key(prefix, "w-1"), '{"id":7}')

    assert [each.id for each in await store.workers()] == ["w-2"]


async def test_who_may_not_see_connections_sees_toril_s_workers() -> None:
    prefix = fresh_prefix()
    rights = f"user app on >secret ~{prefix}:* &* +@all -client|list"
    with RedisServer(acl=[rights]) as server:
        store = connect(server.url_of("app", "secret"), prefix)
        await store.open()
        announce(store, worker())

        assert [each.id for each in await store.workers()] == ["w-1"]

        await store.close()
