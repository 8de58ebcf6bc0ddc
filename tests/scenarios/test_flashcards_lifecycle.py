"""Flash cards: adding, running, the order of a job's life, and priority.

Each test is one line of what is to be observed; timings are scaled, their ratios are kept.
"""

import asyncio
import logging
import time
from typing import Any

import pytest

from tests.scenarios.cards import CARD, CHECKS, IMAGES, echo, refuse
from tests.scenarios.helpers import (
    Valve,
    all_of,
    kinds,
    on_time,
    stands,
    story,
    tally,
)
from toril import ConfigError, Job, Queue, State, Toril, handles
from toril.events import JobEvent

# S000-02  Add returns at once, job waits.


class TestAddReturnsAtOnce:
    async def post(self, app: Toril) -> dict[str, Any]:
        """Do what POST /flash-cards does once the card is stored."""
        await app.queue(IMAGES).add("optimize-size", CARD)
        return CARD

    @pytest.mark.serial
    async def test_the_answer_is_the_stored_card_and_does_not_wait_for_the_job(
        self, app: Toril
    ) -> None:
        began = time.monotonic()

        answer = await self.post(app)

        assert answer == CARD
        assert time.monotonic() - began <= 0.050

    async def test_one_job_waits_and_nothing_else(self, app: Toril) -> None:
        await self.post(app)

        assert await tally(app.queue(IMAGES)) == {"W": 1}

    async def test_the_job_has_id_1_its_name_and_exactly_its_data(self, app: Toril) -> None:
        await self.post(app)

        job = await app.queue(IMAGES).job("1")

        assert job is not None
        assert (job.id, job.name, job.data, job.attempts_made) == ("1", "optimize-size", CARD, 0)

    async def test_the_event_stream_holds_added_then_waiting_for_job_1(self, app: Toril) -> None:
        await self.post(app)

        events = await story(app, app.queue(IMAGES))

        assert [(e.kind, e.job_id) for e in events if isinstance(e, JobEvent)] == [
            ("added", "1"),
            ("waiting", "1"),
        ]

    async def test_no_worker_is_listening_on_this_queue(self, app: Toril) -> None:
        await self.post(app)

        assert await app.queue(IMAGES).workers() == []


# S000-03  Worker processes.


class TestWorkerProcesses:
    @pytest.mark.serial
    async def test_it_is_active_within_100_ms_and_completed_after_the_handler(
        self, app: Toril
    ) -> None:
        @app.processor(IMAGES)
        class Images:
            async def process(self, job: Job[Any]) -> Any:
                match job.name:
                    case "optimize-size":
                        await asyncio.sleep(0.3)
                        return job.data
                    case _:
                        raise ValueError("No job name match")

        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD)

        async with app.worker():
            await stands(queue, A=1, within=0.1)
            assert await job.result(5) == CARD

        assert await tally(queue) == {"C": 1}
        await job.refresh()
        assert job.started_at is not None
        assert job.finished_at is not None
        on_time(0.3, (job.finished_at - job.started_at).total_seconds())

    async def test_a_name_that_the_handler_does_not_know_fails_with_its_own_error(
        self, app: Toril
    ) -> None:
        async def switch(job: Job[Any]) -> Any:
            if job.name != "optimize-size":
                raise ValueError("No job name match")

        queue = app.queue(IMAGES)
        job = await queue.add("resize", CARD)

        await app.worker(IMAGES, switch).run_until_idle()

        assert await tally(queue) == {"F": 1}
        assert (await job.refresh()).error == "No job name match"

    async def test_a_name_without_a_handler_fails_with_torils_own_reason(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        queue.handler("optimize-size")(echo)
        job = await queue.add("resize", CARD)

        await app.worker(unknown_limit=0).run_until_idle()

        assert await tally(queue) == {"F": 1}
        assert (await job.refresh()).error == f'No handler for job "resize" in queue "{IMAGES}"'

    async def test_a_processor_that_is_not_registered_processes_nothing_and_is_warned_of(
        self, app: Toril, caplog: pytest.LogCaptureFixture
    ) -> None:
        class Forgotten:
            @handles("optimize-size")
            async def optimize(self, job: Job[Any]) -> Any:
                raise AssertionError("it is not registered")

        app.queue(CHECKS).handler("check-term")(echo)
        job = await app.queue(IMAGES).add("optimize-size", CARD)
        check = await app.queue(CHECKS).add("check-term", CARD)

        async with app.worker():
            await check.result(5)

        assert await job.state() == State.WAITING
        warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
        assert any(Forgotten.__qualname__ in warning for warning in warnings), warnings


# S000-04  Lifecycle order.


class TestLifecycleOrder:
    PLAIN = ("added", "waiting", "active", "completed", "drained")
    DELAYED = ("added", "delayed", "waiting", "active", "completed", "drained")
    BACKOFF = (
        *("added", "waiting", "active", "delayed", "waiting", "active"),
        *("failed", "retries-exhausted", "drained"),
    )
    NO_BACKOFF = (
        *("added", "waiting", "active", "waiting", "active"),
        *("failed", "retries-exhausted", "drained"),
    )

    @pytest.mark.parametrize(
        ("options", "fails", "expected"),
        [
            pytest.param({}, False, PLAIN, id="plain"),
            pytest.param({"priority": 3}, False, PLAIN, id="with priority"),
            pytest.param({"delay": "50ms"}, False, DELAYED, id="with delay"),
            pytest.param(
                {"attempts": 2, "backoff": "50ms"}, True, BACKOFF, id="fails twice, with backoff"
            ),
            pytest.param({"attempts": 2}, True, NO_BACKOFF, id="fails twice, without backoff"),
        ],
    )
    async def test_the_events_come_in_exactly_this_order(
        self, app: Toril, options: dict[str, Any], fails: bool, expected: tuple[str, ...]
    ) -> None:
        queue = app.queue(IMAGES)
        await queue.add("optimize-size", CARD, **options)

        await app.worker(IMAGES, refuse if fails else echo).run_until_idle(delayed=True)

        assert tuple(await kinds(app, queue)) == expected

    async def test_failed_appears_once_and_every_try_as_attempt_failed_and_in_the_list(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        job = await queue.add("optimize-size", CARD, attempts=2)
        worker = app.worker(IMAGES, refuse)
        tries: list[str] = []
        worker.on("attempt_failed")(lambda job, error: tries.append(f"{job.id}: {error}"))

        await worker.run_until_idle()

        assert (await kinds(app, queue)).count("failed") == 1
        assert tries == ["1: no", "1: no"]
        await job.refresh()
        assert [(t.run, t.end, t.reason) for t in job.attempts] == [
            (1, "failed", "no"),
            (2, "failed", "no"),
        ]

    async def test_drained_needs_waiting_prioritized_and_active_all_empty(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        valve = Valve()

        async def gated(job: Job[Any]) -> None:
            await valve.wait()

        waiting = await queue.add("optimize-size", CARD)
        prioritized = await queue.add("optimize-size", CARD, priority=1)

        async with app.worker(IMAGES, gated, concurrency=2):
            await stands(queue, A=2)
            valve.let(1)
            await stands(queue, A=1, C=1)
            assert "drained" not in await kinds(app, queue)
            late = await queue.add("optimize-size", CARD, priority=2)
            valve.let(2)
            await all_of([waiting, prioritized, late])

        told = await kinds(app, queue)
        assert (told.count("drained"), told[-1]) == (1, "drained")

    async def test_no_drained_when_the_claim_after_a_finish_found_a_delayed_job(
        self, app: Toril
    ) -> None:
        """As BullMQ, which looks for the next job first, and is silent if it is a later one."""
        queue = app.queue(IMAGES)
        await queue.add("optimize-size", CARD)
        await queue.add("optimize-size", CARD, delay="1h")

        await app.worker(IMAGES, echo).run_until_idle()

        assert await tally(queue) == {"C": 1, "D": 1}
        assert "drained" not in await kinds(app, queue)

    async def test_ready_counts_and_lists_the_prioritized_with_the_waiting(
        self, app: Toril
    ) -> None:
        """BullMQ's seven numbers, and `ready` for what the cards call `wait`."""
        queue = app.queue(IMAGES)
        plain = await queue.add("optimize-size", CARD)
        urgent = await queue.add("optimize-size", CARD, priority=1)

        counts = await queue.counts()

        assert (counts.waiting, counts.prioritized, counts.ready) == (1, 1, 2)
        assert [job.id async for job in queue.jobs("ready")] == [plain.id, urgent.id]
        assert await urgent.state() == State.PRIORITIZED


# S000-05  Priority.


class TestPriority:
    async def run_order(self, app: Toril, queue: Queue) -> list[str]:
        order: list[str] = []

        async def note(job: Job[Any]) -> None:
            order.append(job.name)

        await queue.resume()
        await app.worker(queue.name, note, concurrency=1).run_until_idle()
        return order

    async def test_none_is_first_lower_runs_earlier_ties_first_in_first_out(
        self, app: Toril
    ) -> None:
        queue = app.queue(IMAGES)
        await queue.pause()
        await queue.add("A", CARD, priority=5)
        await queue.add("B", CARD, priority=1)
        await queue.add("C", CARD)
        await queue.add("D", CARD, priority=3)
        await queue.add("E", CARD, priority=1)

        assert await self.run_order(app, queue) == ["C", "B", "E", "D", "A"]

    @pytest.mark.parametrize("priority", [0, 1, 2_097_151])
    async def test_accepted_range(self, app: Toril, priority: int) -> None:
        job = await app.queue(IMAGES).add("A", CARD, priority=priority)

        assert (await job.refresh()).record.priority == priority

    @pytest.mark.parametrize("priority", [-1, 2**21, 1.5])
    async def test_what_is_outside_raises_at_add_with_the_range_in_the_message(
        self, app: Toril, priority: Any
    ) -> None:
        queue = app.queue(IMAGES)

        with pytest.raises(ConfigError, match=r"between 0 and 2097151"):
            await queue.add("A", CARD, priority=priority)

        assert await tally(queue) == {}

    async def test_changing_a_waiting_jobs_priority_moves_it(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        await queue.pause()
        await queue.add("A", CARD, priority=2)
        late = await queue.add("B", CARD, priority=3)

        await late.set_priority(1)

        assert await self.run_order(app, queue) == ["B", "A"]

    async def test_a_retry_keeps_the_priority(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        failing = await queue.add("A", CARD, priority=5, attempts=2)
        await app.worker(IMAGES, refuse).run_until_idle()
        await queue.pause()
        await queue.add("B", CARD, priority=4)
        await queue.add("C", CARD, priority=6)

        await failing.retry()

        assert await failing.state() == State.PRIORITIZED
        assert failing.record.priority == 5
        assert await self.run_order(app, queue) == ["B", "A", "C"]

    async def test_an_automatic_retry_keeps_the_priority(self, app: Toril) -> None:
        queue = app.queue(IMAGES)
        order: list[str] = []

        async def once(job: Job[Any]) -> None:
            order.append(job.name)
            if job.name == "A" and job.attempt == 1:
                raise ValueError("no")

        await queue.add_many(
            [
                ("A", CARD, {"priority": 1, "attempts": 2}),
                ("B", CARD, {"priority": 1}),
                ("C", CARD, {"priority": 2}),
            ]
        )

        await app.worker(IMAGES, once).run_until_idle()

        assert order[0] == "A"
        assert order.index("A", 1) < order.index("C")
