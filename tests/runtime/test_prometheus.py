"""Prometheus text: read back by the official parser."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.workers import until
from toril import Job, Toril
from toril.testing import Harness

STORES = ("memory", "redis")


def read(text: str) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the samples of each name by the values of their labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in ("gauge", "counter", "histogram")
        for sample in family.samples:
            labels = tuple(sample.labels.values())
            assert labels not in found.setdefault(sample.name, {}), sample
            found[sample.name][labels] = sample.value
    return found


async def work(job: Job[Any]) -> None:
    if job.name == "bad":
        raise ValueError("on purpose")


async def test_the_text_says_what_the_queues_have_and_did(app: Toril) -> None:
    queue = app.queue('we"ird\\q', dead_letter="letters")
    await queue.add_many([("good", 1), ("good", 2), ("bad", 3)])
    await app.worker(queue.name, work).run_until_idle()
    await queue.add("later", delay="1h")
    await queue.pause()
    async with app.worker("served", work, concurrency=7):
        await until(lambda: app.workers("served"))
        seen = read(await app.monitor.prometheus())

    name = queue.name
    jobs = {labels: value for labels, value in seen["toril_jobs"].items() if value}
    assert jobs == {
        (name, "completed"): 2, (name, "failed"): 1, (name, "delayed"): 1, ("letters", "waiting"): 1,
    }  # fmt: skip
    assert seen["toril_queue_paused"][name,] == 1
    assert seen["toril_queue_workers"] == {(name,): 0, ("letters",): 0, ("served",): 1}
    assert seen["toril_queue_dead_letters"] == {("letters",): 1}
    assert set(seen["toril_queue_oldest_ready_seconds"]) == {("letters",)}
    assert (seen["toril_workers"][()], seen["toril_worker_slots"][()]) == (1, 7)
    for counter, number in [("added", 4), ("completed", 2), ("failed", 1), ("retried", 0)]:
        assert seen[f"toril_jobs_{counter}_total"][name,] == number
    for histogram, number in [("run", 3), ("wait", 3)]:
        buckets = [
            value
            for labels, value in seen[f"toril_job_{histogram}_seconds_bucket"].items()
            if labels[0] == name
        ]
        assert buckets == sorted(buckets)
        assert buckets[-1] == seen[f"toril_job_{histogram}_seconds_count"][name,] == number


async def test_only_queues_that_may_be_shown_are_in_the_text(app: Toril) -> None:
    for name in ("open", "closed"):
        await app.schedules.put("s", queue=name, name="x", every="1h")
    async with app.worker("closed", work):
        await until(lambda: app.workers("closed"))
        text = await app.monitor.prometheus(only=lambda name: name == "open")
    assert "closed" not in text
    assert read(text)["toril_workers"][()] == 0


async def test_an_empty_store_has_metrics(app: Toril) -> None:
    assert read(await app.monitor.prometheus())["toril_workers"][()] == 0


async def test_durations_are_in_the_buckets_that_hold_them(memory: Toril) -> None:
    clock: list[Harness] = []

    async def slow(job: Job[Any]) -> None:
        clock[0].clock.move(clock[0].clock.now_ms() + job.data)

    memory.queue("q").handler("x")(slow)
    async with Harness(memory) as jobs:
        clock.append(jobs)
        for ms in (3, 900, 70_000):
            await memory.queue("q").add("x", ms)
            await jobs.drain()
        seen = read(await memory.monitor.prometheus())
    found = seen["toril_job_run_seconds_bucket"]
    below = {le: found["q", le] for le in ("0.001", "0.004", "1.024", "65.536", "262.144", "+Inf")}
    assert list(below.values()) == [0, 1, 2, 2, 3, 3]
    assert seen["toril_job_run_seconds_sum"]["q",] == pytest.approx(70.903)


async def test_a_late_schedule_is_seen(memory: Toril) -> None:
    async with Harness(memory) as jobs:
        await memory.schedules.put("s", queue="q", name="x", every="1h")
        jobs.clock.move(jobs.clock.now_ms() + 7_200_000)
        seen = read(await memory.monitor.prometheus())
    assert seen["toril_queue_schedule_late_seconds"]["q",] >= 3600
