"""One row of a database file that is badly encoded or of another shape hurts only itself.

Its job fails, or runs if it can; the other jobs of its queue, other queues, readers and `stop()` go
on. The tables are STRICT, so this is what can be wrong in them.
"""

import os
import random
import time
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.faults.rig import QUEUE, Runs, until
from toril import Toril
from toril.errors import JobFailed, TorilError

from .damage import DEEP, Damaged, app_on, damage_anything

ROUNDS = int(os.environ.get("TORIL_ROUNDS", "1"))
TEXTS = (
    "name", "data", "opts", "progress", "result", "reason", "stack", "worker", "parent_queue",
    "parent_id", "policy", "schedule", "dedup", "deferred", "origin", "cancelled", "settled_by",
    "id",
)  # fmt: skip
NUMBERS = (
    "lane", "position", "priority", "delay_ms", "created_ms", "due_ms", "started_ms", "expires_ms",
    "attempts_made", "runs", "stalls", "alone", "unknown", "parent", "family", "letter", "limit_ms",
)  # fmt: skip
WRONG: dict[str, Any] = {
    "no utf8": b"\xff\xfeA",
    "half a character": b"abc\xe2\x82",
    "a surrogate": b"\xed\xa0\x80",
    "object": "{}",
    "number": "7",
    "numbers": "[1,2]",
    "broken": "{",
    "nul": "a\0b",
    "empty": "",
    "deep list": "[" * 100_000,
    "deep object": DEEP,
    "lists in lists": "[" * 900 + "]" * 900,
}
LARGE = {"most": 2**63 - 1, "least": -(2**63), "minus one": -1, "far": 10**15}


async def work_among(path: Path, rows: list[tuple[str, Any]]) -> None:
    """Damage a job per row, and see that all others of the queue and another queue are run."""
    runs = Runs()
    async with app_on(path) as app:
        queue = app.queue(QUEUE, keep="all")
        bad = await queue.add_many([("x", {})] * len(rows))
        good = await queue.add_many([("x", {})] * 5)
        touched = []
        with Damaged(path) as damaged:
            for job, (column, value) in zip(bad, rows, strict=True):
                if damaged.set("jobs", column, value, "id = ?", job.id):
                    touched.append(job.id)
        assert touched
        async with app.worker([QUEUE, "other"], runs, lock="2s", concurrency=3):
            other = await app.queue("other").add("x", {})
            await other.result(timeout=10)
            await runs.until_ended(*[job.id for job in good], within=10)
            await until(lambda: _nothing_waits(app), within=10)
        listed = {job.id async for job in queue.jobs()}
        assert {job.id for job in good} <= listed
        assert len(listed) >= len(good) + len(rows) - len(touched)
        for job in bad:
            found = await queue.job(job.id)
            assert found is None or await found.state()
        assert (await queue.counts()).active == 0
        await app.schedules.list()
        await app.queues()


async def _nothing_waits(app: Toril) -> bool:
    counts = await app.queue(QUEUE).counts()
    return not (counts.waiting or counts.prioritized or counts.active)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", WRONG)
async def test_text_that_is_none_of_its_kind_hurts_only_its_job(tmp_path: Path, what: str) -> None:
    await work_among(tmp_path / "jobs.db", [(column, WRONG[what]) for column in TEXTS])


@pytest.mark.timeout(60)
@pytest.mark.parametrize("what", LARGE)
async def test_a_number_that_cannot_be_counted_on_hurts_only_its_job(
    tmp_path: Path, what: str
) -> None:
    await work_among(tmp_path / "jobs.db", [(column, LARGE[what]) for column in NUMBERS])


@pytest.mark.parametrize("column", ["name", "data", "opts", "id"])
async def test_a_job_whose_own_text_is_not_utf8_fails_and_says_so(
    tmp_path: Path, column: str
) -> None:
    path, runs = tmp_path / "jobs.db", Runs()
    async with app_on(path) as app:
        bad = await app.queue(QUEUE).add("x", {"n": 1})
        with Damaged(path) as damaged:
            damaged.set("jobs", column, b'{"n":"\xff"}', "id = ?", bad.id)
        async with app.worker(QUEUE, runs):
            await until(lambda: _has_failed(app), within=5)
        (failed,) = [job async for job in app.queue(QUEUE).jobs("failed")]
        assert "cannot be read" in (failed.error or "")
        assert not runs.started
        if column != "id":
            with pytest.raises(JobFailed):
                await bad.result(timeout=1)


async def _has_failed(app: Toril) -> bool:
    return (await app.queue(QUEUE).counts()).failed == 1


@pytest.mark.parametrize(
    ("column", "value"), [("progress", b"\xff"), ("stack", "[1,2]"), ("reason", b"\xff\xfe")]
)
async def test_what_a_job_tells_may_be_bad_and_the_job_runs(
    tmp_path: Path, column: str, value: Any
) -> None:
    path, runs = tmp_path / "jobs.db", Runs()
    async with app_on(path) as app:
        job = await app.queue(QUEUE).add("x", {})
        with Damaged(path) as damaged:
            damaged.set("jobs", column, value, "id = ?", job.id)
        async with app.worker(QUEUE, runs):
            await job.result(timeout=5)


# The other tables.

ROWS: list[tuple[str, str, Any]] = [
    *(
        (table, column, value)
        for table, columns in {
            "queues": ("dead_letter", "keep_completed", "keep_failed"),
            "children": ("name", "value"),
            "tries": ("worker", "ending", "reason"),
            "logs": ("text",),
            "dedup": ("word", "next"),
            "events": ("body",),
            "processes": ("host", "bell"),
            "workers": ("name", "host", "queues", "rate", "declares"),
        }.items()
        for column in columns
        for value in (b"\xff\xfe", "{", "[1]", "7", "[" * 100_000)
    ),
    *(
        (table, column, value)
        for table, columns in {
            "queues": (
                "ids",
                "positions",
                "events",
                "window_end",
                "ever_completed",
                "completed",
                "max_waiting",
            ),
            "tries": ("started_ms", "ended_ms"),
            "dedup": ("expires_ms",),
            "events": ("at_ms",),
            "metrics": ("count",),
            "workers": ("pid", "concurrency", "active", "started_ms", "seen_ms"),
        }.items()
        for column in columns
        for value in (2**63 - 1, 2**62)
    ),
]


async def use(path: Path) -> None:
    """Look at everything, add, and work."""
    runs = Runs()
    async with app_on(path) as app:
        queue = app.queue(QUEUE)
        await app.queues()
        await app.workers()
        await app.schedules.list()
        await queue.counts()
        async for job in queue.jobs():
            await job.refresh()
            await job.logs()
            await job.children()
        again = await queue.add("x", {}, dedup="k")
        assert again.id
        job = await queue.add("x", {})
        async with app.worker(QUEUE, runs):
            await job.result(timeout=5)


@pytest.mark.parametrize("table", sorted({table for table, *_ in ROWS}))
async def test_a_bad_row_of_any_table_stops_nobody(
    tmp_path: Path, stocked: bytes, table: str
) -> None:
    tried = 0
    for number, (_, column, value) in enumerate(row for row in ROWS if row[0] == table):
        path = tmp_path / f"{number}.db"
        path.write_bytes(stocked)
        path.chmod(0o600)
        with Damaged(path) as damaged:
            if not damaged.set(table, column, value, "rowid = rowid" if table in ROWID else "1"):
                continue
        tried += 1
        await use(path)
    assert tried


ROWID = ("queues", "children", "processes")


@pytest.mark.timeout(120 * ROUNDS)
@pytest.mark.parametrize("seed", range(12 * ROUNDS))
async def test_rows_of_any_damage_raise_nothing_but_clear_errors(
    tmp_path: Path, stocked: bytes, seed: int
) -> None:
    rng = random.Random(seed)
    path = tmp_path / "jobs.db"
    path.write_bytes(stocked)
    path.chmod(0o600)
    damage_anything(path, rng)
    try:
        await use(path)
    except TorilError:
        pass
    except (TimeoutError, AssertionError) as error:
        pytest.fail(f"seed {seed}: {error!r}")


async def test_what_was_mended_is_logged_once_with_its_queue(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING", logger="toril.store"):
        await work_among(tmp_path / "jobs.db", [("data", b"\xff\xfeA"), ("name", b"\xff")])

    lines = [each.getMessage() for each in caplog.records if "store.mended" in each.getMessage()]
    assert len(lines) == 1
    assert "2 of jobs" in lines[0]
    assert repr(QUEUE) in lines[0]


async def test_what_was_counted_and_cannot_be_read_holds_up_nothing(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with app_on(path) as app:
        queue = app.queue(QUEUE)
        await queue.add("x", {})
        for table, column in (("samples", "body"), ("tasks", "names"), ("series", "body")):
            with Damaged(path) as damaged:
                for wrong in (b"\xff\xfeA", "{", "[" * 100_000):
                    damaged.set(table, column, wrong, "1 = ?", 1)
            for _ in range(260):
                await queue.add("x", {})
        now = int(time.time() * 1000)
        [series] = await app.monitor.series(QUEUE, since_ms=now - 3_600_000, step="hour")

    assert sum(point.enqueued for point in series.points) >= 260
