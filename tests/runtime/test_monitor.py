"""What `app.monitor` and the list of workers tell of jobs that ran."""

import asyncio
import time
from dataclasses import replace
from functools import partial

import pytest

from tests.support.workers import until
from toril import Job, Toril
from toril.errors import ConfigError
from toril.types import AuditEntry, Operation, Series, WorkerInfo

STORES = ("memory", "redis")


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def pay(card: int) -> None:
    raise ValueError(f"no card {card}")


async def test_counters_tell_what_a_worker_did(app: Toril) -> None:
    @app.task(queue="shop")
    async def sell(number: int) -> None:
        if number == 2:
            pay(number)

    since = now_ms()
    for number in range(3):
        await sell.enqueue(number)
    await app.worker(version="v1").run_until_idle()

    series = await app.monitor.series(since_ms=since)
    [point] = Series.sum(series).points
    assert (point.enqueued, point.completed, point.failed) == (3, 2, 1)
    assert sum(point.run.values()) == sum(point.wait.values()) == 3
    assert await app.monitor.tasks("shop") == {"shop": ("sell",)}
    [other] = await app.monitor.series("nowhere", since_ms=since, task="sell", step="minute")
    assert (other.queue, other.step_ms, other.points) == ("nowhere", 60_000, ())


async def test_a_group_tells_type_place_and_version_and_its_jobs(app: Toril) -> None:
    @app.task(queue="shop")
    async def sell(number: int) -> None:
        pay(number)

    jobs = [await sell.enqueue(number) for number in range(3)]
    await app.worker(version="v1").run_until_idle()

    [group] = await app.monitor.errors()
    assert (group.queue, group.kind, group.count) == ("shop", "ValueError", 3)
    assert group.place == f"{__name__}:pay"
    assert group.message == "no card #"
    assert (group.tasks, group.versions) == (("sell",), ("v1",))
    found = await app.monitor.error_jobs("shop", group.fingerprint)
    assert {job.id for job in found} == {job.id for job in jobs}
    assert all(isinstance(job, Job) and job.record.slot == 1 for job in found)
    assert await app.monitor.error_jobs("shop", group.fingerprint, state="completed") == []


async def test_a_failure_in_a_child_process_has_its_place(app: Toril) -> None:
    app.processor("shop", "tests.runtime.isolated:signal_of", name="sell")
    await app.queue("shop").add("sell", "raise")
    await app.worker().run_until_idle()

    [group] = await app.monitor.errors("shop")
    assert (group.kind, group.place) == ("LookupError", "tests.runtime.isolated:signal_of")


async def test_a_worker_tells_what_runs_where(app: Toril, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORIL_VERSION", "v7")
    gate = asyncio.Event()

    @app.task(queue="shop", concurrency=2)
    async def sell(number: int) -> None:
        await gate.wait()

    for number in range(2):
        await sell.enqueue(number)
    async with app.worker(concurrency=2):
        worker = await until(partial(_busy, app, 2))
        assert worker is not None
        gate.set()

    assert worker.version == "v7"
    assert [slot.number for slot in worker.slots] == [1, 2]
    assert {slot.id for slot in worker.slots} == {"1", "2"}
    assert all((slot.queue, slot.name) == ("shop", "sell") for slot in worker.slots)
    assert worker.rss is None or worker.rss > 1_000_000
    assert worker.cpu is not None
    assert worker.cpu >= 0


async def _busy(app: Toril, slots: int) -> WorkerInfo | None:
    return next((each for each in await app.workers() if len(each.slots) == slots), None)


async def _has_marks(app: Toril, count: int) -> bool:
    return len(await app.monitor.marks()) >= count


async def test_a_worker_marks_a_version_that_is_new(app: Toril) -> None:
    @app.task(queue="shop")
    async def sell() -> None: ...

    for version in ("v1", "v1", "v2", None):
        async with app.worker(version=version, name="here"):
            wanted = 2 if version in ("v2", None) else 1
            await until(partial(_has_marks, app, wanted))
        assert len(await app.monitor.marks()) == wanted

    newest, _ = await app.monitor.marks()
    assert (newest.label, newest.by) == ("v2", "here")
    assert await app.monitor.marks(since_ms=newest.at_ms + 1) == []


async def test_marks_audit_and_operations_are_kept(app: Toril) -> None:
    mark = await app.monitor.mark("v3", by="ann")
    assert await app.monitor.marks() == [mark]

    entry = AuditEntry(user="ann", action="retry", selector="queue:shop", count=3)
    id = await app.monitor.audit(entry)
    [found] = await app.monitor.audit_log()
    assert found == replace(entry, id=id, at_ms=found.at_ms)
    assert await app.monitor.audit_log(before=id) == []

    work = Operation(id="o1", action="retry", started_ms=5, changed_ms=5, total=9)
    await app.monitor.save_operation(work)
    await app.monitor.save_operation(replace(work, done=9, state="done", finished_ms=8))
    [done] = await app.monitor.operations()
    assert (done.id, done.done, done.state, done.finished_ms) == ("o1", 9, "done", 8)
    with pytest.raises(ConfigError, match="65,536"):
        await app.monitor.audit(replace(entry, reason="x" * 70_000))


async def test_what_cannot_be_asked_is_refused(app: Toril) -> None:
    with pytest.raises(ConfigError, match="step"):
        await app.monitor.series("shop", since_ms=0, step="week")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="queue"):
        await app.monitor.errors("")


async def test_jobs_are_found_by_what_a_task_or_queue_declares(app: Toril) -> None:
    @app.task(queue="shop", index=["user_id", "order.id"])
    async def sell(user_id: int, order: dict[str, int]) -> None: ...

    plain = app.queue("mail", index=["to"], tags=["all"])
    sold = await sell.enqueue(481, {"id": 5})
    await sell.enqueue(482, {"id": 6})
    mail = await plain.add("welcome", {"to": "ann"}, tags=["beta"])

    found = await app.queue("shop").find({"user_id": 481, "order.id": 5})
    assert ([job.id for job in found.jobs], found.next) == ([sold.id], None)
    assert [job.id for job in (await plain.find({"to": "ann", "tag": "beta"})).jobs] == [mail.id]
    assert (await plain.find({"tag": "all"})).jobs == ()
    assert await app.monitor.fields() == {"shop": ("order.id", "user_id"), "mail": ("tag", "to")}
    with pytest.raises(ConfigError, match="index"):
        app.queue("other", index="to")
