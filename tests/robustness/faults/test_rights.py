"""toril runs with the few rights that docs/guides/redis.md gives it, and can do nothing else with them."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from tests.robustness.faults.rig import QUEUE, Runs
from tests.support.servers import RedisServer
from toril import Toril
from toril.errors import ConfigError, DurabilityNotConfirmed

DOCS = Path(__file__).parents[3] / "docs" / "guides" / "redis.md"
PASSWORD = "secret"
DENIED = (
    ("FLUSHALL",), ("FLUSHDB",), ("KEYS", "*"), ("CONFIG", "SET", "maxmemory", "1"),
    ("DEBUG", "SLEEP", "0"), ("SHUTDOWN", "NOSAVE"), ("REPLICAOF", "NO", "ONE"),
    ("MODULE", "LIST"), ("ACL", "LIST"), ("SAVE",), ("SCRIPT", "FLUSH"), ("SCRIPT", "KILL"),
    ("FUNCTION", "FLUSH"), ("CLIENT", "KILL", "ID", "1"), ("MONITOR",), ("SWAPDB", "0", "1"),
    ("GET", "other:key"), ("SET", "other:key", "1"), ("DEL", "bul:key"), ("SUBSCRIBE", "news"),
    ("RANDOMKEY",), ("DBSIZE",), ("SELECT", "1"), ("MOVE", "bull:x", "1"),
    ("COPY", "bull:x", "bull:y"), ("RENAME", "bull:x", "bull:y"), ("SORT", "bull:x"),
    ("CLIENT", "TRACKING", "ON", "BCAST"), ("CLIENT", "CACHING", "YES"), ("CLIENT", "PAUSE", "1"),
    ("CLIENT", "NO-EVICT", "ON"), ("FCALL", "f", "0"), ("FCALL_RO", "f", "0"),
    ("FUNCTION", "LIST"), ("PUBLISH", "news", "1"), ("OBJECT", "HELP"), ("DUMP", "bull:x"),
    ("EXISTS", "other:key"), ("TYPE", "other:key"), ("SUNION", "other:key"),
    ("EVAL", "return redis.call('SET', 'other:key', '1')", "0"),
    ("EVAL", "return redis.call('FLUSHALL')", "0"),
)  # fmt: skip


def rule_of(text: str) -> str:
    """Find the rule in the documentation: what is tested is what people copy."""
    (rule,) = re.findall(r"^ACL SETUSER toril ((?:.*\\\n)*.*)$", text, re.MULTILINE)
    return " ".join(rule.replace("\\\n", " ").split()).replace(">secret", f">{PASSWORD}")


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    rule = rule_of(DOCS.read_text("utf-8"))
    with RedisServer(acl=[f"user toril {rule}"], enable_debug_command="yes") as guarded:
        yield guarded


def url(server: RedisServer) -> str:
    return f"{server.url_of('toril', PASSWORD)}?socket_timeout=1"


async def test_a_worker_has_all_the_rights_that_it_needs(
    server: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    runs = Runs()
    server.call("ACL", "LOG", "RESET")
    async with Toril(url(server)) as app:
        queue = app.queue(QUEUE, attempts=2, keep="all")
        worker = app.worker(QUEUE, runs, concurrency=3, lock="300ms", stalled_interval="100ms")
        errors: list[BaseException] = []
        worker.on("error")(errors.append)
        async with worker:
            jobs = await queue.add_many([("x", {"ms": 10})] * 8)
            jobs.append(await queue.add("x", {}, delay="200ms", priority=3))
            jobs.append(await queue.add("x", {"ms": 600}, id="mine"))
            tree = await app.flow(QUEUE, "root", {}, children=[(QUEUE, "kid", {})]).add()
            await asyncio.gather(*(job.result(timeout=10) for job in [*jobs, tree.job]))
        await queue.pause()
        await queue.resume()
        await app.schedules.put("hourly", every="1h", queue=QUEUE, name="x")
        assert QUEUE in await app.queues()
        await app.workers()
        await queue.metrics()
        await jobs[0].log("a line")
        with pytest.raises(DurabilityNotConfirmed, match="0 replicas have confirmed"):
            await queue.add("x", durable="replica")
        assert [job async for job in queue.jobs("completed")]
        await queue.clean("completed")
        await queue.obliterate(force=True)

    assert errors == []
    denied = [dict(zip(each[::2], each[1::2], strict=True)) for each in server.call("ACL", "LOG")]
    # Looked at once, to warn of a server that keeps nothing; works without.
    assert {each["object"] for each in denied} <= {"config|get"}


@pytest.mark.parametrize("command", DENIED, ids=" ".join)
def test_nothing_else_is_allowed(server: RedisServer, command: tuple[str, ...]) -> None:
    with (
        server.client(username="toril", password=PASSWORD) as client,
        pytest.raises(
            redis.ResponseError, match=r"permission|can't access at least|can't run this"
        ),
    ):
        client.execute_command(*command)


async def test_a_wrong_password_is_said_and_not_shown(server: RedisServer) -> None:
    app = Toril(server.url_of("toril", "wr0ng-secret"))
    with pytest.raises(ConfigError, match="password") as error:
        await app.open()
    await app.close()

    assert "wr0ng" not in str(error.value)


async def test_a_missing_right_is_named(server: RedisServer) -> None:
    server.call("ACL", "SETUSER", "poor", "on", ">poor", "~bull:*", "+@all", "-evalsha", "-eval")
    app = Toril(server.url_of("poor", "poor"))
    with pytest.raises(ConfigError, match="eval"):
        await app.queue(QUEUE).add("x")
    await app.close()


async def test_a_foreign_prefix_is_refused_by_the_server(server: RedisServer) -> None:
    app = Toril(url(server), prefix="other")
    with pytest.raises(ConfigError, match="keys"):
        await app.queue(QUEUE).add("x")
    await app.close()
