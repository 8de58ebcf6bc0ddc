"""Names that would collide with keys are refused before anything is written."""

import pytest

from tests.robustness.faults.rig import QUEUE, app_on
from tests.support.keyspace import keys
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril.errors import ConfigError, TorilError

QUEUES = [
    "",
    ":",
    "a:",
    ":a",
    "a::b",
    "7",
    "a:7",
    "wait",
    "a:meta",
    "events",
    "a:events:b",
    "a\x00",
    "a\n",
]
IDS = ["", "x:lock", "a:b:c", "7", "0", "0:1", "wait", "meta", "repeat", "id", "a\x00b", "x" * 300]


@pytest.fixture
def server() -> RedisServer:
    return shared_server()


@pytest.mark.parametrize("name", QUEUES)
async def test_a_queue_name_that_names_a_key_is_refused(server: RedisServer, name: str) -> None:
    prefix = fresh_prefix()
    async with app_on(server, prefix=prefix) as app:
        with pytest.raises(ConfigError, match="queue"):
            await app.queue(name).add("x")

    with server.client() as client:
        assert keys(client, prefix) == []


@pytest.mark.parametrize("job_id", IDS)
async def test_a_job_id_that_names_a_key_is_refused(server: RedisServer, job_id: str) -> None:
    prefix = fresh_prefix()
    async with app_on(server, prefix=prefix) as app:
        with pytest.raises(ConfigError, match="id"):
            await app.queue(QUEUE).add("x", id=job_id)

    with server.client() as client:
        assert [key for key in keys(client, prefix) if key.startswith(f"{prefix}:{QUEUE}:")] == []


async def test_a_queue_below_another_one_is_refused(server: RedisServer) -> None:
    prefix = fresh_prefix()
    async with app_on(server, prefix=prefix) as app:
        await app.queue("image").add("x")
        with pytest.raises(TorilError, match="image"):
            await app.queue("image:optimize").add("x")


async def test_a_queue_of_two_segments_is_the_queue_of_a_longer_prefix(server: RedisServer) -> None:
    prefix = fresh_prefix()
    async with app_on(server, prefix=prefix) as app:
        job = await app.queue("image:optimize").add("x")

    with server.client() as client:
        assert client.hget(f"{prefix}:image:optimize:{job.id}", "name") == "x"


@pytest.mark.parametrize("prefix", [":", "a:b:", "a*", "a b", "a\x00", "é"])
def test_a_prefix_that_cannot_stand_before_keys_is_refused(
    server: RedisServer, prefix: str
) -> None:
    with pytest.raises(ConfigError, match="prefix"):
        app_on(server, prefix=prefix)
