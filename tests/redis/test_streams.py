"""Events that others wrote to a queue's stream, and following it over broken connections."""

import asyncio
from typing import Any

import pytest

from tests.support.kit import QUEUE, Kit, blocked
from tests.support.servers import until
from toril._store.protocol import Store
from toril.errors import ConfigError
from toril.events import Completed, Custom, Delayed, Progress, Removed


async def test_what_is_no_json_is_given_as_text(store: Store, keys: Any, prefix: str) -> None:
    stream = f"{prefix}:{QUEUE}:events"
    keys.xadd(stream, {"event": "progress", "jobId": "1", "data": "{half"})
    keys.xadd(stream, {"event": "completed", "jobId": "1", "returnvalue": "undefined"})

    progress, completed = await store.events(QUEUE, None)

    assert isinstance(progress, Progress)
    assert isinstance(completed, Completed)
    assert (progress.data, completed.result) == ("{half", "undefined")


async def test_the_due_time_of_a_delayed_job_is_a_number(
    store: Store, keys: Any, prefix: str
) -> None:
    stream = f"{prefix}:{QUEUE}:events"
    for delay in ("1800000000000", "soon"):
        keys.xadd(stream, {"event": "delayed", "jobId": "1", "delay": delay})

    events = await store.events(QUEUE, None)

    assert [event.due_ms for event in events if isinstance(event, Delayed)] == [1800000000000, 0]


async def test_a_storage_name_is_given_as_a_state(store: Store, keys: Any, prefix: str) -> None:
    for place in ("wait", "paused", "delayed"):
        keys.xadd(f"{prefix}:{QUEUE}:events", {"event": "removed", "jobId": "1", "prev": place})

    events = await store.events(QUEUE, None)

    expected = ["waiting", "waiting", "delayed"]
    assert [event.prev for event in events if isinstance(event, Removed)] == expected


async def test_an_unknown_kind_keeps_all_its_fields(store: Store, keys: Any, prefix: str) -> None:
    keys.xadd(f"{prefix}:{QUEUE}:events", {"event": "brewed", "cups": "2", "jobId": "1"})

    [event] = await store.events(QUEUE, None)

    assert isinstance(event, Custom)
    assert (event.name, event.fields) == ("brewed", {"cups": "2", "jobId": "1"})


async def test_a_known_kind_without_its_job_is_no_event_about_a_job(
    store: Store, keys: Any, prefix: str
) -> None:
    keys.xadd(f"{prefix}:{QUEUE}:events", {"event": "completed", "by": "hand"})

    [event] = await store.events(QUEUE, None)

    assert isinstance(event, Custom)
    assert (event.name, event.fields) == ("completed", {"by": "hand"})


async def test_a_field_that_nobody_knows_is_passed_over(
    store: Store, keys: Any, prefix: str
) -> None:
    keys.xadd(f"{prefix}:{QUEUE}:events", {"event": "stalled", "jobId": "1", "more": "x"})

    [event] = await store.events(QUEUE, None)

    assert event.kind == "stalled"


async def test_an_id_is_the_streams_own_and_tells_the_time(
    store: Store, keys: Any, prefix: str
) -> None:
    id = keys.xadd(f"{prefix}:{QUEUE}:events", {"event": "paused"})

    [event] = await store.events(QUEUE, "0")

    assert (event.id, event.at_ms) == (id, int(id.split("-")[0]))


@pytest.mark.parametrize("after", ["", "$", "last", "-1", "1-", "1-2-3", "9" * 30])
async def test_what_is_no_id_is_refused(store: Store, after: str) -> None:
    with pytest.raises(ConfigError, match="not the id of an event"):
        await store.events(QUEUE, after)


async def test_a_blocking_read_outlives_its_connection(kit: Kit, keys: Any) -> None:
    reading = asyncio.create_task(kit.store.events(QUEUE, None, timeout_ms=10_000))
    await blocked(reading)
    [blocking] = [each for each in keys.client_list() if "b" in each["flags"]]
    keys.client_kill_filter(_id=blocking["id"])

    await kit.add()

    async with asyncio.timeout(5):
        assert (await reading)[0].kind == "added"


async def test_closing_the_store_ends_a_blocking_read(store: Store) -> None:
    reading = asyncio.create_task(store.events(QUEUE, None, timeout_ms=10_000))
    await blocked(reading)

    await store.close()

    async with asyncio.timeout(2):
        assert await reading == []


async def test_connections_of_reads_that_were_given_up_do_not_pile_up(
    store: Store, keys: Any
) -> None:
    before = len(keys.client_list())
    for _ in range(5):
        reading = asyncio.create_task(store.events(QUEUE, None, timeout_ms=10_000))
        await blocked(reading)
        reading.cancel()
        await asyncio.wait({reading})
    await asyncio.gather(*[store.events(QUEUE, None, timeout_ms=1) for _ in range(5)])

    await asyncio.to_thread(until, lambda: len(keys.client_list()) <= before + 2)
