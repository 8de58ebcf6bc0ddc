"""Decisions that a store can never take: their jobs fail at once, and nobody else notices."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from tests.robustness.faults.rig import until
from tests.runtime import isolated
from tests.support.servers import RedisServer, fresh_prefix
from toril import Job, JobFailed, State, Toril
from toril.errors import StoreRefused

LIMIT = "proto-max-bulk-len"
BIG = 2_000_000
NO_CONFIG = "user poor on >secret ~* &* +@all -config"


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with RedisServer(acl=[NO_CONFIG]) as own:
        yield own


@pytest.fixture(params=["sqlite", "redis", "redis without CONFIG"])
async def app(
    request: pytest.FixtureRequest, server: RedisServer, tmp_path: Path
) -> AsyncIterator[Toril]:
    """Have an app whose store takes no value of more than 1 MB, though the app would."""
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    if request.param != "sqlite":
        server.call("CONFIG", "SET", LIMIT, "1mb")
        poor = request.param.endswith("CONFIG")
        url = server.url_of("poor", "secret") if poor else server.url
    async with Toril(url, prefix=fresh_prefix(), max_payload="50MB", warn_unserved=False) as made:
        if request.param == "sqlite":
            await made.context.ready()
            store: Any = made.context.store
            store._engine._work.db.limit(apsw.SQLITE_LIMIT_LENGTH, 1_000_000)
        yield made


async def _is(true: bool) -> bool:
    return true


async def big(job: Job[Any]) -> str:
    return "x" * (BIG if job.name == "big" else 10)


async def test_a_result_that_is_too_large_fails_its_job_once(app: Toril) -> None:
    queue = app.queue("q", attempts=3)
    runs: list[str] = []

    async def run(job: Job[Any]) -> str:
        runs.append(job.name)
        return await big(job)

    async with app.worker("q", run, concurrency=10, lock="2s") as worker:
        jobs = await queue.add_many([("big" if n % 3 == 1 else "small", n) for n in range(9)])
        answers = await asyncio.gather(
            *(j.result(timeout=10) for j in jobs), return_exceptions=True
        )
        assert worker.health().ready

    failed = [answer for answer in answers if isinstance(answer, JobFailed)]
    assert [answer for answer in answers if answer not in failed] == ["x" * 10] * 6
    assert runs.count("big") == 3 == len(failed)
    assert all("result" in error.reason and "large" in error.reason for error in failed)
    assert (await queue.counts()).active == 0


async def test_the_worker_ends_and_no_other_one_runs_it_again(app: Toril) -> None:
    queue = app.queue("q", attempts=3)
    worker = app.worker("q", big, lock="1s", stalled_interval="100ms")
    await worker.start()
    job = await queue.add("big")
    with pytest.raises(JobFailed):
        await job.result(timeout=10)

    began = time.monotonic()
    await worker.stop(grace=1)

    assert time.monotonic() - began < 3
    async with app.worker("q", big, lock="1s"):
        assert await (await queue.add("small")).result(timeout=5)
    assert await job.state() is State.FAILED
    assert (await job.refresh()).record.runs == 1


async def test_a_value_over_the_stores_limit_refuses_its_own_add_and_change(app: Toril) -> None:
    queue = app.queue("q")
    there = await queue.add("there", 1)

    answers = await asyncio.gather(
        queue.add("good"), queue.add("big", "x" * BIG), queue.add("good"), there.update("x" * BIG),
        there.progress("x" * BIG), there.log("a line"),
        return_exceptions=True,
    )  # fmt: skip

    refused = [isinstance(answer, StoreRefused) for answer in answers]
    assert refused == [False, True, False, True, True, False], answers
    assert (await queue.counts()).waiting == 3
    assert (await there.refresh()).data == 1


async def test_many_large_results_share_their_trips(app: Toril) -> None:
    """Each is taken, and all together would not be."""

    async def large(job: Job[Any]) -> str:
        return "x" * 900_000

    async with app.worker("q", large, concurrency=20):
        jobs = await app.queue("q", keep="all").add_many([("large", n) for n in range(12)])
        results = await asyncio.gather(*(job.result(timeout=20) for job in jobs))

    assert [len(result) for result in results] == [900_000] * 12


async def test_the_limit_may_be_lowered_while_a_worker_runs(server: RedisServer) -> None:
    server.call("CONFIG", "SET", LIMIT, "512mb")
    async with Toril(server.url, prefix=fresh_prefix(), max_payload="50MB") as app:
        queue = app.queue("q")
        async with app.worker("q", big, concurrency=4):
            assert len(await (await queue.add("big")).result(timeout=10)) == BIG
            server.call("CONFIG", "SET", LIMIT, "1mb")
            jobs = [await queue.add(name) for name in ("small", "big", "small")]
            answers = await asyncio.gather(
                *(job.result(timeout=10) for job in jobs), return_exceptions=True
            )

    assert isinstance(answers[1], JobFailed)
    assert answers[0] == answers[2] == "x" * 10


async def test_a_failure_whose_dead_letter_is_too_large_still_fails_its_job(app: Toril) -> None:
    queue = app.queue("q", dead_letter="dead")
    # The letter holds the data, and the error.
    job = await queue.add("boom", "x" * 985_000)

    async def boom(job: Job[Any]) -> None:
        raise RuntimeError("boom" * 8_000)

    async with app.worker("q", boom, lock="1s"):
        with pytest.raises(JobFailed, match="boom"):
            await job.result(timeout=10)


async def test_a_missing_right_holds_up_only_what_needs_it(server: RedisServer) -> None:
    server.call("CONFIG", "SET", LIMIT, "512mb")
    prefix = fresh_prefix()
    server.call("ACL", "SETUSER", "partial", "on", ">secret", f"~{prefix}:q:*", f"~{prefix}:toril*",
                f"~{prefix}::*", "&*", "+@all")  # fmt: skip
    async with Toril(server.url, prefix=prefix) as owner:
        parents = await owner.flow("far", "parent", {}, children=[("q", "kid", {})]).add()
        async with Toril(server.url_of("partial", "secret"), prefix=prefix) as app:
            worker = app.worker("q", big, concurrency=4, lock="1s")
            await worker.start()
            jobs = [await owner.queue("q").add("small") for _ in range(5)]
            for job in jobs:
                assert await job.result(timeout=10) == "x" * 10
            began = time.monotonic()
            await worker.stop(grace="500ms")
            assert time.monotonic() - began < 12
        # Somebody with the right goes on.
        async with owner.worker({"q": 1, "far": 1}, big, lock="1s", stalled_interval="100ms"):
            assert await parents["parent"].result(timeout=10)


async def test_results_from_child_processes_are_held_against_the_limit(app: Toril) -> None:
    app.processor("q", f"{isolated.__name__}:large_result")
    async with app.worker("q", lock="2s"):
        job = await app.queue("q", attempts=3).add("large", BIG)
        with pytest.raises(JobFailed, match="result"):
            await job.result(timeout=30)

    assert (await job.refresh()).record.runs == 1


@pytest.mark.parametrize(
    "key", ["completed", "events", "marker", "meta", "active", "wait", "metrics:completed", "id"]
)
async def test_decisions_beside_a_damaged_queue_are_stored(server: RedisServer, key: str) -> None:
    """Of one call, since the store is asked itself; and the damaged queue loses no job."""
    server.call("CONFIG", "SET", LIMIT, "512mb")
    prefix = fresh_prefix()
    opened: dict[str, asyncio.Event] = {"go": asyncio.Event()}
    started: list[str] = []

    async def wait(job: Job[Any]) -> str:
        started.append(job.queue)
        await opened["go"].wait()
        return "done"

    async with Toril(server.url, prefix=prefix, warn_unserved=False) as app:
        jobs = [await app.queue(q).add("x") for q in ("bad", "good", "good", "bad", "good")]
        async with app.worker({"bad": 2, "good": 3}, wait, lock="1s", grace=1):
            await until(lambda: _is(len(started) == 5))
            with server.client() as client:
                held = client.dump(f"{prefix}:bad:{key}")
                client.set(f"{prefix}:bad:{key}", "?")
            opened["go"].set()
            good = [job for job in jobs if job.queue == "good"]
            assert [await job.result(timeout=5) for job in good] == ["done"] * 3
            with server.client() as client:
                client.delete(f"{prefix}:bad:{key}")
                if held is not None:
                    client.restore(f"{prefix}:bad:{key}", 0, held)
            for job in jobs:
                assert await job.result(timeout=15) == "done"


@pytest.mark.parametrize("app", ["sqlite"], indirect=True)
async def test_jobs_that_are_too_large_together_are_claimed_in_parts(app: Toril) -> None:
    queue = app.queue("q")
    jobs = [await queue.add("small", "x" * 400_000) for _ in range(5)]
    # Written as JSON, its quotes are longer than in the row.
    grown = await queue.add("grown", "x" * 300_000)
    await grown.progress('"' * 300_000)
    jobs.append(await queue.add("small"))

    async with app.worker("q", big, concurrency=10):
        await asyncio.gather(*(job.result(timeout=10) for job in jobs))
        with pytest.raises(JobFailed, match="larger than SQLite can read"):
            await grown.result(timeout=10)
