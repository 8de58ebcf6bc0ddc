"""A record on Redis that somebody wrote who may write under the prefix: it hurts itself only.

Links that lead elsewhere, ids without a job, values that are no numbers. Never here: keys of the
wrong kind (`test_wrong_types`), damaged fields of a job (`tests/robustness/faults/test_damage`).
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.robustness.faults.rig import Runs, app_on, until
from tests.robustness.faults.test_rights import rule_of
from tests.support.kit import complete, fail
from tests.support.servers import RedisServer, fresh_prefix, shared_server
from toril import Toril
from toril._store.values import ClaimRequest
from toril.errors import TorilError

KIND = "redis-server"
ALL_RIGHTS, DOCUMENTED = "all rights", "the documented rights"
PASSWORD = "secret"
PLACES = ("wait", "active", "delayed", "prioritized", "waiting-children", "completed", "failed")


@pytest.fixture(scope="module")
def guarded() -> Iterator[RedisServer]:
    rule = rule_of((Path(__file__).parents[3] / "docs" / "guides" / "redis.md").read_text("utf-8"))
    with RedisServer(acl=[f"user toril {rule}"]) as server:
        yield server


@pytest.fixture
def client(guarded: RedisServer) -> Iterator["redis.Redis"]:
    with guarded.client() as client:
        client.flushdb()
        yield client


def app_with(server: RedisServer, rights: str) -> Toril:
    url = server.url if rights == ALL_RIGHTS else server.url_of("toril", PASSWORD)
    return Toril(url, warn_unserved=False)


def standing(client: "redis.Redis", queue: str, job_id: str) -> list[str]:
    """Name the places that hold an id."""
    found: list[str] = []
    for word in PLACES:
        key = f"bull:{queue}:{word}"
        kind = client.type(key)
        if (kind == "list" and client.lpos(key, job_id) is not None) or (
            kind == "zset" and client.zscore(key, job_id) is not None
        ):
            found.append(word)
    return found


# Links.

Attack = Callable[["redis.Redis", str], object]
HERE = "bull:mail:"
KEPT = {"name": "x", "data": "{}", "opts": "{}", "jid": "z9", "pd": '{"id":"q"}'}
LINK = '{"id":"p","fpof":true}'


def parent(key: str, **more: str) -> Attack:
    return lambda client, job: client.hset(
        job, mapping={"parentKey": key, "parent": LINK, "opts": '{"removeOnComplete":true}'} | more
    )


def beside_parent(word: str) -> Attack:
    def attack(client: "redis.Redis", job: str) -> None:
        whole = {"name": "p", "data": "{}", "opts": "{}", "timestamp": "1"}
        client.hset(f"{HERE}p", mapping=whole)
        client.zadd(f"{HERE}waiting-children", {"p": 1})
        if word != "dependencies":
            client.sadd(f"{HERE}p:dependencies", job)
        client.set(f"{HERE}p:{word}", "?")
        client.hset(job, mapping={"parentKey": f"{HERE}p", "parent": LINK})

    return attack


def kept_for_later(**fields: str) -> Attack:
    def attack(client: "redis.Redis", job: str) -> None:
        client.hset(job, "deid", "k")
        client.set(f"{HERE}de:k", job.rpartition(":")[2])
        client.hset(f"{HERE}dn:k", mapping=KEPT | fields)

    return attack


def dedup_key(kind: str) -> Attack:
    def attack(client: "redis.Redis", job: str) -> None:
        client.hset(job, "deid", "k")
        if kind == "owner":
            client.hset(f"{HERE}de:k", "a", "b")
        else:
            client.set(f"{HERE}de:k", job.rpartition(":")[2])
            client.set(f"{HERE}dn:k", "?")

    return attack


def letter(link: str) -> Attack:
    return lambda client, job: client.hset(job, "toril:letter", link)


def letter_of_another(client: "redis.Redis", job: str) -> None:
    data = '{"originalJob":{"id":"999","queue":"mail"}}'
    client.hset("bull:payments:1", mapping={"name": "failed-job", "data": data})
    client.hset(job, "toril:letter", "payments:1")


ATTACKS: dict[str, Attack] = {
    "a parent outside": parent("session:admin"),
    "a parent outside of another kind": parent("session:text"),
    "a parent that begins alike": parent("bullion:mail:1"),
    "a parent without a queue": parent("bull:5"),
    "a parent that is no job": parent("bull:mail:meta"),
    "a parent among toril's own keys": parent("bull::toril:queues"),
    "a parent of another kind": parent("bull:payments:wait"),
    "a parent without colons": parent("nonsense"),
    **{f"a parent whose {word} is text": beside_parent(word)
       for word in ("dependencies", "processed", "failed", "unsuccessful")},
    "a kept job with a parent outside": kept_for_later(pk="session:admin"),
    "a kept job with endless numbers": kept_for_later(opts='{"delay":1e308,"priority":1e308}'),
    "a kept job with no numbers": kept_for_later(opts='{"delay":NaN,"priority":-NaN}'),
    "a kept job with a long hold": kept_for_later(opts='{"de":{"ttl":1e300}}'),
    "a kept job with the name of a key": kept_for_later(jid="marker"),
    "a dedup key of another kind": dedup_key("owner"),
    "a kept job of another kind": dedup_key("next"),
    "a letter that is another queue's job": letter("payments:1"),
    "a letter of another job": letter_of_another,
    "a letter that is a key": letter("payments:wait"),
    "a letter outside": letter("../session:admin"),
    "a letter without a queue": letter("payments"),
    "a letter of zero bytes": letter("\0:\0"),
}  # fmt: skip


@pytest.mark.parametrize("rights", [ALL_RIGHTS, DOCUMENTED])
@pytest.mark.parametrize("ends", ["completed", "failed"])
async def test_a_link_is_followed_to_jobs_that_are_its_own_only(
    guarded: RedisServer, client: "redis.Redis", ends: str, rights: str
) -> None:
    for name, attack in ATTACKS.items():
        client.flushdb()
        client.hset("session:admin", "role", "admin")
        client.set("session:text", "secret")
        client.hset("bullion:mail:1", "name", "x")
        await end_beside_others(guarded, client, attack, ends, rights, name)


async def end_beside_others(
    guarded: RedisServer, client: "redis.Redis", attack: Attack, ends: str, rights: str, name: str
) -> None:
    """Let six jobs end together, one of them with a link; look at everything else."""
    async with app_with(guarded, rights) as app:
        store: Any = app.context.store
        queue, others = app.queue("mail"), app.queue("payments")
        theirs = [await others.add("pay"), await others.add("pay")]
        jobs = [await queue.add("x") for _ in range(6)]
        attack(client, f"bull:mail:{jobs[3].id}")
        foreign = {k: client.dump(k) for k in client.keys("*") if not k.startswith("bull:")}
        payments = {key: client.dump(key) for key in client.keys("bull:payments:[0-9]*")}
        await end_all(store, ends)

        after = {k: client.dump(k) for k in client.keys("*") if not k.startswith("bull:")}
        assert after == foreign, name
        assert {k: client.dump(k) for k in client.keys("bull:payments:[0-9]*")} == payments, name
        assert all(standing(client, "payments", job.id) == ["wait"] for job in theirs), name
        for number, job in enumerate(jobs):
            places = standing(client, "mail", job.id)
            is_gone = number == 3 and not client.exists(f"bull:mail:{job.id}")
            assert places == [ends] or is_gone, (name, number, places)
        assert standing(client, "mail", "p") != ["waiting-children"], name


async def end_all(store: Any, ends: str) -> None:
    [answer] = await store.claim([ClaimRequest(queue="mail", limit=6, token="t")])
    assert len(answer.jobs) == 6
    make = complete if ends == "completed" else fail
    finished = await store.finish([make(claim) for claim in answer.jobs])
    assert [word for word in finished.words if isinstance(word, TorilError)] == []


async def test_a_letter_of_its_own_is_still_taken_back(
    guarded: RedisServer, client: "redis.Redis"
) -> None:
    runs = Runs()
    async with app_with(guarded, DOCUMENTED) as app:
        queue = app.queue("mail", dead_letter="dead")
        job = await queue.add("fail", {"fail": True})
        store: Any = app.context.store
        [answer] = await store.claim([ClaimRequest(queue="mail", limit=1, token="t")])
        await store.finish([fail(answer.jobs[0])])
        assert (await app.queue("dead").counts()).waiting == 1
        await job.retry()
        [answer] = await store.claim([ClaimRequest(queue="mail", limit=1, token="u")])
        await store.finish([complete(answer.jobs[0])])
        assert (await app.queue("dead").counts()).waiting == 0
    assert runs.started == []


# Ids that are no jobs'.


@pytest.mark.parametrize(
    "stray", ["events", "wait", "meta", "marker", "id", "5:logs", "de:k", "toril:settings", ""]
)
async def test_an_id_that_names_another_key_costs_no_job(stray: str) -> None:
    runs, prefix = Runs(), fresh_prefix()
    base = f"{prefix}:q:"
    with shared_server(KIND).client() as client:
        async with app_on(shared_server(KIND), prefix=prefix) as app:
            queue = app.queue("q")
            jobs = await queue.add_many([("x", {})] * 12)
            client.rpush(f"{base}wait", stray)
            client.zadd(f"{base}delayed", {stray: 0})
            client.zadd(f"{base}prioritized", {stray: 0})
            client.zadd(f"{base}failed", {stray: 0})
            client.rpush(f"{base}active", stray)
            kinds = {key: client.type(key) for key in client.scan_iter(match=f"{base}*")}
            async with app.worker("q", runs, concurrency=5, lock="1s", stalled_interval="100ms"):
                await asyncio.gather(*(job.result(timeout=8) for job in jobs))

                async def is_clear() -> bool:
                    return not client.llen(f"{base}active") and not client.llen(f"{base}wait")

                await until(is_clear, within=5)
            await queue.clean("failed")
            kept = {f"{base}{word}" for word in ("events", "meta", "id", "toril:settings")}
            assert {key for key in kinds if client.exists(key)} >= kept & kinds.keys()
            assert len(runs.started) == 12


@pytest.mark.parametrize("concurrency", [1, 50])
async def test_twenty_thousand_ids_without_a_job_cost_a_moment(concurrency: int) -> None:
    runs, prefix = Runs(), fresh_prefix()
    with shared_server(KIND).client() as client:
        async with app_on(shared_server(KIND), prefix=prefix) as app:
            last = await app.queue("q").add("x")
            for word in range(20):
                client.rpush(f"{prefix}:q:wait", *(f"gone-{word}-{n}" for n in range(1_000)))
            urgent = await app.queue("q").add("x", priority=1)
            began = time.monotonic()
            async with app.worker("q", runs, concurrency=concurrency):
                await asyncio.gather(last.result(timeout=10), urgent.result(timeout=10))
            assert time.monotonic() - began < 6
            assert client.llen(f"{prefix}:q:wait") == 0


async def test_a_job_whose_id_is_not_utf8_fails_and_runs_nowhere() -> None:
    runs, prefix = Runs(), fresh_prefix()
    base = f"{prefix}:q:".encode()
    with shared_server(KIND).client(decode_responses=False) as client:
        async with app_on(shared_server(KIND), prefix=prefix) as app:
            jobs = await app.queue("q").add_many([("x", {})] * 3)
            fields: Any = {"name": "x", "data": "{}", "opts": "{}", "timestamp": "1"}
            for odd in (b"\xff\xfe", b"caf\xc3", b"\xed\xa0\x80"):
                client.hset(base + odd, mapping=fields)
                client.rpush(base + b"wait", odd)
            client.hset(base + "caf\u00e9".encode(), mapping=fields)
            client.rpush(base + b"wait", "caf\u00e9")
            async with app.worker("q", runs, lock="1s", stalled_interval="100ms"):
                await asyncio.gather(*(job.result(timeout=8) for job in jobs))

                async def is_over() -> bool:
                    return client.zcard(base + b"failed") == 3

                await until(is_over, within=5)
            reason = client.hget(base + b"\xff\xfe", "failedReason")
            assert reason == b"its id is not valid UTF-8, so no worker can run it"
            assert client.llen(base + b"active") == 0
    assert sorted(runs.started) == sorted([*(job.id for job in jobs), "caf\u00e9"])


# Values that are no numbers.

VALUES = {
    "limiter": ("evil", "", "1e3", "007", "9" * 400, "-5", "nan"),
    "concurrency": ("evil", "nan", "1e400", "", "-1e400"),
    "max": ("evil", "nan", ""),
    "duration": ("evil", "nan", "-1", ""),
    "opts.maxLenEvents": ("evil", "-5", "nan", "1e400", ""),
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in VALUES.items() for value in values],
)
async def test_a_limit_that_is_no_number_holds_nobody_back(field: str, value: str) -> None:
    runs, prefix = Runs(), fresh_prefix()
    with shared_server(KIND).client() as client:
        async with app_on(shared_server(KIND), prefix=prefix) as app:
            odd, sound = app.queue("odd"), app.queue("sound")
            if field in ("max", "duration", "limiter"):
                await odd.limit(rate="1000/1s")
            jobs = [await odd.add("x"), await sound.add("x")]
            if field == "limiter":
                client.set(f"{prefix}:odd:limiter", value)
            else:
                client.hset(f"{prefix}:odd:meta", field, value)
            async with app.worker({"odd": 2, "sound": 2}, runs):
                jobs.append(await odd.add("x"))
                await asyncio.gather(*(job.result(timeout=8) for job in jobs))
    assert len(runs.started) == 3


async def test_a_stream_that_takes_no_more_events_costs_no_job() -> None:
    runs, prefix = Runs(), fresh_prefix()
    with shared_server(KIND).client() as client:
        async with app_on(shared_server(KIND), prefix=prefix) as app:
            queue = app.queue("q", keep="all")
            await queue.add("x")
            client.execute_command(
                "XADD", f"{prefix}:q:events", f"{2**64 - 1}-{2**64 - 1}", "event", "x"
            )
            await queue.add_many([("x", {})] * 5)
            await queue.add("x", priority=1)
            async with app.worker("q", runs, concurrency=3, lock="1s"):

                async def is_done() -> bool:
                    return client.zcard(f"{prefix}:q:completed") == 7

                await until(is_done, within=8)
    assert len(runs.started) == 7
