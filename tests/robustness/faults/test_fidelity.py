"""Data passes every way through Redis unchanged, to the byte: scripts never read it."""

import json
from typing import Any

import pytest

from tests.robustness.faults.rig import QUEUE, app_on
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril import Job, Snooze

VALUES: list[Any] = [
    [], {}, [[]], {"a": []}, [{}], None, 0, -0.0, 1e-7, 1.7976931348623157e308, 2**53 + 1, -(2**63), 2**64 - 1,
    0.1 + 0.2, 1234567890123456789, "", "\u2028\u2029", "😀", "\x00", "a/b</script>", '"\\', "é", "\r\n$3\r\n",
    {"": 1, "constructor": 2, "__proto__": [3]}, "x" * 100_000, {"k": [1, [2, [3, [4, [5]]]]]},
]  # fmt: skip


@pytest.fixture
def server() -> RedisServer:
    return shared_server()


async def test_data_and_results_are_what_they_were_on_every_way(server: RedisServer) -> None:
    prefix = fresh_prefix()
    seen: list[Any] = []
    async with app_on(server, prefix=prefix) as app:
        queue = app.queue(QUEUE, keep="all", attempts=2)

        async def handler(job: Job[Any]) -> Any:
            if job.name == "root":
                return list((await job.children_values()).values())
            if job.run == 1 and job.name == "retried":
                raise ValueError("once")
            if job.run == 1 and job.name == "snoozed":
                raise Snooze("10ms")
            seen.append(job.data["value"])
            return job.data["value"]

        wrapped = [{"value": value} for value in VALUES]
        jobs = [await queue.add("plain", each) for each in wrapped]
        jobs += [await queue.add("delayed", each, delay="20ms") for each in wrapped]
        jobs += [await queue.add("first", each, priority=5) for each in wrapped]
        jobs += [await queue.add("retried", each, backoff=0) for each in wrapped]
        jobs += [await queue.add("snoozed", each) for each in wrapped]
        tree = await app.flow(
            QUEUE, "root", {}, children=[(QUEUE, "kid", each) for each in wrapped]
        ).add()
        await app.worker(QUEUE, handler, concurrency=10).run_until_idle(delayed=True)
        results = [await job.result(timeout=1) for job in jobs]
        gathered = await tree.job.result(timeout=1)

    assert results == VALUES * 5
    assert sorted(map(repr, seen)) == sorted(map(repr, VALUES * 6))
    assert sorted(map(repr, gathered)) == sorted(map(repr, VALUES))


async def test_what_stands_in_redis_is_the_text_that_was_sent(server: RedisServer) -> None:
    prefix = fresh_prefix()
    async with app_on(server, prefix=prefix) as app:
        jobs = [await app.queue(QUEUE).add("x", {"value": value}) for value in VALUES]
    with server.client() as client:
        stored = [client.hget(f"{prefix}:{QUEUE}:{job.id}", "data") for job in jobs]

    assert [json.loads(str(text)) for text in stored] == [{"value": value} for value in VALUES]
