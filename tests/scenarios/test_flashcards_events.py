"""Flash cards: what local and global listeners hear.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import logging
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.scenarios.cards import CARD, IMAGES, echo, refuse
from tests.scenarios.helpers import (
    Valve,
    all_of,
    ended,
    program,
    stands,
    story,
    tally,
    until,
)
from toril import Job, Toril
from toril.events import Active, Completed, JobEvent

# S000-09  Local listeners.


class TestLocalListeners:
    async def test_worker_1_tells_of_its_own_jobs_and_nothing_of_those_of_worker_2(
        self, app: Toril
    ) -> None:
        queue, valve = app.queue(IMAGES), Valve()
        lines: list[str] = []

        async def gated(job: Job[Any]) -> None:
            await valve.wait()
            if job.name == "bad":
                raise ValueError("broken")

        first, second = (app.worker(IMAGES, gated, concurrency=1) for _ in range(2))
        first.on("active")(lambda job: lines.append(f"Job has been started: {job.id}"))
        first.on("completed")(lambda job, _: lines.append(f"Job has been finished: {job.id}"))

        @first.on("failed")
        def failed(job: Job[Any], error: BaseException) -> None:
            lines.extend([f"Job has been failed: {job.id}", str(error)])

        async with first:
            mine = await queue.add("good", CARD)
            await stands(queue, A=1)
            async with second:
                theirs = await queue.add("good", CARD)
                await stands(queue, A=2)
                valve.let(2)
                await all_of([mine, theirs])
            bad = await queue.add("bad", CARD)
            valve.let(1)
            await ended(bad)

        assert (await mine.refresh()).worker != (await theirs.refresh()).worker
        assert lines == [
            f"Job has been started: {mine.id}",
            f"Job has been finished: {mine.id}",
            f"Job has been started: {bad.id}",
            f"Job has been failed: {bad.id}",
            "broken",
        ]

    async def test_signatures_are_job_then_result_or_error_and_error_alone(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        heard: list[tuple[str, tuple[Any, ...]]] = []

        @queue.handler("good")
        async def good(job: Job[Any]) -> int:
            return 42

        queue.handler("bad")(refuse)
        worker = app.worker(unknown_limit=0, concurrency=1)
        for event in ("active", "completed", "failed", "error"):
            worker.on(event)(lambda *given, event=event: heard.append((event, given)))
        await queue.add("good", CARD)
        await queue.add("bad", CARD)
        await queue.add("unheard-of", CARD)

        await worker.run_until_idle()

        given = {event: args for event, args in heard if args[0] is None or event != "active"}
        active = next(args for event, args in heard if event == "active")
        failed = next(args for event, args in heard if event == "failed")
        assert [type(each) for each in active] == [Job]
        assert (given["completed"][0].name, given["completed"][1]) == ("good", 42)
        assert (failed[0].name, type(failed[1])) == ("bad", ValueError)
        assert [isinstance(each, Exception) for each in given["error"]] == [True]

    async def test_a_listener_that_raises_is_logged_and_harms_neither_job_nor_worker(
        self, app: Toril, caplog: pytest.LogCaptureFixture
    ) -> None:
        queue = app.queue(IMAGES)
        worker = app.worker(IMAGES, echo)

        @worker.on("completed")
        def broken(job: Job[Any], result: Any) -> None:
            raise RuntimeError("this listener is broken")

        async with worker:
            for _ in range(2):
                assert await (await queue.add("optimize-size", CARD)).result(5) == CARD

        assert await tally(queue) == {"C": 2}
        said = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert [str(r.exc_info[1]) for r in said if r.exc_info] == ["this listener is broken"] * 2


# S000-10  Global listener.


class TestGlobalListener:
    @pytest.mark.parametrize("where", ["beside worker 2", "without a worker"])
    async def test_3_active_and_3_completed_whoever_ran_them_each_once_in_per_job_order(
        self, app: Toril, url: str, tmp_path: Path, where: str
    ) -> None:
        queue, gate = app.queue(IMAGES), tmp_path / "gate"
        beside = where == "beside worker 2"

        async def run(job: Job[Any]) -> Any:
            await until(gate.exists, True)
            return job.data["result"]

        async with (
            program("worker", url=url, queue=IMAGES, listen=beside) as worker,
            program("listener", url=url, queue=IMAGES) as alone,
            app.worker(IMAGES, run),
        ):
            jobs = [("optimize-size", {"gate": str(gate), "result": n}) for n in range(3)]
            await queue.add_many(jobs)
            await stands(queue, A=2, W=1)
            gate.touch()
            listener = worker if beside else alone
            for number in range(3):
                await listener.says(f"Job {number + 1} completed successfully")

            told = [line for line in listener.lines if line.startswith("{")]
            for number in range(3):
                active = f'{{"job_id": "{number + 1}", "prev": "waiting"}}'
                completed = f'{{"job_id": "{number + 1}", "result": {number}}}'
                assert (told.count(active), told.count(completed)) == (1, 1)
                assert told.index(active) < told.index(completed)
            heads = Counter(line for line in listener.lines if line.endswith("!"))
            assert heads == {"Job has been started!": 3, "Job has been completed!!": 3}
            assert listener.lines[1:3] == ["Job has been started!", told[0]]

    async def test_it_is_an_event_record_not_a_job(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD)
        await app.worker(IMAGES, echo).run_until_idle()

        events = await story(app, queue)

        active = next(e for e in events if isinstance(e, Active))
        completed = next(e for e in events if isinstance(e, Completed))
        assert (active.job_id, active.prev) == (job.id, "waiting")
        assert (completed.job_id, completed.result) == (job.id, CARD)

    async def test_an_event_gives_its_job(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD)

        (added, *_) = await story(app, queue)

        assert isinstance(added, JobEvent)
        assert (await added.job()).data == job.data

    async def test_a_listener_that_was_down_gets_the_events_it_missed(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        async with queue.events() as events:
            await queue.add("optimize-size", CARD, id="first")
            async for event in events:
                if event.kind == "waiting":
                    break
        await queue.add("optimize-size", CARD, id="missed")

        caught_up = await story(app, queue, after=events.last[IMAGES])

        assert [(e.kind, e.job_id) for e in caught_up if isinstance(e, JobEvent)] == [
            ("added", "missed"),
            ("waiting", "missed"),
        ]

    async def test_one_that_starts_fresh_gets_only_new_ones_by_default(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        await queue.add("optimize-size", CARD, id="old")

        async with queue.events() as events:
            await queue.add("optimize-size", CARD, id="new")
            async for event in events:
                assert isinstance(event, JobEvent)
                assert event.job_id == "new"
                break
