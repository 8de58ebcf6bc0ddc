"""Values of jobs that something else wrote: deep JSON, huge numbers, scores that are no times.

A job of which nobody can make anything ends, and says why; the others of its claim run. Apps read
the rest without errors of their parts.
"""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest
import redis

from tests.robustness.faults.rig import QUEUE, Runs, until
from tests.support.servers import fresh_prefix, shared_server
from toril import Toril
from toril.errors import JobError

from .damage import DEEP

ROUNDS = int(os.environ.get("TORIL_ROUNDS", "1"))
OPTIONS = (
    DEEP, '{"a":' * 50_000, "[" * 100_000, "{", "[]", "7", '{"attempts":"many"}',
    '{"attempts":1e999}', '{"backoff":{"type":[]}}', '{"backoff":%s}' % ("[" * 900 + "]" * 900),
    '{"de":7}', '{"de":{"ttl":1}}', '{"toril":7}', '{"toril":{"timeout":"x"}}',
    '{"toril":{"soft_timeout":[]}}', '{"toril":{"deadline":{}}}', '{"toril":{"expires":"1h"}}',
    '{"toril":{"max_runs":"x"}}', '{"toril":{"at":"x"}}', '{"priority":1e300}', '{"kl":"x"}',
    '{"stackTraceLimit":[]}', '{"sizeLimit":-1}', "{" + " " * 70_000 + "}",
)  # fmt: skip
HARMLESS = (
    '{"attempts":1e300}', '{"delay":1e300}', '{"removeOnComplete":{"age":1e308}}',
    '{"removeOnFail":{"count":1e308,"age":-1e308}}', '{"timestamp":"x"}',
    '{"removeOnComplete":99999999999999999999999999}', '{"toril":{"on_crash":5}}',
    '{"toril":{"timeout":9007199254740991}}', '{"toril":{"deadline":9007199254740991}}',
)  # fmt: skip


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with shared_server().client() as client:
        yield client


class Place:
    """A store, and a way to change its jobs behind its back."""

    def __init__(self, kind: str, folder: Path, client: redis.Redis) -> None:
        self.kind = kind
        self.prefix = fresh_prefix()
        self._path = folder / "jobs.db"
        self._client = client
        self.url = shared_server().url if kind == "redis" else f"sqlite:///{self._path}"

    def app(self) -> Toril:
        prefix = {"prefix": self.prefix} if self.kind == "redis" else {}
        return Toril(self.url, warn_unserved=False, **prefix)

    def set(self, id: str, field: str, text: str) -> None:
        """Change a field of a job."""
        if self.kind == "redis":
            self._client.hset(f"{self.prefix}:{QUEUE}:{id}", field, text)
            return
        column = {"returnvalue": "result", "stacktrace": "stack", "failedReason": "reason"}
        db = apsw.Connection(str(self._path))
        db.set_busy_timeout(5_000)
        db.execute(f"UPDATE jobs SET {column.get(field, field)} = ? WHERE id = ?", (text, id))
        db.close()


@pytest.fixture(params=["sqlite", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path, client: redis.Redis) -> Place:
    return Place(request.param, tmp_path, client)


@pytest.mark.timeout(40)
async def test_options_that_cannot_be_read_end_their_job_and_the_others_run(place: Place) -> None:
    runs = Runs()
    async with place.app() as app:
        queue = app.queue(QUEUE, keep="all")
        jobs = await queue.add_many([("x", {})] * (2 * len(OPTIONS)))
        bad, good = jobs[::2], jobs[1::2]
        for job, opts in zip(bad, OPTIONS, strict=True):
            place.set(job.id, "opts", opts)
        began = time.monotonic()
        async with app.worker(QUEUE, runs, lock="1s", concurrency=5):
            await runs.until_ended(*[job.id for job in good], within=15)
            await until(lambda: _failed(app, len(bad)), within=15)
        assert time.monotonic() - began < 20
        for job in bad:
            await job.refresh()
            assert (job.error or "").startswith("its stored options cannot be read"), job.error
            assert job.id not in runs.started
        assert len([job async for job in queue.jobs()]) == len(jobs)


async def _failed(app: Toril, count: int) -> bool:
    return (await app.queue(QUEUE).counts()).failed == count


async def test_odd_options_do_no_harm(place: Place) -> None:
    runs = Runs()
    async with place.app() as app:
        jobs = await app.queue(QUEUE).add_many([("x", {})] * len(HARMLESS))
        for job, opts in zip(jobs, HARMLESS, strict=True):
            place.set(job.id, "opts", opts)
        async with app.worker(QUEUE, runs, concurrency=3):
            await runs.until_ended(*[job.id for job in jobs], within=10)


async def test_a_job_that_is_to_fail_anyway_may_have_bad_options(
    place: Place, client: redis.Redis
) -> None:
    runs = Runs()
    async with place.app() as app:
        bad, good = await app.queue(QUEUE).add_many([("x", {})] * 2)
        place.set(bad.id, "opts", DEEP)
        place.set(bad.id, "defa" if place.kind == "redis" else "deferred", "because of its child")
        async with app.worker(QUEUE, runs, concurrency=2):
            await good.result(timeout=5)
            await until(lambda: _failed(app, 1), within=5)
        await bad.refresh()
        assert bad.error == "because of its child"


@pytest.mark.parametrize("field", ["data", "progress", "returnvalue", "stacktrace"])
@pytest.mark.parametrize("text", [DEEP, "[" * 100_000, "{", "", "1e999", "9" * 5_000])
async def test_what_an_app_reads_of_a_job_raises_only_errors_of_toril(
    place: Place, field: str, text: str
) -> None:
    async with place.app() as app:
        queue = app.queue(QUEUE)
        job = await queue.add("x", {})
        place.set(job.id, field, text)
        await job.state()
        found = await queue.job(job.id)
        assert found is not None
        assert [each.id async for each in queue.jobs()] == [job.id]
        for read in (lambda: found.data, lambda: found.last_progress, lambda: found.stack):
            with suppress(JobError):
                read()


# Redis: notes, scores and settings.

NOTES: dict[str, dict[str, str]] = {
    **{
        f"try {name[:6]} {text[:12]}": {f"toril:try:{name}": text}
        for name, text in (
            ("evil", "x"), ("1", "x"), ("1", "5"), ("1", '5 ["a",1]'), ("1", "5 x"), ("1", ""),
            ("9" * 5_000, '5 ["a",1,"x",null]'), ("²", '5 ["a",1,"x",null]'), ("1", "5 " + DEEP),
            ("1", '999999999999999999999 ["a",1,"x",null]'), ("1", 'inf ["a",1,"x",null]'),
            ("1", '5 ["a",99999999999999999999999,"x",null]'), ("-1", '5 [1,2,3,4]'), ("", "5 []"),
        )
    },
    **{
        f"{field} {text[:12]}": {field: text}
        for field in (
            "timestamp", "delay", "priority", "atm", "ats", "stc", "processedOn", "finishedOn",
            "toril:unknown", "toril:nth", "toril:kids",
        )
        for text in ("inf", "-inf", "nan", "1e300", "-1e300", "9" * 5_000, "x", "²", "")
    },
    "child short": {"toril:child:{p}:other:1": "x"},
    "child no number": {"toril:child:{p}:other:1": "x y z"},
    "child huge": {"toril:child:{p}:other:1": "9" * 5_000 + " inf z"},
    "parent": {"parentKey": ":", "parent": DEEP},
    "letter": {"toril:letter": ":"},
}  # fmt: skip
PLACES: dict[str, tuple[str, ...]] = {
    f"{key} {score}": ("ZADD", key, score, "1")
    for key in ("delayed", "prioritized", "completed", "failed", "waiting-children", "marker")
    for score in ("inf", "-inf", "1e300", "-1e300", "-1", "0.5")
}


async def look(app: Toril) -> None:
    """Read all that an app can read of a queue and its first job."""
    queue = app.queue(QUEUE)
    await queue.counts()
    await queue.job("1")
    async for job in queue.jobs():
        await job.state()
        await job.children()
        await job.logs()
        assert isinstance(job.attempts, tuple)
    await app.queues()
    await app.workers()
    await app.schedules.list()
    await app.context.store.settings([QUEUE])
    await app.context.store.metrics(QUEUE, "completed")


@pytest.mark.timeout(60)  # long where something else keeps the machine busy
async def test_notes_and_numbers_of_a_job_may_be_anything(client: redis.Redis) -> None:
    for fields in NOTES.values():
        prefix = fresh_prefix()
        base = f"{prefix}:{QUEUE}"
        given = {name.replace("{p}", prefix): text for name, text in fields.items()}
        client.hset(f"{base}:1", mapping={"name": "x", "data": "{}", "opts": "{}", **given})
        client.rpush(f"{base}:wait", "1")
        client.sadd(f"{base}:1:dependencies", f"{prefix}:other:1", "x", ":")
        client.sadd(f"{prefix}::toril:queues", QUEUE)
        async with Toril(shared_server().url, prefix=prefix, warn_unserved=False) as app:
            await look(app)


async def test_scores_may_be_anything(client: redis.Redis) -> None:
    for command, key, *rest in PLACES.values():
        prefix = fresh_prefix()
        base = f"{prefix}:{QUEUE}"
        client.hset(f"{base}:1", mapping={"name": "x", "data": "{}", "opts": "{}"})
        client.execute_command(command, f"{base}:{key}", *rest)
        client.sadd(f"{prefix}::toril:queues", QUEUE)
        async with Toril(shared_server().url, prefix=prefix, warn_unserved=False) as app:
            await look(app)


SETTINGS: list[tuple[str, ...]] = [
    ("HSET", "meta", "concurrency", "x"), ("HSET", "meta", "concurrency", "inf"),
    ("HSET", "meta", "max", "y", "duration", "z"), ("HSET", "meta", "paused", "evil"),
    ("HSET", "meta", "opts.maxLenEvents", "inf"), ("HSET", "meta", "opts.maxLenEvents", "9" * 5_000),
    ("HSET", "toril:settings", "keep_completed", "x"), ("HSET", "toril:settings", "keep_failed", "::"),
    ("HSET", "toril:settings", "keep_completed", "inf:1e400", "dead_letter", ":"),
    ("HSET", "metrics:completed", "count", "x", "prevTS", "inf", "prevCount", "nan"),
    ("RPUSH", "metrics:completed:data", "x", "inf"), ("SET", "id", "9007199254740991"),
]  # fmt: skip


async def test_settings_and_metrics_may_be_anything(client: redis.Redis) -> None:
    for command, key, *rest in SETTINGS:
        prefix = fresh_prefix()
        client.execute_command(command, f"{prefix}:{QUEUE}:{key}", *rest)
        client.sadd(f"{prefix}::toril:queues", QUEUE)
        client.zadd(f"{prefix}::toril:workers", {"w": float("inf"), "v": float("-inf")})
        client.set(f"{prefix}::toril:worker:w", DEEP)
        client.set(f"{prefix}::toril:worker:v", '{"id":"v"}')
        async with Toril(shared_server().url, prefix=prefix, warn_unserved=False) as app:
            await look(app)


@pytest.mark.parametrize("score", ["inf", "-inf", "1e300", "-1e300", "-1"])
@pytest.mark.parametrize("member", ["0", "1", "evil"])
async def test_a_marker_with_an_odd_score_delays_nobody(
    client: redis.Redis, score: str, member: str
) -> None:
    prefix, runs = fresh_prefix(), Runs()
    app = Toril(shared_server().url, prefix=prefix, warn_unserved=False)
    async with app, app.worker(QUEUE, runs):
        job = await app.queue(QUEUE).add("x", {})
        await job.result(timeout=5)
        marker = f"{prefix}:{QUEUE}:marker"
        client.execute_command("ZADD", marker, score, member)
        began = time.monotonic()
        await until(lambda: _gone(client, marker), within=3)
        job = await app.queue(QUEUE).add("x", {})
        await job.result(timeout=5)
        assert time.monotonic() - began < 2.5


async def _gone(client: redis.Redis, key: str) -> bool:
    return not await asyncio.to_thread(client.exists, key)


# Whatever a hash holds.

WORDS = (
    "", "\0", "{", "[", "null", "[]", "{}", '"x"', "1e400", "-1", "NaN", "inf", "9" * 5_000,
    "[" * 10_000, DEEP, "\u202e\x1b[31m", '{"attempts":1e999}', "evil:1", ":", "²", "٣", "0x1",
    '{"toril":{"timeout":[]}}', '{"de":{"id":[]}}', "5 x", '5 ["a",1]', "1e300", b"\xff\xfe",
)  # fmt: skip
FIELDS = (
    "name", "data", "opts", "timestamp", "delay", "priority", "atm", "ats", "stc", "progress",
    "failedReason", "stacktrace", "parentKey", "parent", "rjk", "deid", "defa", "toril:unknown",
    "toril:origin", "toril:letter", "processedOn", "finishedOn", "returnvalue", "pb",
    "toril:cancel", "toril:try:1", "toril:try:x", "toril:kids", "toril:nth", "toril:at",
)  # fmt: skip


@pytest.mark.timeout(60 * ROUNDS)
@pytest.mark.parametrize("seed", range(4 * ROUNDS))
async def test_good_jobs_complete_among_jobs_with_any_fields(
    client: redis.Redis, seed: int
) -> None:
    rng, prefix, runs = random.Random(seed), fresh_prefix(), Runs()
    async with Toril(shared_server().url, prefix=prefix, warn_unserved=False) as app:
        queue = app.queue(QUEUE, keep="all")
        jobs = await queue.add_many([("x", {})] * 100)
        rng.shuffle(jobs)
        good, bad = jobs[:50], jobs[50:]
        for job in bad:
            for field in rng.sample(FIELDS, rng.randint(1, 3)):
                client.hset(f"{prefix}:{QUEUE}:{job.id}", field, rng.choice(WORDS))
        await look(app)
        async with app.worker(QUEUE, runs, concurrency=10, lock="1s", stalled_interval="300ms"):
            await runs.until_ended(*[job.id for job in good], within=20)
            await until(lambda: _nothing_waits(app), within=15)
        await look(app)


async def _nothing_waits(app: Toril) -> bool:
    counts = await app.queue(QUEUE).counts()
    return not (counts.waiting or counts.active)
