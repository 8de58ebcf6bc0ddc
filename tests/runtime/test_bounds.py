"""A job's log and its payloads are bounded unless somebody says otherwise."""

import asyncio

import pytest

from toril import ConfigError, JobFailed, Toril
from toril._jobs.limits import parse_size
from toril._model.record import NewJob

LARGE = "x" * 1_000_001


async def test_a_log_keeps_its_newest_thousand_lines(anywhere: Toril) -> None:
    job = await anywhere.queue("q").add("a")

    await asyncio.gather(*(job.log(f"line {n}") for n in range(1_100)))
    logs = await job.logs(limit=2_000)

    assert (logs.total, logs.lines[0], logs.lines[-1]) == (1_000, "line 100", "line 1099")


async def test_a_long_line_is_cut_and_says_so(anywhere: Toril) -> None:
    job = await anywhere.queue("q").add("a")
    await job.log("y" * 20_000)

    (line,) = (await job.logs()).lines
    assert line == "y" * 10_000 + "… (20,000 characters)"


async def test_a_large_payload_is_refused_wherever_it_is_handed_in(anywhere: Toril) -> None:
    queue = anywhere.queue("q")
    job = await queue.add("a")
    for hand_in in (
        lambda: queue.add("a", LARGE),
        lambda: queue.add_many([("a", 1), ("a", LARGE)]),
        lambda: anywhere.flow("q", "top", children=[("q", "kid", LARGE)]).add(),
        lambda: anywhere.schedules.put("s", queue="q", name="a", data=LARGE, every="1h"),
        lambda: job.update(LARGE),
    ):
        with pytest.raises(ConfigError, match="1,000,003 bytes, max_payload=1,000,000"):
            await hand_in()
    with pytest.raises(ConfigError, match="pass a reference"):
        await job.progress(LARGE)
    assert (await queue.counts()).total == 1


async def test_a_large_result_fails_its_job_once(anywhere: Toril) -> None:
    @anywhere.queue("q", attempts=3).handler()
    async def large(job: object) -> str:
        return LARGE

    async with anywhere.worker("q"):
        job = await anywhere.queue("q").add("a")
        with pytest.raises(JobFailed, match="max_payload"):
            await job.result(timeout=10)
    assert (await job.refresh()).record.runs == 1


async def test_a_queue_may_take_more(anywhere: Toril) -> None:
    @anywhere.queue("q", max_payload="3MB").handler()
    async def back(job: object) -> str:
        return LARGE

    async with anywhere.worker("q"):
        assert await (await anywhere.queue("q").add("a", LARGE)).result(timeout=10) == LARGE


async def test_a_job_that_others_added_runs_whatever_its_size(anywhere: Toril) -> None:
    @anywhere.queue("q").handler()
    async def size(job: object) -> int:
        return len(job.data)  # type: ignore[attr-defined, no-any-return]

    store = await anywhere.context.ready()
    await store.add([(NewJob(queue="q", name="a", data=f'"{LARGE}"', id="big"),)])
    async with anywhere.worker("q"):
        job = await anywhere.queue("q").job("big")
        assert job is not None
        assert await job.result(timeout=10) == len(LARGE)


@pytest.mark.parametrize(("text", "size"), [("5MB", 5_000_000), ("1 KiB", 1024), (7, 7)])
def test_sizes_are_read(text: str | int, size: int) -> None:
    assert parse_size(text) == size
