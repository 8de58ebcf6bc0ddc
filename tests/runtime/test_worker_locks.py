"""Locks: kept while a handler blocks, lost when somebody else has the job, and crashes alone."""

import asyncio
import time
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.workers import Gate, Heard, kinds, line_at, until
from toril import Job, Toril
from toril._model.report import JobPatch, WorkerInfo
from toril._store.protocol import Store
from toril._store.values import ClaimRequest
from toril._worker import heartbeat
from toril.errors import AwaitChildren, StoreUnavailable


async def steal(app: Toril, queue: str) -> None:
    """Let the locks of a queue lapse, and take its jobs back, as another worker would."""
    now = int(time.time() * 1000) + 3_600_000
    assert await app.context.store.recover([queue], now=now)


async def crash(app: Toril, queue: str, times: int) -> None:
    """Claim every job of a queue and lose it, as a process that dies would.

    From its third start on a job runs alone, as a worker would let it.
    """
    store = app.context.store
    for n in range(times):
        [claimed] = await store.claim(
            [ClaimRequest(queue=queue, limit=250, token=f"gone-{n}", worker="gone")]
        )
        if n >= 2:
            await store.update(
                [JobPatch(queue=queue, id=claim.record.id, alone=True) for claim in claimed.jobs]
            )
        await steal(app, queue)


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


async def test_a_handler_that_blocks_the_loop_for_three_lock_times_completes_once(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[str] = []

    async def handler(job: Job[Any]) -> str:
        runs.append(job.id)
        spin(0.9)  # the culprit
        await asyncio.sleep(0.1)
        return "done"

    job = await app.queue("q").add("x")
    worker = app.worker("q", handler, lock="300ms", stalled_interval="50ms", block_warning="300ms")
    rival = app.worker("q", handler, lock="300ms", stalled_interval="50ms")
    heard = Heard(worker, "lock_lost", "stalled")
    async with worker:
        rival.pause()
        async with rival:
            assert await job.result(timeout=5) == "done"

    assert (runs, heard.all) == ([job.id], [])
    assert "stalled" not in await kinds(app, "q", job.id)
    (line,) = [line for line in caplog.records if line.message.startswith("loop.blocked")]
    facts: dict[str, Any] = vars(line)
    assert facts["job"] == f"q:{job.id} (x)"
    assert 0.5 < facts["seconds"] <= 1.0
    assert line_at(facts["where"]) == (__file__, facts["source"])
    assert facts["source"] in ("while time.monotonic() < end:", "pass")


async def test_a_lost_lock_cancels_the_handler_and_its_outcome_is_dropped(app: Toril) -> None:
    ends: list[str] = []
    started = asyncio.Event()

    async def handler(job: Job[Any]) -> str:
        if job.run > 1:
            return "the rightful one"
        started.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise
        return "never"

    job = await app.queue("q").add("x")
    worker = app.worker("q", handler, lock="300ms")
    heard = Heard(worker, "lock_lost", "completed", "failed", "attempt_failed")
    async with worker:
        await started.wait()
        await steal(app, "q")
        assert await job.result(timeout=5) == "the rightful one"

    assert ends == ["cancelled"]
    assert heard.names in (["lock_lost", "completed"], ["completed", "lock_lost"])


async def test_a_job_that_was_taken_away_cannot_be_finished(app: Toril) -> None:
    gate = Gate()
    job = await app.queue("q").add("x")
    worker = app.worker("q", gate, lock="30s")
    heard = Heard(worker, "lock_lost", "completed")
    async with worker:
        await gate.until_running(1)
        worker.pause()
        await steal(app, "q")
        gate.open()
        await heard.until("lock_lost")

    assert heard.names == ["lock_lost"]
    assert await job.state() == "waiting"


async def test_progress_of_a_job_that_was_taken_away_is_refused(app: Toril) -> None:
    refused: list[str] = []

    async def handler(job: Job[Any]) -> None:
        await steal(app, "q")
        for report in (job.progress, job.log):
            try:
                await report("mine")
            except Exception as error:
                refused.append(type(error).__name__)

    job = await app.queue("q").add("x")
    worker = app.worker("q", handler)
    heard = Heard(worker, "active", "lock_lost")
    async with worker:
        worker.on("active")(lambda _: worker.pause())
        await heard.until("lock_lost")

    assert refused == ["LockLost", "LockLost"]
    assert (await job.refresh()).last_progress is None


async def test_a_job_that_crashed_twice_runs_alone(app: Toril) -> None:
    beside: list[set[str]] = []
    running: set[str] = set()

    async def handler(job: Job[Any]) -> None:
        running.add(job.name)
        if job.name == "suspect":
            beside.append(running - {"suspect"})
        await asyncio.sleep(0.02)
        if job.name == "suspect":
            beside.append(running - {"suspect"})
        running.discard(job.name)

    suspect = await app.queue("q").add("suspect")
    await crash(app, "q", 2)
    await app.queue("q").add_many([("bystander", {})] * 20)
    await app.worker("q", handler, concurrency=5).run_until_idle()

    assert beside == [set(), set()]
    assert await suspect.state() == "completed"
    assert (await app.queue("q").counts()).completed == 21


async def test_a_job_that_runs_on_at_once_is_no_company_for_one_that_runs_alone(
    app: Toril,
) -> None:
    beside: list[set[str]] = []
    running: set[str] = set()
    asked = asyncio.Event()

    async def handler(job: Job[Any]) -> None:
        running.add(job.name)
        if job.name == "suspect":
            beside.append(set(running))
        await asyncio.sleep(0.02)
        if job.name == "suspect":
            beside.append(set(running))
        running.discard(job.name)
        if job.name == "parent" and not asked.is_set():
            asked.set()
            raise AwaitChildren()

    suspect = await app.queue("q").add("suspect")
    await crash(app, "q", 2)
    parent = await app.queue("q").add("parent")
    await app.worker("q", handler, concurrency=5).run_until_idle()

    assert beside == [{"suspect"}, {"suspect"}]
    assert await suspect.state() == "completed"
    assert await parent.state() == "completed"


async def test_a_job_that_keeps_crashing_alone_fails(app: Toril) -> None:
    async def alone(job: Job[Any]) -> None:
        raise AssertionError("must not run any more")

    async def until_alone(job: Job[Any]) -> None:
        started.set()
        await asyncio.sleep(60)

    started = asyncio.Event()
    job = await app.queue("q").add("x")
    await crash(app, "q", 3)
    worker = app.worker("q", until_alone, lock="300ms")
    worker.on("active")(lambda _: worker.pause())
    heard = Heard(worker, "lock_lost")
    async with worker:
        await started.wait()
        await steal(app, "q")
        await heard.until("lock_lost")
    last = app.worker("q", alone)
    told = Heard(last, "failed", "attempt_failed", "active")
    await last.run_until_idle()

    assert await job.state() == "failed"
    error = (await job.refresh()).error or ""
    assert error.startswith("job stalled more than allowable limit: worker ")
    assert job.end == "stalled"
    assert told.names == ["failed"]


async def test_stalled_jobs_are_taken_back_and_heard_of(app: Toril) -> None:
    async def handler(job: Job[Any]) -> int:
        return job.run

    job = await app.queue("q").add("x")
    lapsed = ClaimRequest(queue="q", limit=1, token="gone", worker="gone", lock_ms=1)
    await app.context.store.claim([lapsed])
    worker = app.worker("q", handler, stalled_interval="20ms")
    heard = Heard(worker, "stalled")
    async with worker:
        assert await job.result(timeout=5) == 2

    assert heard.all == [("stalled", job.id)]
    assert (await job.refresh()).record.stalls == 1


async def busy(app: Toril) -> WorkerInfo | None:
    return next((each for each in await app.workers("q") if each.active == 1), None)


async def test_a_worker_announces_itself(app: Toril) -> None:
    gate = Gate()
    await app.queue("q").add("x")
    worker = app.worker("q", gate, name="image-1", concurrency=3, lock="300ms")
    async with worker:
        await gate.until_running(1)
        info = await until(lambda: busy(app))
        gate.open()
        await worker.drained()

    assert (info.name, info.queues, info.concurrency) == ("image-1", ("q",), 3)
    assert info.id == worker.id


class Outage:
    """A store that cannot be written to for a while, in front of the real one."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.refusals = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def finish(self, *args: Any, **how: Any) -> Any:
        if self.refusals:
            self.refusals -= 1
            raise StoreUnavailable("out of reach")
        return await self._store.finish(*args, **how)


async def test_an_outcome_is_kept_until_the_store_is_there_again(app: Toril) -> None:
    async def handler(job: Job[Any]) -> str:
        outage.refusals = 3
        return "kept"

    outage = Outage(app.context.store)
    app.context.store = cast("Store", outage)
    job = await app.queue("q").add("x")
    worker = app.worker("q", handler)
    heard = Heard(worker, "completed", "error", "lock_lost")
    await worker.run_until_idle()

    assert heard.names == ["error", "completed"]
    assert await job.result() == "kept"


async def test_an_outcome_whose_lease_lapsed_meanwhile_is_dropped(tmp_path: Path) -> None:
    async def handler(job: Job[Any]) -> str:
        await app.context.store.close()
        return "too late"

    async with Toril(f"sqlite:///{tmp_path / 'jobs.db'}") as app:
        await app.queue("q").add("x")
        worker = app.worker("q", handler, lock="300ms")
        heard = Heard(worker, "lock_lost", "completed")
        async with worker:
            await heard.until("lock_lost")

    assert heard.names == ["lock_lost"]


class Lull:
    """The real store, whose every answer with jobs comes an hour after it was asked."""

    def __init__(self, store: Store, patch: pytest.MonkeyPatch) -> None:
        self._store = store
        self._late = 0.0
        began = heartbeat.lease_clock()
        patch.setattr(heartbeat, "_read_clock", lambda: began + self._late)
        self.over = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    async def claim(self, *args: Any, **how: Any) -> Any:
        answers = await self._store.claim(*args, **how)
        self._pass(answers)
        return answers

    async def finish(self, *args: Any, **how: Any) -> Any:
        finished = await self._store.finish(*args, **how)
        self._pass(finished.claimed)
        return finished

    def _pass(self, answers: Any) -> None:
        if not self.over and any(each.jobs for each in answers):
            self._late += 3_600


@pytest.mark.parametrize("asked_by", ["claim", "finish"])
async def test_jobs_that_come_after_their_lock_has_lapsed_are_not_run(
    app: Toril, asked_by: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    runs: list[tuple[str, int]] = []

    async def handler(job: Job[Any]) -> None:
        runs.append((job.id, job.run))
        lull.over = False

    caplog.set_level("INFO", logger="toril.worker")
    lull = Lull(app.context.store, monkeypatch)
    lull.over = asked_by == "finish"
    app.context.store = cast("Store", lull)
    queue = app.queue("q")
    first = [(await queue.add("x")).id] if lull.over else []
    late = await queue.add("x")
    worker = app.worker("q", handler, concurrency=1)
    heard = Heard(worker, "active", "completed", "lock_lost")
    async with worker:
        await until(lambda: _lines(caplog, "claim.lapsed"))
        assert await late.state() == "active"
        assert [each for each, _ in runs] == first
        assert not worker.running
        worker.pause()
        await steal(app, "q")
        lull.over = True
        worker.resume()
        await heard.until("completed", len(first) + 1)

    assert [*first, late.id] == [each for each, _ in runs]
    assert (await late.refresh()).record.stalls == 1
    assert heard.names == ["active", "completed"] * (len(first) + 1)
    (line,) = await _lines(caplog, "claim.lapsed")
    assert (line["queue"], line["jobs"]) == ("q", 1)


async def _lines(caplog: pytest.LogCaptureFixture, name: str) -> list[dict[str, Any]]:
    return [vars(each) for each in caplog.records if each.message.startswith(name)]


async def test_a_job_whose_lock_lapses_before_it_may_run_alone_is_not_run(
    app: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []

    async def handler(job: Job[Any]) -> int:
        runs.append(job.run)
        return job.run

    class Slow(Lull):
        async def update(self, *args: Any, **how: Any) -> Any:
            answers = await self._store.update(*args, **how)
            self._late += 0.0 if self.over else 3_600
            return answers

        def _pass(self, answers: Any) -> None:
            """Claims are answered in time."""

    job = await app.queue("q").add("x")
    await crash(app, "q", 2)
    slow = Slow(app.context.store, monkeypatch)
    app.context.store = cast("Store", slow)
    worker = app.worker("q", handler)
    heard = Heard(worker, "lock_lost", "completed")
    async with worker:
        await heard.until("lock_lost")
        slow.over = True
        await steal(app, "q")
        assert await job.result(timeout=5) == 4

    assert runs == [4]
